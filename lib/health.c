/* SPDX-License-Identifier: Apache-2.0 */
/* The health of a source of random bytes. Pure; whoever owns the struct health calls it. */
#include "lib/health.h"

/* SP 800-90B 4.4.1: 1 + 20 / 4. */
#define REPEATED_MAX 6
/* 4.4.2: a window of 512, and how often its first byte may come with 4 bits of entropy. */
#define WINDOW 512
#define HITS_MAX 62

static bool feed_byte(struct health *h, u8 byte)
{
	h->repeated = h->repeated && byte == h->last ? h->repeated + 1 : 1;
	h->last = byte;
	if (h->window_used == 0) {
		h->first = byte;
		h->window_hits = 0;
	}
	h->window_hits += byte == h->first;
	h->window_used = (h->window_used + 1) % WINDOW;
	return h->repeated < REPEATED_MAX && h->window_hits < HITS_MAX;
}

bool health_feed(struct health *health, const void *data, size_t bytes)
{
	const u8 *from = data;
	bool good = true;

	for (size_t i = 0; i < bytes; i++)
		good &= feed_byte(health, from[i]);
	return good;
}
