/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between tls.c (keys, configuration), tls_pipe.c and tls_platform.c. Includes mbedTLS: only .c files
 * of this folder include it.
 */
#ifndef NET_TLS_TLS_INTERNAL_H
#define NET_TLS_TLS_INTERNAL_H

#include <stddef.h>

#include "mbedtls/ssl.h"

/* In the middle of a handshake; a pipe of tls_pipe.c is its user data. */
struct tls_pipe;
/* Who the other side must be: for the key's identity and the certificate. */
const char *tls_pipe_peer(const struct tls_pipe *t);
/* What it says it is: kept for the message. */
void tls_pipe_claims(struct tls_pipe *t, const unsigned char *name, size_t bytes);

const mbedtls_ssl_config *tls_ssl_config(int server);
unsigned long long tls_handshake_ns(void);
/* mbedTLS's error -> words for the operator; flags: of the certificate's check, 0 where there is none. */
const char *tls_error_text(int error, unsigned int flags);
/* tls.c has them, for as long as there is this host's identity. */
struct tls_certificates {
	mbedtls_x509_crt *ca, *own;
	mbedtls_pk_context *key;
};

/* tls_proof.c: by the cluster key, or by certificates, or (both NULL) not at all. Non-zero: mbedTLS' error. */
int tls_proof_init(const char *host_name, const unsigned char *key, size_t bytes,
		   const struct tls_certificates *certificates);
/* tls_platform.c: seeds the generator; -E_NOSYS, -E_IO: no good randomness here. */
int tls_platform_init(void);

#endif
