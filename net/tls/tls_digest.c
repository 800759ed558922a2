/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyed hash of migrate --verify: mbedTLS' Poly1305, 8 instructions a byte. Two texts of 4 KiB that were
 * there before the key have the same digest with a probability below 2^-94 (8 * 257 / 2^106), whoever chose
 * them. (That the key serves many texts would matter to whom it is unknown: both hosts have it, and nobody
 * else sees a digest.) Called by boot/main.c's verify_init(); service CPU.
 */
/* mbedTLS before ours: some of our words are macros. */
#include "mbedtls/poly1305.h"

#include "net/tls/tls.h"

int tls_digest(const u8 key[TLS_DIGEST_KEY_BYTES], const void *data, size_t bytes, u8 digest[TLS_DIGEST_BYTES])
{
	return mbedtls_poly1305_mac(key, data, bytes, digest);
}
