/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bytes from a seed. Pure; whoever owns the struct drbg calls it, on any CPU.
 */
#include "lib/drbg.h"

#include "lib/string.h"

#define ROUNDS 20
#define KEY_WORDS 8
#define OUTPUT_BYTES 32 /* of a block of 64; the other half is the next key */

static u32 rotate(u32 value, u32 bits)
{
	return value << bits | value >> (32 - bits);
}

static void quarter_round(u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a += *b;
	*d = rotate(*d ^ *a, 16);
	*c += *d;
	*b = rotate(*b ^ *c, 12);
	*a += *b;
	*d = rotate(*d ^ *a, 8);
	*c += *d;
	*b = rotate(*b ^ *c, 7);
}

void chacha20_block(u32 out[16], const u32 key[8], u32 counter, const u32 nonce[3])
{
	/* "expand 32-byte k" */
	u32 start[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	u32 x[16];

	memcpy(&start[4], key, KEY_WORDS * sizeof(u32));
	start[12] = counter;
	memcpy(&start[13], nonce, 3 * sizeof(u32));
	memcpy(x, start, sizeof(x));
	for (u32 round = 0; round < ROUNDS; round += 2) {
		quarter_round(&x[0], &x[4], &x[8], &x[12]);
		quarter_round(&x[1], &x[5], &x[9], &x[13]);
		quarter_round(&x[2], &x[6], &x[10], &x[14]);
		quarter_round(&x[3], &x[7], &x[11], &x[15]);
		quarter_round(&x[0], &x[5], &x[10], &x[15]);
		quarter_round(&x[1], &x[6], &x[11], &x[12]);
		quarter_round(&x[2], &x[7], &x[8], &x[13]);
		quarter_round(&x[3], &x[4], &x[9], &x[14]);
	}
	for (u32 i = 0; i < 16; i++)
		out[i] = x[i] + start[i];
}

void drbg_mix(struct drbg *drbg, const u64 entropy[4])
{
	static const u32 nonce[3] = { 1 };
	u32 block[16];

	for (u32 i = 0; i < 4; i++) {
		drbg->key[2 * i] ^= (u32)entropy[i];
		drbg->key[2 * i + 1] ^= (u32)(entropy[i] >> 32);
	}
	chacha20_block(block, drbg->key, 0, nonce);
	memcpy(drbg->key, block, sizeof(drbg->key));
}

void drbg_fill(struct drbg *drbg, void *dst, size_t bytes)
{
	static const u32 nonce[3];
	u8 *to = dst;
	u32 block[16];

	while (bytes) {
		size_t piece = MIN(bytes, (size_t)OUTPUT_BYTES);

		chacha20_block(block, drbg->key, 0, nonce);
		memcpy(drbg->key, block, sizeof(drbg->key));
		memcpy(to, &block[KEY_WORDS], piece);
		to += piece;
		bytes -= piece;
	}
	memset(block, 0, sizeof(block));
	__asm__ volatile("" : : "r"(block) : "memory");
}
