/* SPDX-License-Identifier: Apache-2.0 */
/* migrate --check: the peer's answer and a forecast; nothing is reserved, nothing changes owner, the guest runs on. */
#include "migrate_bed.h"

#include "migrate/owner.h"

static struct migrate_progress progress;
static const struct migrate_options check = { .check = true };

static void start(struct vm *vm, const char *peer)
{
	char why[200] = "";
	int error = migrate_start(vm, peer, &check, why, sizeof(why));

	if (error)
		fprintf(stderr, "migrate_start: %s\n", why);
	assert_int_equal(error, 0);
}

/* To the end, coarse steps where only time is waited for. */
static enum migrate_step finish(void)
{
	for (u32 i = 0; i < 3000000; i++) {
		bed_step();
		migrate_get_progress(&progress);
		if (progress.step == MIGRATE_DONE || progress.step == MIGRATE_FAILED)
			break;
	}
	return progress.step;
}

static void assert_untouched(const struct vm *vm, u64 epoch, u64 pages)
{
	assert_ptr_equal(bed_running(), vm);
	assert_ptr_equal(vm_next(NULL), vm);
	assert_null(vm_next((struct vm *)(uintptr_t)vm));
	assert_int_equal(vm->epoch, epoch);
	assert_int_equal(vm->attempt, 0);
	assert_int_equal(vm->holds, 0);
	assert_false(vm->gmem.logging);
	assert_int_equal(vm->cap, 0);
	bed_settle();
	assert_int_equal(fake_pages_used(), pages);
	assert_int_equal(fake_pipe_open(), 0);
	assert_true(bed_memory_equal((struct vm *)(uintptr_t)vm));
}

static void test_fits(unused void **state)
{
	const struct migrate_forecast *f = &progress.forecast;
	struct vm *vm = bed_create();
	u64 pages, epoch = vm->epoch;

	/* (The first log of a guest leaves it a bitmap.) */
	assert_int_equal(vm_dirty_start(vm), 0);
	vm_dirty_stop(vm);
	pages = fake_pages_used();
	start(vm, BED_PEER);
	assert_true(migrate_busy(vm));
	assert_int_equal(finish(), MIGRATE_DONE);
	assert_true(progress.check);
	assert_false(progress.refused);
	assert_in_range(f->measured.used_pages, 90, 310);
	assert_true(f->measured.bytes_per_s > 1000000);
	/* 3 stores in 20 us, to 200 pages: at once all of them, and one that the host writes. */
	assert_int_equal(f->measured.dirty.count, FORECAST_POINTS);
	assert_in_range(f->measured.dirty.pages[1], 190, 201);
	assert_in_range(f->measured.dirty.pages[FORECAST_POINTS - 1], 200, 201);
	assert_true(f->live.rounds >= 2 && f->live.downtime_ns && f->live.total_ns >= f->live.downtime_ns);
	assert_int_equal(f->offline.rounds, 1);
	assert_untouched(vm, epoch, pages);
	/* The real one, after it. */
	vm = bed_move(vm, true);
	migrate_get_progress(&progress);
	assert_false(progress.check);
	assert_int_equal(vm->epoch, epoch + 1);
}

static void test_localhost(unused void **state)
{
	struct vm *vm = bed_create();
	u64 pages;

	assert_int_equal(vm_dirty_start(vm), 0);
	vm_dirty_stop(vm);
	pages = fake_pages_used();
	start(vm, "localhost");
	assert_int_equal(finish(), MIGRATE_DONE);
	assert_untouched(vm, 0, pages);
}

/* By name: the same words as of a real move, and the guest never stopped. */
static void test_does_not_fit(unused void **state)
{
	struct vm *vm = bed_create();
	u64 pages = fake_pages_used();

	bed_cpuid(false);
	start(vm, BED_PEER);
	assert_int_equal(finish(), MIGRATE_FAILED);
	assert_true(progress.check && progress.refused);
	assert_string_equal(progress.why, "alpha lacks avx2, which web was shown");
	assert_untouched(vm, 0, pages);
	bed_cpuid(true);
	/* What only the attempt to make it there finds out. */
	fake_pages_set_total(fake_pages_used() + MIB(14) / PAGE_SIZE);
	start(vm, BED_PEER);
	assert_int_equal(finish(), MIGRATE_FAILED);
	assert_true(progress.refused);
	assert_non_null(strstr(progress.why, "memory"));
	assert_untouched(vm, 0, pages);
}

static void test_cancel(unused void **state)
{
	struct vm *vm = bed_create();
	u64 pages;

	assert_int_equal(vm_dirty_start(vm), 0);
	vm_dirty_stop(vm);
	pages = fake_pages_used();
	/* While it connects, measures the link, looks at memory, waits. */
	for (u32 steps = 1; steps < 200000; steps = steps * 3 + 1) {
		start(vm, BED_PEER);
		for (u32 i = 0; i < steps; i++)
			bed_step();
		if (migrate_cancel())
			break;
		migrate_get_progress(&progress);
		assert_int_equal(progress.step, MIGRATE_FAILED);
		assert_string_equal(progress.why, "canceled");
		assert_untouched(vm, 0, pages);
	}
}

/* The peer, or the guest, ends meanwhile. */
static void test_ends_meanwhile(unused void **state)
{
	struct vm *vm = bed_create();

	start(vm, BED_PEER);
	fake_pipe.cut_after = fake_pipe_bytes() + 200000;
	fake_pipe.notice_ns = NS_PER_MS;
	assert_int_equal(finish(), MIGRATE_FAILED);
	assert_false(progress.refused);
	assert_ptr_equal(bed_running(), vm);
	fake_pipe_repair();
	bed_settle();
	start(vm, BED_PEER);
	bed_run(60000);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_CHECK);
	vm_want(vm, VM_WANT_SHUTDOWN);
	assert_int_equal(bed_run(1000), MIGRATE_FAILED);
	bed_settle();
	assert_null(vm_next(NULL));
}

/* A host that can't find what a guest writes can be asked, too: about offline moves. */
static void test_no_dirty_log(unused void **state)
{
	struct vm *vm;

	dirty_method = &dirty_none;
	vm = bed_create();
	dirty_method = &dirty_d_bits;
	start(vm, BED_PEER);
	assert_int_equal(finish(), MIGRATE_DONE);
	assert_int_equal(progress.forecast.live.rounds, 0);
	assert_int_equal(progress.forecast.offline.rounds, 1);
	assert_ptr_equal(bed_running(), vm);
}

/* A peer that takes a check for a move, or goes on for ever, gets nowhere. */
static void test_only_a_check(unused void **state)
{
	struct handover handover = { { 0 }, 1, 7 };
	struct vm *vm = bed_create();
	u64 pages;

	assert_int_equal(vm_dirty_start(vm), 0);
	vm_dirty_stop(vm);
	pages = fake_pages_used();
	memcpy(handover.uuid, vm->config.uuid, sizeof(handover.uuid));
	start(vm, BED_PEER);
	bed_run(20);
	/* Nothing of it can be asked for or committed later. */
	assert_false(owner_taken(&handover));
	assert_int_equal(finish(), MIGRATE_DONE);
	assert_untouched(vm, 0, pages);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_fits),
		TEST(test_localhost),
		TEST(test_does_not_fit),
		TEST(test_cancel),
		TEST(test_ends_meanwhile),
		TEST(test_no_dirty_log),
		TEST(test_only_a_check),
	};

	return cmocka_run_group_tests_name("migrate_check", tests, NULL, NULL);
}
