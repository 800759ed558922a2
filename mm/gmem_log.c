/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log of a guest's memory: what the guest wrote (the hardware's D bits) and what the host
 * wrote for it (gm->host_dirty). Started, collected and stopped by the service CPU; vm_dirty_*()
 * adds the flushes.
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
 * Writes before this moment need no record: every page is sent once after it. The bitmap stays
 * until the guest ends, as a vCPU's CPU may be in the middle of marking a page when the log stops.
 */
int gmem_log_start(struct gmem *gm)
{
	u64 bytes = BITMAP_WORDS(gm->pages) * sizeof(u64);
	u64 *fresh = NULL;
	int error;

	assert(!gm->logging);
	/* What the guest writes would not show, and be lost. */
	if (!gm->npt.format->dirty_bit)
		return -E_NOSYS;
	if (!gm->host_dirty) {
		hpa_t block = pages_alloc_raw(pages_order(bytes));

		if (block == HPA_NONE)
			return trace_error(-E_NOMEM);
		fresh = page_ptr(block);
	}
	error = npt_split(&gm->npt, 0, extent(gm));
	if (error) {
		if (fresh)
			pages_free(page_hpa(fresh), pages_order(bytes));
		return error;
	}
	if (fresh)
		gm->host_dirty = fresh;
	memset(gm->host_dirty, 0, bytes);
	store_release(&gm->logging, true);
	npt_harvest_dirty(&gm->npt, 0, extent(gm), forget, NULL);
	return 0;
}

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

u64 gmem_log_collect(struct gmem *gm, u64 *bitmap)
{
	struct collect collect = { .gm = gm, .bitmap = bitmap };

	assert(gm->logging);
	npt_harvest_dirty(&gm->npt, 0, extent(gm), collect_page, &collect);
	for (u64 i = 0; i < BITMAP_WORDS(gm->pages); i++) {
		u64 word;

		if (!READ_ONCE(gm->host_dirty[i]))
			continue;
		word = atomic_swap(&gm->host_dirty[i], 0) & ~bitmap[i];
		bitmap[i] |= word;
		collect.count += bitmap_count(&word, 64);
	}
	return collect.count;
}

void gmem_log_stop(struct gmem *gm)
{
	store_release(&gm->logging, false);
	npt_merge(&gm->npt, 0, extent(gm));
}
