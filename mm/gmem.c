/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory and the door for host accesses to it. Any CPU; the dirty log is in gmem_log.c.
 * The chunk array never changes while the guest is there, so reading it needs no lock.
 */
#include "mm/gmem.h"

#include "compiler.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define CHUNK_PAGES (LARGE_SIZE / PAGE_SIZE)

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

/* Of gpa, which is RAM; good up to the end of its chunk. */
static void *pointer(const struct gmem *gm, gpa_t gpa)
{
	u64 linear = gpa < GMEM_LOW_END ? gpa : gpa - GMEM_HIGH_START + GMEM_LOW_END;

	return (u8 *)page_ptr(gm->chunks[linear / LARGE_SIZE]) + linear % LARGE_SIZE;
}

static hpa_t *chunks_alloc(u64 count)
{
	hpa_t block = pages_alloc(pages_order(count * sizeof(hpa_t)));

	return block == HPA_NONE ? NULL : page_ptr(block);
}

static int must_check chunk_add(struct gmem *gm, u64 index, bool zeroed)
{
	hpa_t chunk = zeroed ? pages_alloc(PAGES_ORDER_LARGE) : pages_alloc_raw(PAGES_ORDER_LARGE);
	int error;

	if (chunk == HPA_NONE)
		return trace_error(-E_NOMEM);
	gm->chunks[index] = chunk;
	gm->chunk_count = index + 1;
	error = npt_map(&gm->npt, gmem_page_gpa(gm, index * CHUNK_PAGES), chunk, LARGE_SIZE, NPT_RWX);
	return error;
}

static int build(struct gmem *gm, u64 bytes, const struct npt_format *format, bool zeroed)
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
	gm->chunks = chunks_alloc(bytes / LARGE_SIZE);
	error = gm->chunks ? 0 : trace_error(-E_NOMEM);
	for (u64 i = 0; !error && i < bytes / LARGE_SIZE; i++)
		error = chunk_add(gm, i, zeroed);
	if (error)
		gmem_fini(gm);
	return error;
}

int gmem_init(struct gmem *gm, u64 bytes, const struct npt_format *format)
{
	return build(gm, bytes, format, true);
}

int gmem_init_raw(struct gmem *gm, u64 bytes, const struct npt_format *format)
{
	return build(gm, bytes, format, false);
}

void gmem_fini(struct gmem *gm)
{
	npt_fini(&gm->npt);
	for (u64 i = 0; i < gm->chunk_count; i++)
		pages_free(gm->chunks[i], PAGES_ORDER_LARGE);
	if (gm->chunks)
		pages_free(page_hpa(gm->chunks), pages_order(gm->pages / CHUNK_PAGES * sizeof(hpa_t)));
	if (gm->host_dirty)
		pages_free(page_hpa(gm->host_dirty), pages_order(BITMAP_WORDS(gm->pages) * sizeof(u64)));
	*gm = (struct gmem){ .pages = 0 };
}

int gmem_read(const struct gmem *gm, gpa_t gpa, void *dst, u64 bytes)
{
	u8 *to = dst;

	if (!bytes)
		return 0;
	if (!is_ram(gm, gpa, bytes))
		return -E_RANGE;
	if (likely(bytes <= LARGE_SIZE - gpa % LARGE_SIZE)) {
		memcpy(to, pointer(gm, gpa), bytes);
		return 0;
	}
	while (bytes) {
		u64 step = MIN(bytes, LARGE_SIZE - gpa % LARGE_SIZE);

		memcpy(to, pointer(gm, gpa), step);
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

		memcpy(pointer(gm, at), from, step);
		from += step;
		at += step;
		left -= step;
	}
	mark_dirty(gm, gpa, bytes);
	return 0;
}

int gmem_zero(struct gmem *gm, gpa_t gpa, u64 bytes)
{
	gpa_t at = gpa;
	u64 left = bytes;

	if (!bytes)
		return 0;
	if (!is_ram(gm, gpa, bytes))
		return -E_RANGE;
	while (left) {
		u64 step = MIN(left, LARGE_SIZE - at % LARGE_SIZE);

		memset(pointer(gm, at), 0, step);
		at += step;
		left -= step;
	}
	mark_dirty(gm, gpa, bytes);
	return 0;
}

int gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value)
{
	if (!IS_ALIGNED(gpa, sizeof(u16)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u16)))
		return -E_RANGE;
	*value = READ_ONCE(*(u16 *)pointer(gm, gpa));
	return 0;
}

int gmem_read_u32(const struct gmem *gm, gpa_t gpa, u32 *value)
{
	if (!IS_ALIGNED(gpa, sizeof(u32)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u32)))
		return -E_RANGE;
	*value = READ_ONCE(*(u32 *)pointer(gm, gpa));
	return 0;
}

int gmem_read_u64(const struct gmem *gm, gpa_t gpa, u64 *value)
{
	if (!IS_ALIGNED(gpa, sizeof(u64)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u64)))
		return -E_RANGE;
	*value = READ_ONCE(*(u64 *)pointer(gm, gpa));
	return 0;
}

int gmem_write_u16(struct gmem *gm, gpa_t gpa, u16 value)
{
	if (!IS_ALIGNED(gpa, sizeof(u16)))
		return -E_INVAL;
	if (!is_ram(gm, gpa, sizeof(u16)))
		return -E_RANGE;
	WRITE_ONCE(*(u16 *)pointer(gm, gpa), value);
	mark_dirty(gm, gpa, sizeof(u16));
	return 0;
}

void gmem_or_u8(struct gmem *gm, gpa_t gpa, u8 bits)
{
	if (!is_ram(gm, gpa, 1))
		return;
	atomic_or((u8 *)pointer(gm, gpa), bits);
	mark_dirty(gm, gpa, 1);
}

const void *gmem_page(const struct gmem *gm, u64 page)
{
	assert(page < gm->pages);
	return (const u8 *)page_ptr(gm->chunks[page / CHUNK_PAGES]) + page % CHUNK_PAGES * PAGE_SIZE;
}

bool gmem_page_is_zero(const struct gmem *gm, u64 page)
{
	const u64 *words = gmem_page(gm, page);

	for (u32 i = 0; i < PAGE_SIZE / sizeof(u64); i += 8) {
		u64 any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] |
			  words[i + 6] | words[i + 7];

		if (any)
			return false;
	}
	return true;
}
