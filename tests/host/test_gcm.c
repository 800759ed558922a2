/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-GCM as mbedTLS gets it from ipsec-mb: an example of its specification, every length against
 * mbedTLS' own AES and a GHASH bit by bit, and what is refused. Skipped where this machine's CPU can't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbedtls/aes.h"
#include "mbedtls/gcm.h"

#include "fake/fake_cpu.h"

#define BYTES_MAX 700
#define AVX_AES_PCLMUL (BIT(28) | BIT(25) | BIT(1))

static u8 key[16], nonce[12], plain[BYTES_MAX];

static int setup(unused void **state)
{
	fake_cpu_reset();
	fake_cpuid_set(1, 0, (struct cpuid_regs){ .ecx = AVX_AES_PCLMUL });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ .eax = 7 });
	return 0;
}

static void need_cpu(void)
{
	if (!__builtin_cpu_supports("avx") || !__builtin_cpu_supports("aes") || !__builtin_cpu_supports("pclmul"))
		skip();
}

/* Test case 4 of McGrew and Viega's "The Galois/Counter Mode of Operation". */
static void test_example(unused void **state)
{
	static const u8 k[16] = { 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08 };
	static const u8 iv[12] = { 0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88 };
	static const u8 aad[20] = { 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
				    0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2 };
	static const u8 text[60] = {
		0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26,
		0x9a, 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31,
		0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49,
		0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39,
	};
	static const u8 tag[16] = { 0x5b, 0xc9, 0x4f, 0xbc, 0x32, 0x21, 0xa5, 0xdb, 0x94, 0xfa, 0xe9, 0x5a, 0xe7, 0x12, 0x1a, 0x47 };
	mbedtls_gcm_context gcm;
	u8 out[60], mac[16];

	need_cpu();
	mbedtls_gcm_init(&gcm);
	assert_int_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, k, 128), 0);
	assert_int_equal(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, 60, iv, 12, aad, 20, text, out, 16, mac), 0);
	assert_memory_equal(mac, tag, 16);
	assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, 60, iv, 12, aad, 20, mac, 16, out, out), 0);
	assert_memory_equal(out, text, 60);
	mbedtls_gcm_free(&gcm);
}

/* x = x * h in GF(2^128), bit 0 of byte 0 the lowest coefficient's (NIST SP 800-38D 6.3). */
static void multiply(u8 x[16], const u8 h[16])
{
	u8 z[16] = { 0 }, v[16];

	memcpy(v, h, 16);
	for (u32 bit = 0; bit < 128; bit++) {
		bool carry = v[15] & 1;

		if (x[bit / 8] & (0x80 >> bit % 8))
			for (u32 i = 0; i < 16; i++)
				z[i] ^= v[i];
		for (u32 i = 15; i > 0; i--)
			v[i] = (u8)(v[i] >> 1 | v[i - 1] << 7);
		v[0] >>= 1;
		if (carry)
			v[0] ^= 0xe1;
	}
	memcpy(x, z, 16);
}

static void ghash(u8 x[16], const u8 h[16], const u8 *data, u32 bytes)
{
	for (u32 at = 0; at < bytes; at += 16) {
		for (u32 i = 0; i < 16 && at + i < bytes; i++)
			x[i] ^= data[at + i];
		multiply(x, h);
	}
}

/* By the book, slowly. */
static void gcm_plainly(const u8 *aad, u32 aad_bytes, u32 bytes, u8 *out, u8 *tag)
{
	u8 h[16] = { 0 }, x[16] = { 0 }, counter[16], first[16], pad[16], lengths[16] = { 0 };
	mbedtls_aes_context aes;

	mbedtls_aes_init(&aes);
	mbedtls_aes_setkey_enc(&aes, key, 128);
	mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, h, h);
	memcpy(counter, nonce, 12);
	memcpy(counter + 12, (u8[]){ 0, 0, 0, 1 }, 4);
	mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, counter, first);
	for (u32 at = 0; at < bytes; at++) {
		if (at % 16 == 0) {
			counter[15]++;
			mbedtls_aes_crypt_ecb(&aes, MBEDTLS_AES_ENCRYPT, counter, pad);
		}
		out[at] = plain[at] ^ pad[at % 16];
	}
	ghash(x, h, aad, aad_bytes);
	ghash(x, h, out, bytes);
	lengths[6] = (u8)(aad_bytes * 8 >> 8);
	lengths[7] = (u8)(aad_bytes * 8);
	lengths[14] = (u8)(bytes * 8 >> 8);
	lengths[15] = (u8)(bytes * 8);
	ghash(x, h, lengths, 16);
	for (u32 i = 0; i < 16; i++)
		tag[i] = x[i] ^ first[i];
	mbedtls_aes_free(&aes);
}

static void test_every_length(unused void **state)
{
	static u8 expected[BYTES_MAX], out[BYTES_MAX + 1];
	u8 tag[16], mac[16], aad[5] = { 23, 3, 3, 1, 2 };
	mbedtls_gcm_context gcm;

	need_cpu();
	mbedtls_gcm_init(&gcm);
	mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 128);
	for (u32 bytes = 0; bytes <= BYTES_MAX; bytes += bytes < 300 ? 1 : 37) {
		gcm_plainly(aad, sizeof(aad), bytes, expected, tag);
		out[bytes] = 0x5a;
		assert_int_equal(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, bytes, nonce, 12, aad, sizeof(aad), plain,
							   out, 16, mac), 0);
		assert_memory_equal(out, expected, bytes);
		assert_memory_equal(mac, tag, 16);
		assert_int_equal(out[bytes], 0x5a);
		/* In place, as records are. */
		assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, bytes, nonce, 12, aad, sizeof(aad), tag, 16, out, out), 0);
		assert_memory_equal(out, plain, bytes);
		assert_int_equal(out[bytes], 0x5a);
	}
	mbedtls_gcm_free(&gcm);
}

/* One bit of anything: refused, and nothing of the text is left. */
static void test_forged(unused void **state)
{
	static const u8 nothing[100];
	u8 aad[5] = { 1, 2, 3, 4, 5 }, text[100], out[100], tag[16];
	mbedtls_gcm_context gcm;

	need_cpu();
	mbedtls_gcm_init(&gcm);
	mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 128);
	mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, 100, nonce, 12, aad, 5, plain, text, 16, tag);
	for (u32 bit = 0; bit < 8 * (100 + 5 + 16); bit++) {
		u8 *at = bit < 800 ? &text[bit / 8] : bit < 840 ? &aad[bit / 8 - 100] : &tag[bit / 8 - 105];

		*at ^= (u8)(1 << bit % 8);
		assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, 100, nonce, 12, aad, 5, tag, 16, text, out),
				 MBEDTLS_ERR_GCM_AUTH_FAILED);
		assert_memory_equal(out, nothing, 100);
		*at ^= (u8)(1 << bit % 8);
	}
	assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, 100, nonce, 12, aad, 5, tag, 16, text, out), 0);
	mbedtls_gcm_free(&gcm);
}

static void test_refused(unused void **state)
{
	mbedtls_gcm_context gcm;
	u8 out[16], tag[16];
	size_t bytes;

	mbedtls_gcm_init(&gcm);
	assert_int_not_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 256), 0);
	assert_int_not_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_CAMELLIA, key, 128), 0);
	assert_int_not_equal(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, 16, nonce, 11, NULL, 0, plain, out, 16, tag), 0);
	assert_int_not_equal(mbedtls_gcm_auth_decrypt(&gcm, 16, nonce, 12, NULL, 0, tag, 12, plain, out), 0);
	assert_int_not_equal(mbedtls_gcm_starts(&gcm, MBEDTLS_GCM_ENCRYPT, nonce, 12), 0);
	assert_int_not_equal(mbedtls_gcm_update_ad(&gcm, plain, 1), 0);
	assert_int_not_equal(mbedtls_gcm_update(&gcm, plain, 16, out, 16, &bytes), 0);
	assert_int_not_equal(mbedtls_gcm_finish(&gcm, out, 16, &bytes, tag, 16), 0);
	mbedtls_gcm_free(&gcm);
}

/* Without one of the instructions, or with AVX that XCR0 does not let anybody use: not here. */
static void test_cpu(unused void **state)
{
	assert_true(gcm_alt_works());
	for (u32 bit = 0; bit < 32; bit++) {
		fake_cpuid_set(1, 0, (struct cpuid_regs){ .ecx = AVX_AES_PCLMUL & ~BIT(bit) });
		assert_int_equal(gcm_alt_works(), !(AVX_AES_PCLMUL & BIT(bit)));
	}
	setup(NULL);
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ .eax = 3 });
	assert_false(gcm_alt_works());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_example, setup), cmocka_unit_test_setup(test_every_length, setup),
		cmocka_unit_test_setup(test_forged, setup),  cmocka_unit_test_setup(test_refused, setup),
		cmocka_unit_test_setup(test_cpu, setup),
	};

	for (u32 i = 0; i < BYTES_MAX; i++)
		plain[i] = (u8)(i * 7 + i / 256);
	for (u32 i = 0; i < sizeof(key); i++)
		key[i] = (u8)(i * 11 + 3);
	for (u32 i = 0; i < sizeof(nonce); i++)
		nonce[i] = (u8)(i + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
