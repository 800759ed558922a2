/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks' conversions: after years, they are where they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/ticks.h"

#define YEAR_NS (365ull * 24 * 3600 * NS_PER_S)

static const u64 frequencies_khz[] = { 1000, 24000, 999999, 1000000, 1193182, 2400123, 2999999, 3000001, 5123457,
				       99999999 };

/* As a guest computes it (Linux, arch/x86/include/asm/pvclock.h). */
static u64 guest_ns(struct ticks_scale scale, u64 ticks)
{
	ticks = scale.shift < 0 ? ticks >> -scale.shift : ticks << scale.shift;
	return (u64)((unsigned __int128)ticks * scale.mul >> 32);
}

static void test_scale(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(frequencies_khz); i++) {
		struct ticks_scale scale = ticks_scale(frequencies_khz[i]);
		u64 second = frequencies_khz[i] * 1000;

		assert_true(scale.mul >> 31);
		assert_in_range(ticks_to_ns(scale, second), NS_PER_S - 2, NS_PER_S);
		assert_int_equal(ticks_to_ns(scale, 0), 0);
	}
}

/* The guest's clock and ours by the same ticks, in ten years. */
static void test_same_as_guest(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(frequencies_khz); i++) {
		struct ticks_scale scale = ticks_scale(frequencies_khz[i]);
		u64 ticks = ticks_from_ns(frequencies_khz[i], 10 * YEAR_NS);
		u64 ours = ticks_to_ns(scale, ticks);
		u64 theirs;

		/* What they shift out at the top, a page written anew in between saves them from. */
		if (scale.shift > 0 && ticks >> (64 - scale.shift))
			continue;
		theirs = guest_ns(scale, ticks);
		assert_in_range(theirs, ours - (scale.shift < 0 ? NS_PER_US : 1), ours);
	}
}

static void test_from_ns(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(frequencies_khz); i++) {
		u64 khz = frequencies_khz[i];

		assert_int_equal(ticks_from_ns(khz, 0), 0);
		assert_int_equal(ticks_from_ns(khz, NS_PER_S), khz * 1000);
		assert_int_equal(ticks_from_ns(khz, 1), DIV_UP(khz, NS_PER_MS));
		assert_int_equal(ticks_from_ns(khz, YEAR_NS), YEAR_NS / NS_PER_MS * khz);
	}
	assert_int_equal(ticks_from_ns(99999999, ~0ull), ~0ull);
}

/* A wait of a second, programmed in ticks, ends when our clock says so, to a few nanoseconds. */
static void test_wait(void **state)
{
	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(frequencies_khz); i++) {
		u64 khz = frequencies_khz[i];
		struct ticks_scale scale = ticks_scale(khz);
		u64 now = ticks_from_ns(khz, YEAR_NS);
		u64 deadline_ns = ticks_to_ns(scale, now) + NS_PER_S;
		u64 end = now + ticks_from_ns(khz, NS_PER_S + 2);

		assert_in_range(ticks_to_ns(scale, end), deadline_ns, deadline_ns + 4 + NS_PER_S / (khz * 1000));
	}
}

static void test_ratio(void **state)
{
	static const unsigned int bits[] = { 32, 48 };

	(void)state;
	assert_int_equal(ticks_ratio(2000000, 1000000, 48), BIT(49));
	assert_int_equal(ticks_ratio(1000000, 2000000, 32), BIT(31));
	assert_int_equal(ticks_ratio(1000, 100000000, 32), BIT(32) / 100000);
	assert_int_equal(ticks_ratio(100000000, 1000, 48), 100000 * BIT(48));
	assert_int_equal(ticks_scaled(~0ull, BIT(48), 48), ~0ull);
	assert_int_equal(ticks_scaled(BIT(62), BIT(32) / 3, 32), BIT(30) * (BIT(32) / 3));
	/* After a year the scaled clock is late by what was rounded down, never early. */
	for (u32 i = 0; i < ARRAY_SIZE(frequencies_khz); i++)
		for (u32 j = 0; j < ARRAY_SIZE(bits); j++) {
			u64 khz = frequencies_khz[i];
			u64 there = YEAR_NS / NS_PER_MS * 2400000;
			u64 right = YEAR_NS / NS_PER_MS * khz;
			u64 scaled = ticks_scaled(there, ticks_ratio(khz, 2400000, bits[j]), bits[j]);

			assert_in_range(scaled, right - (there >> bits[j]) - 1, right);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scale),
		cmocka_unit_test(test_same_as_guest),
		cmocka_unit_test(test_from_ns),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_ratio),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
