/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest with a balloon that moves: what it has given or reported as free is not sent, whatever it does with these
 * pages meanwhile arrives (each move compares both copies, and what the guest's memory must be), and what
 * the host has got back the peer gets.
 */
#include "migrate_bed.h"

#include "virtio_driver.h"
#include "vmm/balloon.h"

#define SIZE 16
#define CHUNK_PAGES (u32)GMEM_CHUNK_PAGES
#define CHUNKS (u32)(BED_PAGES / GMEM_CHUNK_PAGES)
/* The driver's things are in the first chunk; the program stores to pages 1000 ... 1199. */
#define FIRST (4 * CHUNK_PAGES)
enum { INFLATE, DEFLATE, STATS, REPORT_LINUX, REPORT, QUEUES };

static struct driver driver;

/* What the driver and the device have written by themselves is as it should be. */
static void sync_first_chunk(void)
{
	for (u32 page = 0; page < CHUNK_PAGES; page++)
		memcpy(bed_shadow + page * PAGE_SIZE, gmem_page(&driver.vm->gmem, page), PAGE_SIZE);
}

static struct vm *create(void)
{
	struct vm *vm = bed_create();

	/* NIC, rng, balloon. */
	driver_find(&driver, vm, 3);
	driver_start(&driver, driver_offered(&driver) & ~VIRTIO_F_EVENT_IDX, QUEUES, SIZE);
	vm_service();
	sync_first_chunk();
	return vm;
}

/* The driver goes with its guest. */
static struct vm *balloon_move(bool live)
{
	struct vm *vm = bed_move(driver.vm, live);

	driver.vm = vm;
	return vm;
}

static void serve(u32 queue)
{
	u32 id, bytes;

	ring_offer(&driver, queue, 0);
	ring_kick(&driver, queue);
	for (u32 i = 0; i < 100 && !ring_take(&driver, queue, &id, &bytes); i++)
		vm_service();
	vm_service();
	sync_first_chunk();
}

/* Between the two, the device has them: what is in them is nothing. */
static void report(u32 first, u32 count)
{
	ring_descriptor(&driver, REPORT, 0, (u64)first * PAGE_SIZE, count * (u32)PAGE_SIZE, D_WRITE, 0);
	serve(REPORT);
	memset(bed_shadow + (u64)first * PAGE_SIZE, 0, (u64)count * PAGE_SIZE);
}

static void give(u32 queue, u32 first, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		u32 number = first + i;

		guest_write(driver.vm, BUFFER_BASE + i * sizeof(number), &number, sizeof(number));
	}
	ring_descriptor(&driver, queue, 0, BUFFER_BASE, count * (u32)sizeof(u32), 0, 0);
	serve(queue);
	if (queue == INFLATE)
		memset(bed_shadow + (u64)first * PAGE_SIZE, 0, (u64)count * PAGE_SIZE);
}

static void fill(u32 first, u32 count)
{
	for (u32 page = first; page < first + count; page++)
		for (u32 i = 0; i < 512; i += 8)
			bed_store(driver.vm, page, i * 8, random_u64() | 1);
}

static struct migrate_progress progress_now(void)
{
	struct migrate_progress progress;

	migrate_get_progress(&progress);
	return progress;
}

static void test_reported(unused void **state)
{
	struct migrate_progress progress;

	create();
	bed_stores_per_step = 0;
	for (u32 i = 0; i < 2; i++) {
		u64 full;

		fill(FIRST, 3 * CHUNK_PAGES);
		balloon_move(i);
		full = progress_now().bytes_sent;
		assert_true(full > 3 * LARGE_SIZE);
		report(FIRST, 2 * CHUNK_PAGES);
		balloon_move(i);
		progress = progress_now();
		assert_true(progress.bytes_sent < full - 2 * LARGE_SIZE + KIB(64));
		assert_true(progress.pages_zero >= 2 * CHUNK_PAGES);
		/* Used again, all of it. */
		fill(FIRST, CHUNK_PAGES);
		balloon_move(i);
		assert_true(progress_now().bytes_sent > full - LARGE_SIZE - KIB(64));
	}
}

/*
 * Reports, and stores to what was reported, at any moment of a move: before the rounds, between collecting and sending,
 * after the page went. The comparison at the end is of every byte.
 */
static void test_reported_meanwhile(unused void **state)
{
	u64 reports = 0;

	create();
	for (u32 round = 0; round < 12; round++) {
		struct migrate_progress progress;
		u32 steps = 0;

		bed_stores_per_step = 2;
		fill(FIRST, 2 * CHUNK_PAGES);
		fake_pipe.put_max = 20000 + (u32)(random_u64() % 30000);
		bed_start(driver.vm, true);
		do {
			u32 first = FIRST + (u32)(random_u64() % (2 * CHUNK_PAGES - 64));

			if (bed_runs(driver.vm) && random_u64() % 4 == 0) {
				report(first, 1 + (u32)(random_u64() % 64));
				reports++;
			}
			for (u32 i = 0; bed_runs(driver.vm) && i < 2 && steps < 400; i++)
				bed_store(driver.vm, first + (u32)(random_u64() % 64), 8, random_u64() % 3);
			bed_run(1);
			progress = progress_now();
		} while (++steps < 100000 && progress.step != MIGRATE_DONE && progress.step != MIGRATE_FAILED);
		if (progress.step != MIGRATE_DONE)
			fprintf(stderr, "step %d: %s\n", progress.step, progress.why);
		assert_int_equal(progress.step, MIGRATE_DONE);
		driver.vm = bed_running();
		assert_non_null(driver.vm);
		assert_true(bed_memory_equal(driver.vm));
	}
	assert_true(reports > 100);
	fake_pipe.put_max = ~0u;
}

static void test_given_back(unused void **state)
{
	struct vm *vm = create();
	u64 used = fake_pages_used();

	fill(FIRST, 3 * CHUNK_PAGES);
	give(INFLATE, FIRST, 2 * CHUNK_PAGES);
	assert_int_equal(vm->gmem.given_back, 2);
	assert_int_equal(fake_pages_used(), used - 2 * CHUNK_PAGES);
	for (u32 i = 0; i < 4; i++) {
		vm = balloon_move(i % 2);
		assert_true(progress_now().bytes_sent < 5 * MIB(1));
		bed_settle();
		assert_int_equal(vm->gmem.given_back, 2);
		assert_in_range(fake_pages_used(), used - 2 * CHUNK_PAGES, used - 2 * CHUNK_PAGES + 1);
	}
	give(DEFLATE, FIRST, 2 * CHUNK_PAGES);
	assert_int_equal(vm->gmem.given_back, 0);
	fill(FIRST, 2 * CHUNK_PAGES);
	vm = balloon_move(true);
	assert_int_equal(vm->gmem.given_back, 0);
}

/* In the middle of a move: it stays where it is until the move is over, here or there, and comes again at any moment. */
static void test_given_meanwhile(unused void **state)
{
	for (u32 fails = 0; fails < 2; fails++) {
		struct vm *vm = create();

		give(INFLATE, FIRST + CHUNK_PAGES, CHUNK_PAGES);
		assert_int_equal(vm->gmem.given_back, 1);
		fill(FIRST, CHUNK_PAGES);
		assert_int_equal(fault_set("send.final", FAULT_FOREVER), 0);
		bed_start(vm, true);
		bed_run(300);
		assert_true(vm->gmem.logging);
		give(INFLATE, FIRST, CHUNK_PAGES);
		assert_int_equal(vm->gmem.given_back, 1);
		bed_run(50);
		/* What was given back before the move is used while its writes are looked for. */
		give(DEFLATE, FIRST + CHUNK_PAGES, CHUNK_PAGES);
		assert_int_equal(vm->gmem.given_back, 0);
		fill(FIRST + CHUNK_PAGES, CHUNK_PAGES);
		bed_run(100);
		fill(FIRST + CHUNK_PAGES, 100);
		if (fails)
			assert_int_equal(migrate_cancel(), 0);
		fault_clear_all();
		assert_int_equal(bed_run(200000), fails ? MIGRATE_FAILED : MIGRATE_DONE);
		bed_settle();
		vm = bed_running();
		assert_non_null(vm);
		assert_true(bed_memory_equal(vm));
		assert_int_equal(vm->gmem.given_back, 1);
		driver.vm = vm;
		give(DEFLATE, FIRST, CHUNK_PAGES);
		balloon_move(true);
		vm_destroy(driver.vm);
	}
}

/* A peer without room for all of its memory refuses it, though some is given back: it comes back only there. */
static void test_no_room(unused void **state)
{
	struct vm *vm = create();
	char why[200] = "";
	struct migrate_options options = { .live = true };

	give(INFLATE, FIRST, 2 * CHUNK_PAGES);
	fake_pages_set_total(fake_pages_used() + BED_PAGES - 10);
	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), 0);
	assert_int_equal(bed_run(10000), MIGRATE_FAILED);
	assert_non_null(strstr(progress_now().why, "of memory free"));
	assert_ptr_equal(bed_running(), vm);
	fake_pages_set_total(GIB(1) / PAGE_SIZE);
	bed_settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reported, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_reported_meanwhile, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_given_back, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_given_meanwhile, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_no_room, bed_set_up, bed_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
