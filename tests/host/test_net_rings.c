/* SPDX-License-Identifier: Apache-2.0 */
/* What the network drivers stand on: the driver's side of a virtio ring against a device that errs, and the tx_area. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/tx_area.h"
/* Drivers are not part of the core that host tests link with. */
#include "drivers/vring.c"

#define SIZE 8

static struct vring ring;
static void *memory;

static void start(bool event_idx)
{
	memory = aligned_alloc(PAGE_SIZE, ALIGN_UP(vring_bytes(SIZE), PAGE_SIZE));
	memset(memory, 0, ALIGN_UP(vring_bytes(SIZE), PAGE_SIZE));
	vring_init(&ring, memory, SIZE, event_idx);
}

static int teardown(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

/* The device's side. */
static void device_uses(u16 at, u32 id, u32 bytes)
{
	struct virtio_used *used = (struct virtio_used *)ring.used_ring;

	used[at % SIZE] = (struct virtio_used){ id, bytes };
	*(u16 *)ring.used_idx = (u16)(at + 1);
}

static void buffers_come_back_in_any_order(void **state)
{
	u16 slot;
	u32 bytes;

	(void)state;
	start(false);
	for (u16 round = 0; round < 100; round++) {
		vring_post(&ring, 3, 0x3000, 100, true);
		vring_post(&ring, 5, 0x5000, 200, false);
		assert_int_equal(vring_take(&ring, &slot, &bytes), -E_AGAIN);
		assert_true(vring_publish(&ring));
		assert_false(vring_publish(&ring));
		assert_int_equal(*ring.avail_idx, (u16)(2 * round + 2));
		assert_int_equal(ring.avail_ring[2 * round % SIZE], 3);
		assert_int_equal(ring.desc[3].flags, 2);
		assert_int_equal(ring.desc[5].flags, 0);
		device_uses((u16)(2 * round), 5, 0);
		device_uses((u16)(2 * round + 1), 3, 77);
		assert_int_equal(vring_take(&ring, &slot, &bytes), 0);
		assert_int_equal(slot, 5);
		assert_false(vring_with_device(&ring, 5));
		assert_true(vring_with_device(&ring, 3));
		assert_int_equal(vring_take(&ring, &slot, &bytes), 0);
		assert_int_equal(slot, 3);
		assert_int_equal(bytes, 77);
	}
}

static void a_device_that_errs_is_found_out(void **state)
{
	u16 slot;
	u32 bytes;

	(void)state;
	start(false);
	vring_post(&ring, 1, 0x1000, 100, true);
	vring_publish(&ring);
	device_uses(0, SIZE, 0); /* no such slot */
	assert_int_equal(vring_take(&ring, &slot, &bytes), -E_IO);
	device_uses(0, 0x10001, 0); /* not even cut to 16 bits */
	assert_int_equal(vring_take(&ring, &slot, &bytes), -E_IO);
	device_uses(0, 2, 0); /* not its own */
	assert_int_equal(vring_take(&ring, &slot, &bytes), -E_IO);
	device_uses(SIZE, 1, 0); /* more than there can be */
	assert_int_equal(vring_take(&ring, &slot, &bytes), -E_IO);
	device_uses(0, 1, 0);
	assert_int_equal(vring_take(&ring, &slot, &bytes), 0);
	device_uses(1, 1, 0); /* twice */
	assert_int_equal(vring_take(&ring, &slot, &bytes), -E_IO);
}

/* virtio 1.2 2.7.10: rings when the index passes the event, over the wrap of 16 bits too. */
static void the_doorbell_is_rung_when_wanted(void **state)
{
	u16 slot;
	u32 bytes;

	(void)state;
	start(true);
	for (u32 i = 0; i < 70000; i++) {
		u16 event = i % 3 == 0 ? (u16)i : (u16)(i + 100);

		*(u16 *)ring.avail_event = event;
		vring_post(&ring, 0, 0x1000, 100, false);
		assert_int_equal(vring_publish(&ring), event == (u16)i);
		device_uses((u16)i, 0, 0);
		assert_int_equal(vring_take(&ring, &slot, &bytes), 0);
	}
}

static void interrupts_are_asked_for(void **state)
{
	u16 slot;
	u32 bytes;

	(void)state;
	start(true);
	vring_post(&ring, 0, 0x1000, 100, true);
	vring_publish(&ring);
	assert_true(vring_arm(&ring));
	assert_int_equal(*ring.used_event, 0);
	device_uses(0, 0, 1);
	assert_false(vring_arm(&ring));
	assert_int_equal(vring_take(&ring, &slot, &bytes), 0);
	vring_silence(&ring);
	assert_int_equal(*ring.used_event, 0);
	assert_true(vring_arm(&ring));
	assert_int_equal(*ring.used_event, 1);
	free(memory);
	start(false);
	vring_silence(&ring);
	assert_int_equal(*ring.avail_flags, 1);
	assert_true(vring_arm(&ring));
	assert_int_equal(*ring.avail_flags, 0);
}

static void area_pieces_never_overlap(void **state)
{
	static u8 block[4096];
	struct tx_area area;
	struct {
		u8 *at;
		u32 bytes, end;
		u8 mark;
	} taken[64];
	u32 head = 0;
	u32 tail = 0;
	u32 refused = 0;

	(void)state;
	tx_area_init(&area, block, sizeof(block));
	/* Not far from where the counters wrap. */
	area.head = area.tail = 0u - 8192;
	for (u32 i = 0; i < 20000; i++) {
		u32 bytes = 1 + i * 7919 % 1500;
		u32 end;
		u8 *piece = head - tail < 64 ? tx_area_take(&area, bytes, &end) : NULL;

		if (piece) {
			assert_true(piece >= block && piece + bytes <= block + sizeof(block));
			memset(piece, (int)(i & 0xff), bytes);
			taken[head % 64].at = piece;
			taken[head % 64].bytes = bytes;
			taken[head % 64].end = end;
			taken[head++ % 64].mark = (u8)i;
			continue;
		}
		refused++;
		assert_true(head != tail);
		for (u32 k = 0; k < taken[tail % 64].bytes; k++)
			assert_int_equal(taken[tail % 64].at[k], taken[tail % 64].mark);
		tx_area_give(&area, taken[tail++ % 64].end);
	}
	assert_true(refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(buffers_come_back_in_any_order, teardown),
		cmocka_unit_test_teardown(a_device_that_errs_is_found_out, teardown),
		cmocka_unit_test_teardown(the_doorbell_is_rung_when_wanted, teardown),
		cmocka_unit_test_teardown(interrupts_are_asked_for, teardown),
		cmocka_unit_test(area_pieces_never_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
