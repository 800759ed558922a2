/* SPDX-License-Identifier: Apache-2.0 */
/* Bitmap searches. Any CPU; whoever calls says what protects the map. */
#include "lib/bitmap.h"

u64 bitmap_next(const u64 *map, u64 bits, u64 from)
{
	u64 word;

	if (from >= bits)
		return bits;
	word = READ_ONCE(map[from / 64]) & (~0ull << (from % 64));
	from = ALIGN_DOWN(from, 64);
	while (!word) {
		from += 64;
		if (from >= bits)
			return bits;
		word = READ_ONCE(map[from / 64]);
	}
	from += (u64)__builtin_ctzll(word);
	return MIN(from, bits);
}

/* Without the POPCNT instruction, which not every build may assume: sums of 2, 4, then 8 bits. */
static u64 count_ones(u64 word)
{
	word -= word >> 1 & 0x5555555555555555ull;
	word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return word * 0x0101010101010101ull >> 56;
}

u64 bitmap_count(const u64 *map, u64 bits)
{
	u64 count = 0;

	for (u64 i = 0; i < bits / 64; i++)
		count += count_ones(READ_ONCE(map[i]));
	if (bits % 64)
		count += count_ones(READ_ONCE(map[bits / 64]) & (BIT(bits % 64) - 1));
	return count;
}
