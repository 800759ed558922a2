/* SPDX-License-Identifier: Apache-2.0 */
/* The log: whole lines, stamps, overwriting, readers that fall behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "lib/log.h"

static char sunk[1024];
static char panicked[1024];

static void sink(const char *text, size_t len)
{
	strncat(sunk, text, len);
}

static void panic_sink(const char *text, size_t len)
{
	strncat(panicked, text, len);
}

static u64 clock(void)
{
	return 12 * NS_PER_S + 34567 * NS_PER_US;
}

static u64 cursor;

static void drain(void)
{
	char buf[512];

	while (log_read(&cursor, buf, sizeof(buf)))
		continue;
}

static void test_lines(void **state)
{
	char buf[512];
	size_t n;

	(void)state;
	log_info("one %d", 1);
	log_set_clock(clock);
	log_warn("two\nlines");
	log_error("three");
	n = log_read(&cursor, buf, sizeof(buf) - 1);
	buf[n] = '\0';
	assert_string_equal(buf, "[   0.000000] one 1\n[  12.034567] warning: two lines\n"
				 "[  12.034567] error: three\n");
	assert_int_equal(log_read(&cursor, buf, sizeof(buf)), 0);
}

static void test_small_buffer(void **state)
{
	char buf[64];
	size_t n;

	(void)state;
	drain();
	log_info("first");
	log_info("second");
	n = log_read(&cursor, buf, 30); /* the first has 20 bytes, so the second does not fit */
	assert_int_equal(n, 20);
	n = log_read(&cursor, buf, 10); /* fits nowhere: cut, but a line */
	assert_int_equal(n, 10);
	assert_int_equal(buf[9], '\n');
	assert_int_equal(log_read(&cursor, buf, sizeof(buf)), 0);
}

static void test_overwriting(void **state)
{
	char buf[512];
	u64 behind = 0;
	size_t n;
	unsigned int first;

	(void)state;
	for (unsigned int i = 0; i < 10000; i++)
		log_info("line %u", i);
	n = log_read(&behind, buf, sizeof(buf) - 1);
	buf[n] = '\0';
	assert_int_equal(buf[0], '[');
	assert_int_equal(sscanf(buf, "[%*[ 0-9.]] line %u\n", &first), 1);
	assert_true(first > 5000 && first < 9000);
	for (u64 lines = 0;; lines++) {
		n = log_read(&behind, buf, 30);
		if (n)
			continue;
		assert_true(lines > 1000);
		break;
	}
}

static void test_long_line(void **state)
{
	char big[2000];
	char buf[2048];
	size_t n;

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	drain();
	log_info("%s", big);
	n = log_read(&cursor, buf, sizeof(buf));
	assert_true(n > 100 && n < 400);
	assert_int_equal(buf[n - 1], '\n');
	assert_ptr_equal(memchr(buf, '\n', n), buf + n - 1);
}

static void test_sinks(void **state)
{
	(void)state;
	drain();
	log_set_early_sink(sink);
	log_info("early");
	log_set_early_sink(NULL);
	log_info("unread");
	assert_string_equal(sunk, "[  12.034567] early\n");
	log_set_panic_sink(panic_sink);
	log_set_panicking();
	log_error("the end");
	/* What the early sink showed is not shown again. */
	assert_string_equal(panicked, "[  12.034567] unread\n[  12.034567] error: the end\n");
}

static void test_error_names(void **state)
{
	(void)state;
	assert_string_equal(error_name(-E_NOMEM), "no memory");
	assert_string_equal(error_name(E_CLOSED), "closed by the other end");
	assert_string_equal(error_name(-1000), "unknown error");
	assert_string_equal(error_name(INT32_MIN), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),     cmocka_unit_test(test_small_buffer),
		cmocka_unit_test(test_overwriting), cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_error_names), cmocka_unit_test(test_sinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
