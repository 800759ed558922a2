/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From dirty bitmap to the pipe. Runs of consecutive pages share a PAGE record (one header for up
 * to 64 pages: 0.01 % instead of 0.6 %), zero pages a ZERO record without a body. A page's bytes go
 * straight from guest memory into the pipe's buffer: the one copy. The guest may write the page
 * meanwhile: then it is dirty again and goes again. Called by send.c; service CPU.
 */
#include "migrate/page_sender.h"

#include "lib/bitmap.h"
#include "lib/string.h"

/* Of one call: short enough for the console and the network to stay quick. */
#define STEP_BYTES KIB(128)
#define STEP_SCANS 128 /* pages looked at for being zero */
#define NO_PAGE (~0ull)

void page_sender_init(struct page_sender *ps, const struct gmem *gmem, u64 *bitmap)
{
	memset(ps, 0, sizeof(*ps));
	ps->gmem = gmem;
	ps->bitmap = bitmap;
	ps->zero_page = NO_PAGE;
}

void page_sender_restart(struct page_sender *ps, u64 set)
{
	ps->cursor = 0;
	ps->left = set;
}

static bool is_zero(struct page_sender *ps, u64 page, u32 *scans)
{
	if (page == ps->zero_page)
		return true;
	(*scans)++;
	if (!gmem_page_is_zero(ps->gmem, page))
		return false;
	ps->zero_page = page;
	return true;
}

/* How many pages from first on are to be sent and all (not) zero. */
static u32 run_length(struct page_sender *ps, u64 first, bool zero, u32 max, u32 *scans)
{
	u32 count = 1;

	while (count < max && *scans < STEP_SCANS && first + count < ps->gmem->pages &&
	       bitmap_test(ps->bitmap, first + count) && is_zero(ps, first + count, scans) == zero)
		count++;
	return count;
}

static void begin_record(struct page_sender *ps, struct stream *s, u64 first, u32 *scans)
{
	bool zero = is_zero(ps, first, scans);
	u32 count = run_length(ps, first, zero, zero ? STREAM_ZEROS_MAX : STREAM_PAGES_MAX, scans);

	for (u32 i = 0; i < count; i++)
		bitmap_clear(ps->bitmap, first + i);
	ps->cursor = first + count;
	ps->left -= MIN(ps->left, count);
	if (zero) {
		struct wire_zero *body = (struct wire_zero *)(ps->record + sizeof(struct record_header));

		body->first = first;
		body->count = count;
		ps->zeros += count;
		stream_send(s, ps->record, record_seal(s, ps->record, RECORD_ZERO, sizeof(*body)));
	} else {
		ps->run_next = first;
		ps->run_left = count;
		ps->pages += count;
		stream_send(s, ps->record, record_seal_pages(s, ps->record, first, count));
	}
}

bool page_sender_finish(struct page_sender *ps, struct stream *s)
{
	while (stream_pump(s)) {
		if (!ps->run_left)
			return true;
		stream_send(s, gmem_page(ps->gmem, ps->run_next++), PAGE_SIZE);
		ps->run_left--;
	}
	return false;
}

enum pages_state page_sender_step(struct page_sender *ps, struct stream *s)
{
	u64 end = s->out_bytes + STEP_BYTES;
	u32 scans = 0;

	/* What was zero in the last call need not be any more. */
	ps->zero_page = NO_PAGE;
	for (;;) {
		u64 page;

		if (!page_sender_finish(ps, s))
			return PAGES_BLOCKED;
		page = bitmap_next(ps->bitmap, ps->gmem->pages, ps->cursor);
		if (page >= ps->gmem->pages)
			return PAGES_DONE;
		if (s->out_bytes >= end || scans >= STEP_SCANS)
			return PAGES_MORE;
		begin_record(ps, s, page, &scans);
	}
}
