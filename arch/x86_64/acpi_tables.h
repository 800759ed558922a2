/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parsers of single ACPI tables: pure functions over bytes, so that host tests feed them
 * garbage. Every one gets the whole table with its header, of a length that was checked.
 */
#ifndef ARCH_ACPI_TABLES_H
#define ARCH_ACPI_TABLES_H

#include "arch/x86_64/acpi.h"
#include "types.h"

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision;
	u8 checksum;
	char oem[6];
	char oem_table[8];
	u32 oem_revision;
	u32 creator;
	u32 creator_revision;
} packed;
static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

bool acpi_sum_is_zero(const void *bytes, u64 n);
void acpi_parse_madt(const u8 *table, u32 length, struct acpi_info *info);
/* Returns the DSDT's address, or 0. */
hpa_t acpi_parse_fadt(const u8 *table, u32 length, struct acpi_info *info);
void acpi_parse_dsdt(const u8 *table, u32 length, struct acpi_info *info);

#endif
