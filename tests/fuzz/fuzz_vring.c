/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own driver side of a virtio ring, with a device that writes what it likes, where it likes, into
 * the memory that it shares with us: a slot comes back only if the device had it, and once.
 */
#include "fuzz.h"

#include "errors.h"
/* Drivers are not part of the core that host tests link with. */
#include "drivers/vring.c"

#define SIZE 8

void fuzz_start(void)
{
}

static void device_writes(struct fuzz *in, u8 *memory)
{
	size_t bytes, all = ALIGN_UP(vring_bytes(SIZE), 4);
	u32 at = (u32)fuzz_take(in, 2) % (u32)all;
	const u8 *data = fuzz_bytes(in, fuzz_take(in, 1) % 16, &bytes);

	memcpy(memory + at, data, MIN(bytes, all - at));
}

/* As a device that means well would. */
static void device_uses(struct fuzz *in, struct vring *ring, u16 *used)
{
	struct virtio_used *elements = (struct virtio_used *)ring->used_ring;

	elements[*used % SIZE] = (struct virtio_used){ (u32)fuzz_take(in, 1) % (SIZE + 1), (u32)fuzz_take(in, 2) };
	*(u16 *)ring->used_idx = ++*used;
}

static void take(struct vring *ring, bool *ours)
{
	u16 slot = 0xffff;
	u32 bytes;

	if (vring_take(ring, &slot, &bytes))
		return;
	assert_true(slot < SIZE && !ours[slot]);
	ours[slot] = true;
	fuzz_reached();
}

void fuzz_one(struct fuzz *in)
{
	u8 *memory = aligned_alloc(PAGE_SIZE, ALIGN_UP(vring_bytes(SIZE), PAGE_SIZE));
	struct vring ring;
	bool ours[SIZE];
	u16 used = 0;

	memset(memory, 0, ALIGN_UP(vring_bytes(SIZE), PAGE_SIZE));
	memset(ours, 1, sizeof(ours));
	vring_init(&ring, memory, SIZE, fuzz_take(in, 1) & 1);
	for (u32 i = 0; i < 200 && in->left; i++) {
		u32 slot = (u32)fuzz_take(in, 1);

		switch (slot >> 5) {
		case 0:
		case 1:
			if (!ours[slot % SIZE])
				break;
			ours[slot % SIZE] = false;
			vring_post(&ring, (u16)(slot % SIZE), 0x1000, 100, slot & 16);
			vring_publish(&ring);
			break;
		case 2:
		case 3:
			device_uses(in, &ring, &used);
			break;
		case 4:
			device_writes(in, memory);
			break;
		default:
			take(&ring, ours);
			break;
		}
		for (u32 j = 0; j < SIZE; j++)
			assert_int_equal(vring_with_device(&ring, (u16)j), !ours[j]);
	}
	free(memory);
}
