/* SPDX-License-Identifier: Apache-2.0 */
/* 8-bit devices on a wider bus: wide accesses are split into byte cycles, lowest port first. */
#ifndef DEVICES_PORT8_H
#define DEVICES_PORT8_H

#include "types.h"

typedef u8 port8_read(void *ctx, u32 offset);
typedef void port8_write(void *ctx, u32 offset, u8 value);

static inline void port8_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value,
				port8_read *read8, port8_write *write8)
{
	u64 data = 0;

	for (unsigned int i = 0; i < size; i++) {
		u32 port = (u32)(offset + i);

		if (write)
			write8(ctx, port, (u8)(*value >> (8 * i)));
		else
			data |= (u64)read8(ctx, port) << (8 * i);
	}
	if (!write)
		*value = data;
}

#endif
