/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports and MMIO ranges to handlers. The handler runs on the vCPU's CPU with vm->lock held.
 * Ranges are added and removed with vm->lock held (PCI BARs move at run time).
 */
#ifndef VMM_IO_BUS_H
#define VMM_IO_BUS_H

#include "types.h"

/*
 * A read sets *value (size bytes, zero-extended); a write takes it. size is 1, 2, 4 or 8; the
 * access never crosses the range's end. offset is relative to the range's base.
 */
typedef void io_handler(void *ctx, u64 offset, unsigned int size, bool write, u64 *value);

struct io_range {
	u64 base;
	u64 bytes;
	io_handler *handler;
	void *ctx;
};

#define IO_RANGES_MAX 64

struct io_bus {
	struct io_range ranges[IO_RANGES_MAX]; /* sorted by base; from count on zero */
	u32 count;
	u32 last;                              /* the range of the last access */
};

/* -E_EXIST if it overlaps another one, -E_NOMEM. */
int must_check io_bus_add(struct io_bus *bus, u64 base, u64 bytes, io_handler *handler, void *ctx);
void io_bus_remove(struct io_bus *bus, u64 base);
/* Where it is not in the last access's range. */
int io_bus_access_other(struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value);

/* -E_NOENT: nobody there; the caller does what a real bus does (reads all ones, ignores writes). */
static inline int io_bus_access(struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value)
{
	const struct io_range *range = &bus->ranges[bus->last];
	u64 offset = addr - range->base;

	if (unlikely(offset >= range->bytes || size > range->bytes - offset))
		return io_bus_access_other(bus, addr, size, write, value);
	range->handler(range->ctx, offset, size, write, value);
	return 0;
}

#endif
