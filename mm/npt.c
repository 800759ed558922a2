/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables: mapping and looking up. Between large and small leaves: npt_split.c; the
 * dirty bits' harvest: npt_dirty.c. Called by gmem.c (service CPU) and, for npt_lookup, by the CPUs
 * that run vCPUs; npt->lock protects the structure.
 */
#include "mm/npt.h"

#include "compiler.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

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

struct map_job {
	struct npt *npt;
	struct npt_stock stock;
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
	page = npt_stock_take(&job->stock);
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
		error = npt_stock_fill(&job.stock, job.tables);
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
