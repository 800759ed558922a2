/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables: mapping, and the two directions between large and small leaves. The dirty
 * bits' harvest is in npt_dirty.c. Called by gmem.c (service CPU) and, for npt_lookup, by the CPUs
 * that run vCPUs; npt->lock protects the structure.
 */
#include "mm/npt.h"

#include "compiler.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

/* Pages set aside before anything is changed; linked through their first word. */
struct stock {
	hpa_t first;
};

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

static void stock_put(struct stock *stock, hpa_t page)
{
	*(hpa_t *)page_ptr(page) = stock->first;
	stock->first = page;
}

static hpa_t stock_take(struct stock *stock)
{
	hpa_t page = stock->first;

	assert(page != HPA_NONE);
	stock->first = *(hpa_t *)page_ptr(page);
	return page;
}

static void stock_release(struct stock *stock)
{
	while (stock->first != HPA_NONE)
		pages_free(stock_take(stock), 0);
}

static int must_check stock_fill(struct stock *stock, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		hpa_t page = pages_alloc_raw(0);

		if (page == HPA_NONE) {
			stock_release(stock);
			return trace_error(-E_NOMEM);
		}
		stock_put(stock, page);
	}
	return 0;
}

int npt_init(struct npt *npt, const struct npt_format *format)
{
	*npt = (struct npt){ .format = format, .retired = HPA_NONE };
	npt->root = pages_alloc(0);
	if (npt->root == HPA_NONE)
		return trace_error(-E_NOMEM);
	npt->table_pages = 1;
	return 0;
}

static void free_tables(struct npt *npt, hpa_t table, int level)
{
	u64 *entries = page_ptr(table);

	for (u32 i = 0; level > 1 && i < NPT_ENTRIES; i++)
		if (npt_is_table(npt->format, entries[i], level))
			free_tables(npt, entries[i] & npt->format->address_mask, level - 1);
	pages_free(table, 0);
	npt->table_pages--;
}

void npt_fini(struct npt *npt)
{
	npt_reap(npt);
	free_tables(npt, npt->root, NPT_LEVELS);
	assert(npt->table_pages == 0);
	npt->root = HPA_NONE;
}

void npt_walk(struct npt *npt, hpa_t table, int level, gpa_t gpa, gpa_t end, npt_visitor *visit, void *ctx)
{
	u64 *entries = page_ptr(table);
	u64 span = NPT_SPAN(level);

	while (gpa < end) {
		gpa_t next = MIN(end, ALIGN_DOWN(gpa, span) + span);
		u64 *entry = &entries[NPT_INDEX(gpa, level)];

		if (npt_is_present(npt->format, READ_ONCE(*entry)) && visit(npt, entry, level, gpa, next, ctx) &&
		    npt_is_table(npt->format, READ_ONCE(*entry), level))
			npt_walk(npt, READ_ONCE(*entry) & npt->format->address_mask, level - 1, gpa, next, visit, ctx);
		gpa = next;
	}
}

/* --- map and unmap ---------------------------------------------------------------------------- */

struct map_job {
	struct npt *npt;
	struct stock stock;
	u64 leaf_bits;
	u64 tables;  /* needed */
	bool commit; /* false: only count them, and look for what is there already */
};

static u64 leaf_bits(const struct npt_format *format, u32 prot)
{
	u64 bits = format->leaf_bits;

	if (prot & NPT_WRITE)
		bits |= format->write_bit;
	bits |= prot & NPT_EXEC ? format->exec_bit : format->nx_bit;
	return bits;
}

static bool leaf_fits(const struct map_job *job, int level, gpa_t gpa, hpa_t hpa, u64 bytes)
{
	if (level > 3 || (level == 3 && !job->npt->format->pages_1g))
		return false;
	return bytes == NPT_SPAN(level) && IS_ALIGNED(gpa, bytes) && IS_ALIGNED(hpa, bytes);
}

/* The table below *entry, made if there is none; NULL while only counting. */
static u64 *map_child(struct map_job *job, u64 *entry)
{
	const struct npt_format *format = job->npt->format;
	hpa_t page;

	if (entry && npt_is_present(format, *entry))
		return page_ptr(*entry & format->address_mask);
	job->tables++;
	if (!job->commit)
		return NULL;
	page = stock_take(&job->stock);
	memset(page_ptr(page), 0, PAGE_SIZE);
	store_release(entry, page | format->table_bits);
	return page_ptr(page);
}

static int map_level(struct map_job *job, u64 *table, int level, gpa_t gpa, hpa_t hpa, u64 bytes)
{
	const struct npt_format *format = job->npt->format;

	while (bytes) {
		u64 step = MIN(bytes, NPT_SPAN(level) - gpa % NPT_SPAN(level));
		u64 *entry = table ? &table[NPT_INDEX(gpa, level)] : NULL;
		bool present = entry && npt_is_present(format, *entry);

		if (!present && leaf_fits(job, level, gpa, hpa, step)) {
			if (job->commit)
				WRITE_ONCE(*entry, hpa | job->leaf_bits | (level > 1 ? format->large_bit : 0));
		} else if (present && !npt_is_table(format, *entry, level)) {
			return -E_EXIST;
		} else {
			int error = map_level(job, map_child(job, entry), level - 1, gpa, hpa, step);

			if (error)
				return error;
		}
		gpa += step;
		hpa += step;
		bytes -= step;
	}
	return 0;
}

int npt_map(struct npt *npt, gpa_t gpa, hpa_t hpa, u64 bytes, u32 prot)
{
	struct map_job job = {
		.npt = npt,
		.stock = { .first = HPA_NONE },
		.leaf_bits = leaf_bits(npt->format, prot),
	};
	int error;

	if (!IS_ALIGNED(gpa | hpa | bytes, PAGE_SIZE) || !npt_range_valid(gpa, bytes) || !(prot & NPT_READ) ||
	    ((hpa + bytes - 1) & ~npt->format->address_mask & ~(PAGE_SIZE - 1)) || hpa + bytes < hpa)
		return trace_error(-E_INVAL);
	spin_lock(&npt->lock);
	error = map_level(&job, page_ptr(npt->root), NPT_LEVELS, gpa, hpa, bytes);
	if (!error)
		error = stock_fill(&job.stock, job.tables);
	if (!error) {
		npt->table_pages += job.tables;
		job.commit = true;
		error = map_level(&job, page_ptr(npt->root), NPT_LEVELS, gpa, hpa, bytes);
		assert(!error && job.stock.first == HPA_NONE);
	}
	spin_unlock(&npt->lock);
	return error;
}

static bool unmap_entry(struct npt *npt, u64 *entry, int level, gpa_t gpa, gpa_t end, unused void *ctx)
{
	if (npt_is_table(npt->format, *entry, level))
		return true;
	assert(end - gpa == NPT_SPAN(level));
	WRITE_ONCE(*entry, 0);
	return false;
}

void npt_unmap(struct npt *npt, gpa_t gpa, u64 bytes)
{
	assert(IS_ALIGNED(gpa | bytes, PAGE_SIZE) && npt_range_valid(gpa, bytes));
	spin_lock(&npt->lock);
	npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + bytes, unmap_entry, NULL);
	spin_unlock(&npt->lock);
}

bool npt_lookup(const struct npt *npt, gpa_t gpa, u64 *entry, int *level)
{
	struct spinlock *lock = (struct spinlock *)&npt->lock;
	hpa_t table = npt->root;
	bool found = false;

	if (!npt_range_valid(gpa, 1))
		return false;
	spin_lock(lock);
	for (int at = NPT_LEVELS; at >= 1; at--) {
		u64 value = READ_ONCE(((u64 *)page_ptr(table))[NPT_INDEX(gpa, at)]);

		if (!npt_is_present(npt->format, value))
			break;
		if (!npt_is_table(npt->format, value, at)) {
			*entry = value;
			*level = at;
			found = true;
			break;
		}
		table = value & npt->format->address_mask;
	}
	spin_unlock(lock);
	return found;
}

/* --- split and merge -------------------------------------------------------------------------- */

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
	struct stock *stock = ctx;
	u64 old = READ_ONCE(*entry);
	hpa_t page;
	u64 *leaves;

	if (level == 1)
		return false;
	if (npt_is_table(format, old, level))
		return true;
	page = stock_take(stock);
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
static void retired_reserve(struct npt *npt, struct stock *stock, u64 pages)
{
	while (pages--) {
		hpa_t page = stock_take(stock);
		struct retired_page *list = page_ptr(page);

		list->next = npt->retired;
		list->count = 0;
		npt->retired = page;
	}
}

int npt_split(struct npt *npt, gpa_t gpa, u64 bytes)
{
	struct stock stock = { .first = HPA_NONE };
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
	error = stock_fill(&stock, tables + list_pages);
	if (!error) {
		retired_reserve(npt, &stock, list_pages);
		npt_walk(npt, npt->root, NPT_LEVELS, gpa, gpa + bytes, split_leaf, &stock);
	}
	spin_unlock(&npt->lock);
	stock_release(&stock); /* more than needed where only a part of a 1 GiB leaf was split */
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
