/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: its borders, the door for host writes, and the dirty log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/npt_amd.c"
#include "errors.h"
#include "fake/fake_pages.h"
#include "lib/bitmap.h"
#include "mm/gmem.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

#define PAGES 2048 /* 8 MiB */

static struct gmem gm;
static u64 bitmap[BITMAP_WORDS(PAGES)];

static int setup(void **state)
{
	(void)state;
	memset(bitmap, 0, sizeof(bitmap));
	assert_int_equal(fake_pages_used(), 0);
	assert_int_equal(gmem_init(&gm, PAGES * PAGE_SIZE, npt_amd_format(true)), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_pages_fail_after(~0ull);
	gmem_fini(&gm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static u64 *leaf(u64 page)
{
	const struct npt_format *format = gm.npt.format;
	gpa_t gpa = gmem_page_gpa(&gm, page);
	u64 *table = page_ptr(gm.npt.root);

	for (int level = NPT_LEVELS; level > 1; level--) {
		u64 *entry = &table[NPT_INDEX(gpa, level)];

		assert_true(npt_is_table(format, *entry, level));
		*entry |= format->accessed_bit;
		table = page_ptr(*entry & format->address_mask);
	}
	return &table[NPT_INDEX(gpa, 1)];
}

static void guest_store(u64 page)
{
	*leaf(page) |= gm.npt.format->dirty_bit | gm.npt.format->accessed_bit;
}

static void test_read_write(void **state)
{
	u8 out[64];
	u8 in[64];
	u16 value = 0;

	(void)state;
	for (u32 i = 0; i < sizeof(out); i++)
		out[i] = (u8)(i + 1);
	/* Over the border of two chunks. */
	assert_int_equal(gmem_write(&gm, LARGE_SIZE - 13, out, sizeof(out)), 0);
	assert_int_equal(gmem_read(&gm, LARGE_SIZE - 13, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(((const u8 *)gmem_page(&gm, 511))[4095], 13);
	assert_int_equal(((const u8 *)gmem_page(&gm, 512))[0], 14);
	gmem_zero_page(&gm, 511);
	assert_int_equal(((const u8 *)gmem_page(&gm, 511))[4095], 0);
	assert_int_equal(((const u8 *)gmem_page(&gm, 512))[0], 14);
	assert_int_equal(gmem_write_u16(&gm, 4096, 0xbeef), 0);
	assert_int_equal(gmem_read_u16(&gm, 4096, &value), 0);
	assert_int_equal(value, 0xbeef);
	assert_int_equal(gmem_read_u16(&gm, 4097, &value), -E_INVAL);
	assert_int_equal(gmem_write_u16(&gm, 4097, 1), -E_INVAL);
}

/* Whole entries of page tables, up to the last one. */
static void test_entries(void **state)
{
	gpa_t end = PAGES * PAGE_SIZE;
	u64 entry = 0x8877665544332211;
	u64 wide = 0;
	u32 narrow = 0;

	(void)state;
	assert_int_equal(gmem_write(&gm, end - 8, &entry, 8), 0);
	assert_int_equal(gmem_read_u64(&gm, end - 8, &wide), 0);
	assert_int_equal(wide, entry);
	assert_int_equal(gmem_read_u32(&gm, end - 4, &narrow), 0);
	assert_int_equal(narrow, 0x88776655);
	assert_int_equal(gmem_read_u64(&gm, end - 4, &wide), -E_INVAL);
	assert_int_equal(gmem_read_u32(&gm, end - 2, &narrow), -E_INVAL);
	assert_int_equal(gmem_read_u64(&gm, end, &wide), -E_RANGE);
	assert_int_equal(gmem_read_u32(&gm, end, &narrow), -E_RANGE);
	assert_int_equal(gmem_read_u64(&gm, ~0ull - 7, &wide), -E_RANGE);
}

static void test_bounds(void **state)
{
	u8 buf[16] = { 0 };
	u64 page;
	u16 value;
	gpa_t end = PAGES * PAGE_SIZE;

	(void)state;
	assert_int_equal(gmem_read(&gm, end - 16, buf, 16), 0);
	assert_int_equal(gmem_read(&gm, end - 15, buf, 16), -E_RANGE);
	assert_int_equal(gmem_read(&gm, end, buf, 1), -E_RANGE);
	assert_int_equal(gmem_read(&gm, end, buf, 0), 0);
	assert_int_equal(gmem_write(&gm, end - 15, buf, 16), -E_RANGE);
	assert_int_equal(gmem_write(&gm, ~0ull - 7, buf, 16), -E_RANGE);
	assert_int_equal(gmem_write(&gm, 16, buf, ~0ull), -E_RANGE);
	assert_int_equal(gmem_read(&gm, GMEM_HIGH_START, buf, 1), -E_RANGE);
	assert_int_equal(gmem_read_u16(&gm, end, &value), -E_RANGE);
	assert_int_equal(gmem_page_of(&gm, end - 1, &page), 0);
	assert_int_equal(page, PAGES - 1);
	assert_int_equal(gmem_page_of(&gm, end, &page), -E_RANGE);
}

/* The chunk pointers of a guest with a hole, without its memory. */
static void test_hole(void **state)
{
	hpa_t *chunks = calloc((GIB(3) + MIB(4)) / LARGE_SIZE, sizeof(hpa_t));
	struct gmem high = {
		.pages = (GIB(3) + MIB(4)) / PAGE_SIZE,
		.low_end = GIB(3),
		.high_end = GIB(4) + MIB(4),
		.chunks = chunks,
	};
	hpa_t low_chunk = pages_alloc(PAGES_ORDER_LARGE);
	hpa_t high_chunk = pages_alloc(PAGES_ORDER_LARGE);
	u8 byte = 7;
	u64 page;

	(void)state;
	chunks[GIB(3) / LARGE_SIZE - 1] = low_chunk;
	chunks[GIB(3) / LARGE_SIZE] = high_chunk;
	assert_int_equal(gmem_write(&high, GIB(3) - 1, &byte, 1), 0);
	assert_int_equal(((u8 *)page_ptr(low_chunk))[LARGE_SIZE - 1], 7);
	assert_int_equal(gmem_write(&high, GIB(3) - 1, &byte, 2), -E_RANGE);
	assert_int_equal(gmem_write(&high, GIB(3), &byte, 1), -E_RANGE);
	assert_int_equal(gmem_write(&high, GIB(4) - 1, &byte, 1), -E_RANGE);
	assert_int_equal(gmem_write(&high, GIB(4), &byte, 1), 0);
	assert_int_equal(((u8 *)page_ptr(high_chunk))[0], 7);
	assert_int_equal(gmem_page_of(&high, GIB(4) + PAGE_SIZE, &page), 0);
	assert_int_equal(page, GIB(3) / PAGE_SIZE + 1);
	assert_int_equal(gmem_page_gpa(&high, page), GIB(4) + PAGE_SIZE);
	assert_int_equal(gmem_page_of(&high, GIB(4) + MIB(4), &page), -E_RANGE);
	pages_free(low_chunk, PAGES_ORDER_LARGE);
	pages_free(high_chunk, PAGES_ORDER_LARGE);
	free(chunks);
}

static void test_init_errors(void **state)
{
	struct gmem other;
	u64 used = fake_pages_used();

	(void)state;
	assert_int_equal(gmem_init(&other, 0, npt_amd_format(true)), -E_INVAL);
	assert_int_equal(gmem_init(&other, LARGE_SIZE + PAGE_SIZE, npt_amd_format(true)), -E_INVAL);
	/* The root, the chunk array, two chunks, two tables. */
	for (u64 calls = 0; calls < 6; calls++) {
		fake_pages_fail_after(calls);
		assert_int_equal(gmem_init(&other, 2 * LARGE_SIZE, npt_amd_format(true)), -E_NOMEM);
		assert_int_equal(fake_pages_used(), used);
	}
	fake_pages_fail_after(6);
	assert_int_equal(gmem_init(&other, 2 * LARGE_SIZE, npt_amd_format(true)), 0);
	gmem_fini(&other);
	assert_int_equal(fake_pages_used(), used);
}

/* What a chunk's memory really holds. */
static u8 held(u64 page, u64 offset)
{
	hpa_t chunk = gm.chunks[page / GMEM_CHUNK_PAGES] & ~GMEM_UNCLEARED;

	return ((const u8 *)page_ptr(chunk))[page % GMEM_CHUNK_PAGES * PAGE_SIZE + offset];
}

/* Before it is cleared, nobody sees what its last user left there. */
static void test_clearing(void **state)
{
	u64 chunks = PAGES / GMEM_CHUNK_PAGES, value = 5;
	u8 read[16], data[16];

	(void)state;
	memset(data, 7, sizeof(data));
	assert_int_equal(gm.uncleared, chunks);
	assert_true(held(0, 0) && held(1024, 8) && held(PAGES - 1, 4095));
	for (u64 page = 0; page < PAGES; page += 100)
		assert_true(gmem_page_is_zero(&gm, page));
	assert_int_equal(gmem_read_u64(&gm, LARGE_SIZE, &value), 0);
	assert_int_equal(value, 0);
	for (u64 page = 0; page < PAGES; page++)
		gmem_zero_page(&gm, page);
	gmem_or_u8(&gm, 0, 1);
	assert_int_equal(gm.uncleared, chunks);
	/* A write over a border clears what it touches; and only once. */
	assert_int_equal(gmem_write(&gm, 2 * LARGE_SIZE - 8, data, 16), 0);
	assert_int_equal(gm.uncleared, chunks - 2);
	assert_int_equal(gmem_write_u16(&gm, 2 * LARGE_SIZE - 10, 0x0909), 0);
	assert_int_equal(gmem_read(&gm, 2 * LARGE_SIZE - 16, read, 16), 0);
	assert_memory_equal(read, "\0\0\0\0\0\0\x09\x09\x07\x07\x07\x07\x07\x07\x07\x07", 16);
	assert_int_equal(held(1024, 8), 0);
	assert_int_not_equal(held(0, 0), 0);
	/* The rest, one by one. */
	assert_true(gmem_clear_next(&gm));
	assert_int_equal(held(0, 0), 0);
	assert_int_not_equal(held(PAGES - 1, 4095), 0);
	assert_false(gmem_clear_next(&gm));
	assert_false(gmem_clear_next(&gm));
	assert_int_equal(held(PAGES - 1, 4095), 0);
	assert_int_equal(gmem_read(&gm, 2 * LARGE_SIZE - 8, read, 16), 0);
	assert_memory_equal(read, data, 16);
	/* All again; what is given back meanwhile is not counted. */
	gmem_forget(&gm);
	assert_int_equal(gm.uncleared, chunks);
	assert_true(gmem_page_is_zero(&gm, 1023) && held(1023, 4095) == 7);
	assert_true(gmem_give_back(&gm, 1));
	assert_int_equal(gm.uncleared, chunks - 1);
	gmem_reap(&gm);
	gmem_forget(&gm);
	assert_int_equal(gm.uncleared, chunks - 1);
	while (gmem_clear_next(&gm))
		;
	assert_int_equal(gm.uncleared, 0);
	assert_int_equal(held(1024, 0), 0);
	assert_true(gmem_is_given_back(&gm, 1023));
}

/* With the log on, to forget is a write of zeros to all of it. */
static void test_forget_is_logged(void **state)
{
	(void)state;
	assert_int_equal(gmem_log_start(&gm), 0);
	gmem_forget(&gm);
	assert_int_equal(gmem_log_collect(&gm, bitmap), PAGES);
	gmem_log_stop(&gm);
	npt_reap(&gm.npt);
}

static void test_zero_pages(void **state)
{
	u8 byte = 1;

	(void)state;
	assert_true(gmem_page_is_zero(&gm, 3));
	assert_int_equal(gmem_write(&gm, 4 * PAGE_SIZE - 1, &byte, 1), 0);
	assert_false(gmem_page_is_zero(&gm, 3));
	assert_true(gmem_page_is_zero(&gm, 4));
}

static void test_log(void **state)
{
	u64 used = fake_pages_used();
	u64 entry;
	int level;
	u16 value = 1;

	(void)state;
	assert_int_equal(gmem_log_start(&gm), 0);
	gmem_log_clear(&gm);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	guest_store(5);
	guest_store(PAGES - 1);
	assert_int_equal(gmem_write(&gm, 6 * PAGE_SIZE - 1, &value, 2), 0);
	assert_int_equal(gmem_write_u16(&gm, 700 * PAGE_SIZE, 3), 0);
	/* Page 5 by both, counted once. */
	assert_int_equal(gmem_log_collect(&gm, bitmap), 4);
	assert_int_equal(bitmap_count(bitmap, PAGES), 4);
	assert_true(bitmap_test(bitmap, 5) && bitmap_test(bitmap, 6));
	assert_true(bitmap_test(bitmap, 700) && bitmap_test(bitmap, PAGES - 1));
	/* Or-ed into what is there: not counted again. */
	guest_store(5);
	guest_store(8);
	gmem_zero_page(&gm, 700);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 1);
	assert_int_equal(bitmap_count(bitmap, PAGES), 5);
	/* Failed writes are no writes. */
	memset(bitmap, 0, sizeof(bitmap));
	assert_int_equal(gmem_write(&gm, PAGES * PAGE_SIZE - 1, &value, 2), -E_RANGE);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	/* Nor are zeros where there are zeros. */
	gmem_zero_page(&gm, 702);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	memset(page_ptr(gm.chunks[1] + 190 * PAGE_SIZE + 4088), 1, 1);
	gmem_zero_page(&gm, 702);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 1);
	assert_true(bitmap_test(bitmap, 702) && gmem_page_is_zero(&gm, 702));
	gmem_log_stop(&gm);
	npt_reap(&gm.npt);
	assert_true(npt_lookup(&gm.npt, 0, &entry, &level));
	assert_int_equal(level, 2);
	assert_int_equal(fake_pages_used(), used + 1); /* the bitmap of host writes */
	/* What was written without a log is not in the next one. */
	assert_int_equal(gmem_write(&gm, 0, &value, 1), 0);
	assert_int_equal(gmem_log_start(&gm), 0);
	gmem_log_clear(&gm);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	gmem_log_stop(&gm);
}

/* A CPU that lists the pages: the same log, and a listed page can be listed again. */
static void test_log_listed(void **state)
{
	(void)state;
	gm.dirty = &dirty_pml;
	assert_false(gmem_log_listed(&gm));
	gmem_log_page(&gm, 0); /* not logging: no record */
	assert_int_equal(gmem_log_start(&gm), 0);
	assert_true(gmem_log_listed(&gm));
	gmem_log_clear(&gm);
	memset(bitmap, 0, sizeof(bitmap));
	guest_store(5);
	gmem_log_page(&gm, 5 * PAGE_SIZE);
	gmem_log_page(&gm, (PAGES - 1) * PAGE_SIZE);
	gmem_log_page(&gm, PAGES * PAGE_SIZE); /* no RAM */
	gmem_log_page(&gm, ~0ull);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 2);
	assert_true(bitmap_test(bitmap, 5) && bitmap_test(bitmap, PAGES - 1));
	assert_false(*leaf(5) & gm.npt.format->dirty_bit);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	/* In the bitmap already: not counted, but its D bit is cleared all the same. */
	guest_store(5);
	gmem_log_page(&gm, 5 * PAGE_SIZE);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 0);
	assert_false(*leaf(5) & gm.npt.format->dirty_bit);
	gmem_log_stop(&gm);
	assert_false(gmem_log_listed(&gm));
}

static void test_log_none(void **state)
{
	(void)state;
	gm.dirty = &dirty_none;
	assert_int_equal(gmem_log_start(&gm), -E_NOSYS);
	assert_false(gm.logging);
}

static void test_dirty_choose(void **state)
{
	(void)state;
	assert_ptr_equal(dirty_choose("auto", true, true), &dirty_pml);
	assert_ptr_equal(dirty_choose("auto", true, false), &dirty_d_bits);
	assert_ptr_equal(dirty_choose("auto", false, false), &dirty_none);
	assert_ptr_equal(dirty_choose("auto", false, true), &dirty_none);
	assert_ptr_equal(dirty_choose("d-bits", true, true), &dirty_d_bits);
	assert_ptr_equal(dirty_choose("none", true, true), &dirty_none);
	assert_null(dirty_choose("pml", true, false));
	assert_null(dirty_choose("d-bits", false, false));
}

static void test_log_start_no_memory(void **state)
{
	u64 used = fake_pages_used();
	u64 entry;
	int level;
	u64 calls = 0;

	(void)state;
	for (;; calls++) {
		fake_pages_fail_after(calls);
		if (!gmem_log_start(&gm))
			break;
		assert_int_equal(fake_pages_used(), used);
		assert_false(gm.logging);
		assert_true(npt_lookup(&gm.npt, 0, &entry, &level));
		assert_int_equal(level, 2);
	}
	/* The bitmap, four tables, the list of retired ones. */
	assert_int_equal(calls, 6);
	gmem_log_stop(&gm);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- memory that is given back ---------------------------------------------------------------- */

static void test_give_back(void **state)
{
	static const u8 data[16] = { 1, 2, 3, 4 };
	gpa_t gpa = 2 * LARGE_SIZE;
	u64 used = fake_pages_used();
	u8 read[16];
	u64 entry, value;
	u16 half;
	int level;

	(void)state;
	assert_int_equal(gmem_write(&gm, gpa - 8, data, 16), 0);
	assert_int_equal(gmem_write(&gm, gpa + LARGE_SIZE - 8, data, 16), 0);
	assert_true(gmem_give_back(&gm, 2));
	assert_true(gmem_give_back(&gm, 2));
	assert_int_equal(gm.given_back, 1);
	assert_false(npt_lookup(&gm.npt, gpa, &entry, &level));
	assert_true(npt_lookup(&gm.npt, gpa - 1, &entry, &level));
	assert_true(npt_lookup(&gm.npt, gpa + LARGE_SIZE, &entry, &level));
	gmem_reap(&gm);
	assert_int_equal(fake_pages_used(), used - GMEM_CHUNK_PAGES);
	/* It reads as zeros, what is around it as what it was; to store zeros, or bits, takes no memory. */
	assert_int_equal(gmem_read(&gm, gpa - 8, read, 16), 0);
	assert_memory_equal(read, data, 8);
	assert_true(read[8] == 0 && read[15] == 0);
	assert_int_equal(gmem_read(&gm, gpa + LARGE_SIZE - 8, read, 16), 0);
	assert_memory_equal(read + 8, data + 8, 8);
	assert_int_equal(gmem_read_u64(&gm, gpa, &value), 0);
	assert_int_equal(value, 0);
	gmem_zero_page(&gm, gpa / PAGE_SIZE);
	gmem_or_u8(&gm, gpa, 1);
	assert_true(gmem_page_is_zero(&gm, 1024));
	assert_int_equal(((const u8 *)gmem_page(&gm, 1535))[4095], 0);
	assert_int_equal(fake_pages_used(), used - GMEM_CHUNK_PAGES);
	/* No room: nothing but an error. */
	fake_pages_fail_after(0);
	assert_int_equal(gmem_write(&gm, gpa, data, 16), -E_NOMEM);
	assert_int_equal(gmem_write_u16(&gm, gpa, 7), -E_NOMEM);
	assert_int_equal(gmem_fill(&gm, 1024), -E_NOMEM);
	fake_pages_fail_after(~0ull);
	assert_int_equal(gm.given_back, 1);
	assert_int_equal(gmem_write_u16(&gm, gpa + 2, 7), 0);
	assert_int_equal(gm.given_back, 0);
	assert_int_equal(gmem_read_u16(&gm, gpa + 2, &half), 0);
	assert_int_equal(half, 7);
	assert_true(npt_lookup(&gm.npt, gpa, &entry, &level));
	assert_int_equal(level, 2);
	assert_int_equal(entry & gm.npt.format->address_mask, gm.chunks[2]);
	/* Used again before it went: the same, zeroed. */
	assert_true(gmem_give_back(&gm, 2));
	value = gm.leaving[2];
	assert_int_equal(gmem_fill(&gm, 1024), 0);
	assert_int_equal(gm.chunks[2], value);
	assert_int_equal(gm.leaving_count, 0);
	assert_true(gmem_page_is_zero(&gm, 1024));
	assert_int_equal(fake_pages_used(), used);
}

/* While the log is on nothing goes, and what comes has leaves that the log looks at. */
static void test_give_back_and_log(void **state)
{
	u64 value = 5, entry;
	u64 used;
	int level;

	(void)state;
	assert_true(gmem_give_back(&gm, 2));
	assert_true(gmem_give_back(&gm, 3));
	gmem_reap(&gm);
	assert_int_equal(gmem_log_start(&gm), 0);
	gmem_log_clear(&gm);
	used = fake_pages_used();
	assert_false(gmem_give_back(&gm, 1));
	/* No memory for the chunk, or for its table. */
	for (u32 calls = 0; calls < 2; calls++) {
		fake_pages_fail_after(calls);
		assert_int_equal(gmem_fill(&gm, 1024), -E_NOMEM);
		assert_true(gmem_is_given_back(&gm, 1024));
		assert_false(npt_lookup(&gm.npt, 2 * LARGE_SIZE, &entry, &level));
	}
	fake_pages_fail_after(~0ull);
	gmem_reap(&gm);
	assert_int_equal(fake_pages_used(), used);
	assert_int_equal(gmem_fill(&gm, 1024), 0);
	for (u64 page = 1024; page < 1536; page++) {
		assert_true(npt_lookup(&gm.npt, gmem_page_gpa(&gm, page), &entry, &level));
		assert_int_equal(level, 1);
		assert_int_equal(entry & gm.npt.format->dirty_bit, 0);
	}
	guest_store(1030);
	guest_store(1535);
	assert_int_equal(gmem_write(&gm, 3 * LARGE_SIZE + 8, &value, sizeof(value)), 0);
	assert_int_equal(gmem_log_collect(&gm, bitmap), 3);
	assert_true(bitmap_test(bitmap, 1030) && bitmap_test(bitmap, 1535) && bitmap_test(bitmap, 1536));
	gmem_log_stop(&gm);
	npt_reap(&gm.npt);
	assert_true(gmem_give_back(&gm, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_write),
		TEST(test_entries),
		TEST(test_bounds),
		TEST(test_hole),
		TEST(test_init_errors),
		TEST(test_clearing),
		TEST(test_forget_is_logged),
		TEST(test_zero_pages),
		TEST(test_log),
		TEST(test_log_listed),
		TEST(test_log_none),
		TEST(test_dirty_choose),
		TEST(test_log_start_no_memory),
		TEST(test_give_back),
		TEST(test_give_back_and_log),
	};

	return cmocka_run_group_tests_name("gmem", tests, NULL, NULL);
}
