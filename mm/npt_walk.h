/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of npt share: the shape of the tables, and a walk over them. Private to mm/. */
#ifndef MM_NPT_WALK_H
#define MM_NPT_WALK_H

#include "mm/npt.h"
#include "types.h"

#define NPT_LEVELS 4
#define NPT_ENTRIES 512
/* What an entry of a table of this level covers: 4 KiB at level 1. */
#define NPT_SPAN(level) (PAGE_SIZE << (9 * ((level) - 1)))
#define NPT_INDEX(gpa, level) ((gpa) >> (PAGE_SHIFT + 9 * ((level) - 1)) & (NPT_ENTRIES - 1))

/*
 * Ours, in an entry that points to a table: bit 52 is left to software by both formats (APM 2
 * 5.3.3, SDM 3 table 29-3). See npt_dirty.c.
 */
#define NPT_RECENT BIT(52)

static inline bool npt_is_present(const struct npt_format *format, u64 entry)
{
	return entry & format->present_mask;
}

static inline bool npt_is_table(const struct npt_format *format, u64 entry, int level)
{
	return level > 1 && npt_is_present(format, entry) && !(entry & format->large_bit);
}

/* Four levels translate 48 bits. */
static inline bool npt_range_valid(gpa_t gpa, u64 bytes)
{
	return bytes > 0 && bytes <= BIT(48) && gpa <= BIT(48) - bytes;
}

/* Pages set aside before anything is changed; linked through their first word. */
struct npt_stock {
	hpa_t first;
};
/* -E_NOMEM: nothing was set aside. */
int must_check npt_stock_fill(struct npt_stock *stock, u64 pages);
/* One that is there, not zeroed. */
hpa_t npt_stock_take(struct npt_stock *stock);
void npt_stock_release(struct npt_stock *stock);

/*
 * Visits every present entry over [gpa, end), top down; gpa and end are clipped to the entry. A
 * visitor that returns false keeps the walk out of the table below. Under npt->lock.
 */
typedef bool npt_visitor(struct npt *npt, u64 *entry, int level, gpa_t gpa, gpa_t end, void *ctx);
void npt_walk(struct npt *npt, hpa_t table, int level, gpa_t gpa, gpa_t end, npt_visitor *visit, void *ctx);

#endif
