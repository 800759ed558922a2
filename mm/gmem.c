/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory and the door for host accesses to it. Any CPU; the dirty log is in gmem_log.c, what
 * is given back to the host and comes again in gmem_give.c.
 *
 * The chunk array is read without a lock: an entry is one word, and a chunk that has gone from it stays
 * what it was until gmem_reap(), before which everybody who may have read it has let go of it.
 */
#include "mm/gmem.h"

#include "compiler.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

/* What memory that was given back, or is not cleared yet, looks like. */
static const u8 zero_page[PAGE_SIZE] aligned(8);

gpa_t gmem_page_gpa(const struct gmem *gm, u64 page)
{
	gpa_t linear = page * PAGE_SIZE;

	assert(page < gm->pages);
	return linear < GMEM_LOW_END ? linear : linear - GMEM_LOW_END + GMEM_HIGH_START;
}

static bool is_ram(const struct gmem *gm, gpa_t gpa, u64 bytes)
{
	if (gpa < gm->low_end)
		return bytes <= gm->low_end - gpa;
	return gpa >= GMEM_HIGH_START && gpa < gm->high_end && bytes <= gm->high_end - gpa;
}

int gmem_page_of(const struct gmem *gm, gpa_t gpa, u64 *page)
{
	if (!is_ram(gm, gpa, 1))
		return -E_RANGE;
	*page = (gpa < GMEM_LOW_END ? gpa : gpa - GMEM_HIGH_START + GMEM_LOW_END) / PAGE_SIZE;
	return 0;
}

static u64 linear_of(gpa_t gpa)
{
	return gpa < GMEM_LOW_END ? gpa : gpa - GMEM_HIGH_START + GMEM_LOW_END;
}

/* Of gpa, which is RAM; good up to the end of its chunk. NULL: it reads as zeros. */
static void *pointer(const struct gmem *gm, gpa_t gpa)
{
	u64 linear = linear_of(gpa);
	hpa_t chunk = READ_ONCE(gm->chunks[linear / LARGE_SIZE]);

	return unlikely(chunk & GMEM_UNCLEARED) ? NULL : (u8 *)page_ptr(chunk) + linear % LARGE_SIZE;
}

/* The same for a store. NULL: it was given back, and there is no room for it. */
static void *pointer_to_write(struct gmem *gm, gpa_t gpa)
{
	void *at;

	while (unlikely(!(at = pointer(gm, gpa))))
		if (gmem_fill(gm, linear_of(gpa) / PAGE_SIZE))
			return NULL;
	return at;
}

/* Both arrays, in one block. */
static int must_check chunks_alloc(struct gmem *gm, u64 count)
{
	hpa_t block = pages_alloc(pages_order(2 * count * sizeof(hpa_t)));

	if (block == HPA_NONE)
		return trace_error(-E_NOMEM);
	gm->chunks = page_ptr(block);
	gm->leaving = gm->chunks + count;
	for (u64 i = 0; i < count; i++)
		gm->leaving[i] = HPA_NONE;
	return 0;
}

static int must_check chunk_add(struct gmem *gm, u64 index)
{
	hpa_t chunk = pages_alloc_raw(PAGES_ORDER_LARGE);
	int error;

	if (chunk == HPA_NONE)
		return trace_error(-E_NOMEM);
	gm->chunks[index] = chunk;
	gm->chunk_count = index + 1;
	error = npt_map(&gm->npt, gmem_page_gpa(gm, index * GMEM_CHUNK_PAGES), chunk, LARGE_SIZE, NPT_RWX);
	return error;
}

/* A whole aligned GiB at once, where the host has one in a piece and its CPU maps it by one leaf; false: it is none. */
static bool giant_fits(const struct gmem *gm, u64 index)
{
	u64 chunks = gm->pages / GMEM_CHUNK_PAGES;

	/* The low RAM ends at a GiB, or is all there is. */
	return gm->npt.format->pages_1g && index % GMEM_GIANT_CHUNKS == 0 && chunks - index >= GMEM_GIANT_CHUNKS;
}

static bool giant_add(struct gmem *gm, u64 index)
{
	hpa_t giant = giant_fits(gm, index) ? pages_alloc_raw(PAGES_ORDER_MAX) : HPA_NONE;

	if (giant == HPA_NONE)
		return false;
	if (npt_map(&gm->npt, gmem_page_gpa(gm, index * GMEM_CHUNK_PAGES), giant, GIB(1), NPT_RWX)) {
		pages_free(giant, PAGES_ORDER_MAX);
		return false;
	}
	pages_break(giant, PAGES_ORDER_MAX, PAGES_ORDER_LARGE);
	for (u64 i = 0; i < GMEM_GIANT_CHUNKS; i++)
		gm->chunks[index + i] = giant + i * LARGE_SIZE;
	gm->chunk_count = index + GMEM_GIANT_CHUNKS;
	gm->giants++;
	return true;
}

int gmem_init_raw(struct gmem *gm, u64 bytes, const struct npt_format *format)
{
	int error;

	*gm = (struct gmem){ .pages = bytes / PAGE_SIZE, .dirty = dirty_method };
	if (!bytes || !IS_ALIGNED(bytes, LARGE_SIZE) || bytes > BIT(46))
		return trace_error(-E_INVAL);
	gm->low_end = MIN(bytes, GMEM_LOW_END);
	gm->high_end = GMEM_HIGH_START + bytes - gm->low_end;
	error = npt_init(&gm->npt, format);
	if (error)
		return error;
	error = chunks_alloc(gm, bytes / LARGE_SIZE);
	while (!error && gm->chunk_count < bytes / LARGE_SIZE)
		if (!giant_add(gm, gm->chunk_count))
			error = chunk_add(gm, gm->chunk_count);
	if (error)
		gmem_fini(gm);
	return error;
}

int gmem_init(struct gmem *gm, u64 bytes, const struct npt_format *format)
{
	int error = gmem_init_raw(gm, bytes, format);

	if (!error)
		gmem_forget(gm);
	return error;
}

void gmem_fini(struct gmem *gm)
{
	npt_fini(&gm->npt);
	if (gm->chunks)
		gmem_reap(gm);
	for (u64 i = 0; i < gm->chunk_count; i++)
		if (gm->chunks[i] != HPA_NONE)
			pages_free(gm->chunks[i] & ~GMEM_UNCLEARED, PAGES_ORDER_LARGE);
	if (gm->chunks)
		pages_free(page_hpa(gm->chunks), pages_order(2 * (gm->pages / GMEM_CHUNK_PAGES) * sizeof(hpa_t)));
	if (gm->host_dirty)
		pages_free(page_hpa(gm->host_dirty), pages_order(BITMAP_WORDS(gm->pages) * sizeof(u64)));
	*gm = (struct gmem){ .pages = 0 };
}

/* Within a chunk. */
static void copy_out(const struct gmem *gm, gpa_t gpa, void *dst, u64 bytes)
{
	const void *from = pointer(gm, gpa);

	if (likely(from))
		memcpy(dst, from, bytes);
	else
		memset(dst, 0, bytes);
}

int gmem_read(const struct gmem *gm, gpa_t gpa, void *dst, u64 bytes)
{
	u8 *to = dst;

	if (!bytes)
		return 0;
	if (!is_ram(gm, gpa, bytes))
		return -E_RANGE;
	if (likely(bytes <= LARGE_SIZE - gpa % LARGE_SIZE)) {
		copy_out(gm, gpa, to, bytes);
		return 0;
	}
	while (bytes) {
		u64 step = MIN(bytes, LARGE_SIZE - gpa % LARGE_SIZE);

		copy_out(gm, gpa, to, step);
		to += step;
		gpa += step;
		bytes -= step;
	}
	return 0;
}

/*
 * After the store. The barrier makes the store visible before the log's state is looked at: else
 * the log could be started, or a bit collected and the page read, between the two.
 */
static void mark_dirty(struct gmem *gm, gpa_t gpa, u64 bytes)
{
	u64 first;
	u64 last;

	memory_barrier();
	if (!load_acquire(&gm->logging))
		return;
	if (gmem_page_of(gm, gpa, &first) || gmem_page_of(gm, gpa + bytes - 1, &last))
		return;
	for (u64 page = first; page <= last; page++)
		bitmap_set_atomic(gm->host_dirty, page);
}

void gmem_forget(struct gmem *gm)
{
	spin_lock(&gm->lock);
	gm->uncleared = 0;
	gm->clear_next = 0;
	for (u64 i = 0; i < gm->chunk_count; i++) {
		if (gm->chunks[i] == HPA_NONE)
			continue;
		WRITE_ONCE(gm->chunks[i], gm->chunks[i] | GMEM_UNCLEARED);
		gm->uncleared++;
	}
	spin_unlock(&gm->lock);
	mark_dirty(gm, 0, gm->low_end);
	if (gm->high_end > GMEM_HIGH_START)
		mark_dirty(gm, GMEM_HIGH_START, gm->high_end - GMEM_HIGH_START);
}

int gmem_write(struct gmem *gm, gpa_t gpa, const void *src, u64 bytes)
{
	const u8 *from = src;
	gpa_t at = gpa;
	u64 left = bytes;

	if (!bytes)
		return 0;
	if (!is_ram(gm, gpa, bytes))
		return -E_RANGE;
	while (left) {
		u64 step = MIN(left, LARGE_SIZE - at % LARGE_SIZE);
		void *to = pointer_to_write(gm, at);

		if (!to)
			return -E_NOMEM;
		memcpy(to, from, step);
		from += step;
		at += step;
		left -= step;
	}
	mark_dirty(gm, gpa, bytes);
	return 0;
}

int gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value)
{
	const u16 *from;

	if (!IS_ALIGNED(gpa, sizeof(u16)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u16)))
		return -E_RANGE;
	from = pointer(gm, gpa);
	*value = from ? READ_ONCE(*from) : 0;
	return 0;
}

int gmem_read_u32(const struct gmem *gm, gpa_t gpa, u32 *value)
{
	const u32 *from;

	if (!IS_ALIGNED(gpa, sizeof(u32)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u32)))
		return -E_RANGE;
	from = pointer(gm, gpa);
	*value = from ? READ_ONCE(*from) : 0;
	return 0;
}

int gmem_read_u64(const struct gmem *gm, gpa_t gpa, u64 *value)
{
	const u64 *from;

	if (!IS_ALIGNED(gpa, sizeof(u64)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u64)))
		return -E_RANGE;
	from = pointer(gm, gpa);
	*value = from ? READ_ONCE(*from) : 0;
	return 0;
}

int gmem_write_u16(struct gmem *gm, gpa_t gpa, u16 value)
{
	u16 *to;

	if (!IS_ALIGNED(gpa, sizeof(u16)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u16)))
		return -E_RANGE;
	to = pointer_to_write(gm, gpa);
	if (!to)
		return -E_NOMEM;
	WRITE_ONCE(*to, value);
	mark_dirty(gm, gpa, sizeof(u16));
	return 0;
}

void gmem_or_u8(struct gmem *gm, gpa_t gpa, u8 bits)
{
	u8 *at = is_ram(gm, gpa, 1) ? pointer(gm, gpa) : NULL;

	/* What was given back has no entries that could be used. */
	if (!at)
		return;
	atomic_or(at, bits);
	mark_dirty(gm, gpa, 1);
}

const void *gmem_page(const struct gmem *gm, u64 page)
{
	const void *at;

	assert(page < gm->pages);
	at = pointer(gm, gmem_page_gpa(gm, page));
	return at ? at : zero_page;
}

/* (Tests spend half of their time here, if each word is checked.) */
no_sanitize_scan bool gmem_page_is_zero(const struct gmem *gm, u64 page)
{
	const u64 *words = gmem_page(gm, page);

	if (words == (const u64 *)zero_page)
		return true;
	for (u32 i = 0; i < PAGE_SIZE / sizeof(u64); i += 8) {
		u64 any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] |
			  words[i + 6] | words[i + 7];

		if (any)
			return false;
	}
	return true;
}

void gmem_zero_page(struct gmem *gm, u64 page)
{
	gpa_t gpa = gmem_page_gpa(gm, page);
	void *at = pointer(gm, gpa);

	if (!at || gmem_page_is_zero(gm, page))
		return;
	memset(at, 0, PAGE_SIZE);
	mark_dirty(gm, gpa, PAGE_SIZE);
}
