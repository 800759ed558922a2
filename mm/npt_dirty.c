/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harvest of the hardware's dirty bits, by the service CPU.
 *
 * A level 1 table is skipped when the A bit of the entry that points to it says that nothing below
 * was used. Why that loses nothing: to set a leaf's D bit, a CPU walks through that entry and sets
 * its A bit, unless it has the entry in its paging-structure cache (SDM 3 29.4.1, APM 2 15.25.6
 * with 5.5.1), where it can stay until the next flush. So
 *   harvest n:   A is set: clear A, *then* scan, and remember it (NPT_RECENT); the caller flushes;
 *   harvest n+1: A is clear, NPT_RECENT is set: D bits may have been set through a cached entry
 *		  after the scan of harvest n and before its flush: scan once more, forget;
 *   harvest n+2: A is clear, nothing remembered: no walk since harvest n and nothing cached since
 *		  its flush, so no D bit since the scan of n+1: skip.
 * A walk at any time after "clear A" sets A again, and the next harvest scans.
 *
 * Higher levels are always walked: one entry for each 2 MiB is cheap, and the argument stays short.
 */
#include "compiler.h"
#include "lib/log.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

struct harvest {
	void (*found)(void *ctx, gpa_t gpa);
	void *ctx;
};

static bool touched(const struct npt_format *format, u64 *entry)
{
	u64 value = READ_ONCE(*entry);

	if (!format->accessed_bit)
		return true;
	if (value & format->accessed_bit) {
		atomic_and(entry, ~format->accessed_bit);
		if (!(value & NPT_RECENT))
			atomic_or(entry, NPT_RECENT);
		return true;
	}
	if (value & NPT_RECENT) {
		atomic_and(entry, ~NPT_RECENT);
		return true;
	}
	return false;
}

static void harvest_table(const struct npt_format *format, u64 entry, gpa_t gpa, gpa_t end,
			  const struct harvest *harvest)
{
	u64 *leaf = (u64 *)page_ptr(entry & format->address_mask) + NPT_INDEX(gpa, 1);

	for (; gpa < end; gpa += PAGE_SIZE, leaf++) {
		if (!(READ_ONCE(*leaf) & format->dirty_bit))
			continue;
		atomic_and(leaf, ~format->dirty_bit);
		harvest->found(harvest->ctx, gpa);
	}
}

/* The walk ends at level 3: of an idle guest nothing is looked at below but level 2's entries, here. */
static bool harvest_directory(struct npt *npt, u64 *entry, int level, gpa_t gpa, gpa_t end, void *ctx)
{
	const struct npt_format *format = npt->format;
	/* Neither: untouched, or not there. */
	u64 signs = format->accessed_bit ? format->accessed_bit | NPT_RECENT : ~0ull;
	u64 *table;
	gpa_t next;

	if (level > 3)
		return true;
	if (!npt_is_table(format, READ_ONCE(*entry), level))
		return false;
	table = (u64 *)page_ptr(READ_ONCE(*entry) & format->address_mask) + NPT_INDEX(gpa, 2);
	for (; gpa < end; gpa = next, table++) {
		next = MIN(end, ALIGN_DOWN(gpa, LARGE_SIZE) + LARGE_SIZE);
		if (likely(!(READ_ONCE(*table) & signs)) || !npt_is_table(format, READ_ONCE(*table), 2))
			continue;
		/* Who scans only a part must leave A as it is for the rest. */
		if (next - gpa == LARGE_SIZE && !touched(format, table))
			continue;
		harvest_table(format, READ_ONCE(*table), gpa, next, ctx);
	}
	return false;
}

void npt_harvest_dirty(struct npt *npt, gpa_t gpa, u64 bytes, void (*found)(void *ctx, gpa_t gpa), void *ctx)
{
	struct harvest harvest = { .found = found, .ctx = ctx };
	gpa_t end = gpa + bytes;

	assert(IS_ALIGNED(gpa | bytes, PAGE_SIZE) && npt_range_valid(gpa, bytes));
	/* In pieces, so that who looks something up meanwhile waits for a piece at most. */
	while (gpa < end) {
		gpa_t next = MIN(end, ALIGN_DOWN(gpa, MIB(256)) + MIB(256));

		spin_lock(&npt->lock);
		npt_walk(npt, npt->root, NPT_LEVELS, gpa, next, harvest_directory, &harvest);
		spin_unlock(&npt->lock);
		gpa = next;
	}
}

static bool clear_leaves(struct npt *npt, u64 *entry, int level, gpa_t gpa, unused gpa_t end, void *ctx)
{
	const struct npt_format *format = npt->format;
	u64 which = *(const u64 *)ctx;
	u64 *leaf;

	if (level > 2)
		return true;
	if (!npt_is_table(format, READ_ONCE(*entry), level))
		return false;
	leaf = (u64 *)page_ptr(READ_ONCE(*entry) & format->address_mask) + NPT_INDEX(gpa, 1);
	for (; which; which &= which - 1) {
		u64 *dirty = &leaf[__builtin_ctzll(which)];

		if (READ_ONCE(*dirty) & format->dirty_bit)
			atomic_and(dirty, ~format->dirty_bit);
	}
	return false;
}

void npt_clear_dirty(struct npt *npt, gpa_t gpa, u64 which)
{
	assert(IS_ALIGNED(gpa, 64 * PAGE_SIZE) && npt_range_valid(gpa, 64 * PAGE_SIZE));
	spin_lock(&npt->lock);
	npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + 64 * PAGE_SIZE, clear_leaves, &which);
	spin_unlock(&npt->lock);
}
