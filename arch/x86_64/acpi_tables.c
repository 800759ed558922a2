/* SPDX-License-Identifier: Apache-2.0 */
/* Parsers of MADT, FADT and, as far as S5 goes, DSDT (ACPI 6.5 5.2, 7.4.2, 20.2). */
#include "arch/x86_64/acpi_tables.h"

#include "lib/string.h"

#define HEADER_BYTES sizeof(struct acpi_header)

bool acpi_sum_is_zero(const void *bytes, u64 n)
{
	const u8 *p = bytes;
	u8 sum = 0;

	for (u64 i = 0; i < n; i++)
		sum = (u8)(sum + p[i]);
	return sum == 0;
}

static u16 get16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}

static u32 get32(const u8 *p)
{
	return get16(p) | (u32)get16(p + 2) << 16;
}

static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

/* --- MADT (5.2.12) --- */

enum madt_types {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_X2APIC = 9,
};

#define MADT_CPU_ENABLED 1
/* Overrides' flags: polarity in bits 1:0, trigger in 3:2; 1 high / edge, 3 low / level. */
#define MADT_POLARITY(flags) ((flags) & 3)
#define MADT_TRIGGER(flags) ((flags) >> 2 & 3)

static void add_cpu(struct acpi_info *info, u32 apic_id, u32 flags)
{
	if (!(flags & MADT_CPU_ENABLED))
		return;
	/* A CPU may be there twice, as LAPIC and as x2APIC. */
	for (u32 i = 0; i < info->cpu_count; i++)
		if (info->apic_ids[i] == apic_id)
			return;
	if (info->cpu_count == CPUS_MAX) {
		info->cpus_left_out++;
		return;
	}
	info->apic_ids[info->cpu_count++] = apic_id;
}

static void add_ioapic(struct acpi_info *info, const u8 *entry)
{
	struct acpi_ioapic *ioapic = &info->ioapics[info->ioapic_count];

	if (info->ioapic_count == ACPI_IOAPICS_MAX)
		return;
	ioapic->base = get32(entry + 4);
	ioapic->gsi_base = get32(entry + 8);
	info->ioapic_count++;
}

static void add_override(struct acpi_info *info, const u8 *entry)
{
	u8 bus = entry[2];
	u8 irq = entry[3];
	u16 flags = get16(entry + 8);

	if (bus != 0 || irq >= ARRAY_SIZE(info->isa))
		return;
	info->isa[irq].gsi = get32(entry + 4);
	info->isa[irq].active_low = MADT_POLARITY(flags) == 3;
	info->isa[irq].level = MADT_TRIGGER(flags) == 3;
}

void acpi_parse_madt(const u8 *table, u32 length, struct acpi_info *info)
{
	for (u32 at = HEADER_BYTES + 8; at + 2 <= length;) {
		const u8 *entry = table + at;
		u8 bytes = entry[1];

		if (bytes < 2 || bytes > length - at)
			return;
		if (entry[0] == MADT_LAPIC && bytes >= 8)
			add_cpu(info, entry[3], get32(entry + 4));
		else if (entry[0] == MADT_X2APIC && bytes >= 16)
			add_cpu(info, get32(entry + 4), get32(entry + 8));
		else if (entry[0] == MADT_IOAPIC && bytes >= 12)
			add_ioapic(info, entry);
		else if (entry[0] == MADT_OVERRIDE && bytes >= 10)
			add_override(info, entry);
		at += bytes;
	}
}

/* --- FADT (5.2.9) --- */

enum fadt_offsets {
	FADT_DSDT = 40,
	FADT_SMI_CMD = 48,
	FADT_ACPI_ENABLE = 52,
	FADT_PM1A_CNT = 64,
	FADT_PM1B_CNT = 68,
	FADT_PM_TMR = 76,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_X_DSDT = 140,
	FADT_X_PM1A_CNT = 172,
	FADT_X_PM1B_CNT = 184,
	FADT_X_PM_TMR = 208,
};

#define FADT_FLAG_RESET BIT(10)
#define SPACE_MEMORY 0
#define SPACE_IO 1

/* A generic address structure (5.2.3.2): the port, or 0 if it is none or not in this table. */
static u16 io_port(const u8 *table, u32 length, u32 offset)
{
	if (offset + 12 > length || table[offset] != SPACE_IO || get64(table + offset + 4) > 0xffff)
		return 0;
	return (u16)get64(table + offset + 4);
}

/* The 64-bit field counts if it is used, else the 32-bit one of ACPI 1.0. */
static u16 fadt_port(const u8 *table, u32 length, u32 x_offset, u32 offset)
{
	u16 port = io_port(table, length, x_offset);

	if (!port && get32(table + offset) <= 0xffff)
		port = (u16)get32(table + offset);
	return port;
}

static void parse_reset(const u8 *table, u32 length, struct acpi_info *info)
{
	u8 space;

	if (length < FADT_RESET_VALUE + 1 || !(get32(table + FADT_FLAGS) & FADT_FLAG_RESET))
		return;
	space = table[FADT_RESET_REG];
	info->reset_address = get64(table + FADT_RESET_REG + 4);
	info->reset_value = table[FADT_RESET_VALUE];
	info->reset_is_memory = space == SPACE_MEMORY;
	info->have_reset = info->reset_address &&
			   (space == SPACE_MEMORY ||
			    (space == SPACE_IO && info->reset_address <= 0xffff));
}

hpa_t acpi_parse_fadt(const u8 *table, u32 length, struct acpi_info *info)
{
	hpa_t dsdt = 0;

	if (length < FADT_FLAGS + 4)
		return 0;
	info->pm_timer_port = fadt_port(table, length, FADT_X_PM_TMR, FADT_PM_TMR);
	info->pm1a_control_port = fadt_port(table, length, FADT_X_PM1A_CNT, FADT_PM1A_CNT);
	info->pm1b_control_port = fadt_port(table, length, FADT_X_PM1B_CNT, FADT_PM1B_CNT);
	if (get32(table + FADT_SMI_CMD) <= 0xffff)
		info->smi_command_port = (u16)get32(table + FADT_SMI_CMD);
	info->acpi_enable = table[FADT_ACPI_ENABLE];
	parse_reset(table, length, info);
	if (length >= FADT_X_DSDT + 8)
		dsdt = get64(table + FADT_X_DSDT);
	return dsdt ? dsdt : get32(table + FADT_DSDT);
}

/* --- DSDT: Name (_S5_, Package () { a, b, ... }) --- */

enum aml {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_PACKAGE = 0x12,
	AML_ROOT = '\\',
};

/* An integer constant at *at; false if there is none. */
static bool aml_integer(const u8 *table, u32 length, u32 *at, u8 *value)
{
	u32 bytes = 0;

	if (*at >= length)
		return false;
	switch (table[*at]) {
	case AML_ZERO:
	case AML_ONE:
		*value = table[(*at)++];
		return true;
	case AML_BYTE:
		bytes = 1;
		break;
	case AML_WORD:
		bytes = 2;
		break;
	case AML_DWORD:
		bytes = 4;
		break;
	default:
		return false;
	}
	if (*at + 1 + bytes > length)
		return false;
	*value = table[*at + 1];
	*at += 1 + bytes;
	return true;
}

/* at: behind the name. Only SLP_TYPa and SLP_TYPb, three bits each, are of use. */
static bool parse_s5(const u8 *table, u32 length, u32 at, struct acpi_info *info)
{
	u8 a;
	u8 b = 0;
	u8 elements;

	if (at + 3 > length || table[at] != AML_PACKAGE)
		return false;
	at += 2 + (table[at + 1] >> 6); /* PkgLength has 1 to 4 bytes (20.2.4) */
	if (at >= length)
		return false;
	elements = table[at++];
	if (elements < 1 || !aml_integer(table, length, &at, &a))
		return false;
	if (elements > 1 && !aml_integer(table, length, &at, &b))
		return false;
	info->sleep_type_a = a & 7;
	info->sleep_type_b = b & 7;
	info->have_s5 = true;
	return true;
}

void acpi_parse_dsdt(const u8 *table, u32 length, struct acpi_info *info)
{
	for (u32 at = HEADER_BYTES + 2; at + 4 <= length; at++) {
		if (memcmp(table + at, "_S5_", 4) != 0)
			continue;
		if (table[at - 1] != AML_NAME &&
		    !(table[at - 2] == AML_NAME && table[at - 1] == AML_ROOT))
			continue;
		if (parse_s5(table, length, at + 4, info))
			return;
	}
}
