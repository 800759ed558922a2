/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware's ACPI tables, as the host reads them at boot: each parser over a table of any bytes. */
#include "fuzz.h"

#include "arch/x86_64/acpi_tables.c"

void fuzz_start(void)
{
}

void fuzz_one(struct fuzz *in)
{
	struct acpi_info info = { 0 };
	u8 which = (u8)fuzz_take(in, 1);
	size_t bytes;
	u8 *table;
	const u8 *rest = fuzz_bytes(in, KIB(4), &bytes);

	/* acpi.c hands on no table that is smaller than its header. */
	bytes += sizeof(struct acpi_header);
	table = calloc(1, bytes);
	memcpy(table + sizeof(struct acpi_header), rest, bytes - sizeof(struct acpi_header));
	for (u32 i = 0; i < ARRAY_SIZE(info.isa); i++)
		info.isa[i].gsi = i;
	switch (which % 3) {
	case 0:
		acpi_parse_madt(table, (u32)bytes, &info);
		assert_true(info.cpu_count <= CPUS_MAX && info.ioapic_count <= ACPI_IOAPICS_MAX);
		if (info.cpu_count > 1 && info.ioapic_count)
			fuzz_reached();
		break;
	case 1:
		acpi_parse_fadt(table, (u32)bytes, &info);
		break;
	default:
		acpi_parse_dsdt(table, (u32)bytes, &info);
		break;
	}
	free(table);
}
