/* SPDX-License-Identifier: Apache-2.0 */
/* The byte ring of consoles and logs. Whoever owns a ring says what protects it. */
#include "lib/ring.h"

#include "lib/log.h"
#include "lib/string.h"

void ring_init(struct ring *r, void *data, u64 size)
{
	assert(size && (size & (size - 1)) == 0);
	r->data = data;
	r->size = size;
	r->head = 0;
	r->tail = 0;
}

u64 ring_used(const struct ring *r)
{
	return r->head - r->tail;
}

u64 ring_room(const struct ring *r)
{
	return r->size - ring_used(r);
}

/* Into the ring at head, in the one or two pieces that the wrap makes of it; n is at most size. */
static void store(struct ring *r, const u8 *src, u64 n)
{
	u64 at = r->head & (r->size - 1);
	u64 first = MIN(n, r->size - at);

	memcpy(r->data + at, src, first);
	memcpy(r->data, src + first, n - first);
	r->head += n;
}

static void fetch(const struct ring *r, u64 pos, u8 *dst, u64 n)
{
	u64 at = pos & (r->size - 1);
	u64 first = MIN(n, r->size - at);

	memcpy(dst, r->data + at, first);
	memcpy(dst + first, r->data, n - first);
}

size_t ring_put(struct ring *r, const void *src, size_t n)
{
	n = MIN(n, ring_room(r));
	store(r, src, n);
	return n;
}

size_t ring_get(struct ring *r, void *dst, size_t n)
{
	n = MIN(n, ring_used(r));
	fetch(r, r->tail, dst, n);
	r->tail += n;
	return n;
}

void ring_push(struct ring *r, const void *src, size_t n)
{
	const u8 *from = src;

	if (n > r->size) {
		/* Positions count every byte ever written, also those that nobody can see any more. */
		r->head += n - r->size;
		from += n - r->size;
		n = r->size;
	}
	store(r, from, n);
	if (r->head - r->tail > r->size)
		r->tail = r->head - r->size;
}

size_t ring_peek(const struct ring *r, u64 *pos, void *dst, size_t n)
{
	if (*pos < r->tail || *pos > r->head)
		*pos = r->tail;
	n = MIN(n, r->head - *pos);
	fetch(r, *pos, dst, n);
	*pos += n;
	return n;
}
