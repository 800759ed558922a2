/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of a virtqueue: chains of every shape, mistakes of every kind, interrupts wanted or not. */
#include "virtio_bed.h"

#include "lib/drbg.h"

#define SIZE 8
#define DESCRIPTORS 0x1000ull
#define AVAIL 0x2000ull
#define USED 0x3000ull
#define INDIRECT 0x4000ull
#define DATA 0x10000ull

static struct vm *vm;
static struct virtqueue queue;
static struct virtqueue_chain chain;

static int setup(void **state)
{
	(void)state;
	vm = bed_vm("web");
	virtqueue_init(&queue, &vm->gmem, 16);
	queue.size = SIZE;
	queue.descriptors = DESCRIPTORS;
	queue.avail = AVAIL;
	queue.used = USED;
	assert_int_equal(virtqueue_enable(&queue, false), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bed_vm_fini(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void descriptor_at(gpa_t table, u32 index, u64 address, u32 bytes, u16 flags, u16 next)
{
	struct test_descriptor d = { address, bytes, flags, next };

	guest_write(vm, table + 16 * index, &d, sizeof(d));
}

static void descriptor(u32 index, u64 address, u32 bytes, u16 flags, u16 next)
{
	descriptor_at(DESCRIPTORS, index, address, bytes, flags, next);
}

static void offer(u16 head)
{
	u16 index = guest_u16(vm, AVAIL + 2);

	guest_set_u16(vm, AVAIL + 4 + 2 * (index % SIZE), head);
	guest_set_u16(vm, AVAIL + 2, (u16)(index + 1));
}

static void test_chain(void **state)
{
	u8 in[64], out[64];

	(void)state;
	assert_int_equal(virtqueue_pop(&queue, &chain), 0);
	for (u32 i = 0; i < sizeof(in); i++)
		in[i] = (u8)i;
	guest_write(vm, DATA, in, 10);
	guest_write(vm, DATA + 0x1000, in + 10, 20);
	descriptor(3, DATA, 10, D_NEXT, 5);
	descriptor(5, DATA + 0x1000, 20, D_NEXT, 1);
	descriptor(1, DATA + 0x2000, 0, D_NEXT, 0); /* empty: allowed */
	descriptor(0, DATA + 0x3000, 7, D_WRITE | D_NEXT, 2);
	descriptor(2, DATA + 0x4000, 9, D_WRITE, 0);
	offer(3);
	assert_int_equal(virtqueue_pop(&queue, &chain), 1);
	assert_int_equal(chain.head, 3);
	assert_int_equal(chain.readable, 2);
	assert_int_equal(chain.writable, 2);
	assert_int_equal(chain.readable_bytes, 30);
	assert_int_equal(chain.writable_bytes, 16);
	assert_int_equal(virtqueue_chain_read(&queue, &chain, 0, out, 64), 30);
	assert_memory_equal(in, out, 30);
	assert_int_equal(virtqueue_chain_read(&queue, &chain, 9, out, 4), 4);
	assert_memory_equal(in + 9, out, 4);
	assert_int_equal(virtqueue_chain_read(&queue, &chain, 30, out, 4), 0);
	assert_int_equal(virtqueue_chain_write(&queue, &chain, 5, in, 64), 11);
	guest_read(vm, DATA + 0x3005, out, 2);
	assert_memory_equal(in, out, 2);
	guest_read(vm, DATA + 0x4000, out, 9);
	assert_memory_equal(in + 2, out, 9);
	assert_int_equal(virtqueue_put(&queue, 0, chain.head, 16), 0);
	assert_int_equal(guest_u16(vm, USED + 2), 0);
	assert_int_equal(virtqueue_publish(&queue, 1), 0);
	assert_int_equal(guest_u16(vm, USED + 2), 1);
	assert_int_equal(guest_u16(vm, USED + 4), 3);
	assert_int_equal(guest_u16(vm, USED + 8), 16);
	assert_int_equal(virtqueue_pop(&queue, &chain), 0);
}

static void test_indirect(void **state)
{
	(void)state;
	descriptor_at(INDIRECT, 0, DATA, 5, D_NEXT, 2);
	descriptor_at(INDIRECT, 2, DATA + 8, 6, D_WRITE, 0);
	descriptor(1, INDIRECT, 48, D_INDIRECT, 0);
	offer(1);
	assert_int_equal(virtqueue_pop(&queue, &chain), 1);
	assert_int_equal(chain.readable_bytes, 5);
	assert_int_equal(chain.writable_bytes, 6);
	/* After direct descriptors (2.7.5.3.2). */
	descriptor(0, DATA, 100, D_NEXT, 1);
	offer(0);
	assert_int_equal(virtqueue_pop(&queue, &chain), 1);
	assert_int_equal(chain.head, 0);
	assert_int_equal(chain.readable_bytes, 105);
}

static void expect_broken(const char *part)
{
	assert_int_equal(virtqueue_pop(&queue, &chain), -E_INVAL);
	assert_non_null(queue.broken);
	assert_non_null(strstr(queue.broken, part));
	/* And stays so. */
	assert_int_equal(virtqueue_pop(&queue, &chain), -E_INVAL);
	virtqueue_reset(&queue);
	assert_null(queue.broken);
	queue.size = SIZE;
	queue.descriptors = DESCRIPTORS;
	queue.avail = AVAIL;
	queue.used = USED;
	assert_int_equal(virtqueue_enable(&queue, false), 0);
	guest_set_u16(vm, AVAIL + 2, 0);
}

static void test_malformed(void **state)
{
	(void)state;
	offer(SIZE);
	expect_broken("beyond the table");
	descriptor(0, DATA, 4, D_NEXT, SIZE);
	offer(0);
	expect_broken("beyond the table");
	descriptor(0, DATA, 4, D_NEXT, 1);
	descriptor(1, DATA, 4, D_NEXT, 0);
	offer(0);
	expect_broken("loop");
	descriptor(0, DATA, 4, D_NEXT, 0);
	offer(0);
	expect_broken("loop");
	descriptor(0, DATA, 0, D_NEXT, 0);
	offer(0);
	expect_broken("loop");
	descriptor(0, DATA, 4, D_WRITE | D_NEXT, 1);
	descriptor(1, DATA, 4, 0, 0);
	offer(0);
	expect_broken("readable descriptor after");
	descriptor(0, BED_MEMORY - 2, 4, 0, 0);
	offer(0);
	expect_broken("outside of its memory");
	descriptor(0, ~0ull - 1, 4, 0, 0);
	offer(0);
	expect_broken("outside of its memory");
	descriptor(0, DATA, 0xffffffff, D_WRITE, 0);
	offer(0);
	expect_broken("outside of its memory");
	descriptor(0, BOARD_LAPIC_BASE, 4, D_WRITE, 0);
	offer(0);
	expect_broken("outside of its memory");
	guest_set_u16(vm, AVAIL + 2, SIZE + 1);
	expect_broken("ahead of the ring");
	guest_set_u16(vm, AVAIL + 2, 0xffff);
	expect_broken("ahead of the ring");
}

static void test_malformed_indirect(void **state)
{
	const u32 lengths[] = { 0, 15, 17, 16 * (SIZE + 1), 0xfffffff0 };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(lengths); i++) {
		descriptor(0, INDIRECT, lengths[i], D_INDIRECT, 0);
		offer(0);
		expect_broken("wrong length");
	}
	descriptor(0, INDIRECT, 16, D_INDIRECT | D_NEXT, 1);
	offer(0);
	expect_broken("successor");
	descriptor(0, INDIRECT, 16, D_INDIRECT, 0);
	descriptor_at(INDIRECT, 0, INDIRECT, 16, D_INDIRECT, 0);
	offer(0);
	expect_broken("inside of another");
	descriptor_at(INDIRECT, 0, DATA, 16, D_NEXT, 1);
	offer(0);
	expect_broken("beyond the table");
	descriptor_at(INDIRECT, 0, DATA, 16, D_NEXT, 0);
	offer(0);
	expect_broken("loop");
	descriptor(0, BED_MEMORY, 16, D_INDIRECT, 0);
	offer(0);
	expect_broken("indirect table outside");
	descriptor(0, ~0ull & ~15ull, 16, D_INDIRECT, 0);
	offer(0);
	expect_broken("indirect table outside");
}

/* Not even what sums up to 4 GiB by naming the same memory again and again. */
static void test_too_long_chain(void **state)
{
	(void)state;
	virtqueue_reset(&queue);
	queue.size = 16;
	queue.descriptors = DESCRIPTORS;
	queue.avail = AVAIL;
	queue.used = USED;
	assert_int_equal(virtqueue_enable(&queue, false), 0);
	for (u32 i = 0; i < 16; i++)
		descriptor(i, 0, BED_MEMORY, i < 15 ? D_NEXT : 0, (u16)(i + 1));
	guest_set_u16(vm, AVAIL + 4, 0);
	guest_set_u16(vm, AVAIL + 2, 1);
	/* Its 64 MiB are no mistake. The descriptor table is in there: nothing is written. */
	assert_int_equal(virtqueue_pop(&queue, &chain), 1);
	assert_int_equal(chain.readable_bytes, 16 * BED_MEMORY);
}

static void test_enable(void **state)
{
	const struct {
		u16 size;
		u64 descriptors, avail, used;
		bool good;
	} cases[] = {
		{ 16, DESCRIPTORS, AVAIL, USED, true },
		{ 1, DESCRIPTORS, AVAIL, USED, true },
		{ 0, DESCRIPTORS, AVAIL, USED, false },
		{ 3, DESCRIPTORS, AVAIL, USED, false },
		{ 32, DESCRIPTORS, AVAIL, USED, false },
		{ 8, DESCRIPTORS + 8, AVAIL, USED, false },
		{ 8, DESCRIPTORS, AVAIL + 1, USED, false },
		{ 8, DESCRIPTORS, AVAIL, USED + 2, false },
		{ 8, BED_MEMORY - 64, AVAIL, USED, false },
		{ 8, DESCRIPTORS, BED_MEMORY - 20, USED, false },
		{ 8, DESCRIPTORS, AVAIL, BED_MEMORY - 68, false },
		{ 8, BED_MEMORY - 128, AVAIL, USED, true },
		{ 8, 0xfffffffffffffff0, AVAIL, USED, false },
		{ 8, DESCRIPTORS, 0xfffffffffffffffe, USED, false },
		{ 8, DESCRIPTORS, AVAIL, 0xfffffffffffffffc, false },
		{ 8, GIB(4), AVAIL, USED, false },
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		virtqueue_reset(&queue);
		queue.size = cases[i].size;
		queue.descriptors = cases[i].descriptors;
		queue.avail = cases[i].avail;
		queue.used = cases[i].used;
		assert_int_equal(virtqueue_enable(&queue, false) == 0, cases[i].good);
		assert_int_equal(queue.enabled, cases[i].good);
		assert_int_equal(queue.broken == NULL, cases[i].good);
	}
}

/* 16-bit indices go round, many times. */
static void test_wrap(void **state)
{
	(void)state;
	for (u32 i = 0; i < 200000; i++) {
		u16 head = i % SIZE;

		descriptor(head, DATA + i, 4, D_WRITE, 0);
		offer(head);
		if (i % 3 == 2) {
			for (u32 n = 0; n < 3; n++) {
				assert_int_equal(virtqueue_pop(&queue, &chain), 1);
				assert_int_equal(chain.head, (i - 2 + n) % SIZE);
				assert_int_equal(virtqueue_put(&queue, (u16)n, chain.head, 4), 0);
			}
			/* Twice, as after a frame that did not fit. */
			virtqueue_unpop(&queue, 3);
			for (u32 n = 0; n < 3; n++) {
				assert_int_equal(virtqueue_pop(&queue, &chain), 1);
				assert_int_equal(virtqueue_put(&queue, (u16)n, chain.head, 4), 0);
			}
			assert_int_equal(virtqueue_pop(&queue, &chain), 0);
			assert_int_equal(virtqueue_publish(&queue, 3), 0);
			assert_int_equal(guest_u16(vm, USED + 2), (u16)(i + 1));
		}
	}
}

static void test_interrupts(void **state)
{
	(void)state;
	assert_int_equal(virtqueue_publish(&queue, 1), 0);
	assert_true(virtqueue_wants_interrupt(&queue));
	guest_set_u16(vm, AVAIL, 1);
	assert_int_equal(virtqueue_publish(&queue, 1), 0);
	assert_false(virtqueue_wants_interrupt(&queue));
	virtqueue_stop_doorbells(&queue);
	assert_int_equal(guest_u16(vm, USED), 1);
	assert_false(virtqueue_allow_doorbells(&queue));
	assert_int_equal(guest_u16(vm, USED), 0);
	offer(0);
	assert_true(virtqueue_allow_doorbells(&queue));
}

static void test_event_index(void **state)
{
	u32 interrupts = 0;

	(void)state;
	queue.event_idx = true;
	queue.signal_all = false;
	/* The driver wants one interrupt for every ten entries, across the wrap. */
	guest_set_u16(vm, AVAIL + 4 + 2 * SIZE, 9);
	for (u32 i = 0; i < 70000; i++) {
		assert_int_equal(virtqueue_publish(&queue, 1), 0);
		if (virtqueue_wants_interrupt(&queue)) {
			assert_int_equal(i % 10, 9);
			interrupts++;
			guest_set_u16(vm, AVAIL + 4 + 2 * SIZE, (u16)(i + 10));
		}
	}
	assert_int_equal(interrupts, 7000);
	/* Several at once that step over it. */
	guest_set_u16(vm, AVAIL + 4 + 2 * SIZE, (u16)(queue.used_next + 2));
	assert_int_equal(virtqueue_publish(&queue, 5), 0);
	assert_true(virtqueue_wants_interrupt(&queue));
	assert_int_equal(virtqueue_publish(&queue, 5), 0);
	assert_false(virtqueue_wants_interrupt(&queue));
	/* Doorbells: the device says which entry it waits for. */
	queue.avail_next = 77;
	guest_set_u16(vm, AVAIL + 2, 77);
	assert_false(virtqueue_allow_doorbells(&queue));
	assert_int_equal(guest_u16(vm, USED + 4 + 8 * SIZE), 77);
	virtqueue_stop_doorbells(&queue);
	assert_int_equal(guest_u16(vm, USED), 0);
}

static void test_state(void **state)
{
	struct virtqueue_state saved, bad;
	struct virtqueue other;

	(void)state;
	descriptor(0, DATA, 4, 0, 0);
	for (u32 i = 0; i < 20; i++) {
		offer(0);
		assert_int_equal(virtqueue_pop(&queue, &chain), 1);
		assert_int_equal(virtqueue_put(&queue, 0, 0, 0), 0);
		assert_int_equal(virtqueue_publish(&queue, 1), 0);
	}
	virtqueue_save(&queue, &saved);
	virtqueue_init(&other, &vm->gmem, 16);
	assert_int_equal(virtqueue_check(&other, &saved, 2), 0);
	virtqueue_load(&other, &saved, false);
	offer(0);
	assert_int_equal(virtqueue_pop(&other, &chain), 1);
	assert_int_equal(virtqueue_pop(&other, &chain), 0);

#define REFUSED(change)                                                         \
	do {                                                                    \
		bad = saved;                                                    \
		change;                                                         \
		assert_int_equal(virtqueue_check(&other, &bad, 2), -E_INVAL);   \
	} while (0)
	REFUSED(bad.size = 12);
	REFUSED(bad.size = 32);
	REFUSED(bad.size = 0);
	REFUSED(bad.descriptors = BED_MEMORY);
	REFUSED(bad.descriptors |= 1);
	REFUSED(bad.avail = GIB(3));
	REFUSED(bad.used = BED_MEMORY - 4);
	REFUSED(bad.vector = 2);
	REFUSED(bad.enabled = 2);
	REFUSED(bad.signal_all = 255);
	REFUSED(bad.reserved[3] = 1);
	REFUSED(bad.avail_next++);
	REFUSED(bad.used_next = 0);
	REFUSED(bad.enabled = 0);
}

/* Whatever a guest writes into its rings: every chain that comes out lies in its memory. */
static void test_random(void **state)
{
	u64 seed = 99;
	u32 chains = 0;

	(void)state;
	for (u32 round = 0; round < 100000; round++) {
		for (u32 i = 0; i < 3; i++) {
			u64 r = bed_random(&seed);
			gpa_t table = r & 1 ? DESCRIPTORS : INDIRECT;
			u64 address = r & 0x100 ? INDIRECT : bed_random(&seed) % (BED_MEMORY + 0x1000);

			descriptor_at(table, (r >> 16) % SIZE, address, (u32)(bed_random(&seed) % 160), (r >> 24) & 7,
				      (u16)((r >> 32) % (SIZE + 1)));
		}
		offer((u16)(bed_random(&seed) % SIZE));
		while (virtqueue_pop(&queue, &chain) == 1) {
			u32 total = 0;

			for (u32 i = 0; i < (u32)chain.readable + chain.writable; i++) {
				assert_true(chain.segments[i].address + chain.segments[i].bytes <= BED_MEMORY);
				total += chain.segments[i].bytes;
			}
			assert_int_equal(total, chain.readable_bytes + chain.writable_bytes);
			assert_true((u32)chain.readable + chain.writable <= SIZE);
			chains++;
		}
		if (queue.broken) {
			guest_set_u16(vm, AVAIL + 2, queue.avail_next);
			queue.avail_seen = queue.avail_next;
			queue.broken = NULL;
		}
	}
	assert_true(chains > 1000);
}

/* RFC 8439 2.3.2. */
static void test_chacha20(void **state)
{
	static const u32 expected[16] = {
		0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033, 0x9aaa2204, 0x4e6cd4c3,
		0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9, 0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2,
	};
	const u32 nonce[3] = { 0x09000000, 0x4a000000, 0 };
	u32 key[8], out[16];

	(void)state;
	for (u32 i = 0; i < 8; i++)
		key[i] = 0x03020100 + i * 0x04040404;
	chacha20_block(out, key, 1, nonce);
	assert_memory_equal(out, expected, sizeof(out));
}

static void test_drbg(void **state)
{
	const u64 seed[4] = { 1, 2, 3, 4 };
	struct drbg a = { { 0 } };
	struct drbg b = { { 0 } };
	u8 first[100], second[100];
	u32 ones = 0;

	(void)state;
	drbg_mix(&a, seed);
	drbg_mix(&b, seed);
	drbg_fill(&a, first, sizeof(first));
	drbg_fill(&b, second, sizeof(second));
	assert_memory_equal(first, second, sizeof(first));
	drbg_fill(&a, second, sizeof(second));
	assert_memory_not_equal(first, second, sizeof(first));
	drbg_mix(&b, seed);
	drbg_fill(&b, first, sizeof(first));
	assert_memory_not_equal(first, second, sizeof(first));
	for (u32 i = 0; i < 800; i++)
		ones += (first[i / 8] >> i % 8) & 1;
	assert_in_range(ones, 320, 480);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indirect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed_indirect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_enable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event_index, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test(test_chacha20),
		cmocka_unit_test(test_drbg),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
