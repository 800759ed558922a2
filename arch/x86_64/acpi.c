/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the host's ACPI tables from the RSDP on and has them parsed. Boot CPU, once. */
#include "arch/x86_64/acpi.h"

#include "arch/x86_64/acpi_tables.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/paging.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define TABLE_BYTES_MAX MIB(16)
#define RSDP_BYTES 36

static struct acpi_info info;

const struct acpi_info *acpi_info(void)
{
	return &info;
}

/* Some firmware keeps tables in what it calls reserved, which is not in our memory map. */
static const u8 *reach(hpa_t address, u64 bytes)
{
	if (!address || address >= BIT(46) || bytes > TABLE_BYTES_MAX)
		return NULL;
	if (!paging_mapped(address, bytes))
		paging_map_device(address, bytes);
	return page_ptr(address);
}

/* The table at address if it is whole; else NULL. */
static const struct acpi_header *table_at(hpa_t address)
{
	const struct acpi_header *table = (const void *)reach(address, sizeof(*table));

	if (!table || table->length < sizeof(*table) || !reach(address, table->length))
		return NULL;
	if (!acpi_sum_is_zero(table, table->length)) {
		log_warn("acpi: table %.4s has a wrong checksum and is not used", table->signature);
		return NULL;
	}
	return table;
}

static void parse_fadt(const struct acpi_header *table)
{
	hpa_t address = acpi_parse_fadt((const u8 *)table, table->length, &info);
	const struct acpi_header *dsdt = table_at(address);

	if (dsdt && memcmp(dsdt->signature, "DSDT", 4) == 0)
		acpi_parse_dsdt((const u8 *)dsdt, dsdt->length, &info);
}

static void parse_table(const struct acpi_header *table)
{
	if (memcmp(table->signature, "APIC", 4) == 0)
		acpi_parse_madt((const u8 *)table, table->length, &info);
	else if (memcmp(table->signature, "FACP", 4) == 0)
		parse_fadt(table);
}

static void info_defaults(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(info.isa); i++)
		info.isa[i].gsi = i;
}

void acpi_init(hpa_t rsdp_address)
{
	const u8 *rsdp = reach(rsdp_address, RSDP_BYTES);
	const struct acpi_header *xsdt;
	u64 xsdt_address;

	info_defaults();
	if (!rsdp || memcmp(rsdp, "RSD PTR ", 8) != 0 || !acpi_sum_is_zero(rsdp, RSDP_BYTES)) {
		log_error("acpi: the firmware gives no ACPI 2.0 tables");
		return;
	}
	memcpy(&xsdt_address, rsdp + 24, sizeof(xsdt_address));
	xsdt = table_at(xsdt_address);
	if (!xsdt || memcmp(xsdt->signature, "XSDT", 4) != 0) {
		log_error("acpi: the firmware's XSDT is broken");
		return;
	}
	for (u64 at = sizeof(*xsdt); at + 8 <= xsdt->length; at += 8) {
		const struct acpi_header *table;
		u64 address;

		memcpy(&address, (const u8 *)xsdt + at, sizeof(address));
		table = table_at(address);
		if (table)
			parse_table(table);
	}
}
