/* SPDX-License-Identifier: Apache-2.0 */
/* The stop rule: when copying goes on, when it ends, and that it always ends. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "migrate/rounds.h"

#define PAGES 65536ull
#define MB 1000000ull

/* A guest that writes `rate` pages a second on a link of `link` bytes a second; returns the rounds. */
static u32 run(struct rounds *r, u64 rate, u64 link, u64 working_set, enum round_next *how)
{
	u64 left = PAGES;

	rounds_init(r, 50 * NS_PER_MS, 4 * NS_PER_MS, KIB(64), PAGES);
	for (u32 round = 1;; round++) {
		u64 bytes = left * ROUNDS_PAGE_BYTES;
		u64 ns = bytes * 1000 / (link / 1000) * 1000 + 200 * NS_PER_US;
		u64 dirty = rate * (ns / NS_PER_US) / 1000000;
		struct round_result result = { bytes, ns, MIN(dirty, working_set), ns };

		*how = rounds_after(r, &result);
		assert_int_equal(r->round, round);
		if (*how != ROUND_AGAIN)
			return round;
		assert_true(round < ROUNDS_MAX);
		left = result.dirty_pages;
	}
}

static void test_idle(unused void **state)
{
	enum round_next how;
	struct rounds r;

	assert_true(run(&r, 20, 100 * MB, 50, &how) <= 3);
	assert_int_equal(how, ROUND_FINAL);
	assert_true(r.estimate_ns < 10 * NS_PER_MS);
}

static void test_2000_pages(unused void **state)
{
	enum round_next how;
	struct rounds r;

	assert_true(run(&r, 2000, 100 * MB, PAGES, &how) <= 6);
	assert_int_equal(how, ROUND_FINAL);
	assert_true(r.estimate_ns < 15 * NS_PER_MS);
}

static void test_faster_than_the_link(unused void **state)
{
	enum round_next how;
	struct rounds r;
	u32 rounds = run(&r, 100000, 100 * MB, 60000, &how);

	assert_int_equal(how, ROUND_FINAL_FORCED);
	assert_int_equal(r.throttle, ROUNDS_THROTTLE_MAX);
	assert_true(rounds <= ROUNDS_THROTTLE_MAX / ROUNDS_THROTTLE_STEP * ROUNDS_THROTTLE_AFTER + ROUNDS_STALLED_MAX + 2);
	assert_true(r.estimate_ns > 50 * NS_PER_MS);
	assert_true(r.written);
}

/* The same guest, if it obeys: no more of its time is taken than it needs. */
static void test_throttled(unused void **state)
{
	u64 left = PAGES;
	enum round_next how = ROUND_AGAIN;
	struct rounds r;

	rounds_init(&r, 50 * NS_PER_MS, 4 * NS_PER_MS, KIB(64), PAGES);
	while (how == ROUND_AGAIN) {
		u64 ns = left * ROUNDS_PAGE_BYTES * 10 + 200 * NS_PER_US; /* 100 MB/s: 24,000 pages */
		u64 dirty = 35000 * (100 - r.throttle) / 100 * (ns / NS_PER_US) / 1000000;
		u32 before = r.throttle;
		struct round_result result = { left * ROUNDS_PAGE_BYTES, ns, MIN(dirty, 60000), ns };

		how = rounds_after(&r, &result);
		assert_true(r.throttle == before || r.throttle == before + ROUNDS_THROTTLE_STEP);
		left = result.dirty_pages;
	}
	assert_int_equal(how, ROUND_FINAL);
	assert_int_equal(r.throttle, 3 * ROUNDS_THROTTLE_STEP);
	assert_true(r.estimate_ns <= 50 * NS_PER_MS);
}

/* It writes as fast as the link carries, but the pause is short enough, or would not get shorter: left alone. */
static void test_not_throttled(unused void **state)
{
	enum round_next how;
	struct rounds r;

	run(&r, 1000000, 100 * MB, 400, &how);
	assert_int_equal(r.throttle, 0);
	rounds_init(&r, NS_PER_MS, 4 * NS_PER_MS, KIB(64), PAGES);
	for (u32 round = 1; round <= ROUNDS_STALLED_MAX + 1; round++) {
		struct round_result result = { 400 * ROUNDS_PAGE_BYTES, 17 * NS_PER_MS, 400, 17 * NS_PER_MS };

		how = rounds_after(&r, &result);
	}
	assert_int_equal(how, ROUND_FINAL_FORCED);
	assert_int_equal(r.throttle, 0);
	assert_false(r.written);
}

/* A little less than the link carries: it would shrink for ever, so the number of rounds is bounded. */
static void test_nearly_as_fast(unused void **state)
{
	enum round_next how;
	struct rounds r;
	u32 rounds = run(&r, 23000, 100 * MB, PAGES, &how);

	assert_true(rounds < ROUNDS_MAX);
	assert_true(how != ROUND_AGAIN);
}

/* The working set is small, and its pause is as long as asked for: no need to go on. */
static void test_small_working_set(unused void **state)
{
	enum round_next how;
	struct rounds r;

	assert_true(run(&r, 1000000, 100 * MB, 400, &how) <= 3);
	assert_int_equal(how, ROUND_FINAL);
}

/* A slow link, and a guest that writes the same few pages all the time: it is not slowed for that. Who writes more is. */
static void test_idle_on_a_slow_link(unused void **state)
{
	enum round_next how;
	struct rounds r;

	run(&r, 2000, 5 * MB, 60, &how);
	assert_int_equal(how, ROUND_FINAL_FORCED);
	assert_int_equal(r.throttle, 0);
	run(&r, 2000, 5 * MB, 6000, &how);
	assert_int_equal(r.throttle, ROUNDS_THROTTLE_MAX);
}

/* The link's delay alone is longer than what was asked for: nothing that copying could help. */
static void test_slow_link_idle_guest(unused void **state)
{
	struct round_result result = { MIB(100), NS_PER_S, 10, NS_PER_S };
	struct rounds r;

	rounds_init(&r, 50 * NS_PER_MS, 120 * NS_PER_MS, KIB(64), PAGES);
	assert_int_equal(rounds_after(&r, &result), ROUND_FINAL_FORCED);
}

static void test_extreme_numbers(unused void **state)
{
	static const u64 values[] = { 0, 1, 4096, 1ull << 32, 1ull << 62, ~0ull };
	struct rounds r;

	for (u32 i = 0; i < 6 * 6 * 6 * 6; i++) {
		struct round_result result = { values[i % 6], values[i / 6 % 6], values[i / 36 % 6] >> 13, values[i / 216] };
		u32 rounds = 1;

		rounds_init(&r, 50 * NS_PER_MS, 4 * NS_PER_MS, KIB(64), ~0ull >> 13);
		while (rounds_after(&r, &result) == ROUND_AGAIN)
			assert_true(++rounds <= ROUNDS_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_2000_pages),
		cmocka_unit_test(test_faster_than_the_link),
		cmocka_unit_test(test_throttled),
		cmocka_unit_test(test_not_throttled),
		cmocka_unit_test(test_idle_on_a_slow_link),
		cmocka_unit_test(test_nearly_as_fast),
		cmocka_unit_test(test_small_working_set),
		cmocka_unit_test(test_slow_link_idle_guest),
		cmocka_unit_test(test_extreme_numbers),
	};

	return cmocka_run_group_tests_name("migrate_rounds", tests, NULL, NULL);
}
