/* SPDX-License-Identifier: Apache-2.0 */
/* Sends the pages of a bitmap as PAGE and ZERO records. Part of send.c; service CPU. */
#ifndef MIGRATE_PAGE_SENDER_H
#define MIGRATE_PAGE_SENDER_H

#include "migrate/stream.h"
#include "mm/gmem.h"
#include "types.h"

enum pages_state {
	PAGES_BLOCKED, /* the pipe has no room */
	PAGES_MORE,    /* enough for one call, there is more to do */
	PAGES_DONE,    /* all that was set in the bitmap is in the pipe */
};

struct page_sender {
	const struct gmem *gmem;
	u64 *bitmap;      /* still to be sent; a bit is cleared when its record begins */
	u64 cursor;
	u64 run_next, run_left; /* of the PAGE record under way */
	u64 zero_page;    /* was found to be zero just now; ~0: none */
	u64 left;         /* bits set (an estimate: kept by who sets them) */
	u64 pages, zeros; /* sent, ever */
	u8 record[sizeof(struct record_header) + sizeof(struct wire_zero)] aligned(8);
};

void page_sender_init(struct page_sender *ps, const struct gmem *gmem, u64 *bitmap);
/* The bitmap was filled again. */
void page_sender_restart(struct page_sender *ps, u64 set);
/* What was begun is sent to its end, and no more; false: the pipe has no room for that yet. */
bool page_sender_finish(struct page_sender *ps, struct stream *s);
enum pages_state page_sender_step(struct page_sender *ps, struct stream *s);

#endif
