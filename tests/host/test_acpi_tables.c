/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI table parsers: what they find in tables that are right, and that garbage only makes them find nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/acpi_tables.c"

static struct acpi_info info;

static int setup(void **state)
{
	(void)state;
	memset(&info, 0, sizeof(info));
	for (u32 i = 0; i < ARRAY_SIZE(info.isa); i++)
		info.isa[i].gsi = i;
	return 0;
}

static void put(u8 *at, u64 value, u32 bytes)
{
	memcpy(at, &value, bytes);
}

static void test_madt(void **state)
{
	static const u8 entries[] = {
		0, 8, 0, 0, 1, 0, 0, 0,                                 /* CPU 0 */
		0, 8, 1, 4, 1, 0, 0, 0,                                 /* CPU 4 */
		0, 8, 2, 6, 0, 0, 0, 0,                                 /* disabled */
		9, 16, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,        /* CPU 4 again */
		9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,        /* CPU 256 */
		1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,              /* IOAPIC */
		2, 10, 0, 0, 2, 0, 0, 0, 0, 0,                          /* IRQ 0 is GSI 2 */
		2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0,                       /* IRQ 9: low, level */
		2, 10, 0, 99, 9, 0, 0, 0, 0x0f, 0,                      /* no such IRQ */
		0xff, 3, 0,                                             /* unknown */
		0, 8, 3, 7, 1, 0, 0, 0,                                 /* CPU 7 */
		1, 6, 0, 0, 0, 0,                                       /* too short */
		0, 0,                                                   /* the end of everything */
		0, 8, 3, 8, 1, 0, 0, 0,
	};
	u8 table[HEADER_BYTES + 8 + sizeof(entries)] = { 0 };

	(void)state;
	memcpy(table + HEADER_BYTES + 8, entries, sizeof(entries));
	acpi_parse_madt(table, sizeof(table), &info);
	assert_int_equal(info.cpu_count, 4);
	assert_int_equal(info.apic_ids[0], 0);
	assert_int_equal(info.apic_ids[1], 4);
	assert_int_equal(info.apic_ids[2], 256);
	assert_int_equal(info.apic_ids[3], 7);
	assert_int_equal(info.ioapic_count, 1);
	assert_int_equal(info.ioapics[0].base, 0xfec00000);
	assert_int_equal(info.isa[0].gsi, 2);
	assert_false(info.isa[0].level);
	assert_true(info.isa[9].level && info.isa[9].active_low);
	assert_int_equal(info.isa[4].gsi, 4);
}

static void test_madt_too_many(void **state)
{
	u8 table[HEADER_BYTES + 8 + 8 * (CPUS_MAX + 5)] = { 0 };

	(void)state;
	for (u32 i = 0; i < CPUS_MAX + 5; i++) {
		u8 *entry = table + HEADER_BYTES + 8 + 8 * i;

		entry[1] = 8;
		entry[3] = (u8)i;
		entry[4] = 1;
	}
	acpi_parse_madt(table, sizeof(table), &info);
	assert_int_equal(info.cpu_count, CPUS_MAX);
	assert_int_equal(info.cpus_left_out, 5);
}

static void test_fadt(void **state)
{
	u8 table[268] = { 0 };

	(void)state;
	put(table + FADT_DSDT, 0x1000, 4);
	put(table + FADT_SMI_CMD, 0xb2, 4);
	table[FADT_ACPI_ENABLE] = 2;
	put(table + FADT_PM1A_CNT, 0x604, 4);
	put(table + FADT_PM_TMR, 0x608, 4);
	put(table + FADT_FLAGS, FADT_FLAG_RESET, 4);
	table[FADT_RESET_REG] = SPACE_IO;
	put(table + FADT_RESET_REG + 4, 0xcf9, 8);
	table[FADT_RESET_VALUE] = 0x0f;
	table[FADT_X_PM_TMR] = SPACE_IO;
	put(table + FADT_X_PM_TMR + 4, 0x1808, 8);
	assert_int_equal(acpi_parse_fadt(table, 116, &info), 0x1000);
	assert_int_equal(info.pm_timer_port, 0x608);
	assert_false(info.have_reset);
	put(table + FADT_X_DSDT, 0x123456789000ull, 8);
	assert_int_equal(acpi_parse_fadt(table, sizeof(table), &info), 0x123456789000ull);
	assert_int_equal(info.pm_timer_port, 0x1808);
	assert_int_equal(info.pm1a_control_port, 0x604);
	assert_int_equal(info.pm1b_control_port, 0);
	assert_true(info.have_reset && !info.reset_is_memory);
	assert_int_equal(info.reset_address, 0xcf9);
	assert_int_equal(acpi_parse_fadt(table, 100, &info), 0);
}

static void test_s5(void **state)
{
	static const u8 good[] = { AML_NAME, '_', 'S', '5', '_', AML_PACKAGE, 0x0a, 4, AML_BYTE, 5, AML_ONE, 0, 0 };
	static const u8 rooted[] = { AML_NAME, '\\', '_', 'S', '5', '_', AML_PACKAGE, 0x46, 0, 2, AML_ZERO, AML_BYTE, 7 };
	u8 table[HEADER_BYTES + 40];

	(void)state;
	memset(table, 0x5a, sizeof(table));
	memcpy(table + HEADER_BYTES + 3, "_S5_", 4); /* a reference, not the definition */
	memcpy(table + HEADER_BYTES + 20, good, sizeof(good));
	acpi_parse_dsdt(table, sizeof(table), &info);
	assert_true(info.have_s5);
	assert_int_equal(info.sleep_type_a, 5);
	assert_int_equal(info.sleep_type_b, 1);

	memset(&info, 0, sizeof(info));
	memcpy(table + HEADER_BYTES + 20, rooted, sizeof(rooted));
	acpi_parse_dsdt(table, sizeof(table), &info);
	assert_true(info.have_s5);
	assert_int_equal(info.sleep_type_a, 0);
	assert_int_equal(info.sleep_type_b, 7);

	for (u32 cut = HEADER_BYTES; cut < HEADER_BYTES + 20 + sizeof(rooted); cut++) {
		memset(&info, 0, sizeof(info));
		acpi_parse_dsdt(table, cut, &info);
		assert_false(info.have_s5);
	}
}

/* The sanitizers watch the block's end. */
static void test_garbage(void **state)
{
	(void)state;
	srand(3);
	for (int i = 0; i < 20000; i++) {
		u32 length = HEADER_BYTES + (u32)rand() % 300;
		u8 *table = malloc(length);

		for (u32 k = 0; k < length; k++)
			table[k] = (u8)(rand() % (i % 2 ? 256 : 16));
		acpi_parse_madt(table, length, &info);
		(void)acpi_parse_fadt(table, length, &info);
		if (length > HEADER_BYTES + 20)
			memcpy(table + HEADER_BYTES + (u32)rand() % (length - HEADER_BYTES - 5), "\x08_S5_", 5);
		acpi_parse_dsdt(table, length, &info);
		free(table);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_madt, setup), cmocka_unit_test_setup(test_madt_too_many, setup),
		cmocka_unit_test_setup(test_fadt, setup), cmocka_unit_test_setup(test_s5, setup),
		cmocka_unit_test_setup(test_garbage, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
