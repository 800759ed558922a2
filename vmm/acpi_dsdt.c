/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT's contents: what has no table of its own (ACPI 6.5 chapters 6 and 7). Called by
 * acpi_tables.c.
 */
#include "vmm/acpi_tables.h"

#include "vmm/aml.h"
#include "vmm/board.h"

/* Every slot's INTA..INTD, as devices/pci.h turns them: GSI 16 + (slot + pin) % 4. */
static void add_prt(struct aml *aml)
{
	u32 all;

	aml_name(aml, "_PRT");
	all = aml_package_start(aml, 32 * 4);
	for (u32 slot = 0; slot < 32; slot++) {
		for (u32 pin = 0; pin < 4; pin++) {
			u32 entry = aml_package_start(aml, 4);

			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, BOARD_PCI_INTA_GSI + (slot + pin) % 4);
			aml_end(aml, entry);
		}
	}
	aml_end(aml, all);
}

static void add_pci(struct aml *aml)
{
	u32 device = aml_device_start(aml, "PCI0");
	u32 resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0A08");
	aml_name(aml, "_CID");
	aml_eisa_id(aml, "PNP0A03");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_SEG");
	aml_integer(aml, 0);
	aml_name(aml, "_BBN");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	resources = aml_buffer_start(aml);
	aml_resource_bus_window(aml, 0, 0);
	aml_resource_io(aml, 0xcf8, 8);
	aml_resource_io_window(aml, 0, 0xcf7);
	aml_resource_io_window(aml, 0xd00, 0xffff);
	aml_resource_memory_window(aml, BOARD_PCI_MMIO_BASE, BOARD_PCI_MMIO_BASE + (BOARD_PCI_MMIO_BYTES - 1));
	aml_resource_end(aml);
	aml_buffer_end(aml, resources);
	add_prt(aml);
	aml_end(aml, device);
}

static void add_isa(struct aml *aml, const char *name, const char *id, u16 port, u8 ports, u8 irq)
{
	u32 device = aml_device_start(aml, name);
	u32 resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, id);
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	resources = aml_buffer_start(aml);
	aml_resource_io(aml, port, ports);
	aml_resource_irq(aml, irq);
	aml_resource_end(aml);
	aml_buffer_end(aml, resources);
	aml_end(aml, device);
}

/* "Motherboard resources": nobody else may take MCFG's window or the PM registers. */
static void add_board(struct aml *aml)
{
	u32 device = aml_device_start(aml, "MBRD");
	u32 resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C02");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	resources = aml_buffer_start(aml);
	aml_resource_memory(aml, BOARD_MCFG_BASE, (u32)MIB(1));
	aml_resource_io(aml, BOARD_PM_PORT, 0x40);
	aml_resource_end(aml);
	aml_buffer_end(aml, resources);
	aml_end(aml, device);
}

static void add_s5(struct aml *aml)
{
	u32 package;

	aml_name(aml, "\\_S5_");
	package = aml_package_start(aml, 4);
	aml_integer(aml, BOARD_S5_SLEEP_TYPE);
	aml_integer(aml, BOARD_S5_SLEEP_TYPE);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_end(aml, package);
}

void acpi_dsdt_write(struct aml *aml)
{
	u32 scope;

	add_s5(aml);
	scope = aml_scope_start(aml, "\\_SB_");
	add_pci(aml);
	add_isa(aml, "COM1", "PNP0501", BOARD_UART_PORT, 8, BOARD_UART_GSI);
	add_isa(aml, "RTC_", "PNP0B00", 0x70, 2, 8);
	add_board(aml);
	aml_end(aml, scope);
}
