/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses of more than a byte to 8-bit devices. On the vCPU's CPU, vm->lock held. */
#include "devices/port8.h"

void port8_access_wide(void *ctx, u64 offset, unsigned int size, bool write, u64 *value, port8_read *read8,
		       port8_write *write8)
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
