/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks that the guest gives back to the host, their coming again, and their clearing. A part of a chunk would be of no
 * use: guests' memory is made of chunks. Giving back is the service CPU's, filling any CPU's.
 *
 * A chunk goes in two steps. It is taken out of the nested tables and of gm->chunks, and leaves: CPUs may still have
 * a translation, or be in the middle of an access through gm->chunks. When none can any more, gmem_reap() frees it.
 * Until then gmem_fill() takes the same chunk again: what a late store leaves in it is the guest's own.
 */
#include "errors.h"
#include "lib/log.h"
#include "mm/gmem.h"

bool gmem_give_back(struct gmem *gm, u64 chunk)
{
	gpa_t gpa = gmem_page_gpa(gm, chunk * GMEM_CHUNK_PAGES);
	bool given;

	assert(chunk < gm->chunk_count);
	spin_lock(&gm->lock);
	/* Without a page for the table that takes a giant leaf's place, it is not worth it. */
	given = !gm->logging && !npt_split_giant(&gm->npt, gpa);
	if (given && gm->chunks[chunk] != HPA_NONE) {
		npt_unmap(&gm->npt, gpa, LARGE_SIZE);
		if (gm->chunks[chunk] & GMEM_UNCLEARED)
			gm->uncleared--;
		gm->leaving[chunk] = gm->chunks[chunk] & ~GMEM_UNCLEARED;
		WRITE_ONCE(gm->chunks[chunk], HPA_NONE);
		gm->leaving_count++;
		gm->given_back++;
		WRITE_ONCE(gm->gave_back, true);
	}
	spin_unlock(&gm->lock);
	return given;
}

void gmem_reap(struct gmem *gm)
{
	spin_lock(&gm->lock);
	for (u64 i = 0; i < gm->chunk_count && gm->leaving_count; i++) {
		if (gm->leaving[i] == HPA_NONE)
			continue;
		pages_free(gm->leaving[i], PAGES_ORDER_LARGE);
		gm->leaving[i] = HPA_NONE;
		gm->leaving_count--;
	}
	spin_unlock(&gm->lock);
}

/*
 * While the log is on there must be no large leaf, whose D bit nobody looks at: so in two pieces, which are small
 * leaves. The second finds its table there, and can't fail.
 */
static int must_check map_chunk(struct gmem *gm, gpa_t gpa, hpa_t hpa)
{
	u64 most = LARGE_SIZE - PAGE_SIZE;
	int error;

	if (!gm->logging)
		return npt_map(&gm->npt, gpa, hpa, LARGE_SIZE, NPT_RWX);
	error = npt_map(&gm->npt, gpa, hpa, most, NPT_RWX);
	if (error)
		return error;
	error = npt_map(&gm->npt, gpa + most, hpa + most, PAGE_SIZE, NPT_RWX);
	assert(!error);
	return 0;
}

/*
 * A page that was given back is zero, and was sent so, if it was; the guest's stores to it from here on show in the
 * log: the leaves' D bits are clear, and no translation of before is left, as nothing is given back while the log is on
 * and its start flushes.
 */
static int must_check fill(struct gmem *gm, u64 chunk)
{
	hpa_t hpa = gm->leaving[chunk];
	int error;

	if (hpa == HPA_NONE) {
		hpa = pages_alloc(PAGES_ORDER_LARGE);
		if (hpa == HPA_NONE)
			return -E_NOMEM;
	} else {
		pages_clear(hpa, PAGES_ORDER_LARGE);
		gm->leaving[chunk] = HPA_NONE;
		gm->leaving_count--;
	}
	/* First for the host, which must see all that a guest can write there. */
	WRITE_ONCE(gm->chunks[chunk], hpa);
	error = map_chunk(gm, gmem_page_gpa(gm, chunk * GMEM_CHUNK_PAGES), hpa);
	if (error) {
		WRITE_ONCE(gm->chunks[chunk], HPA_NONE);
		gm->leaving[chunk] = hpa;
		gm->leaving_count++;
		return error;
	}
	gm->given_back--;
	return 0;
}

static void clear(struct gmem *gm, u64 chunk)
{
	hpa_t hpa = gm->chunks[chunk] & ~GMEM_UNCLEARED;

	pages_clear(hpa, PAGES_ORDER_LARGE);
	/* Who finds the chunk without the lock finds it cleared. */
	store_release(&gm->chunks[chunk], hpa);
	gm->uncleared--;
}

int gmem_fill(struct gmem *gm, u64 page)
{
	u64 chunk = page / GMEM_CHUNK_PAGES;
	int error = 0;

	assert(page < gm->pages);
	spin_lock(&gm->lock);
	if (gm->chunks[chunk] == HPA_NONE)
		error = fill(gm, chunk);
	else if (gm->chunks[chunk] & GMEM_UNCLEARED)
		clear(gm, chunk);
	spin_unlock(&gm->lock);
	return error;
}

bool gmem_clear_next(struct gmem *gm)
{
	bool more;

	spin_lock(&gm->lock);
	while (gm->uncleared && (gm->chunks[gm->clear_next] == HPA_NONE || !(gm->chunks[gm->clear_next] & GMEM_UNCLEARED)))
		gm->clear_next++;
	if (gm->uncleared)
		clear(gm, gm->clear_next);
	more = gm->uncleared;
	spin_unlock(&gm->lock);
	return more;
}
