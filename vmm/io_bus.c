/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's I/O port bus and its memory bus: sorted ranges, looked up by bisection. Called with
 * vm->lock held, on the vCPU's CPU (accesses) or any other (changes).
 */
#include "vmm/io_bus.h"

#include "errors.h"
#include "lib/string.h"

/* The first range that ends above addr; bus->count if there is none. */
static u32 io_bus_slot(const struct io_bus *bus, u64 addr)
{
	u32 low = 0;
	u32 high = bus->count;

	while (low < high) {
		u32 middle = (low + high) / 2;
		const struct io_range *range = &bus->ranges[middle];

		if (range->base + (range->bytes - 1) < addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct io_range *io_bus_find(struct io_bus *bus, u64 addr)
{
	u32 slot = io_bus_slot(bus, addr);

	if (slot == bus->count || bus->ranges[slot].base > addr)
		return NULL;
	return &bus->ranges[slot];
}

int io_bus_add(struct io_bus *bus, u64 base, u64 bytes, io_handler *handler, void *ctx)
{
	u32 slot;

	if (!bytes || base + (bytes - 1) < base)
		return -E_INVAL;
	if (bus->count == IO_RANGES_MAX)
		return -E_NOMEM;
	slot = io_bus_slot(bus, base);
	if (slot < bus->count && bus->ranges[slot].base <= base + (bytes - 1))
		return -E_EXIST;
	memmove(&bus->ranges[slot + 1], &bus->ranges[slot], (bus->count - slot) * sizeof(bus->ranges[0]));
	bus->ranges[slot] = (struct io_range){ .base = base, .bytes = bytes, .handler = handler, .ctx = ctx };
	bus->count++;
	bus->last = 0;
	return 0;
}

void io_bus_remove(struct io_bus *bus, u64 base)
{
	struct io_range *range = io_bus_find(bus, base);
	u32 slot;

	if (!range || range->base != base)
		return;
	slot = (u32)(range - bus->ranges);
	bus->count--;
	memmove(range, range + 1, (bus->count - slot) * sizeof(*range));
	bus->ranges[bus->count] = (struct io_range){ .bytes = 0 };
	bus->last = 0;
}

/* Over the end of a range: byte by byte, each to whom it belongs; nobody reads as ones. */
static void io_bus_access_bytes(struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value)
{
	u64 result = 0;

	for (unsigned int i = 0; i < size; i++) {
		struct io_range *range = io_bus_find(bus, addr + i);
		u64 byte = write ? *value >> (8 * i) & 0xff : 0xff;

		if (range)
			range->handler(range->ctx, addr + i - range->base, 1, write, &byte);
		result |= (byte & 0xff) << (8 * i);
	}
	if (!write)
		*value = result;
}

int io_bus_access_other(struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value)
{
	struct io_range *range = io_bus_find(bus, addr);
	u64 offset;

	if (!range)
		return -E_NOENT;
	bus->last = (u32)(range - bus->ranges);
	offset = addr - range->base;
	if (likely(size <= range->bytes - offset))
		range->handler(range->ctx, offset, size, write, value);
	else
		io_bus_access_bytes(bus, addr, size, write, value);
	return 0;
}
