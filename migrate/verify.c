/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of a guest's memory, 64 pages at a time: short enough for the console and the network to stay
 * quick. A page that is all zero has none, so memory that was never used costs a look and nothing else.
 * Owns nothing. Called by send_verify.c and arrival.c while the guest is paused; service CPU.
 */
#include "migrate/verify.h"

#include "errors.h"
#include "lib/bitmap.h"
#include "lib/log.h"
#include "lib/string.h"

static page_digest_fn page_digest;

void verify_init(page_digest_fn digest)
{
	page_digest = digest;
}

bool verify_available(void)
{
	return page_digest != NULL;
}

void verify_start(struct verify *v, const u8 key[32])
{
	assert(page_digest);
	v->on = true;
	v->next = 0;
	memcpy(v->key, key, sizeof(v->key));
}

bool verify_whole(const struct verify *v, const struct gmem *gm)
{
	return !v->on || v->next == gm->pages;
}

static u32 group_pages(const struct verify *v, const struct gmem *gm)
{
	return (u32)MIN(gm->pages - v->next, STREAM_VERIFY_PAGES);
}

static void digest_of(const struct verify *v, const struct gmem *gm, u64 page, struct wire_digest *digest)
{
	int error = page_digest(v->key, gmem_page(gm, page), PAGE_SIZE, digest->bytes);

	assert(!error);
}

u32 verify_next(struct verify *v, const struct gmem *gm, struct wire_verified *body)
{
	struct wire_digest *digest = (struct wire_digest *)(body + 1);
	u32 count = group_pages(v, gm);

	body->first = v->next;
	body->filled = 0;
	for (u32 i = 0; i < count; i++) {
		if (gmem_page_is_zero(gm, v->next + i))
			continue;
		body->filled |= BIT(i);
		digest_of(v, gm, v->next + i, digest++);
	}
	v->next += count;
	return (u32)((u8 *)digest - (u8 *)body);
}

static bool page_equal(const struct verify *v, const struct gmem *gm, u64 page, const struct wire_digest *theirs)
{
	struct wire_digest ours;

	if (gmem_page_is_zero(gm, page) || !theirs)
		return gmem_page_is_zero(gm, page) && !theirs;
	digest_of(v, gm, page, &ours);
	return !memcmp(&ours, theirs, sizeof(ours));
}

int verify_compare(struct verify *v, const struct gmem *gm, const struct wire_verified *theirs, u32 bytes, u64 *page)
{
	const struct wire_digest *digest = (const struct wire_digest *)(theirs + 1);
	u32 count = group_pages(v, gm);

	if (count == 0 || theirs->first != v->next || (count < 64 && theirs->filled >> count) ||
	    bytes != sizeof(*theirs) + bitmap_count(&theirs->filled, 64) * sizeof(*digest))
		return -E_PROTO;
	for (u32 i = 0; i < count; i++) {
		bool filled = theirs->filled & BIT(i);

		if (!page_equal(v, gm, v->next + i, filled ? digest : NULL)) {
			*page = v->next + i;
			return -E_REFUSED;
		}
		digest += filled;
	}
	v->next += count;
	return 0;
}
