/* SPDX-License-Identifier: Apache-2.0 */
/* The forecast: idle guests, busy ones, working sets, limits; that it always ends, and never overflows. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "migrate/forecast.h"
#include "migrate/rounds.h"

#define PAGES 65536ull
#define USED 24000ull

/* 100 MB/s, where the guest's 24,000 pages take a second; it writes rate pages a second of a working set. */
static struct forecast_input input(u64 rate, u64 working_set)
{
	static const u64 ms[] = { 50, 100, 200, 400, 800, 1500, 3000 };
	struct forecast_input in = {
		.pages = PAGES, .used_pages = USED, .bytes_per_s = 100000000, .setup_ns = 20 * NS_PER_MS,
		.scan_ns = 50 * NS_PER_MS, .fixed_ns = 4 * NS_PER_MS, .state_bytes = KIB(64),
		.max_downtime_ns = 50 * NS_PER_MS, .dirty.count = 7,
	};

	for (u32 i = 0; i < 7; i++) {
		in.dirty.ns[i] = ms[i] * NS_PER_MS;
		in.dirty.pages[i] = MIN(rate * ms[i] / 1000, working_set);
	}
	return in;
}

static void test_idle(unused void **state)
{
	struct forecast_input in = input(60, 100);
	struct forecast f;

	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	assert_in_range(f.rounds, 2, 4);
	assert_in_range(f.total_ns, 1050 * NS_PER_MS, 1100 * NS_PER_MS);
	assert_in_range(f.downtime_ns, 4 * NS_PER_MS, 9 * NS_PER_MS);
	assert_in_range(f.bytes, USED * PAGE_SIZE, USED * PAGE_SIZE + MIB(2));
	assert_int_equal(f.throttle, 0);
	forecast_offline(&in, &f);
	assert_int_equal(f.rounds, 1);
	assert_in_range(f.downtime_ns, 1030 * NS_PER_MS, 1060 * NS_PER_MS);
	assert_int_equal(f.total_ns, f.downtime_ns + in.setup_ns);
}

/* Nothing at all is written, or known of what is. */
static void test_silent(unused void **state)
{
	struct forecast_input in = input(0, 0);
	struct forecast f;

	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	in.dirty.count = 0;
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	assert_int_equal(f.rounds, 2);
}

static void test_writes_2000(unused void **state)
{
	struct forecast_input in = input(2000, PAGES);
	struct forecast f;

	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	assert_in_range(f.rounds, 3, 7);
	assert_true(f.downtime_ns < 20 * NS_PER_MS);
	assert_in_range(f.total_ns, 1100 * NS_PER_MS, 1400 * NS_PER_MS);
}

/* A working set that the pause can carry: known from the curve, which a mere rate would not tell. */
static void test_small_working_set(unused void **state)
{
	struct forecast_input in = input(100000, 600);
	struct forecast f;

	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	/* (Half of it: the straight line to the first point is too low.) */
	assert_in_range(f.downtime_ns, 10 * NS_PER_MS, 35 * NS_PER_MS);
	assert_int_equal(f.throttle, 0);
}

static void test_faster_than_the_link(unused void **state)
{
	struct forecast_input in = input(60000, PAGES);
	struct forecast f, slowed;

	forecast_live(&in, &slowed);
	assert_int_equal(slowed.end, FORECAST_GOOD);
	assert_in_range(slowed.throttle, 60, ROUNDS_THROTTLE_MAX);
	in = input(1000000, 20000);
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_WRITES);
	assert_int_equal(f.throttle, ROUNDS_THROTTLE_MAX);
	assert_true(f.downtime_ns > 800 * NS_PER_MS);
}

static void test_slow_link(unused void **state)
{
	struct forecast_input in = input(100, 200);
	struct forecast f;

	in.fixed_ns = 200 * NS_PER_MS;
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_LINK);
	assert_true(f.downtime_ns >= 200 * NS_PER_MS);
}

static void test_max_total(unused void **state)
{
	struct forecast_input in = input(100, 200);
	struct forecast f;

	in.bytes_per_s = 10000000;
	in.total_ns = 2 * NS_PER_S;
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_TOTAL);
	assert_int_equal(f.rounds, 2);
	/* All at the same rate: it is as long as it would have been. */
	assert_in_range(f.total_ns, 9500 * NS_PER_MS, 10500 * NS_PER_MS);
	assert_in_range(f.downtime_ns, 7500 * NS_PER_MS, 8500 * NS_PER_MS);
	in.total_ns = 100 * NS_PER_S;
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_GOOD);
	/* Over before it has begun. */
	in.total_ns = NS_PER_MS;
	forecast_live(&in, &f);
	assert_int_equal(f.end, FORECAST_TOTAL);
}

static void test_extreme_numbers(unused void **state)
{
	static const u64 values[] = { 0, 1, 100000, 1ull << 40, ~0ull };
	struct forecast f;

	for (u32 i = 0; i < 5 * 5 * 5 * 5 * 5; i++) {
		struct forecast_input in = input(values[i % 5], values[i / 5 % 5]);

		in.pages = values[i / 125 % 5] >> 13;
		in.used_pages = MIN(values[i / 25 % 5] >> 13, in.pages);
		in.bytes_per_s = values[i / 125 % 5];
		in.total_ns = values[i / 625];
		in.state_bytes = MIB(1);
		forecast_live(&in, &f);
		assert_true(f.rounds >= 1 && f.rounds <= ROUNDS_MAX + 1);
		assert_true(f.end <= FORECAST_TOTAL);
		forecast_offline(&in, &f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_writes_2000),
		cmocka_unit_test(test_small_working_set),
		cmocka_unit_test(test_faster_than_the_link),
		cmocka_unit_test(test_slow_link),
		cmocka_unit_test(test_max_total),
		cmocka_unit_test(test_extreme_numbers),
	};

	return cmocka_run_group_tests_name("migrate_forecast", tests, NULL, NULL);
}
