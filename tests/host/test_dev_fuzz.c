/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every device of the board under random accesses, random states and random moves: nothing crashes
 * (the sanitizers watch), a state that was saved passes its own check, and a moved guest behaves as
 * one that stayed.
 */
#include "dev_steps.h"

static u64 seed;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void test_accesses(void **state)
{
	(void)state;
	for (u64 run = 1; run <= 60; run++) {
		struct world *w;

		fake_cpu_reset();
		fake_time_set(NS_PER_S);
		seed = run * 0x9e3779b97f4a7c15;
		w = world_new();
		for (u32 i = 0; i < 3000; i++) {
			struct step s = random_step();

			run_step(w, &s);
			if (rnd() % 4 == 0)
				advance(w, rnd() % (rnd() % 16 ? 100000 : 3 * NS_PER_S));
			if (rnd() % 1000 == 0)
				board_reset(&w->vm);
		}
		world_free(w);
	}
}

/* One guest moves every few steps, the other one stays: they must never differ. */
static void test_moves(void **state)
{
	u64 printed = 0;
	u64 interrupts = 0;

	(void)state;
	for (u64 run = 1; run <= 60; run++) {
		struct world *stays;
		struct world *moves;

		fake_cpu_reset();
		fake_time_set(NS_PER_S);
		seed = run * 0xda942042e4dd58b5;
		stays = world_new();
		moves = world_new();
		for (u32 i = 0; i < 2000; i++) {
			struct step s = random_step();
			u64 ns = rnd() % (rnd() % 16 ? 100000 : NS_PER_S);
			u64 expected = run_step(stays, &s);
			u64 got = run_step(moves, &s);

			interrupts += (s.kind == 10 || s.kind == 11) && (s64)got >= 0;
			if (got != expected)
				fail_msg("run %lu step %u kind %u addr %lx: %lx, moved: %lx", run, i, s.kind,
					 s.addr, expected, got);
			assert_int_equal(stays->vm.want, moves->vm.want);
			/* As a move would do to one that stays: timers start anew. */
			if (rnd() % 16 == 0) {
				struct world *there = world_move(moves);
				u8 input[KIB(1)];

				ring_put(&there->vm.input, input, ring_get(&moves->vm.input, input, sizeof(input)));
				there->vm.want = moves->vm.want;
				world_free(moves);
				moves = there;
				devices_pause(&stays->vm);
				devices_resume(&stays->vm);
			}
			advance(stays, ns);
			advance(moves, ns);
		}
		printed += ring_used(&stays->vm.console);
		world_free(stays);
		world_free(moves);
	}
	/* It was not all for nothing. */
	assert_in_range(printed, 100, ~0ull);
	assert_in_range(interrupts, 1000, ~0ull);
}

/* States from a hostile peer: random bytes, and real states with a few bits turned. */
static void test_states(void **state)
{
	u32 taken = 0;

	(void)state;
	for (u64 run = 1; run <= 1500; run++) {
		struct world *w;
		struct device *dev;

		fake_cpu_reset();
		fake_time_set(NS_PER_S);
		seed = run * 0x2545f4914f6cdd1d;
		w = world_new();
		for (u32 i = 0; i < 40; i++) {
			struct step s = random_step();

			run_step(w, &s);
		}
		devices_pause(&w->vm);
		for (dev = w->vm.devices; dev; dev = dev->next) {
			u32 bytes = device_state_bytes(dev);
			u8 *data = malloc(bytes);

			device_save(dev, data);
			assert_int_equal(device_check(dev, data, bytes), 0);
			assert_int_equal(device_check(dev, data, bytes - 1), -E_INVAL);
			for (u32 i = 0; i < bytes && run % 3 == 0; i++)
				data[i] = (u8)rnd();
			for (u32 i = 0; i < 1 + rnd() % 4 && run % 3; i++)
				data[rnd() % bytes] ^= (u8)BIT(rnd() % 8);
			if (device_check(dev, data, bytes) == 0) {
				device_load(dev, data);
				taken++;
			}
			free(data);
		}
		devices_resume(&w->vm);
		for (u32 i = 0; i < 100; i++) {
			struct step s = random_step();

			run_step(w, &s);
			advance(w, rnd() % NS_PER_MS);
		}
		world_free(w);
	}
	assert_in_range(taken, 100, 1500 * 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accesses),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
