/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-GCM for mbedTLS (MBEDTLS_GCM_ALT), done by Intel's ipsec-mb: eight blocks at a time, a tenth of
 * the instructions of mbedTLS' own. TLS 1.3 encrypts and decrypts whole records with nonces of 12 bytes
 * (RFC 8446 5.3) and tags of 16; nothing else is offered here. Service CPU, where the vector registers
 * are the hypervisor's own (fpu_use()).
 */
#include "net/tls/gcm_alt.h"

#include "mbedtls/constant_time.h"
#include "mbedtls/gcm.h"
#include "mbedtls/platform_util.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "lib/string.h"

#define CPUID_1_ECX_PCLMUL BIT(1)
#define CPUID_1_ECX_AES BIT(25)
#define CPUID_1_ECX_AVX BIT(28)
#define XCR0_SSE_AVX (BIT(1) | BIT(2))
#define NONCE_BYTES 12
#define TAG_BYTES 16

/* "gcm_context_data" of ipsec-mb's gcm_defines.asm: what it works in during a call. */
struct work {
	u8 aad_hash[16];
	u64 aad_bytes, in_bytes;
	u8 partial_block[16], nonce[16], counter[16];
	u64 partial_block_bytes;
};

/* ipsec-mb/lib/avx_t1/gcm_avx_gen2.asm, ipsec-mb/lib/x86_64/aes_keyexp_128.asm. In place (out == in) is fine. */
void aes_keyexp_128_enc_avx(const void *key, void *round_keys);
void aes_gcm_precomp_128_avx_gen2(void *key_data);
void aes_gcm_enc_128_avx_gen2(const void *key_data, struct work *work, u8 *out, const u8 *in, u64 bytes,
			      const u8 *nonce, const u8 *aad, u64 aad_bytes, u8 *tag, u64 tag_bytes);
void aes_gcm_dec_128_avx_gen2(const void *key_data, struct work *work, u8 *out, const u8 *in, u64 bytes,
			      const u8 *nonce, const u8 *aad, u64 aad_bytes, u8 *tag, u64 tag_bytes);

int gcm_alt_works(void)
{
	u32 wanted = CPUID_1_ECX_AES | CPUID_1_ECX_PCLMUL | CPUID_1_ECX_AVX;

	return (cpuid_read(1, 0).ecx & wanted) == wanted && (fpu_use() & XCR0_SSE_AVX) == XCR0_SSE_AVX;
}

void mbedtls_gcm_init(mbedtls_gcm_context *ctx)
{
	memset(ctx, 0, sizeof(*ctx));
}

void mbedtls_gcm_free(mbedtls_gcm_context *ctx)
{
	if (ctx)
		mbedtls_platform_zeroize(ctx, sizeof(*ctx));
}

int mbedtls_gcm_setkey(mbedtls_gcm_context *ctx, mbedtls_cipher_id_t cipher, const unsigned char *key,
		       unsigned int keybits)
{
	if (cipher != MBEDTLS_CIPHER_ID_AES || keybits != 128)
		return MBEDTLS_ERR_GCM_BAD_INPUT;
	aes_keyexp_128_enc_avx(key, ctx->key_data);
	aes_gcm_precomp_128_avx_gen2(ctx->key_data);
	return 0;
}

int mbedtls_gcm_crypt_and_tag(mbedtls_gcm_context *ctx, int mode, size_t length, const unsigned char *iv,
			      size_t iv_len, const unsigned char *add, size_t add_len, const unsigned char *input,
			      unsigned char *output, size_t tag_len, unsigned char *tag)
{
	struct work work;

	if (iv_len != NONCE_BYTES || tag_len != TAG_BYTES)
		return MBEDTLS_ERR_GCM_BAD_INPUT;
	if (mode == MBEDTLS_GCM_ENCRYPT)
		aes_gcm_enc_128_avx_gen2(ctx->key_data, &work, output, input, length, iv, add, add_len, tag, tag_len);
	else
		aes_gcm_dec_128_avx_gen2(ctx->key_data, &work, output, input, length, iv, add, add_len, tag, tag_len);
	mbedtls_platform_zeroize(&work, sizeof(work));
	return 0;
}

int mbedtls_gcm_auth_decrypt(mbedtls_gcm_context *ctx, size_t length, const unsigned char *iv, size_t iv_len,
			     const unsigned char *add, size_t add_len, const unsigned char *tag, size_t tag_len,
			     const unsigned char *input, unsigned char *output)
{
	u8 expected[TAG_BYTES];
	int error = mbedtls_gcm_crypt_and_tag(ctx, MBEDTLS_GCM_DECRYPT, length, iv, iv_len, add, add_len, input, output,
					      tag_len, expected);

	if (!error && mbedtls_ct_memcmp(expected, tag, TAG_BYTES)) {
		/* Nobody gets to see what nobody vouches for. */
		mbedtls_platform_zeroize(output, length);
		error = MBEDTLS_ERR_GCM_AUTH_FAILED;
	}
	mbedtls_platform_zeroize(expected, sizeof(expected));
	return error;
}

/* --- a message in pieces: TLS has none ---------------------------------------------------------- */

int mbedtls_gcm_starts(unused mbedtls_gcm_context *ctx, unused int mode, unused const unsigned char *iv,
		       unused size_t iv_len)
{
	return MBEDTLS_ERR_GCM_BAD_INPUT;
}

int mbedtls_gcm_update_ad(unused mbedtls_gcm_context *ctx, unused const unsigned char *add, unused size_t add_len)
{
	return MBEDTLS_ERR_GCM_BAD_INPUT;
}

int mbedtls_gcm_update(unused mbedtls_gcm_context *ctx, unused const unsigned char *input, unused size_t input_length,
		       unused unsigned char *output, unused size_t output_size, unused size_t *output_length)
{
	return MBEDTLS_ERR_GCM_BAD_INPUT;
}

int mbedtls_gcm_finish(unused mbedtls_gcm_context *ctx, unused unsigned char *output, unused size_t output_size,
		       unused size_t *output_length, unused unsigned char *tag, unused size_t tag_len)
{
	return MBEDTLS_ERR_GCM_BAD_INPUT;
}
