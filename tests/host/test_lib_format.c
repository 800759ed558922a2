/* SPDX-License-Identifier: Apache-2.0 */
/* lib/format.c against the C library's printf, and its own two helpers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/format.h"

#define SAME(...)                                                                   \
	do {                                                                        \
		char mine[128], theirs[128];                                        \
		int n = str_format(mine, sizeof(mine), __VA_ARGS__);                \
		assert_int_equal(n, snprintf(theirs, sizeof(theirs), __VA_ARGS__)); \
		assert_string_equal(mine, theirs);                                  \
	} while (0)

static void test_integers(void **state)
{
	static const long long values[] = { 0, 1, -1, 9, 10, 255, -128, 65535, 2147483647, -2147483648ll,
					    4294967295ll, 9223372036854775807ll, -9223372036854775807ll - 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		long long v = values[i];

		SAME("%lld|%llu|%llx|%llX|%llo", v, v, v, v, v);
		SAME("%d|%i|%u|%x|%#x|%o", (int)v, (int)v, (unsigned int)v, (unsigned int)v, (unsigned int)v,
		     (unsigned int)v);
		SAME("%hhd|%hd|%hhu|%hu", (signed char)v, (short)v, (unsigned char)v, (unsigned short)v);
		SAME("%ld|%zu|%td|%jd", (long)v, (size_t)v, (ptrdiff_t)v, (intmax_t)v);
		SAME("%8d|%-8d|%08d|%+d|% d|%.5d|%8.5d|%-8.5d", (int)v, (int)v, (int)v, (int)v, (int)v, (int)v,
		     (int)v, (int)v);
		SAME("%#10x|%-#10x|%#010x|%.0x", (unsigned int)v, (unsigned int)v, (unsigned int)v, (unsigned int)v);
		SAME("%*d|%-*d|%.*d", 6, (int)v, 6, (int)v, 4, (int)v);
	}
	SAME("%*d", -6, 42);
}

static void test_text(void **state)
{
	(void)state;
	SAME("%s|%10s|%-10s|%.2s|%10.2s|%.*s", "abc", "abc", "abc", "abc", "abc", 1, "abc");
	SAME("%c|%3c|%-3c|%%", 'x', 'y', 'z');
	SAME("%p", (void *)0x1234);
	SAME("plain");
}

static void test_cut(void **state)
{
	char buf[8] = "xxxxxxx";
	const char *volatile nothing = NULL;

	(void)state;
	assert_int_equal(str_format(buf, 4, "%s", "abcdef"), 6);
	assert_memory_equal(buf, "abc\0xxx", 8);
	assert_int_equal(str_format(buf, 0, "%d", 12345), 5);
	assert_memory_equal(buf, "abc\0xxx", 8);
	assert_int_equal(str_format(buf, 1, "a"), 1);
	assert_string_equal(buf, "");
	assert_int_equal(str_format(buf, sizeof(buf), "%s", nothing), 6);
	assert_string_equal(buf, "(null)");
}

static void test_helpers(void **state)
{
	static const struct {
		u64 bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 bytes" },       { 1, "1 byte" },        { 1023, "1023 bytes" },
		{ 1024, "1 KiB" },      { 1536, "1.5 KiB" },    { KIB(10) + 512, "10 KiB" },
		{ MIB(256), "256 MiB" }, { GIB(3) / 2, "1.5 GiB" }, { ~0ull, "15 EiB" },
	};
	static const u8 mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0xff };
	char buf[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(format_bytes(buf, sizeof(buf), cases[i].bytes), cases[i].text);
	assert_string_equal(format_mac(buf, sizeof(buf), mac), "52:54:00:12:34:ff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_helpers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
