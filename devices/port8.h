/* SPDX-License-Identifier: Apache-2.0 */
/* 8-bit devices on a wider bus: wide accesses are split into byte cycles, lowest port first. */
#ifndef DEVICES_PORT8_H
#define DEVICES_PORT8_H

#include "types.h"

typedef u8 port8_read(void *ctx, u32 offset);
typedef void port8_write(void *ctx, u32 offset, u8 value);

void port8_access_wide(void *ctx, u64 offset, unsigned int size, bool write, u64 *value, port8_read *read8,
		       port8_write *write8);

static inline void port8_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value,
				port8_read *read8, port8_write *write8)
{
	if (unlikely(size != 1))
		port8_access_wide(ctx, offset, size, write, value, read8, write8);
	else if (write)
		write8(ctx, (u32)offset, (u8)*value);
	else
		*value = read8(ctx, (u32)offset);
}

#endif
