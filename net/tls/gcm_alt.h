/* SPDX-License-Identifier: Apache-2.0 */
/* An AES-128-GCM key as Intel's library wants it. Included by mbedTLS' gcm.h in place of its own. */
#ifndef NET_TLS_GCM_ALT_H
#define NET_TLS_GCM_ALT_H

/* "gcm_key_data" of ipsec-mb's gcm_keys_sse_avx.asm: 15 round keys, 8 powers of the hash key in two forms. */
typedef struct mbedtls_gcm_context {
	_Alignas(16) unsigned char key_data[16 * 31];
} mbedtls_gcm_context;

/* Has this CPU what it takes (AES, PCLMULQDQ, AVX switched on)? If not, no other function of it may be called. */
int gcm_alt_works(void);

#endif
