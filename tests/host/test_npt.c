/* SPDX-License-Identifier: Apache-2.0 */
/* Nested page tables in AMD's format and in Intel's, with the same expectations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/npt_amd.c"
#undef FORMAT
#include "arch/x86_64/npt_ept.c"
#include "errors.h"
#include "fake/fake_pages.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

static const struct npt_format *format;
static struct npt npt;

static int setup(void **state)
{
	format = *state ? npt_ept_format(true, true) : npt_amd_format(true);
	assert_int_equal(fake_pages_used(), 0);
	assert_int_equal(npt_init(&npt, format), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_pages_fail_after(~0ull);
	npt_fini(&npt);
	return fake_pages_used() == 0 ? 0 : -1;
}

static u64 leaf_at(gpa_t gpa, int expected_level)
{
	u64 entry = 0;
	int level = 0;

	assert_true(npt_lookup(&npt, gpa, &entry, &level));
	assert_int_equal(level, expected_level);
	return entry;
}

static void assert_unmapped(gpa_t gpa)
{
	u64 entry;
	int level;

	assert_false(npt_lookup(&npt, gpa, &entry, &level));
}

/* The entry that translates gpa at this level, as the hardware finds it. */
static u64 *entry_at(gpa_t gpa, int level)
{
	u64 *table = page_ptr(npt.root);

	for (int at = NPT_LEVELS; at > level; at--) {
		u64 entry = table[NPT_INDEX(gpa, at)];

		assert_true(npt_is_table(format, entry, at));
		table = page_ptr(entry & format->address_mask);
	}
	return &table[NPT_INDEX(gpa, level)];
}

/* What a CPU does that has nothing cached. */
static void hardware_access(gpa_t gpa, bool write)
{
	for (int at = NPT_LEVELS; at >= 1; at--) {
		u64 *entry = entry_at(gpa, at);

		*entry |= format->accessed_bit;
		if (npt_is_table(format, *entry, at))
			continue;
		if (write)
			*entry |= format->dirty_bit;
		return;
	}
}

/* What a CPU does that has the level 2 entry in its paging-structure cache. */
static void hardware_write_cached(gpa_t gpa)
{
	*entry_at(gpa, 1) |= format->accessed_bit | format->dirty_bit;
}

static gpa_t found_list[2048];
static u32 found_count;

static void found(void *ctx, gpa_t gpa)
{
	assert_ptr_equal(ctx, found_list);
	found_list[found_count++] = gpa;
}

static u32 harvest(gpa_t gpa, u64 bytes)
{
	found_count = 0;
	npt_harvest_dirty(&npt, gpa, bytes, found, found_list);
	return found_count;
}

static void test_map(void **state)
{
	u64 entry;

	(void)state;
	/* 4 KiB up to the 2 MiB border, one 2 MiB page, a 4 KiB page behind it. */
	assert_int_equal(npt_map(&npt, LARGE_SIZE - PAGE_SIZE, MIB(64) - PAGE_SIZE, LARGE_SIZE + 2 * PAGE_SIZE, NPT_RWX), 0);
	assert_unmapped(LARGE_SIZE - 2 * PAGE_SIZE);
	entry = leaf_at(LARGE_SIZE - 1, 1);
	assert_int_equal(entry & format->address_mask, MIB(64) - PAGE_SIZE);
	entry = leaf_at(LARGE_SIZE, 2);
	assert_int_equal(entry & format->address_mask, MIB(64));
	assert_true(entry & format->large_bit);
	assert_true(entry & format->write_bit);
	leaf_at(2 * LARGE_SIZE, 1);
	assert_unmapped(2 * LARGE_SIZE + PAGE_SIZE);
	assert_unmapped(BIT(47));
	assert_unmapped(~0ull);
	npt_unmap(&npt, LARGE_SIZE, LARGE_SIZE + PAGE_SIZE);
	leaf_at(LARGE_SIZE - PAGE_SIZE, 1);
	assert_unmapped(LARGE_SIZE);
	assert_unmapped(2 * LARGE_SIZE);
}

static void test_map_1g(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, GIB(1), GIB(5), GIB(1) + LARGE_SIZE, NPT_RWX), 0);
	assert_int_equal(leaf_at(GIB(1) + 12345, 3) & format->address_mask, GIB(5));
	assert_int_equal(leaf_at(GIB(2), 2) & format->address_mask, GIB(6));
	/* Not aligned alike: no large page fits. */
	assert_int_equal(npt_map(&npt, GIB(8), GIB(9) + PAGE_SIZE, LARGE_SIZE, NPT_RWX), 0);
	leaf_at(GIB(8), 1);
}

static void test_prot(void **state)
{
	u64 entry;

	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, PAGE_SIZE, NPT_READ), 0);
	entry = leaf_at(0, 1);
	assert_false(entry & format->write_bit);
	assert_false(entry & format->exec_bit);
	assert_int_equal(entry & format->nx_bit, format->nx_bit);
	assert_int_equal(npt_map(&npt, PAGE_SIZE, 0, PAGE_SIZE, NPT_READ | NPT_EXEC), 0);
	entry = leaf_at(PAGE_SIZE, 1);
	assert_int_equal(entry & format->exec_bit, format->exec_bit);
	assert_false(entry & format->nx_bit);
}

static void test_map_errors(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 1, 0, PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, 0, 0, 0, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, 0, 0, PAGE_SIZE, NPT_WRITE), -E_INVAL);
	assert_int_equal(npt_map(&npt, BIT(48), 0, PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, BIT(48) - PAGE_SIZE, 0, 2 * PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, 0, BIT(52), PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, 0, ~0ull & ~(PAGE_SIZE - 1), 2 * PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, ~0ull & ~(PAGE_SIZE - 1), 0, 2 * PAGE_SIZE, NPT_RWX), -E_INVAL);
	assert_int_equal(npt_map(&npt, MIB(8), MIB(8), PAGE_SIZE, NPT_RWX), 0);
	/* Something is in the way at the end: nothing of it is mapped. */
	assert_int_equal(npt_map(&npt, MIB(4), 0, MIB(4) + PAGE_SIZE, NPT_RWX), -E_EXIST);
	assert_unmapped(MIB(4));
	assert_int_equal(npt.table_pages, 4);
}

static void test_map_no_memory(void **state)
{
	(void)state;
	for (u64 calls = 0; calls < 4; calls++) {
		fake_pages_fail_after(calls);
		/* Needs two level 1 tables, a level 2 and a level 3 table. */
		assert_int_equal(npt_map(&npt, LARGE_SIZE - PAGE_SIZE, 0, 2 * PAGE_SIZE, NPT_RWX), -E_NOMEM);
		assert_int_equal(fake_pages_used(), 1);
		assert_unmapped(LARGE_SIZE - PAGE_SIZE);
	}
	fake_pages_fail_after(4);
	assert_int_equal(npt_map(&npt, LARGE_SIZE - PAGE_SIZE, 0, 2 * PAGE_SIZE, NPT_RWX), 0);
	assert_int_equal(npt.table_pages, 5);
}

static void test_split(void **state)
{
	u64 old;

	(void)state;
	assert_int_equal(npt_map(&npt, 0, MIB(512), MIB(8), NPT_RWX), 0);
	hardware_access(MIB(2), true);
	hardware_access(MIB(4), false);
	old = leaf_at(MIB(2), 2);
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
	for (gpa_t gpa = 0; gpa < MIB(8); gpa += PAGE_SIZE) {
		u64 entry = leaf_at(gpa, 1);

		assert_int_equal(entry & format->address_mask, MIB(512) + gpa);
		assert_false(entry & format->large_bit);
		assert_int_equal(entry & ~format->address_mask & ~(format->accessed_bit | format->dirty_bit),
				 old & ~format->address_mask & ~(format->accessed_bit | format->dirty_bit | format->large_bit));
		assert_int_equal(!!(entry & format->dirty_bit), gpa >= MIB(2) && gpa < MIB(4));
		assert_int_equal(!!(entry & format->accessed_bit), gpa >= MIB(2) && gpa < MIB(6));
	}
	/* Once more changes nothing. */
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
	assert_int_equal(npt.table_pages, 3 + 4);
}

static void test_split_1g(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 0, GIB(4), GIB(1), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, MIB(6), PAGE_SIZE), 0);
	assert_int_equal(leaf_at(MIB(6) + PAGE_SIZE, 1) & format->address_mask, GIB(4) + MIB(6) + PAGE_SIZE);
	assert_int_equal(leaf_at(MIB(8), 2) & format->address_mask, GIB(4) + MIB(8));
	assert_int_equal(npt.table_pages, 2 + 2);
}

/* Only the giant leaf goes, into large ones; a part of it can be unmapped then. Where there is none, nothing changes. */
static void test_split_giant(void **state)
{
	u64 tables;

	(void)state;
	assert_int_equal(npt_map(&npt, GIB(1), GIB(4), GIB(1) + LARGE_SIZE, NPT_RWX), 0);
	leaf_at(GIB(1), 3);
	tables = npt.table_pages;
	assert_int_equal(npt_split_giant(&npt, GIB(1) + MIB(6)), 0);
	assert_int_equal(npt.table_pages, tables + 1);
	assert_int_equal(leaf_at(GIB(1) + MIB(6), 2) & format->address_mask, GIB(4) + MIB(6));
	assert_int_equal(leaf_at(GIB(2) - 1, 2) & format->address_mask, GIB(5) - MIB(2));
	npt_unmap(&npt, GIB(1) + MIB(6), LARGE_SIZE);
	assert_int_equal(leaf_at(GIB(1) + MIB(4), 2) & format->address_mask, GIB(4) + MIB(4));
	tables = npt.table_pages;
	assert_int_equal(npt_split_giant(&npt, GIB(1) + MIB(6)), 0);
	assert_int_equal(npt_split_giant(&npt, GIB(7)), 0);
	assert_int_equal(npt.table_pages, tables);
	/* And the rest of the way, for the log. */
	assert_int_equal(npt_split(&npt, 0, GIB(3)), 0);
	assert_int_equal(leaf_at(GIB(1) + MIB(4) + 5 * PAGE_SIZE, 1) & format->address_mask, GIB(4) + MIB(4) + 5 * PAGE_SIZE);
}

static void test_split_no_memory(void **state)
{
	u64 used;

	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, MIB(8), NPT_RWX), 0);
	used = fake_pages_used();
	/* Four tables, and the list for taking them out of use. */
	for (u64 calls = 0; calls < 5; calls++) {
		fake_pages_fail_after(calls);
		assert_int_equal(npt_split(&npt, 0, MIB(8)), -E_NOMEM);
		assert_int_equal(fake_pages_used(), used);
		leaf_at(0, 2);
	}
	fake_pages_fail_after(5);
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
}

static void test_merge(void **state)
{
	u64 used;
	u64 entry;

	(void)state;
	assert_int_equal(npt_map(&npt, 0, MIB(512), MIB(8), NPT_RWX), 0);
	used = fake_pages_used();
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
	hardware_access(MIB(2) + 5 * PAGE_SIZE, true);
	/* Two that can't be merged: another access right, a hole. */
	*entry_at(MIB(4) + 7 * PAGE_SIZE, 1) &= ~format->write_bit;
	npt_unmap(&npt, MIB(6) + 511 * PAGE_SIZE, PAGE_SIZE);
	fake_pages_fail_after(0);
	npt_merge(&npt, 0, MIB(8));
	entry = leaf_at(0, 2);
	assert_int_equal(entry & format->address_mask, MIB(512));
	assert_true(entry & format->write_bit);
	assert_true(entry & format->large_bit);
	assert_true(leaf_at(MIB(2), 2) & format->dirty_bit);
	leaf_at(MIB(4), 1);
	leaf_at(MIB(6), 1);
	/* The tables are still there for a CPU that walks them: freed only by the reap. */
	assert_int_equal(fake_pages_used(), used + 4 + 1);
	npt_reap(&npt);
	assert_int_equal(fake_pages_used(), used + 2);
	assert_int_equal(npt.table_pages, 3 + 2);
	npt_reap(&npt);
}

static void test_merge_part(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, MIB(4), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, 0, MIB(4)), 0);
	npt_merge(&npt, PAGE_SIZE, MIB(4) - PAGE_SIZE);
	leaf_at(0, 1);
	leaf_at(MIB(2), 2);
}

static void test_harvest(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, MIB(8), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
	assert_int_equal(harvest(0, MIB(8)), 0);
	hardware_access(0, true);
	hardware_access(MIB(3), false);
	hardware_access(MIB(4) + 3 * PAGE_SIZE, true);
	hardware_access(MIB(8) - PAGE_SIZE, true);
	assert_int_equal(harvest(0, MIB(8)), 3);
	assert_int_equal(found_list[0], 0);
	assert_int_equal(found_list[1], MIB(4) + 3 * PAGE_SIZE);
	assert_int_equal(found_list[2], MIB(8) - PAGE_SIZE);
	assert_int_equal(harvest(0, MIB(8)), 0);
	/* A part only, and the rest is not lost. */
	hardware_access(MIB(4), true);
	hardware_access(MIB(4) + PAGE_SIZE, true);
	assert_int_equal(harvest(MIB(4), PAGE_SIZE), 1);
	assert_int_equal(harvest(0, MIB(8)), 1);
	assert_int_equal(found_list[0], MIB(4) + PAGE_SIZE);
}

/* The race that the comment of npt_dirty.c is about. */
static void test_harvest_cached_walks(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, MIB(2), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, 0, MIB(2)), 0);
	hardware_access(0, true);
	assert_int_equal(harvest(0, MIB(2)), 1);
	/* Not flushed yet: a CPU that has the level 2 entry cached sets D without setting A there. */
	hardware_write_cached(PAGE_SIZE);
	/* Flush. Nothing else is touched; the next harvest must still look. */
	assert_int_equal(harvest(0, MIB(2)), 1);
	assert_int_equal(found_list[0], PAGE_SIZE);
	/* Flush. Now nobody can have it cached: skipped (which a D bit without A shows). */
	hardware_write_cached(2 * PAGE_SIZE);
	assert_int_equal(harvest(0, MIB(2)), 0);
	hardware_access(3 * PAGE_SIZE, false);
	assert_int_equal(harvest(0, MIB(2)), 1);
	assert_int_equal(found_list[0], 2 * PAGE_SIZE);
}

static void test_harvest_random(void **state)
{
	static bool dirty[2048];

	(void)state;
	srand(1);
	assert_int_equal(npt_map(&npt, 0, GIB(1), MIB(8), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, 0, MIB(8)), 0);
	for (u32 round = 0; round < 500; round++) {
		u32 writes = (u32)rand() % 40;
		u32 expected = 0;

		memset(dirty, 0, sizeof(dirty));
		for (u32 i = 0; i < writes; i++) {
			u32 page = (u32)rand() % 2048;

			hardware_access(page * PAGE_SIZE, i % 3);
			if (i % 3 && !dirty[page]) {
				dirty[page] = true;
				expected++;
			}
		}
		assert_int_equal(harvest(0, MIB(8)), expected);
		for (u32 i = 0; i < found_count; i++)
			assert_true(dirty[found_list[i] / PAGE_SIZE]);
	}
}

static void test_clear_dirty(void **state)
{
	(void)state;
	assert_int_equal(npt_map(&npt, 0, 0, MIB(4), NPT_RWX), 0);
	assert_int_equal(npt_split(&npt, 0, MIB(4)), 0);
	for (u32 page = 64; page < 192; page++)
		hardware_access(page * PAGE_SIZE, true);
	npt_clear_dirty(&npt, 64 * PAGE_SIZE, BIT(0) | BIT(5) | BIT(63));
	npt_clear_dirty(&npt, 128 * PAGE_SIZE, 0);
	npt_clear_dirty(&npt, MIB(2), ~0ull);  /* clear already */
	npt_clear_dirty(&npt, MIB(64), ~0ull); /* nothing there */
	for (u32 page = 64; page < 192; page++) {
		bool cleared = page == 64 || page == 69 || page == 127;
		u64 entry = leaf_at(page * PAGE_SIZE, 1);

		assert_int_equal(!!(entry & format->dirty_bit), !cleared);
		assert_true(entry & format->accessed_bit);
	}
	assert_int_equal(harvest(0, MIB(4)), 125);
}

/* A CPU without accessed and dirty bits: everything but the harvest. */
static void test_without_ad_bits(void **state)
{
	(void)state;
	npt_fini(&npt);
	format = npt_ept_format(false, false);
	assert_int_equal(npt_init(&npt, format), 0);
	assert_int_equal(npt_map(&npt, 0, GIB(1), GIB(1), NPT_RWX), 0);
	leaf_at(0, 2);
	assert_int_equal(npt_split(&npt, 0, MIB(4)), 0);
	assert_int_equal(leaf_at(MIB(3), 1), (GIB(1) + MIB(3)) | 0x37);
	assert_int_equal(leaf_at(MIB(4), 2), (GIB(1) + MIB(4)) | 0xb7);
	npt_merge(&npt, 0, MIB(4));
	assert_int_equal(leaf_at(MIB(3), 2), (GIB(1) + MIB(2)) | 0xb7);
}

#define TEST(f, i) { #f " " #i, f, setup, teardown, (void *)(uintptr_t)(i) }
#define BOTH(f) TEST(f, 0), TEST(f, 1)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_map),
		BOTH(test_map_1g),
		BOTH(test_prot),
		BOTH(test_map_errors),
		BOTH(test_map_no_memory),
		BOTH(test_split),
		BOTH(test_split_1g),
		BOTH(test_split_giant),
		BOTH(test_split_no_memory),
		BOTH(test_merge),
		BOTH(test_merge_part),
		BOTH(test_harvest),
		BOTH(test_harvest_cached_walks),
		BOTH(test_harvest_random),
		BOTH(test_clear_dirty),
		TEST(test_without_ad_bits, 1),
	};

	return cmocka_run_group_tests_name("npt", tests, NULL, NULL);
}
