/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyed hash of migrate --verify: Poly1305 by Intel's ipsec-mb, in general registers, two instructions a byte
 * where mbedTLS' takes eight. Two texts of 4 KiB that were there before the key have the same digest with a
 * probability below 2^-94 (8 * 257 / 2^106), whoever chose them. (That the key serves many texts would matter to
 * whom it is unknown: both hosts have it, and nobody else sees a digest.) Called by boot/main.c's verify_init();
 * service CPU.
 */
#include "errors.h"
#include "lib/string.h"
#include "net/tls/tls.h"

#define BLOCK_BYTES 16

struct poly1305_key {
	u64 r[2], s[2];
};

/* ipsec-mb/lib/x86_64/poly1305.asm. hash: 0 at first; r as clamped as RFC 8439 2.5 says; complete wipes the key. */
void poly1305_aead_update_scalar(const void *text, u64 bytes, u64 hash[3], const struct poly1305_key *key);
void poly1305_aead_complete_scalar(const u64 hash[3], struct poly1305_key *key, u8 tag[TLS_DIGEST_BYTES]);

int tls_digest(const u8 key[TLS_DIGEST_KEY_BYTES], const void *data, size_t bytes, u8 digest[TLS_DIGEST_BYTES])
{
	struct poly1305_key clamped;
	u64 hash[3] = { 0 };

	/* What is left of a text after its last whole block is not hashed as RFC 8439 says by these two. */
	if (bytes % BLOCK_BYTES)
		return -E_INVAL;
	memcpy(&clamped, key, sizeof(clamped));
	clamped.r[0] &= 0x0ffffffc0fffffffull;
	clamped.r[1] &= 0x0ffffffc0ffffffcull;
	poly1305_aead_update_scalar(data, bytes, hash, &clamped);
	poly1305_aead_complete_scalar(hash, &clamped, digest);
	return 0;
}
