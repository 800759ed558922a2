/* SPDX-License-Identifier: Apache-2.0 */
/* For the host's clock (arch) and the guests' (vmm/pvclock.c). Any CPU. */
#include "lib/ticks.h"

struct ticks_scale ticks_scale(u64 khz)
{
	u64 hz = khz * 1000;
	s8 shift = 0;

	/* mul as large as 32 bits allow. */
	while (NS_PER_S >= hz) {
		hz <<= 1;
		shift++;
	}
	while (NS_PER_S * 2 < hz) {
		hz >>= 1;
		shift--;
	}
	return (struct ticks_scale){ .mul = (u32)((NS_PER_S << 32) / hz), .shift = shift };
}

u64 ticks_to_ns(struct ticks_scale scale, u64 ticks)
{
	/* The product first: shifting the ticks to the right would lose some. */
	return (u64)((unsigned __int128)ticks * scale.mul >> (32 - scale.shift));
}

/* In whole milliseconds and the rest, as 128 bits can't be divided here. */
u64 ticks_from_ns(u64 khz, u64 ns)
{
	unsigned __int128 ticks = (unsigned __int128)(ns / NS_PER_MS) * khz + DIV_UP(ns % NS_PER_MS * khz, NS_PER_MS);

	return ticks >> 64 ? ~0ull : (u64)ticks;
}

/* By hand in steps of 16 bits, as 128 bits can't be divided here. */
u64 ticks_ratio(u64 khz, u64 by_khz, unsigned int bits)
{
	u64 ratio = khz / by_khz;
	u64 rest = khz % by_khz;

	while (bits) {
		unsigned int step = MIN(bits, 16u);

		rest <<= step;
		ratio = ratio << step | rest / by_khz;
		rest %= by_khz;
		bits -= step;
	}
	return ratio;
}

u64 ticks_scaled(u64 ticks, u64 ratio, unsigned int bits)
{
	return (u64)((unsigned __int128)ticks * ratio >> bits);
}
