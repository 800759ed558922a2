/* SPDX-License-Identifier: Apache-2.0 */
/* Buses, files, fault points: the small parts of vmm/ and lib/ that others stand on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "lib/fault.h"
#include "vmm/files.h"
#include "vmm/io_bus.h"

static struct io_bus bus;
static u64 last_offset;
static unsigned int last_size;
static u64 last_value;

static void handler(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	last_offset = offset;
	last_size = size;
	if (write)
		last_value = *value;
	else
		*value = (uintptr_t)ctx;
}

static int setup(void **state)
{
	(void)state;
	memset(&bus, 0, sizeof(bus));
	return 0;
}

static int add(u64 base, u64 bytes, u64 answer)
{
	return io_bus_add(&bus, base, bytes, handler, (void *)(uintptr_t)answer);
}

static u64 read_bus(u64 addr, unsigned int size)
{
	u64 value = 0;

	assert_int_equal(io_bus_access(&bus, addr, size, false, &value), 0);
	return value;
}

static void test_lookup(void **state)
{
	u64 value = 0;

	(void)state;
	/* Not in order. */
	assert_int_equal(add(0x300, 8, 3), 0);
	assert_int_equal(add(0x100, 8, 1), 0);
	assert_int_equal(add(0x200, 1, 2), 0);
	assert_int_equal(add(0x108, 8, 4), 0);
	assert_int_equal(read_bus(0x100, 1), 1);
	assert_int_equal(read_bus(0x107, 1), 1);
	assert_int_equal(last_offset, 7);
	assert_int_equal(read_bus(0x108, 4), 4);
	assert_int_equal(last_size, 4);
	assert_int_equal(read_bus(0x200, 1), 2);
	assert_int_equal(read_bus(0x304, 4), 3);
	assert_int_equal(io_bus_access(&bus, 0xff, 1, false, &value), -E_NOENT);
	assert_int_equal(io_bus_access(&bus, 0x201, 1, false, &value), -E_NOENT);
	assert_int_equal(io_bus_access(&bus, ~0ull, 1, false, &value), -E_NOENT);
	io_bus_remove(&bus, 0x100);
	io_bus_remove(&bus, 0x10a); /* not a base */
	assert_int_equal(io_bus_access(&bus, 0x100, 1, false, &value), -E_NOENT);
	assert_int_equal(read_bus(0x108, 1), 4);
	assert_int_equal(bus.count, 3);
}

static void test_overlap(void **state)
{
	(void)state;
	assert_int_equal(add(0x100, 0x10, 1), 0);
	assert_int_equal(add(0x100, 0x10, 1), -E_EXIST);
	assert_int_equal(add(0x10f, 1, 1), -E_EXIST);
	assert_int_equal(add(0xff, 2, 1), -E_EXIST);
	assert_int_equal(add(0, ~0ull, 1), -E_EXIST);
	assert_int_equal(add(0x110, 0, 1), -E_INVAL);
	assert_int_equal(add(~0ull, 2, 1), -E_INVAL);
	assert_int_equal(add(~0ull, 1, 9), 0);
	assert_int_equal(read_bus(~0ull, 1), 9);
	for (u64 i = 0; i < IO_RANGES_MAX - 2; i++)
		assert_int_equal(add(0x1000 + i, 1, i), 0);
	assert_int_equal(add(0x8000, 1, 1), -E_NOMEM);
	for (u64 i = 0; i < IO_RANGES_MAX - 2; i++)
		assert_int_equal(read_bus(0x1000 + i, 1), i);
}

/* Ranges come and go (BARs move) after they were accessed: nothing wrong is remembered of the last access. */
static void test_changes(void **state)
{
	u64 value = 0;

	(void)state;
	assert_int_equal(io_bus_access(&bus, 0, 1, false, &value), -E_NOENT);
	assert_int_equal(add(0x200, 8, 2), 0);
	assert_int_equal(read_bus(0x204, 1), 2);
	assert_int_equal(add(0x100, 8, 1), 0);
	assert_int_equal(read_bus(0x204, 1), 2);
	assert_int_equal(last_offset, 4);
	io_bus_remove(&bus, 0x200);
	assert_int_equal(io_bus_access(&bus, 0x204, 1, false, &value), -E_NOENT);
	assert_int_equal(read_bus(0x104, 1), 1);
	io_bus_remove(&bus, 0x100);
	assert_int_equal(io_bus_access(&bus, 0x104, 1, false, &value), -E_NOENT);
	assert_int_equal(bus.count, 0);
	assert_int_equal(add(0x204, 4, 3), 0);
	assert_int_equal(read_bus(0x204, 1), 3);
	assert_int_equal(last_offset, 0);
}

/* Over the end of a range: each byte to its owner, ones where there is none. */
static void test_crossing(void **state)
{
	u64 value = 0x44332211;

	(void)state;
	assert_int_equal(add(0x100, 2, 0xaa), 0);
	assert_int_equal(add(0x102, 1, 0xbb), 0);
	assert_int_equal(read_bus(0x101, 4), 0xffffbbaa);
	assert_int_equal(last_size, 1);
	assert_int_equal(io_bus_access(&bus, 0x101, 4, true, &value), 0);
	assert_int_equal(last_value, 0x22);
	assert_int_equal(last_offset, 0);
}

static void test_files(void **state)
{
	(void)state;
	files_add("Vmlinuz", "kernel", 6);
	assert_non_null(files_find("vmlinuz"));
	assert_non_null(files_find("\\godwit\\VMLINUZ"));
	assert_non_null(files_find("/godwit/vmlinuz"));
	assert_null(files_find("vmlinuz2"));
	assert_null(files_find("vmlinu"));
	assert_null(files_find("godwit"));
	assert_null(files_find(""));
	assert_string_equal(files_get(0)->name, "Vmlinuz");
	assert_null(files_get(1));
	/* Too many: the rest is left out. */
	for (u32 i = 0; i < 100; i++)
		files_add("again", "x", 1);
	assert_non_null(files_get(63));
	assert_null(files_get(64));
}

static void test_faults(void **state)
{
	u64 left;

	(void)state;
	fault_clear_all();
	assert_false(fault_hit("a"));
	assert_int_equal(fault_set("a", 2), 0);
	assert_true(fault_hold("a"));
	assert_true(fault_hit("a"));
	assert_false(fault_hit("b"));
	assert_string_equal(fault_get(0, &left), "a");
	assert_int_equal(left, 1);
	assert_true(fault_hit("a"));
	assert_false(fault_hit("a"));
	assert_false(fault_hold("a"));
	assert_null(fault_get(0, &left));
	assert_int_equal(fault_set("b", FAULT_FOREVER), 0);
	for (u32 i = 0; i < 10; i++)
		assert_true(fault_hit("b"));
	fault_clear("b");
	assert_false(fault_hit("b"));
	fault_clear_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_lookup, setup),   cmocka_unit_test_setup(test_overlap, setup),
		cmocka_unit_test_setup(test_changes, setup),  cmocka_unit_test_setup(test_crossing, setup),
		cmocka_unit_test(test_files),                cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
