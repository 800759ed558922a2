/* SPDX-License-Identifier: Apache-2.0 */
/* What a move may take: bandwidth, time, the guest's speed; how it ends at each limit; that nothing of it stays. */
#include "migrate_bed.h"

#include "migrate/limits.h"
#include "migrate/rounds.h"

/* --- the bucket ------------------------------------------------------------------------------- */

/* A sender that puts record bytes whenever it may, asking every poll_ns, or sleeping until it may; bytes a second. */
static u64 rate_of(u32 mb_s, u64 record, u64 poll_ns, bool sleeps)
{
	struct migrate_options options = { .bandwidth_mb_s = mb_s };
	u64 begin = 77 * NS_PER_S;
	u64 now = begin;
	u64 sent = 0;
	struct limits limits;

	limits_init(&limits, &options, now);
	while (now < begin + 20 * NS_PER_S) {
		u64 at = limits_send_at(&limits, now, sent);

		assert_true(at == 0 || at > now);
		if (at == 0)
			sent += record;
		/* Never more than asked for, but for one burst and one record. */
		assert_true(sent <= (now - begin) / NS_PER_US * mb_s + MAX(mb_s * 20000ull, 65536) + record);
		now += at && sleeps ? at - now : poll_ns;
	}
	return sent / 20;
}

static void test_bandwidth_bucket(unused void **state)
{
	static const u64 records[] = { 100, 4120, KIB(384) };

	for (u32 i = 0; i < ARRAY_SIZE(records); i++) {
		assert_in_range(rate_of(1, records[i], 10 * NS_PER_US, false), 900000, 1050000);
		assert_in_range(rate_of(30, MAX(records[i], 4120), 20 * NS_PER_US, false), 28000000, 30500000);
		assert_in_range(rate_of(8, MAX(records[i], 4120), 10 * NS_PER_US, true), 7000000, 8500000);
	}
	assert_in_range(rate_of(MIGRATE_BANDWIDTH_MAX, KIB(384), NS_PER_US * 30, false), 9900000000, 10100000000);
}

static void test_no_bandwidth_limit(unused void **state)
{
	struct migrate_options options = { 0 };
	struct limits limits;

	limits_init(&limits, &options, 5);
	assert_int_equal(limits_send_at(&limits, 6, ~0ull), 0);
	assert_false(limits_over(&limits, 0, ~0ull));
	assert_int_equal(limits.max_downtime_ns, 50 * NS_PER_MS);
}

/* --- moves ------------------------------------------------------------------------------------ */

static struct migrate_progress progress;

static enum migrate_step move_with(struct vm *vm, const struct migrate_options *options)
{
	enum migrate_step step;
	char why[200] = "";
	int error = migrate_start(vm, BED_PEER, options, why, sizeof(why));

	if (error)
		fprintf(stderr, "migrate_start: %s\n", why);
	assert_int_equal(error, 0);
	step = bed_run(2000000);
	migrate_get_progress(&progress);
	return step;
}

/* The guest stayed, is whole and as fast as before, and the next move works. */
static void assert_stayed(struct vm *vm, const char *why)
{
	if (!strstr(progress.why, why))
		fprintf(stderr, "why: %s\n", progress.why);
	assert_non_null(strstr(progress.why, why));
	assert_ptr_equal(bed_running(), vm);
	assert_int_equal(vm->cap, 0);
	assert_false(vm->gmem.logging);
	bed_settle();
	bed_stores_per_step = 3;
	bed_move(vm, true);
}

static void test_bandwidth_is_kept(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 2 };
	struct vm *vm = bed_create();
	u64 before = fake_pipe_bytes();

	bed_stores_per_step = 0;
	assert_int_equal(move_with(vm, &options), MIGRATE_DONE);
	assert_true(progress.bytes_sent > 300000);
	/* 2 bytes a microsecond, but for a burst and a record. */
	assert_true(progress.total_ns / NS_PER_US * 2 + 65536 + 64 * 4120 >= fake_pipe_bytes() - before);
	assert_null(progress.forced);
	/* The same offline: there all of the copying is in the pause. */
	bed_settle();
	options.live = false;
	before = fake_pipe_bytes();
	assert_int_equal(move_with(bed_running(), &options), MIGRATE_DONE);
	assert_true(progress.total_ns / NS_PER_US * 2 + 65536 + 64 * 4120 >= fake_pipe_bytes() - before);
}

static void test_no_limit_is_faster(unused void **state)
{
	struct migrate_options options = { .live = true };

	bed_create();
	bed_stores_per_step = 0;
	assert_int_equal(move_with(bed_running(), &options), MIGRATE_DONE);
	assert_true(progress.total_ns / NS_PER_US * 2 + 65536 + 64 * 4120 < progress.bytes_sent);
}

/* 200 pages written all the time, over 2 MB/s: throttled step by step, and then by policy. */
static void test_cannot_converge_stop(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 2 };
	struct vm *vm = bed_create();

	assert_int_equal(move_with(vm, &options), MIGRATE_DONE);
	assert_int_equal(progress.throttled, ROUNDS_THROTTLE_MAX);
	assert_string_equal(progress.forced, "it wrote too fast");
	assert_true(progress.round <= ROUNDS_MAX);
	assert_true(bed_memory_equal(bed_running()));
	assert_int_equal(bed_running()->cap, 0);
}

static void test_cannot_converge_cancel(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 2, .cancel_on_timeout = true };
	struct vm *vm = bed_create();

	assert_int_equal(move_with(vm, &options), MIGRATE_FAILED);
	assert_int_equal(progress.throttled, ROUNDS_THROTTLE_MAX);
	assert_stayed(vm, "it writes too fast: the pause would take about");
}

/* The link's delay alone is more than was asked for: nothing to throttle, and cancel means what it says. */
static void test_slow_link_cancel(unused void **state)
{
	struct migrate_options options = { .live = true, .max_downtime_ms = 1, .cancel_on_timeout = true };
	struct vm *vm = bed_create();

	assert_int_equal(move_with(vm, &options), MIGRATE_FAILED);
	assert_int_equal(progress.throttled, 0);
	assert_stayed(vm, "whatever is copied");
}

/* Slowed down, it writes little enough. (The bed's guest stores as its cap lets it.) */
static void test_throttling_helps(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 20, .max_downtime_ms = 60 };
	struct vm *vm = bed_create();

	/* 6,000 pages a second, hardly one of them twice: the link carries 4,900. */
	bed_stores_per_s = 6000;
	bed_working_set = 2900;
	assert_int_equal(move_with(vm, &options), MIGRATE_DONE);
	assert_in_range(progress.throttled, ROUNDS_THROTTLE_STEP, ROUNDS_THROTTLE_MAX);
	assert_null(progress.forced);
	assert_true(progress.downtime_ns <= 60 * NS_PER_MS);
	assert_true(bed_memory_equal(bed_running()));
	assert_int_equal(bed_running()->cap, 0);
}

static void test_total_stop(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 1, .max_total_s = 1 };
	struct vm *vm = bed_create();

	for (u64 page = 2000; page < 3000; page++)
		bed_store(vm, page, 8, random_u64());
	bed_stores_per_step = 1;
	assert_int_equal(move_with(vm, &options), MIGRATE_DONE);
	assert_string_equal(progress.forced, "--max-total was over");
	assert_true(progress.total_ns >= NS_PER_S && progress.total_ns < 3 * NS_PER_S);
	assert_true(bed_memory_equal(bed_running()));
}

/* In the middle of a record that the pipe has no room for: it is sent to its end before the state. */
static void test_total_stop_anywhere(unused void **state)
{
	struct migrate_options options = { .live = true, .max_total_s = 1 };

	bed_create();
	for (u32 turn = 0; turn < 12; turn++) {
		fake_pipe.ring_bytes = 4096;
		fake_pipe.put_max = 500 + 37 * turn;
		fake_pipe.delay_ns = 40 * NS_PER_MS + turn * NS_PER_US * 333;
		assert_int_equal(move_with(bed_running(), &options), MIGRATE_DONE);
		assert_string_equal(progress.forced, "--max-total was over");
		assert_true(bed_memory_equal(bed_running()));
		bed_settle();
	}
}

static void test_total_cancel(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 1, .max_total_s = 1, .cancel_on_timeout = true };
	struct vm *vm = bed_create();

	for (u64 page = 2000; page < 3000; page++)
		bed_store(vm, page, 8, random_u64());
	assert_int_equal(move_with(vm, &options), MIGRATE_FAILED);
	assert_true(progress.total_ns >= NS_PER_S && progress.total_ns < 2 * NS_PER_S);
	assert_stayed(vm, "longer than the 1 s of --max-total");
}

/* Offline, and in whatever state the peer keeps it waiting; but not once the hand-over is committed. */
static void test_total_cancel_everywhere(unused void **state)
{
	static const char *const points[] = { "send.connect", "recv.hello", "send.rounds", "recv.memory", "send.end",
					      "send.commit" };
	struct vm *vm = bed_create();

	for (u32 i = 0; i < 2 * ARRAY_SIZE(points); i++) {
		struct migrate_options options = { .live = i % 2, .max_total_s = 2, .cancel_on_timeout = true };

		if (!options.live && i / 2 == 2)
			continue; /* send.rounds */
		assert_int_equal(fault_set(points[i / 2], FAULT_FOREVER), 0);
		assert_int_equal(move_with(vm, &options), MIGRATE_FAILED);
		fault_clear_all();
		assert_stayed(vm, "--max-total");
		vm = bed_running();
	}
	assert_int_equal(fault_set("recv.commit", FAULT_FOREVER), 0);
	assert_int_equal(move_with(vm, &(struct migrate_options){ .live = true, .max_total_s = 2, .cancel_on_timeout = true }),
			 MIGRATE_FAILED);
	fault_clear_all();
	assert_non_null(strstr(progress.why, "does not answer"));
	bed_settle();
}

/* --- cancel ----------------------------------------------------------------------------------- */

static void test_cancel_while_throttled(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 2 };
	struct vm *vm = bed_create();
	char why[200];

	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), 0);
	for (u32 i = 0; i < 1000000 && !vm->cap; i++)
		bed_step();
	assert_int_equal(vm->cap, 100 - ROUNDS_THROTTLE_STEP);
	migrate_get_progress(&progress);
	assert_int_equal(progress.throttled, ROUNDS_THROTTLE_STEP);
	assert_int_equal(migrate_cancel(), 0);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_FAILED);
	assert_stayed(vm, "canceled");
}

/* While nothing may be sent: the host sleeps until it may, and a cancel is done when it returns. */
static void test_cancel_while_waiting(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 1 };
	struct vm *vm = bed_create();
	char why[200];

	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), 0);
	for (u32 i = 0; i < 2000; i++)
		bed_step();
	migrate_poll();
	assert_true(migrate_next_deadline() > time_ns() && migrate_next_deadline() < time_ns() + NS_PER_S);
	assert_int_equal(migrate_cancel(), 0);
	migrate_get_progress(&progress);
	assert_stayed(vm, "canceled");
}

/* The peer is gone while the guest is throttled: it is as fast as before. */
static void test_cut_while_throttled(unused void **state)
{
	struct migrate_options options = { .live = true, .bandwidth_mb_s = 2 };
	struct vm *vm = bed_create();

	fake_pipe.cut_after = 3000000;
	fake_pipe.notice_ns = 10 * NS_PER_MS;
	assert_int_equal(move_with(vm, &options), MIGRATE_FAILED);
	assert_true(progress.throttled > 0);
	fake_pipe_repair();
	assert_stayed(vm, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_bandwidth_bucket),
		TEST(test_no_bandwidth_limit),
		TEST(test_bandwidth_is_kept),
		TEST(test_no_limit_is_faster),
		TEST(test_cannot_converge_stop),
		TEST(test_cannot_converge_cancel),
		TEST(test_slow_link_cancel),
		TEST(test_throttling_helps),
		TEST(test_total_stop),
		TEST(test_total_stop_anywhere),
		TEST(test_total_cancel),
		TEST(test_total_cancel_everywhere),
		TEST(test_cancel_while_throttled),
		TEST(test_cancel_while_waiting),
		TEST(test_cut_while_throttled),
	};

	return cmocka_run_group_tests_name("migrate_limits", tests, NULL, NULL);
}
