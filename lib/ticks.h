/* SPDX-License-Identifier: Apache-2.0 */
/* Between the ticks of a clock and nanoseconds. Pure. */
#ifndef LIB_TICKS_H
#define LIB_TICKS_H

#include "types.h"

/*
 * ns = (ticks << shift) * mul >> 32: what KVM's clock page has room for. The host's own clock goes
 * by the same two numbers: else a guest's would leave it behind, by milliseconds in a few months,
 * and jump when the page is written anew.
 */
struct ticks_scale {
	u32 mul;  /* 2^31 or more */
	s8 shift; /* may be negative */
};

/* khz: 1 MHz to 1 THz. */
struct ticks_scale ticks_scale(u64 khz);
u64 ticks_to_ns(struct ticks_scale scale, u64 ticks);
/* The rate of one clock by another's, in fixed point with so many bits (at most 48) behind the point; rounded down. */
u64 ticks_ratio(u64 khz, u64 by_khz, unsigned int bits);
/* As the CPUs scale a TSC: the product's 64 bits from the point on. */
u64 ticks_scaled(u64 ticks, u64 ratio, unsigned int bits);
/* The nearest number of ticks that is not less than ns; ~0 if there is none. */
u64 ticks_from_ns(u64 khz, u64 ns);

#endif
