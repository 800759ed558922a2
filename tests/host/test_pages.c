/* SPDX-License-Identifier: Apache-2.0 */
/* The page allocator over a piece of this process's memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#undef assert /* the C library's, by way of cmocka or not */

/* The real one instead of fake/fake_pages.c; a panic jumps back into the test that expects it. */
static jmp_buf panic_jump;
static int panic_expected;

#include "mm/pages.c"

void panic(const char *fmt, ...)
{
	if (panic_expected)
		longjmp(panic_jump, 1);
	fprintf(stderr, "panic: %s\n", fmt);
	abort();
}

#define EXPECT_PANIC(call)                        \
	do {                                      \
		panic_expected = 1;               \
		if (setjmp(panic_jump) == 0) {    \
			call;                     \
			fail_msg("no panic");     \
		}                                 \
		panic_expected = 0;               \
		spin_unlock(&pages_lock);         \
	} while (0)

/* From 64 KiB before an odd multiple of 4 MiB to 12 KiB behind the next one. */
#define ODD_BYTES KIB(64)
#define ARENA_BYTES (ODD_BYTES + MIB(8) + KIB(12))

static hpa_t arena;

static int setup(void **state)
{
	u8 *memory = mmap(NULL, MIB(32), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (memory == MAP_FAILED)
		return -1;
	arena = ALIGN_UP((uintptr_t)memory, MIB(8)) + MIB(4) - ODD_BYTES;
	memset(page_ptr(arena), 0xee, ARENA_BYTES);
	/* Unaligned ends: only whole pages may be used. */
	pages_add(arena + 1, PAGE_SIZE - 1);
	pages_add(arena - 1, 2);
	assert_int_equal(pages_total_count(), 0);
	pages_add(arena, ARENA_BYTES);
	return 0;
}

static void test_total(void **state)
{
	(void)state;
	assert_int_equal(pages_total_count(), ARENA_BYTES / PAGE_SIZE - 1); /* one page of state bytes */
	assert_int_equal(pages_free_count(), pages_total_count());
}

static void test_all_orders(void **state)
{
	(void)state;
	for (unsigned int order = 0; order <= 10; order++) {
		hpa_t block = pages_alloc(order);
		const u8 *p = page_ptr(block);

		assert_int_not_equal(block, HPA_NONE);
		assert_true(IS_ALIGNED(block, PAGE_SIZE << order));
		assert_true(block >= arena && block + (PAGE_SIZE << order) <= arena + ARENA_BYTES);
		for (u64 i = 0; i < PAGE_SIZE << order; i++)
			if (p[i])
				fail_msg("byte %llu is not zero", (unsigned long long)i);
		assert_int_equal(pages_free_count(), pages_total_count() - (1u << order));
		memset(page_ptr(block), 0xdd, PAGE_SIZE << order);
		pages_free(block, order);
		assert_int_equal(pages_free_count(), pages_total_count());
	}
	assert_int_equal(pages_alloc(11), HPA_NONE); /* 8 MiB are there, but across their boundary */
	assert_int_equal(pages_alloc(PAGES_ORDER_MAX), HPA_NONE);
}

/* Takes everything in random sizes, writes over it all, gives it back: it must come together again. */
static void test_random(void **state)
{
	static struct {
		hpa_t block;
		unsigned int order;
	} held[4096];
	u64 count = 0;

	(void)state;
	srand(7);
	for (int i = 0; i < 50000; i++) {
		if (rand() % 2 && count < ARRAY_SIZE(held)) {
			unsigned int order = (unsigned int)rand() % 6;
			hpa_t block = pages_alloc_raw(order);

			if (block == HPA_NONE)
				continue;
			memset(page_ptr(block), (int)count, PAGE_SIZE << order);
			held[count].block = block;
			held[count++].order = order;
		} else if (count) {
			u64 at = (u64)rand() % count;

			pages_free(held[at].block, held[at].order);
			held[at] = held[--count];
		}
	}
	for (u64 i = 0; i < count; i++)
		for (u64 k = i + 1; k < count; k++)
			assert_true(held[i].block + (PAGE_SIZE << held[i].order) <= held[k].block ||
				    held[k].block + (PAGE_SIZE << held[k].order) <= held[i].block);
	while (count) {
		count--;
		pages_free(held[count].block, held[count].order);
	}
	assert_int_equal(pages_free_count(), pages_total_count());
	for (int i = 0; i < 2; i++) {
		held[i].block = pages_alloc_raw(10);
		assert_int_not_equal(held[i].block, HPA_NONE);
	}
	for (int i = 0; i < 2; i++)
		pages_free(held[i].block, 10);
}

static void test_misuse(void **state)
{
	hpa_t block = pages_alloc(3);

	(void)state;
	EXPECT_PANIC(pages_free(block, 2));
	EXPECT_PANIC(pages_free(block + PAGE_SIZE, 0));
	EXPECT_PANIC(pages_free(block + PAGE_SIZE, 3));
	EXPECT_PANIC(pages_free(arena - MIB(64), 0));
	pages_free(block, 3);
	EXPECT_PANIC(pages_free(block, 3));
	assert_int_equal(pages_free_count(), pages_total_count());
}

/* A broken block's parts are freed one by one, and come together again. */
static void test_break(void **state)
{
	hpa_t block = pages_alloc(9);

	(void)state;
	assert_int_not_equal(block, HPA_NONE);
	EXPECT_PANIC(pages_break(block, 8, 3));
	EXPECT_PANIC(pages_break(block, 9, 10));
	pages_break(block, 9, 3);
	EXPECT_PANIC(pages_free(block, 9));
	for (u64 i = 0; i < BIT(6); i += 2)
		pages_free(block + i * 8 * PAGE_SIZE, 3);
	assert_int_equal(pages_free_count(), pages_total_count() - BIT(8));
	for (u64 i = 1; i < BIT(6); i += 2)
		pages_free(block + i * 8 * PAGE_SIZE, 3);
	assert_int_equal(pages_free_count(), pages_total_count());
	block = pages_alloc(10);
	assert_int_not_equal(block, HPA_NONE);
	pages_free(block, 10);
}

static void test_orders(void **state)
{
	(void)state;
	assert_int_equal(pages_order(0), 0);
	assert_int_equal(pages_order(1), 0);
	assert_int_equal(pages_order(PAGE_SIZE), 0);
	assert_int_equal(pages_order(PAGE_SIZE + 1), 1);
	assert_int_equal(pages_order(MIB(2)), PAGES_ORDER_LARGE);
	assert_int_equal(pages_order(GIB(1)), PAGES_ORDER_MAX);
	assert_int_equal(pages_order(~0ull), PAGES_ORDER_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_total),  cmocka_unit_test(test_all_orders),
		cmocka_unit_test(test_random), cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_orders), cmocka_unit_test(test_break),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
