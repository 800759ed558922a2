/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmaps of u64 words; the atomic ones are safe against setters on other CPUs. */
#ifndef LIB_BITMAP_H
#define LIB_BITMAP_H

#include "compiler.h"
#include "types.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline bool bitmap_test(const u64 *map, u64 bit)
{
	return READ_ONCE(map[bit / 64]) >> (bit % 64) & 1;
}

static inline void bitmap_set(u64 *map, u64 bit)
{
	map[bit / 64] |= BIT(bit % 64);
}

static inline void bitmap_clear(u64 *map, u64 bit)
{
	map[bit / 64] &= ~BIT(bit % 64);
}

static inline void bitmap_set_atomic(u64 *map, u64 bit)
{
	if (!bitmap_test(map, bit))
		atomic_or(&map[bit / 64], BIT(bit % 64));
}

/* The first set bit at or after from; bits if there is none. */
u64 bitmap_next(const u64 *map, u64 bits, u64 from);
u64 bitmap_count(const u64 *map, u64 bits);

#endif
