/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a virtio split ring (virtio 1.2 2.7), one descriptor to a buffer: slot i of
 * the descriptor table belongs to the caller's buffer i. The guests' side is devices/virtqueue.h.
 */
#ifndef DRIVERS_VRING_H
#define DRIVERS_VRING_H

#include "lib/bitmap.h"
#include "types.h"
#include "virtio.h"

#define VRING_SIZE_MAX 256

struct vring {
	u16 size; /* a power of two */
	bool event_idx;
	/* Shared with the device, which is not trusted: what it writes is read once and checked. */
	struct virtio_descriptor *desc;
	u16 *avail_flags, *avail_idx, *avail_ring, *used_event;
	const u16 *used_flags, *used_idx, *avail_event;
	const struct virtio_used *used_ring;
	/* Ours. */
	u16 posted;    /* ever posted; the device sees it at publish */
	u16 published;
	u16 taken;     /* ever taken back */
	u64 with_device[BITMAP_WORDS(VRING_SIZE_MAX)];
};

u32 vring_bytes(u16 size);
/* memory: zeroed, page-aligned, vring_bytes(size). */
void vring_init(struct vring *ring, void *memory, u16 size, bool event_idx);
void vring_post(struct vring *ring, u16 slot, u64 address, u32 bytes, bool device_writes);
/* Shows the device what was posted; true if it wants to hear the doorbell. */
bool vring_publish(struct vring *ring);
static inline bool vring_with_device(const struct vring *ring, u16 slot)
{
	return bitmap_test(ring->with_device, slot);
}
/* The next buffer that the device is done with: 0; -E_AGAIN: none; -E_IO: it talks rubbish. */
int must_check vring_take(struct vring *ring, u16 *slot, u32 *bytes);
/* No interrupts; asks for one at the next buffer, false: there is one already. */
void vring_silence(struct vring *ring);
bool vring_arm(struct vring *ring);

#endif
