/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory as firmware describes it (ACPI 6.5 15.1). Pure. */
#ifndef VMM_E820_H
#define VMM_E820_H

#include "types.h"

struct vm;

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct e820_entry {
	u64 base, bytes;
	u32 type;
} packed;
static_assert(sizeof(struct e820_entry) == 20, "as INT 15h gives it, and boot protocols take it");

#define E820_MAX 8
/* RAM: below this (where an EBDA would be), and from 1 MiB on. */
#define E820_LOW_END 0x9fc00u
#define E820_HIGH_START 0x100000u

/* In rising order; returns how many. map has room for E820_MAX. */
u32 e820_fill(const struct vm *vm, struct e820_entry *map);
/* Where the memory below 4 GiB ends. */
u64 e820_high_end(const struct vm *vm);

#endif
