/* SPDX-License-Identifier: Apache-2.0 */
/* Port and memory-mapped I/O of the host. */
#ifndef ARCH_IO_H
#define ARCH_IO_H

#include "compiler.h"
#include "types.h"

static inline void port_write8(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void port_write16(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void port_write32(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline u8 port_read8(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u16 port_read16(u16 port)
{
	u16 v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline u32 port_read32(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

/*
 * In the program's order with all other memory, as the CPU has it (uncached): a device reads descriptors that were
 * written before its doorbell.
 */
static inline u32 mmio_read32(const volatile void *p)
{
	u32 v = *(const volatile u32 *)p;

	compiler_barrier();
	return v;
}

static inline void mmio_write32(volatile void *p, u32 v)
{
	compiler_barrier();
	*(volatile u32 *)p = v;
}

#endif
