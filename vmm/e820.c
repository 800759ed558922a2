/* SPDX-License-Identifier: Apache-2.0 */
/* Service CPU, when a kernel is loaded. Pure. */
#include "vmm/e820.h"

#include "vmm/acpi_tables.h"
#include "vmm/board.h"
#include "vmm/vm.h"

u64 e820_high_end(const struct vm *vm)
{
	return MIN(vm->gmem.pages * PAGE_SIZE, GMEM_LOW_END);
}

u32 e820_fill(const struct vm *vm, struct e820_entry *map)
{
	u64 memory = vm->gmem.pages * PAGE_SIZE;
	u64 high_end = e820_high_end(vm);
	u32 count = 0;

	map[count++] = (struct e820_entry){ 0, E820_LOW_END, E820_RAM };
	map[count++] = (struct e820_entry){ E820_LOW_END, 0xa0000 - E820_LOW_END, E820_RESERVED };
	map[count++] = (struct e820_entry){ ACPI_TABLES_GPA, ACPI_TABLES_BYTES, E820_ACPI };
	map[count++] = (struct e820_entry){ 0xf0000, 0x10000, E820_RESERVED };
	map[count++] = (struct e820_entry){ E820_HIGH_START, high_end - E820_HIGH_START, E820_RAM };
	map[count++] = (struct e820_entry){ BOARD_MCFG_BASE, MIB(1), E820_RESERVED };
	if (memory > high_end)
		map[count++] = (struct e820_entry){ GMEM_HIGH_START, memory - high_end, E820_RAM };
	return count;
}
