/* SPDX-License-Identifier: Apache-2.0 */
/* From vm time to the ticks of a device's crystal and back, without overflow for 500 years. */
#ifndef DEVICES_CLOCK_H
#define DEVICES_CLOCK_H

#include "types.h"

/* A guest that programs a faster timer gets its interrupts only this often: it may not starve its host CPU. */
#define CLOCK_PERIOD_MIN_NS (20 * NS_PER_US)
/* No vm time in a state that arrives may be beyond this (146 years): sums with it cannot overflow. */
#define CLOCK_NS_MAX BIT(62)

/* Whole ticks in ns. */
static inline u64 clock_ticks(u64 ns, u32 hz)
{
	return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

/* The earliest time at which clock_ticks() says ticks. */
static inline u64 clock_ns(u64 ticks, u32 hz)
{
	return ticks / hz * NS_PER_S + DIV_UP(ticks % hz * NS_PER_S, hz);
}

#endif
