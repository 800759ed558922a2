/* SPDX-License-Identifier: Apache-2.0 */
/* A driver of the guest's virtio devices that does what a guest's would: over the buses, with rings in guest memory. */
#ifndef VIRTIO_DRIVER_H
#define VIRTIO_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio_device.h"
#include "errors.h"
#include "vmm/board.h"
#include "vmm/vm.h"

/* --- the guest's accesses -------------------------------------------------------------------------------------- */

static inline u64 bed_read(struct vm *vm, struct io_bus *bus, u64 address, u32 size)
{
	u64 value = ~0ull;
	int error;

	spin_lock(&vm->lock);
	error = io_bus_access(bus, address, size, false, &value);
	spin_unlock(&vm->lock);
	if (error)
		return size < 8 ? BIT(8 * size) - 1 : ~0ull;
	return value;
}

static inline void bed_write(struct vm *vm, struct io_bus *bus, u64 address, u32 size, u64 value)
{
	spin_lock(&vm->lock);
	(void)io_bus_access(bus, address, size, true, &value);
	spin_unlock(&vm->lock);
}

static inline u32 port_read(struct vm *vm, u32 slot, u32 offset, u32 size)
{
	bed_write(vm, &vm->pio, 0xcf8, 4, BIT(31) | slot << 11 | (offset & 0xfc));
	return (u32)bed_read(vm, &vm->pio, 0xcfc + (offset & 3), size);
}

static inline void port_write(struct vm *vm, u32 slot, u32 offset, u32 size, u32 value)
{
	bed_write(vm, &vm->pio, 0xcf8, 4, BIT(31) | slot << 11 | (offset & 0xfc));
	bed_write(vm, &vm->pio, 0xcfc + (offset & 3), size, value);
}

static inline u64 ecam(u32 slot, u32 offset)
{
	return BOARD_MCFG_BASE + (slot << 15) + offset;
}

static inline u32 ecam_read(struct vm *vm, u32 slot, u32 offset, u32 size)
{
	return (u32)bed_read(vm, &vm->mmio, ecam(slot, offset), size);
}

static inline void ecam_write(struct vm *vm, u32 slot, u32 offset, u32 size, u32 value)
{
	bed_write(vm, &vm->mmio, ecam(slot, offset), size, value);
}

/* The offset of the nth capability with this id, 0 if there is none; asserts that the chain ends. */
static inline u32 find_capability(struct vm *vm, u32 slot, u8 id, u32 nth)
{
	u32 at = ecam_read(vm, slot, PCI_CAPABILITIES, 1);

	for (u32 i = 0; at; i++) {
		assert_true(i < 48 && at >= 0x40 && at % 4 == 0);
		if (ecam_read(vm, slot, at, 1) == id && nth-- == 0)
			return at;
		at = ecam_read(vm, slot, at + 1, 1);
	}
	return 0;
}

/* --- a driver -------------------------------------------------------------------------------------------------- */

#define RING_STRIDE 0x8000
#define RING_BASE 0x10000
#define BUFFER_BASE 0x100000
#define MSI_ADDRESS 0xfee00000ull

struct driver_ring {
	u16 size;
	gpa_t descriptors, avail, used;
	u16 avail_index, used_seen;
};

struct driver {
	struct vm *vm;
	u32 slot;
	u64 common, isr, device, notify, msix;
	u32 notify_multiplier;
	struct driver_ring ring[VIRTIO_QUEUES_MAX];
};

struct test_descriptor {
	u64 address;
	u32 bytes;
	u16 flags, next;
};

#define D_NEXT 1
#define D_WRITE 2
#define D_INDIRECT 4

static inline void guest_write(struct vm *vm, gpa_t gpa, const void *data, u64 bytes)
{
	assert_int_equal(gmem_write(&vm->gmem, gpa, data, bytes), 0);
}

static inline void guest_read(struct vm *vm, gpa_t gpa, void *data, u64 bytes)
{
	assert_int_equal(gmem_read(&vm->gmem, gpa, data, bytes), 0);
}

static inline u16 guest_u16(struct vm *vm, gpa_t gpa)
{
	u16 value;

	assert_int_equal(gmem_read_u16(&vm->gmem, gpa, &value), 0);
	return value;
}

static inline void guest_set_u16(struct vm *vm, gpa_t gpa, u16 value)
{
	assert_int_equal(gmem_write_u16(&vm->gmem, gpa, value), 0);
}

static inline u64 mmio_read(const struct driver *d, u64 address, u32 size)
{
	return bed_read(d->vm, &d->vm->mmio, address, size);
}

static inline void mmio_write(const struct driver *d, u64 address, u32 size, u64 value)
{
	bed_write(d->vm, &d->vm->mmio, address, size, value);
}

static inline u64 bar_address(struct vm *vm, u32 slot, u32 bar)
{
	return ecam_read(vm, slot, PCI_BAR0 + 4 * bar, 4) & ~0xfu;
}

/* Finds the structures as a driver does: by the capabilities. */
static inline void driver_find(struct driver *d, struct vm *vm, u32 slot)
{
	u32 at;

	memset(d, 0, sizeof(*d));
	d->vm = vm;
	d->slot = slot;
	for (u32 i = 0; (at = find_capability(vm, slot, 0x09, i)) != 0; i++) {
		u64 base = bar_address(vm, slot, ecam_read(vm, slot, at + 4, 1)) + ecam_read(vm, slot, at + 8, 4);

		switch (ecam_read(vm, slot, at + 3, 1)) {
		case 1:
			d->common = base;
			break;
		case 2:
			d->notify = base;
			d->notify_multiplier = ecam_read(vm, slot, at + 16, 4);
			break;
		case 3:
			d->isr = base;
			break;
		case 4:
			d->device = base;
			break;
		}
	}
	at = find_capability(vm, slot, 0x11, 0);
	assert_true(at != 0);
	d->msix = bar_address(vm, slot, ecam_read(vm, slot, at + 4, 4) & 7);
	assert_true(d->common && d->notify && d->isr);
}

static inline u8 driver_status(const struct driver *d)
{
	return (u8)mmio_read(d, d->common + 0x14, 1);
}

static inline void driver_set_status(const struct driver *d, u8 status)
{
	mmio_write(d, d->common + 0x14, 1, status);
}

/* MSI-X on, vector i sends data 0x40 + i. */
static inline void driver_msix(const struct driver *d, u32 vectors)
{
	u32 at = find_capability(d->vm, d->slot, 0x11, 0);

	for (u32 i = 0; i < vectors; i++) {
		mmio_write(d, d->msix + 16 * i, 8, MSI_ADDRESS);
		mmio_write(d, d->msix + 16 * i + 8, 4, 0x40 + i);
		mmio_write(d, d->msix + 16 * i + 12, 4, 0);
	}
	ecam_write(d->vm, d->slot, at + 2, 2, 0x8000);
}

static inline void driver_queue(struct driver *d, u32 index, u16 size)
{
	struct driver_ring *ring = &d->ring[index];

	ring->size = size;
	ring->descriptors = RING_BASE + index * RING_STRIDE;
	ring->avail = ring->descriptors + 0x2000;
	ring->used = ring->descriptors + 0x4000;
	ring->avail_index = 0;
	ring->used_seen = 0;
	for (gpa_t gpa = ring->descriptors; gpa < ring->descriptors + RING_STRIDE; gpa += PAGE_SIZE)
		gmem_zero_page(&d->vm->gmem, gpa / PAGE_SIZE);
	mmio_write(d, d->common + 0x16, 2, index);
	mmio_write(d, d->common + 0x18, 2, size);
	mmio_write(d, d->common + 0x1a, 2, index);
	mmio_write(d, d->common + 0x20, 4, ring->descriptors);
	mmio_write(d, d->common + 0x24, 4, 0);
	mmio_write(d, d->common + 0x28, 8, ring->avail);
	mmio_write(d, d->common + 0x30, 8, ring->used);
	mmio_write(d, d->common + 0x1c, 2, 1);
}

static inline u64 driver_offered(const struct driver *d)
{
	u64 features;

	mmio_write(d, d->common, 4, 0);
	features = mmio_read(d, d->common + 4, 4);
	mmio_write(d, d->common, 4, 1);
	return features | mmio_read(d, d->common + 4, 4) << 32;
}

/* Through the whole of virtio 1.2 3.1.1. */
static inline void driver_start(struct driver *d, u64 features, u32 queues, u16 size)
{
	driver_set_status(d, 0);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	mmio_write(d, d->common + 8, 4, 0);
	mmio_write(d, d->common + 12, 4, (u32)features);
	mmio_write(d, d->common + 8, 4, 1);
	mmio_write(d, d->common + 12, 4, features >> 32);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	assert_true(driver_status(d) & VIRTIO_FEATURES_OK);
	mmio_write(d, d->common + 0x10, 2, queues);
	for (u32 i = 0; i < queues; i++)
		driver_queue(d, i, size);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
}

static inline void ring_descriptor(struct driver *d, u32 queue, u32 index, u64 address, u32 bytes, u16 flags, u16 next)
{
	struct test_descriptor descriptor = { address, bytes, flags, next };

	guest_write(d->vm, d->ring[queue].descriptors + 16 * index, &descriptor, sizeof(descriptor));
}

/* Makes head available. */
static inline void ring_offer(struct driver *d, u32 queue, u16 head)
{
	struct driver_ring *ring = &d->ring[queue];

	guest_set_u16(d->vm, ring->avail + 4 + 2 * (ring->avail_index % ring->size), head);
	ring->avail_index++;
	guest_set_u16(d->vm, ring->avail + 2, ring->avail_index);
}

static inline void ring_kick(struct driver *d, u32 queue)
{
	mmio_write(d, d->notify + queue * d->notify_multiplier, 2, queue);
}

/* Takes the next used element; false if there is none. */
static inline bool ring_take(struct driver *d, u32 queue, u32 *id, u32 *bytes)
{
	struct driver_ring *ring = &d->ring[queue];
	u32 element[2];

	if (guest_u16(d->vm, ring->used + 2) == ring->used_seen)
		return false;
	guest_read(d->vm, ring->used + 4 + 8 * (ring->used_seen % ring->size), element, sizeof(element));
	ring->used_seen++;
	*id = element[0];
	*bytes = element[1];
	return true;
}

#endif
