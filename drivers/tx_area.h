/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for frames on their way out, shared by the network drivers: one block used as a ring of
 * pieces, each contiguous, given back in the order in which they were taken.
 */
#ifndef DRIVERS_TX_AREA_H
#define DRIVERS_TX_AREA_H

#include "types.h"

#define TX_AREA_ALIGN 64 /* a cache line: a frame's copy does not share one with its neighbour's */

struct tx_area {
	u8 *base;
	u32 bytes; /* a power of two */
	u32 head;  /* ever taken, skipped ends included; free-running */
	u32 tail;  /* ever given back */
};

static inline void tx_area_init(struct tx_area *area, void *base, u32 bytes)
{
	area->base = base;
	area->bytes = bytes;
	area->head = 0;
	area->tail = 0;
}

/* A piece; *end is what tx_area_give() wants when it and all before it are done. NULL: no room. */
static inline u8 *tx_area_take(struct tx_area *area, u32 bytes, u32 *end)
{
	u32 need = (u32)ALIGN_UP(bytes, TX_AREA_ALIGN);
	u32 head = area->head;
	u32 to_end = area->bytes - (head & (area->bytes - 1));
	u8 *piece;

	if (need > to_end)
		head += to_end;
	if (head + need - area->tail > area->bytes)
		return NULL;
	piece = area->base + (head & (area->bytes - 1));
	area->head = head + need;
	*end = area->head;
	return piece;
}

static inline void tx_area_give(struct tx_area *area, u32 end)
{
	area->tail = end;
}

#endif
