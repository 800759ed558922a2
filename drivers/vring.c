/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a virtio split ring. Service CPU. The device may be a process on another
 * CPU: ordering is by release, acquire and, where a store must be seen before a later load is
 * done, by a full barrier (virtio 1.2 2.7.13.3.1, 2.7.7.2).
 */
#include "drivers/vring.h"

#include "compiler.h"
#include "errors.h"
#include "lib/log.h"

static u32 avail_offset(u16 size)
{
	return size * (u32)sizeof(struct virtio_descriptor);
}

static u32 used_offset(u16 size)
{
	/* flags, idx, ring, used_event */
	return (u32)ALIGN_UP(avail_offset(size) + 2u * (3u + size), 64);
}

u32 vring_bytes(u16 size)
{
	/* flags, idx, ring, avail_event */
	return used_offset(size) + 4 + size * (u32)sizeof(struct virtio_used) + 2;
}

void vring_init(struct vring *ring, void *memory, u16 size, bool event_idx)
{
	u8 *base = memory;
	u16 *avail = (u16 *)(base + avail_offset(size));
	u16 *used = (u16 *)(base + used_offset(size));

	assert(size && size <= VRING_SIZE_MAX && (size & (size - 1)) == 0);
	*ring = (struct vring){
		.size = size,
		.event_idx = event_idx,
		.desc = memory,
		.avail_flags = avail,
		.avail_idx = avail + 1,
		.avail_ring = avail + 2,
		.used_event = avail + 2 + size,
		.used_flags = used,
		.used_idx = used + 1,
		.used_ring = (const struct virtio_used *)(used + 2),
		.avail_event = used + 2 + 4 * size,
	};
}

void vring_post(struct vring *ring, u16 slot, u64 address, u32 bytes, bool device_writes)
{
	struct virtio_descriptor *desc = &ring->desc[slot];

	assert(slot < ring->size && !vring_with_device(ring, slot));
	bitmap_set(ring->with_device, slot);
	desc->address = address;
	desc->bytes = bytes;
	desc->flags = device_writes ? DESCRIPTOR_WRITE : 0;
	desc->next = 0;
	ring->avail_ring[ring->posted % ring->size] = slot;
	ring->posted++;
}

bool vring_publish(struct vring *ring)
{
	u16 before = ring->published;
	u16 event;

	if (ring->posted == before)
		return false;
	/* The descriptors before the index that shows them. */
	store_release(ring->avail_idx, ring->posted);
	ring->published = ring->posted;
	/* The index before the look at what the device wants: it looks the other way round. */
	memory_barrier();
	if (!ring->event_idx)
		return !(READ_ONCE(*ring->used_flags) & USED_NO_NOTIFY);
	event = READ_ONCE(*ring->avail_event);
	/* Was event among those published now? (virtio 1.2 2.7.10) */
	return (u16)(ring->published - event - 1) < (u16)(ring->published - before);
}

int vring_take(struct vring *ring, u16 *slot, u32 *bytes)
{
	u16 idx = load_acquire(ring->used_idx);
	u16 ready = (u16)(idx - ring->taken);
	const struct virtio_used *used;
	u32 id;

	if (!ready)
		return -E_AGAIN;
	if (ready > ring->size)
		return trace_error(-E_IO);
	used = &ring->used_ring[ring->taken % ring->size];
	id = READ_ONCE(used->id);
	if (id >= ring->size || !vring_with_device(ring, (u16)id))
		return trace_error(-E_IO);
	*bytes = READ_ONCE(used->bytes);
	*slot = (u16)id;
	bitmap_clear(ring->with_device, id);
	ring->taken++;
	return 0;
}

void vring_silence(struct vring *ring)
{
	/* With EVENT_IDX the event stays behind and does not come again for 65536 buffers. */
	if (!ring->event_idx)
		WRITE_ONCE(*ring->avail_flags, AVAIL_NO_INTERRUPT);
	else
		WRITE_ONCE(*ring->used_event, (u16)(ring->taken - 1));
}

bool vring_arm(struct vring *ring)
{
	if (ring->event_idx)
		WRITE_ONCE(*ring->used_event, ring->taken);
	else
		WRITE_ONCE(*ring->avail_flags, 0);
	/* What the device finished before it saw this raises no interrupt: look again. */
	memory_barrier();
	return READ_ONCE(*ring->used_idx) == ring->taken;
}
