/* SPDX-License-Identifier: Apache-2.0 */
/* A byte ring that overwrites its oldest bytes when full (console scroll-back) or refuses (fifo). */
#ifndef LIB_RING_H
#define LIB_RING_H

#include "types.h"

struct ring {
	u8 *data;
	u64 size; /* a power of two */
	u64 head; /* bytes ever written; data[head & (size - 1)] is the next place */
	u64 tail; /* bytes ever consumed (fifo use), or the oldest kept (scroll-back) */
};

void ring_init(struct ring *r, void *data, u64 size);
u64 ring_used(const struct ring *r);
u64 ring_room(const struct ring *r);
/* fifo: how many bytes were taken / given. */
size_t ring_put(struct ring *r, const void *src, size_t n);
size_t ring_get(struct ring *r, void *dst, size_t n);
/* scroll-back: always takes all, dropping the oldest. */
void ring_push(struct ring *r, const void *src, size_t n);
/* Copies from position *pos (moved up to the oldest kept if it has gone), without consuming. */
size_t ring_peek(const struct ring *r, u64 *pos, void *dst, size_t n);

#endif
