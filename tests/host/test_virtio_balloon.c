/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's balloon: pages that come and go, memory that the host gets and gives again, reports of free
 * pages, statistics; drivers that do what makes no sense; and its state on a move.
 */
#include "virtio_bed.h"

#include "devices/virtio_balloon.h"
#include "lib/bitmap.h"
#include "vmm/balloon.h"

#define SLOT 1
#define SIZE 16
#define FEATURES                                                                                                \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | BALLOON_F_MUST_TELL_HOST | BALLOON_F_STATS_VQ |          \
	 BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_PAGE_REPORTING)
#define CHUNK_PAGES (u32)GMEM_CHUNK_PAGES
#define LIST BUFFER_BASE         /* numbers of pages, for the driver */
#define CHUNK 1                  /* the one with nothing of the driver's in it */
#define FIRST (CHUNK * CHUNK_PAGES)
enum { INFLATE, DEFLATE, STATS, REPORT_LINUX, REPORT, QUEUES };

static struct vm *vm;
static struct driver driver;

static struct vm *balloon_vm(const char *name)
{
	struct vm *guest = bed_vm(name);

	guest->config.memory_mib = BED_MEMORY / MIB(1);
	assert_int_equal(virtio_balloon_create(guest), 0);
	return guest;
}

static int setup(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	fake_cpu_reset();
	fake_time_set(NS_PER_S);
	vm = balloon_vm("web");
	driver_find(&driver, vm, SLOT);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_pages_fail_after(~0ull);
	bed_vm_fini(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void start(void)
{
	driver_start(&driver, FEATURES, QUEUES, SIZE);
	driver_msix(&driver, QUEUES + 1);
	bed_service(vm);
}

/* One step of the service CPU, and no more. */
static bool step(void)
{
	bool more = false;

	vm->doorbell = 0;
	spin_lock(&vm->lock);
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		more |= dev->ops->service && !dev->paused && dev->ops->service(dev);
	spin_unlock(&vm->lock);
	return more;
}

static void write_list(u32 first, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		u32 number = first + i;

		guest_write(vm, LIST + i * sizeof(number), &number, sizeof(number));
	}
}

static void offer_list(u32 queue, u32 first, u32 count)
{
	write_list(first, count);
	ring_descriptor(&driver, queue, 0, LIST, count * (u32)sizeof(u32), 0, 0);
	ring_offer(&driver, queue, 0);
	ring_kick(&driver, queue);
}

static bool taken(u32 queue)
{
	u32 id, bytes;

	return ring_take(&driver, queue, &id, &bytes);
}

static void give(u32 queue, u32 first, u32 count)
{
	offer_list(queue, first, count);
	bed_service(vm);
	assert_true(taken(queue));
}

static void fill(u32 first, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		u64 value = 0x1234567800000000ull + first + i;

		guest_write(vm, (u64)(first + i) * PAGE_SIZE + 8 * (i % 500), &value, sizeof(value));
	}
}

static struct balloon_info info_of(struct vm *guest)
{
	struct balloon_info info;

	balloon_info(guest, &info);
	return info;
}

/* --- */

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(ecam_read(vm, SLOT, 0, 4), 0x10451af4);
	assert_int_equal(driver_offered(&driver), FEATURES | VIRTIO_F_EVENT_IDX);
	assert_false(info_of(vm).driver);
	start();
	assert_true(info_of(vm).driver);
	assert_int_equal(mmio_read(&driver, driver.device, 4), 0);
	/* The host's wish comes with an interrupt. */
	vm->config.balloon_mib = 2;
	bed.msis = 0;
	balloon_changed(vm);
	assert_int_equal(bed.msis, 1);
	assert_int_equal(mmio_read(&driver, driver.device, 4), 512);
	/* Only what the driver has to say is written. */
	mmio_write(&driver, driver.device, 4, 7);
	mmio_write(&driver, driver.device + 4, 2, 7);
	mmio_write(&driver, driver.device + 8, 4, 7);
	assert_int_equal(mmio_read(&driver, driver.device, 4), 512);
	assert_int_equal(mmio_read(&driver, driver.device + 4, 4), 0);
	mmio_write(&driver, driver.device + 4, 4, 0xfffffff0);
	assert_int_equal(mmio_read(&driver, driver.device + 4, 4), 0xfffffff0);
	assert_int_equal(info_of(vm).balloon_bytes, 0xfffffff0ull << 12);
	/* A reset of the driver's changes nothing of the wish. */
	driver_set_status(&driver, 0);
	assert_int_equal(mmio_read(&driver, driver.device, 4), 512);
	assert_int_equal(mmio_read(&driver, driver.device + 4, 4), 0);
}

static void test_whole_chunk(void **state)
{
	u64 used = fake_pages_used();

	(void)state;
	start();
	fill(FIRST, CHUNK_PAGES);
	give(INFLATE, FIRST, CHUNK_PAGES - 1);
	assert_int_equal(info_of(vm).given_back_bytes, 0);
	assert_true(gmem_page_is_zero(&vm->gmem, FIRST));
	assert_false(gmem_page_is_zero(&vm->gmem, FIRST + CHUNK_PAGES - 1));
	/* The same ones again are nothing new. */
	give(INFLATE, FIRST, 10);
	give(INFLATE, FIRST + CHUNK_PAGES - 1, 1);
	assert_int_equal(info_of(vm).given_back_bytes, LARGE_SIZE);
	assert_int_equal(fake_pages_used(), used);
	gmem_reap(&vm->gmem);
	assert_int_equal(fake_pages_used(), used - CHUNK_PAGES);
	for (u32 i = 0; i < CHUNK_PAGES; i++)
		assert_true(gmem_page_is_zero(&vm->gmem, FIRST + i));
	/* One page back, and the chunk is there; the others are still in the balloon. */
	give(DEFLATE, FIRST + 5, 1);
	assert_int_equal(info_of(vm).given_back_bytes, 0);
	assert_int_equal(fake_pages_used(), used);
	give(DEFLATE, FIRST + 5, 1);
	give(INFLATE, FIRST + 5, 1);
	assert_int_equal(info_of(vm).given_back_bytes, LARGE_SIZE);
	/* It did not even go. */
	give(DEFLATE, FIRST, CHUNK_PAGES);
	assert_int_equal(fake_pages_used(), used);
	assert_int_equal(vm->gmem.leaving_count, 0);
}

/* A driver that does not promise to say so before it uses a page keeps all of them. */
static void test_tells_later(void **state)
{
	(void)state;
	driver_start(&driver, FEATURES & ~BALLOON_F_MUST_TELL_HOST, QUEUES, SIZE);
	fill(FIRST, 7);
	give(INFLATE, FIRST, CHUNK_PAGES);
	assert_int_equal(vm->gmem.given_back, 0);
	assert_true(gmem_page_is_zero(&vm->gmem, FIRST));
}

static void test_no_room(void **state)
{
	(void)state;
	start();
	give(INFLATE, FIRST, CHUNK_PAGES);
	gmem_reap(&vm->gmem);
	fake_pages_fail_after(0);
	offer_list(DEFLATE, FIRST, 3);
	bed_service(vm);
	assert_false(taken(DEFLATE));
	assert_true(info_of(vm).waits);
	/* It waits without keeping anybody busy, and can be saved meanwhile: nothing is in flight. */
	assert_false(step());
	assert_false(taken(DEFLATE));
	assert_int_equal(vm->gmem.given_back, 1);
	/* The other queues go on. */
	give(INFLATE, 100, 2);
	fake_pages_fail_after(~0ull);
	vm_doorbell(vm);
	bed_service(vm);
	assert_true(taken(DEFLATE));
	assert_false(info_of(vm).waits);
	assert_int_equal(vm->gmem.given_back, 0);
}

/* While a migration looks, memory stays: as zeros, and marked. */
static void test_dirty_log(void **state)
{
	static u64 dirty[BITMAP_WORDS(BED_MEMORY / PAGE_SIZE)];

	(void)state;
	start();
	fill(FIRST, 7);
	assert_int_equal(gmem_log_start(&vm->gmem), 0);
	gmem_log_clear(&vm->gmem);
	memset(dirty, 0, sizeof(dirty));
	give(INFLATE, FIRST, CHUNK_PAGES);
	assert_int_equal(vm->gmem.given_back, 0);
	gmem_log_collect(&vm->gmem, dirty);
	for (u32 i = 0; i < CHUNK_PAGES; i++) {
		assert_int_equal(bitmap_test(dirty, FIRST + i), i < 7);
		assert_true(gmem_page_is_zero(&vm->gmem, FIRST + i));
	}
	gmem_log_stop(&vm->gmem);
	npt_reap(&vm->gmem.npt);
	vm_doorbell(vm);
	bed_service(vm);
	assert_int_equal(vm->gmem.given_back, 1);
	/* A page that comes again in the meantime keeps its chunk. */
	give(DEFLATE, FIRST, 1);
	assert_int_equal(gmem_log_start(&vm->gmem), 0);
	give(INFLATE, FIRST, 1);
	give(DEFLATE, FIRST + 9, 1);
	gmem_log_stop(&vm->gmem);
	npt_reap(&vm->gmem.npt);
	vm_doorbell(vm);
	bed_service(vm);
	assert_int_equal(vm->gmem.given_back, 0);
}

static void test_reports(void **state)
{
	static u64 dirty[BITMAP_WORDS(BED_MEMORY / PAGE_SIZE)];

	(void)state;
	start();
	for (u32 queue = REPORT_LINUX; queue <= REPORT; queue++) {
		u32 steps = 0;

		fill(FIRST, CHUNK_PAGES);
		/* Two buffers; the second one has no whole pages at its ends. */
		ring_descriptor(&driver, queue, 0, FIRST * PAGE_SIZE, 300 * PAGE_SIZE, D_WRITE | D_NEXT, 1);
		ring_descriptor(&driver, queue, 1, (FIRST + 301) * PAGE_SIZE + 8, 10 * PAGE_SIZE, D_WRITE | D_NEXT, 2);
		ring_descriptor(&driver, queue, 2, (FIRST + 400) * PAGE_SIZE + 8, 16, D_WRITE, 0);
		ring_offer(&driver, queue, 0);
		ring_kick(&driver, queue);
		while (step()) {
			steps++;
			assert_true(steps < 10);
		}
		assert_true(steps >= 1);
		assert_true(taken(queue));
		for (u32 i = 0; i < CHUNK_PAGES; i++)
			assert_int_equal(gmem_page_is_zero(&vm->gmem, FIRST + i), i < 300 || (i >= 302 && i < 311));
	}
	/* Zeros are not made again: they would be sent again. */
	assert_int_equal(gmem_log_start(&vm->gmem), 0);
	gmem_log_clear(&vm->gmem);
	memset(dirty, 0, sizeof(dirty));
	ring_descriptor(&driver, REPORT, 0, FIRST * PAGE_SIZE, 301 * PAGE_SIZE, D_WRITE, 0);
	ring_offer(&driver, REPORT, 0);
	ring_kick(&driver, REPORT);
	bed_service(vm);
	assert_true(taken(REPORT));
	gmem_log_collect(&vm->gmem, dirty);
	for (u32 i = 0; i < CHUNK_PAGES; i++)
		assert_int_equal(bitmap_test(dirty, FIRST + i), i == 300);
	assert_int_equal(vm->gmem.given_back, 0);
	gmem_log_stop(&vm->gmem);
	npt_reap(&vm->gmem.npt);
}

static void write_stat(u32 index, u16 tag, u64 value)
{
	guest_write(vm, LIST + 10 * index, &tag, 2);
	guest_write(vm, LIST + 10 * index + 2, &value, 8);
}

static void offer_stats(u32 count)
{
	ring_descriptor(&driver, STATS, 0, LIST, 10 * count, 0, 0);
	ring_offer(&driver, STATS, 0);
	ring_kick(&driver, STATS);
	bed_service(vm);
}

static void test_stats(void **state)
{
	struct balloon_info info;

	(void)state;
	start();
	assert_int_equal(info_of(vm).told_ns, 0);
	balloon_ask(vm);
	bed_service(vm);
	write_stat(0, 4, 1000);
	write_stat(1, 5, ~0ull - 1);
	write_stat(2, 0x7777, 5);
	write_stat(3, 2, 33);
	offer_stats(4);
	info = info_of(vm);
	assert_int_equal(info.told_ns, NS_PER_S);
	assert_int_equal(info.free_bytes, 1000);
	assert_int_equal(info.total_bytes, ~0ull - 1);
	assert_int_equal(info.available_bytes, ~0ull);
	assert_int_equal(info.major_faults, 33);
	/* The buffer stays until somebody asks; changes of it are not looked at. */
	write_stat(0, 4, 2000);
	assert_false(taken(STATS));
	ring_kick(&driver, STATS);
	bed_service(vm);
	assert_int_equal(info_of(vm).free_bytes, 1000);
	assert_false(taken(STATS));
	bed.msis = 0;
	balloon_ask(vm);
	bed_service(vm);
	assert_true(taken(STATS));
	assert_int_equal(bed.msis, 1);
	fake_time_advance(NS_PER_S);
	offer_stats(1);
	info = info_of(vm);
	assert_int_equal(info.free_bytes, 2000);
	assert_int_equal(info.total_bytes, ~0ull);
	assert_int_equal(info.told_ns, 2 * NS_PER_S);
	/* As long as it likes. */
	balloon_ask(vm);
	bed_service(vm);
	assert_true(taken(STATS));
	offer_stats(100000);
	assert_int_equal(driver_status(&driver), 15);
}

static void expect_broken(void)
{
	bed_service(vm);
	assert_int_equal(driver_status(&driver), 15 | VIRTIO_NEEDS_RESET);
	/* Nothing goes until the driver resets it. */
	ring_kick(&driver, INFLATE);
	bed_service(vm);
	assert_false(taken(INFLATE));
	start();
	give(INFLATE, 50, 1);
	give(DEFLATE, 50, 1);
}

static void test_hostile(void **state)
{
	static const struct {
		u32 queue;
		u64 address;
		u32 bytes;
		u16 flags;
		u32 number;
	} wrong[] = {
		{ INFLATE, LIST, 4, 0, 1024 },            /* just beyond its memory */
		{ INFLATE, LIST, 4, 0, 0xffffffff },
		{ DEFLATE, LIST, 4, 0, 0x100000 },
		{ INFLATE, LIST, 4, D_WRITE, 50 },
		{ DEFLATE, LIST, 4, D_WRITE, 50 },
		{ INFLATE, LIST, 6, 0, 50 },
		{ INFLATE, LIST, 0, 0, 50 },
		{ REPORT, LIST, PAGE_SIZE, 0, 0 },
		{ REPORT_LINUX, LIST, 0, D_WRITE, 0 },
		{ REPORT, BED_MEMORY - PAGE_SIZE, 2 * PAGE_SIZE, D_WRITE, 0 },
		{ STATS, LIST, 10, D_WRITE, 0 },
	};

	(void)state;
	start();
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		guest_write(vm, LIST, &wrong[i].number, 4);
		ring_descriptor(&driver, wrong[i].queue, 0, wrong[i].address, wrong[i].bytes, wrong[i].flags, 0);
		ring_offer(&driver, wrong[i].queue, 0);
		ring_kick(&driver, wrong[i].queue);
		expect_broken();
	}
	/* The list itself, the rings and the queue's own tables can be given: it is the guest's memory. */
	for (u32 i = 0; i < 2; i++) {
		offer_list(INFLATE, i ? 0 : LIST / PAGE_SIZE, CHUNK_PAGES / 2);
		bed_service(vm);
		start();
	}
}

/* All of it, the rings too, chunk after chunk; and a used ring that is not there any more comes again. */
static void test_gives_all(void **state)
{
	u32 number = 0;

	(void)state;
	start();
	for (u32 i = 0; i < 2 * CHUNK_PAGES; i++) {
		number = 2 * CHUNK_PAGES - 1 - i;
		guest_write(vm, LIST, &number, 4);
		ring_descriptor(&driver, INFLATE, 0, LIST, 4, 0, 0);
		ring_offer(&driver, INFLATE, 0);
		ring_kick(&driver, INFLATE);
		bed_service(vm);
	}
	gmem_reap(&vm->gmem);
	assert_true(vm->gmem.given_back >= 1);
}

static void test_moves(void **state)
{
	struct vm *peer = balloon_vm("web");

	(void)state;
	start();
	fill(FIRST, CHUNK_PAGES);
	mmio_write(&driver, driver.device + 4, 4, CHUNK_PAGES + 3);
	give(INFLATE, FIRST, CHUNK_PAGES);
	give(INFLATE, 300, 3);
	/* A report that is half done is done anew there. */
	fill(301, 200);
	ring_descriptor(&driver, REPORT, 0, 280 * PAGE_SIZE, 232 * PAGE_SIZE, D_WRITE, 0);
	ring_descriptor(&driver, REPORT, 1, 280 * PAGE_SIZE, 232 * PAGE_SIZE, D_WRITE, 0);
	ring_offer(&driver, REPORT, 0);
	ring_offer(&driver, REPORT, 1);
	ring_kick(&driver, REPORT);
	assert_true(step());
	bed_move(vm, peer);
	bed_vm_fini(vm);
	vm = peer;
	assert_int_equal(vm->gmem.given_back, 0);
	bed_resume(vm);
	bed_service(vm);
	gmem_reap(&vm->gmem);
	assert_int_equal(vm->gmem.given_back, 1);
	assert_int_equal(info_of(vm).balloon_bytes, (CHUNK_PAGES + 3) * PAGE_SIZE);
	driver.vm = vm;
	assert_true(taken(REPORT));
	assert_true(taken(REPORT));
	for (u32 page = 280; page < 512; page++)
		assert_true(gmem_page_is_zero(&vm->gmem, page));
	give(DEFLATE, FIRST, CHUNK_PAGES);
	assert_int_equal(vm->gmem.given_back, 0);
}

static void test_hostile_state(void **state)
{
	struct device *dev = device_find(vm, DEVICE_VIRTIO_BALLOON, 0);
	u32 bytes = device_state_bytes(dev);
	u8 *data = malloc(bytes);

	(void)state;
	start();
	give(INFLATE, FIRST, CHUNK_PAGES);
	bed_pause(vm);
	device_save(dev, data);
	assert_int_equal(device_check(dev, data, bytes), 0);
	assert_int_equal(data[bytes - 8], 1 << CHUNK);
	assert_int_equal(device_check(dev, data, bytes - 8), -E_INVAL);
	/* A chunk that it has not got; what is reserved; the transport's own. */
	data[bytes - 8] = 1 << 2;
	assert_int_equal(device_check(dev, data, bytes), -E_INVAL);
	data[bytes - 8] = 3;
	assert_int_equal(device_check(dev, data, bytes), 0);
	data[bytes - 1] = 0x80;
	assert_int_equal(device_check(dev, data, bytes), -E_INVAL);
	data[bytes - 1] = 0;
	data[bytes - 12] = 1;
	assert_int_equal(device_check(dev, data, bytes), -E_INVAL);
	data[bytes - 12] = 0;
	memset(data, 0xff, 64);
	assert_int_equal(device_check(dev, data, bytes), -E_INVAL);
	free(data);
	bed_resume(vm);
}

static void test_no_memory(void **state)
{
	struct vm *peer = bed_vm("db");
	u64 used = fake_pages_used();

	(void)state;
	for (u64 calls = 0;; calls++) {
		int error;

		fake_pages_fail_after(calls);
		error = virtio_balloon_create(peer);
		fake_pages_fail_after(~0ull);
		if (!error) {
			assert_true(calls >= 2);
			break;
		}
		assert_int_equal(error, -E_NOMEM);
		assert_int_equal(fake_pages_used(), used);
	}
	bed_vm_fini(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_chunk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tells_later, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gives_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
