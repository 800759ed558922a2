/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large leaves to small ones, for the dirty log, and back. Called by gmem_log.c on the service CPU;
 * npt->lock protects the structure, and the guest runs meanwhile.
 */
#include "compiler.h"
#include "errors.h"
#include "lib/log.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

/*
 * Where retired tables wait for the flush. A table can't be linked through its own entries: the
 * hardware may still walk it.
 */
#define RETIRED_PER_PAGE 510
struct retired_page {
	hpa_t next;
	u64 count;
	hpa_t tables[RETIRED_PER_PAGE];
};
static_assert(sizeof(struct retired_page) == PAGE_SIZE, "one page");

static bool count_large(struct npt *npt, u64 *entry, int level, unused gpa_t gpa, unused gpa_t end, void *ctx)
{
	u64 *tables = ctx;

	if (level == 1)
		return false;
	if (!npt_is_table(npt->format, *entry, level))
		*tables += level == 3 ? 1 + NPT_ENTRIES : 1;
	return level > 2;
}

/*
 * A leaf becomes a table of 512 smaller leaves. The hardware may set A and D in the old leaf at
 * any time, so it is replaced only as it was when it was copied.
 */
static bool split_leaf(struct npt *npt, u64 *entry, int level, unused gpa_t gpa, unused gpa_t end, void *ctx)
{
	const struct npt_format *format = npt->format;
	struct npt_stock *stock = ctx;
	u64 old = READ_ONCE(*entry);
	hpa_t page;
	u64 *leaves;

	if (level == 1)
		return false;
	if (npt_is_table(format, old, level))
		return true;
	page = npt_stock_take(stock);
	leaves = page_ptr(page);
	do {
		u64 leaf = level == 2 ? old & ~format->large_bit : old;

		for (u32 i = 0; i < NPT_ENTRIES; i++)
			leaves[i] = leaf + i * NPT_SPAN(level - 1);
	} while (!__atomic_compare_exchange_n(entry, &old, page | format->table_bits | NPT_RECENT, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	npt->table_pages++;
	return true;
}

static u64 retired_room(const struct npt *npt)
{
	u64 room = 0;

	for (hpa_t page = npt->retired; page != HPA_NONE;) {
		const struct retired_page *list = page_ptr(page);

		room += RETIRED_PER_PAGE - list->count;
		page = list->next;
	}
	return room;
}

/* Merging must not need memory: room to list every table is set aside when splitting. */
static void retired_reserve(struct npt *npt, struct npt_stock *stock, u64 pages)
{
	while (pages--) {
		hpa_t page = npt_stock_take(stock);
		struct retired_page *list = page_ptr(page);

		list->next = npt->retired;
		list->count = 0;
		npt->retired = page;
	}
}

int npt_split(struct npt *npt, gpa_t gpa, u64 bytes)
{
	struct npt_stock stock = { .first = HPA_NONE };
	u64 tables = 0;
	u64 list_pages = 0;
	u64 room;
	int error;

	assert(IS_ALIGNED(gpa | bytes, PAGE_SIZE) && npt_range_valid(gpa, bytes));
	spin_lock(&npt->lock);
	npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + bytes, count_large, &tables);
	room = retired_room(npt);
	if (npt->table_pages + tables > room)
		list_pages = DIV_UP(npt->table_pages + tables - room, RETIRED_PER_PAGE);
	error = npt_stock_fill(&stock, tables + list_pages);
	if (!error) {
		retired_reserve(npt, &stock, list_pages);
		npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + bytes, split_leaf, &stock);
	}
	spin_unlock(&npt->lock);
	npt_stock_release(&stock); /* more than needed where only a part of a 1 GiB leaf was split */
	return error;
}

/* Only the level of the giant leaves: what is below them is left as it is. */
static bool split_level_3(struct npt *npt, u64 *entry, int level, gpa_t gpa, gpa_t end, void *ctx)
{
	if (level == 3 && !npt_is_table(npt->format, *entry, level))
		(void)split_leaf(npt, entry, level, gpa, end, ctx);
	return level > 3;
}

int npt_split_giant(struct npt *npt, gpa_t gpa)
{
	struct npt_stock stock = { .first = HPA_NONE };
	gpa_t base = ALIGN_DOWN(gpa, NPT_SPAN(3));
	int error;

	spin_lock(&npt->lock);
	error = npt_stock_fill(&stock, 1);
	if (!error)
		npt_walk(npt, npt->root, NPT_LEVELS, base, base + NPT_SPAN(3), split_level_3, &stock);
	spin_unlock(&npt->lock);
	npt_stock_release(&stock); /* where there was none */
	return error;
}

static bool retire(struct npt *npt, hpa_t table)
{
	for (hpa_t page = npt->retired; page != HPA_NONE;) {
		struct retired_page *list = page_ptr(page);

		if (list->count < RETIRED_PER_PAGE) {
			list->tables[list->count++] = table;
			return true;
		}
		page = list->next;
	}
	return false;
}

/* Are these 512 leaves one piece of memory, alike but for A and D? */
static bool mergeable(const struct npt_format *format, const u64 *leaves, u64 keep)
{
	u64 first = READ_ONCE(leaves[0]) & keep;

	if (!npt_is_present(format, first) || !IS_ALIGNED(first & format->address_mask, LARGE_SIZE))
		return false;
	for (u32 i = 1; i < NPT_ENTRIES; i++)
		if ((READ_ONCE(leaves[i]) & keep) != first + i * PAGE_SIZE)
			return false;
	return true;
}

/*
 * The hardware goes on setting A and D in the old leaves until the caller's flush, after which
 * nobody looks at them: so the merged leaf counts as accessed and dirty, and nothing is lost.
 */
static bool merge_table(struct npt *npt, u64 *entry, int level, gpa_t gpa, gpa_t end, unused void *ctx)
{
	const struct npt_format *format = npt->format;
	u64 used = format->accessed_bit | format->dirty_bit;
	hpa_t table = READ_ONCE(*entry) & format->address_mask;
	const u64 *leaves = page_ptr(table);

	if (level > 2)
		return true;
	if (!npt_is_table(format, READ_ONCE(*entry), level) || end - gpa < LARGE_SIZE)
		return false;
	if (!mergeable(format, leaves, ~used) || !retire(npt, table))
		return false;
	store_release(entry, (leaves[0] & ~used) | used | format->large_bit);
	return false;
}

void npt_merge(struct npt *npt, gpa_t gpa, u64 bytes)
{
	assert(IS_ALIGNED(gpa | bytes, PAGE_SIZE) && npt_range_valid(gpa, bytes));
	spin_lock(&npt->lock);
	npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + bytes, merge_table, NULL);
	spin_unlock(&npt->lock);
}

void npt_reap(struct npt *npt)
{
	hpa_t page;

	spin_lock(&npt->lock);
	page = npt->retired;
	npt->retired = HPA_NONE;
	while (page != HPA_NONE) {
		struct retired_page *list = page_ptr(page);
		hpa_t next = list->next;

		for (u64 i = 0; i < list->count; i++)
			pages_free(list->tables[i], 0);
		npt->table_pages -= list->count;
		pages_free(page, 0);
		page = next;
	}
	spin_unlock(&npt->lock);
}
