/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link breaks after each byte of a move, at random for what is long and alike and at every
 * single one where the hand-over happens. Never two owners, the guest unharmed, nothing leaked,
 * and the next try works.
 */
#include "migrate_bed.h"

static u64 used_at_rest;
/* How the doubts were resolved. */
static u32 came_back, was_taken;

/* The link is cut after `bytes`. Returns false if the move was over before. */
static bool cut_at(u64 bytes, bool live, bool lose_in_flight)
{
	struct vm *before = bed_running();
	u32 id = before->id;
	enum migrate_step step;
	bool doubt;

	fake_pipe_restart_count();
	fake_pipe.cut_after = bytes;
	fake_pipe.notice_ns = 100 * NS_PER_US;
	fake_pipe.lose_in_flight = lose_in_flight;
	bed_start(before, live);
	step = bed_run(200000);
	/* Until both sides have noticed, and on: asking is in vain while the link is down. */
	fake_pipe.link_down = true;
	fake_time_advance(NS_PER_S);
	for (u32 i = 0; i < 20; i++)
		bed_step();
	fake_time_advance(15 * NS_PER_S);
	for (u32 i = 0; i < 20; i++)
		bed_step();
	doubt = vm_next(NULL)->id == id && vm_next(NULL)->paused & VM_PAUSE_OWNER;
	fake_pipe_repair();
	bed_settle();
	assert_int_equal(fake_pipe_open(), 0);
	assert_non_null(bed_running());
	came_back += doubt && bed_running()->id == id;
	was_taken += doubt && bed_running()->id != id;
	assert_null(vm_next(vm_next(NULL)));
	assert_true(bed_memory_equal(bed_running()));
	if (step == MIGRATE_DONE)
		assert_true(bed_running()->id != id);
	if (bed_running()->id == id)
		assert_int_equal(fake_pages_used(), used_at_rest);
	return step != MIGRATE_DONE || bytes < fake_pipe_bytes();
}

/* A guest whose log has been on, so that its tables are as after every other try. */
static struct vm *settled_guest(void)
{
	struct vm *vm;

	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
	vm = bed_create();
	bed_stores_per_step = 1;
	bed_working_set = 20;
	bed_start(vm, true);
	while (vm->gmem.logging == false)
		bed_step();
	assert_int_equal(migrate_cancel(), 0);
	bed_settle();
	used_at_rest = fake_pages_used();
	return vm;
}

static u64 whole_move(bool live)
{
	settled_guest();
	fake_pipe_restart_count();
	bed_move(bed_running(), live);
	return fake_pipe_bytes();
}

static void cut_from_to(u64 from, u64 to, u64 stride, bool live, bool lose)
{
	for (u64 at = from; at < to; at += 1 + (stride > 1 ? random_u64() % (2 * stride - 1) : 0)) {
		u32 id = bed_running()->id;

		cut_at(at, live, lose);
		/* It moved (the hand-over was complete): from here on its successor. */
		if (bed_running()->id != id)
			settled_guest();
	}
}

static void test_cut_hello(unused void **state)
{
	settled_guest();
	cut_from_to(0, 3000, 10, true, false);
}

static void test_cut_memory(unused void **state)
{
	u64 bytes = whole_move(true);

	settled_guest();
	cut_from_to(3000, bytes - 400, bytes / 120, true, false);
}

static void test_cut_memory_offline(unused void **state)
{
	u64 bytes = whole_move(false);

	settled_guest();
	cut_from_to(3000, bytes - 400, bytes / 60, false, true);
}

/* END, PREPARED, COMMIT, RUNNING: every byte. */
static void test_cut_hand_over(unused void **state)
{
	u64 bytes;

	bed_stores_per_step = 0;
	settled_guest();
	bed_stores_per_step = 0;
	bytes = 0;
	fake_pipe_restart_count();
	bed_move(bed_running(), false);
	bytes = fake_pipe_bytes();
	settled_guest();
	bed_stores_per_step = 0;
	came_back = 0;
	was_taken = 0;
	cut_from_to(bytes - 32 - 16 - 32 - 24 - 8, bytes + 1, 1, false, false);
	/* Both ends of a doubt were seen: a part of COMMIT arrived, and COMMIT arrived but RUNNING did not. */
	assert_true(came_back >= 20);
	assert_true(was_taken >= 20);
}

static void test_cut_hand_over_losing(unused void **state)
{
	u64 bytes;

	settled_guest();
	bed_stores_per_step = 0;
	fake_pipe_restart_count();
	bed_move(bed_running(), false);
	bytes = fake_pipe_bytes();
	settled_guest();
	bed_stores_per_step = 0;
	cut_from_to(bytes - 32 - 16 - 32 - 24 - 8, bytes + 1, 1, false, true);
}

static void test_retry_works(unused void **state)
{
	settled_guest();
	for (u32 i = 0; i < 10; i++)
		cut_at(random_u64() % 100000, true, i & 1);
	bed_move(bed_running(), true);
}

/* Memory runs out on the way in, at every allocation. */
static void test_no_memory(unused void **state)
{
	struct migrate_progress progress;

	settled_guest();
	for (u64 calls = 0;; calls++) {
		struct migrate_options options = { .live = true };
		struct vm *vm = bed_running();
		enum migrate_step step;
		char why[200];
		int error;

		fake_pages_fail_after(calls);
		error = migrate_start(vm, BED_PEER, &options, why, sizeof(why));
		step = error ? MIGRATE_FAILED : bed_run(200000);
		fake_pages_fail_after(~0ull);
		if (step == MIGRATE_DONE)
			break;
		migrate_get_progress(&progress);
		assert_true(error || progress.why[0]);
		bed_settle();
		assert_ptr_equal(bed_running(), vm);
		assert_int_equal(fake_pipe_open(), 0);
		assert_int_equal(fake_pages_used(), used_at_rest);
		assert_true(calls < 2000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cut_hello, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cut_memory, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cut_memory_offline, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cut_hand_over, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cut_hand_over_losing, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_retry_works, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, bed_set_up, bed_tear_down),
	};

	/* Thousands of guests arrive. */
	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	return cmocka_run_group_tests_name("migrate_cut", tests, NULL, NULL);
}
