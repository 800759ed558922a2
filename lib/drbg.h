/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generator of random bytes from a seed, by ChaCha20 (RFC 8439) with fast key erasure: each block replaces the key
 * before anything of it is given out, so neither what was given out nor a look at the state later tells what came
 * before. Not for use from two CPUs at once.
 */
#ifndef LIB_DRBG_H
#define LIB_DRBG_H

#include "types.h"

struct drbg {
	u32 key[8];
};

/* Mixes fresh entropy in; the first time this is the seed. */
void drbg_mix(struct drbg *drbg, const u64 entropy[4]);
void drbg_fill(struct drbg *drbg, void *dst, size_t bytes);

/* The block function (RFC 8439 2.3): 16 words of key stream. */
void chacha20_block(u32 out[16], const u32 key[8], u32 counter, const u32 nonce[3]);

#endif
