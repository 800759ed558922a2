/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log of a guest's memory: what the guest wrote (by gm->dirty, see mm/dirty.h) and what the
 * host wrote for it (gm->host_dirty). Started, collected and stopped by the service CPU; vm_dirty_*()
 * adds the flushes.
 *
 * Why the list of pages loses nothing: the CPU lists a page when it sets its D bit. A page whose D bit
 * is set is therefore in some vCPU's list or in the bitmap of listed pages, or was collected and has
 * its D bit cleared by that collection; a store by a translation that still has D set in a TLB comes
 * before the flush that follows the collection, and so before the page is read. Lists that were
 * not emptied yet come one round later; when the guest is paused there are none.
 */
#include "compiler.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/gmem.h"
#include "mm/pages.h"

/* From address 0 to the end of the RAM; in the hole nothing is mapped. */
static u64 extent(const struct gmem *gm)
{
	return gmem_page_gpa(gm, gm->pages - 1) + PAGE_SIZE;
}

static void forget(unused void *ctx, unused gpa_t gpa)
{
}

/*
 * Writes before gmem_log_clear() need no record: every page is sent once after it. The bitmap stays
 * until the guest ends, as a vCPU's CPU may be in the middle of marking a page when the log stops.
 */
int gmem_log_start(struct gmem *gm)
{
	u64 bytes = BITMAP_WORDS(gm->pages) * sizeof(u64);
	u64 *fresh = NULL;
	int error;

	assert(!gm->logging);
	/* Else what the guest writes would not show, and be lost. */
	if (!gm->dirty->collect)
		return -E_NOSYS;
	if (!gm->host_dirty) {
		hpa_t block = pages_alloc_raw(pages_order(bytes));

		if (block == HPA_NONE)
			return trace_error(-E_NOMEM);
		fresh = page_ptr(block);
	}
	/* Who fills a chunk sees either a log that is on, or leaves that it will split. */
	spin_lock(&gm->lock);
	error = npt_split(&gm->npt, 0, extent(gm));
	if (!error) {
		if (fresh)
			gm->host_dirty = fresh;
		memset(gm->host_dirty, 0, bytes);
		store_release(&gm->logging, true);
	}
	spin_unlock(&gm->lock);
	if (error && fresh)
		pages_free(page_hpa(fresh), pages_order(bytes));
	return error;
}

void gmem_log_clear(struct gmem *gm)
{
	npt_harvest_dirty(&gm->npt, 0, extent(gm), forget, NULL);
}

bool gmem_log_listed(const struct gmem *gm)
{
	return gm->dirty->listed && load_acquire(&gm->logging);
}

void gmem_log_page(struct gmem *gm, gpa_t gpa)
{
	u64 page;

	if (load_acquire(&gm->logging) && !gmem_page_of(gm, gpa, &page))
		bitmap_set_atomic(gm->host_dirty, page);
}

/* --- collecting --------------------------------------------------------------------------------- */

struct collect {
	const struct gmem *gm;
	u64 *bitmap;
	u64 count;
};

static void collect_page(void *ctx, gpa_t gpa)
{
	struct collect *collect = ctx;
	u64 page;

	if (gmem_page_of(collect->gm, gpa, &page) || bitmap_test(collect->bitmap, page))
		return;
	bitmap_set(collect->bitmap, page);
	collect->count++;
}

/* Takes a word of host_dirty; its pages have their D bits cleared if they were listed because of them. */
static u64 collect_word(struct gmem *gm, u64 i, u64 *bitmap)
{
	u64 word = atomic_swap(&gm->host_dirty[i], 0);
	u64 fresh = word & ~bitmap[i];

	if (gm->dirty->listed)
		npt_clear_dirty(&gm->npt, gmem_page_gpa(gm, i * 64), word);
	bitmap[i] |= word;
	return bitmap_count(&fresh, 64);
}

/* 2 MiB of memory, of which it is a multiple, at a time: of an idle guest nearly all are empty. */
static u64 collect_words(struct gmem *gm, u64 *bitmap)
{
	const u64 *end = gm->host_dirty + BITMAP_WORDS(gm->pages);
	u64 count = 0;

	for (u64 *from = gm->host_dirty; from < end; from += 8) {
		if (likely(!(READ_ONCE(from[0]) | READ_ONCE(from[1]) | READ_ONCE(from[2]) | READ_ONCE(from[3]) |
			     READ_ONCE(from[4]) | READ_ONCE(from[5]) | READ_ONCE(from[6]) | READ_ONCE(from[7]))))
			continue;
		for (u32 i = 0; i < 8; i++)
			if (READ_ONCE(from[i]))
				count += collect_word(gm, (u64)(from - gm->host_dirty) + i, bitmap);
	}
	return count;
}

static u64 collect_d_bits(struct gmem *gm, u64 *bitmap)
{
	struct collect collect = { .gm = gm, .bitmap = bitmap };

	npt_harvest_dirty(&gm->npt, 0, extent(gm), collect_page, &collect);
	return collect.count + collect_words(gm, bitmap);
}

const struct dirty_method dirty_d_bits = { .name = "d-bits", .label = "D bits", .collect = collect_d_bits };
const struct dirty_method dirty_pml = { .name = "pml", .label = "PML", .listed = true, .collect = collect_words };
const struct dirty_method dirty_none = { .name = "none", .label = "nothing: no live migration" };

u64 gmem_log_collect(struct gmem *gm, u64 *bitmap)
{
	assert(gm->logging);
	return gm->dirty->collect(gm, bitmap);
}

void gmem_log_stop(struct gmem *gm)
{
	spin_lock(&gm->lock);
	store_release(&gm->logging, false);
	npt_merge(&gm->npt, 0, extent(gm));
	spin_unlock(&gm->lock);
}
