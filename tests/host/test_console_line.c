/* SPDX-License-Identifier: Apache-2.0 */
/* The line editor: editing keys, history, long lines, and bytes that mean nothing. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "console/line.h"
#include "console/terminal.h"

static char shown[1 << 16];
static size_t shown_length;

static size_t io_read(u8 *buf, size_t size)
{
	(void)buf;
	(void)size;
	return 0;
}

static size_t io_room(void)
{
	return 4096;
}

static void io_write(const char *text, size_t len)
{
	if (shown_length + len >= sizeof(shown))
		shown_length = 0;
	memcpy(shown + shown_length, text, len);
	shown_length += len;
	shown[shown_length] = 0;
}

static bool io_drain(void)
{
	return false;
}

static const struct console_io io = { io_read, io_room, io_write, io_drain };
static struct line line;

static int set_up(void **state)
{
	(void)state;
	terminal_init(&io);
	line_init(&line, "godwit t> ");
	line_start(&line);
	terminal_flush();
	shown_length = 0;
	shown[0] = 0;
	return 0;
}

static enum line_event type(const char *keys)
{
	enum line_event event = LINE_NONE;

	for (; *keys; keys++)
		event = line_feed(&line, (u8)*keys);
	terminal_flush();
	return event;
}

static void enter(const char *text)
{
	assert_int_equal(type(text), LINE_NONE);
	assert_int_equal(type("\r"), LINE_DONE);
	line_start(&line);
}

static void test_typing(void **state)
{
	(void)state;
	assert_int_equal(type("list web"), LINE_NONE);
	assert_string_equal(line.text, "list web");
	assert_string_equal(shown, "list web");
	assert_int_equal(type("\r"), LINE_DONE);
	assert_string_equal(line.text, "list web");
}

static void test_editing(void **state)
{
	(void)state;
	type("lst web\x01\x1b[Ci"); /* Ctrl-A, right, i */
	assert_string_equal(line.text, "list web");
	type("\x05\x17");           /* Ctrl-E, Ctrl-W */
	assert_string_equal(line.text, "list ");
	type("\x7f\x7f");
	assert_string_equal(line.text, "lis");
	type("\x1b[D\x1b[3~");      /* left, Delete */
	assert_string_equal(line.text, "li");
	type("\x1b[H\x0b");         /* Home, Ctrl-K */
	assert_string_equal(line.text, "");
	type("abc\x15");            /* Ctrl-U */
	assert_string_equal(line.text, "");
	type("\x7f\x1b[D\x1b[C\x1b[3~\x17\x04");
	assert_string_equal(line.text, "");
}

static void test_history(void **state)
{
	(void)state;
	enter("list");
	enter("info");
	enter("info"); /* the same again counts once */
	type("half");
	type("\x1b[A");
	assert_string_equal(line.text, "info");
	type("\x1b[A");
	assert_string_equal(line.text, "list");
	type("\x1b[A");
	assert_string_equal(line.text, "list");
	type("\x1b[B\x1b[B");
	assert_string_equal(line.text, "half");
	type("\x1b[B");
	assert_string_equal(line.text, "half");
}

static void test_history_wraps(void **state)
{
	char text[8];

	(void)state;
	for (int i = 0; i < LINE_HISTORY + 10; i++) {
		snprintf(text, sizeof(text), "c%d", i);
		enter(text);
	}
	for (int i = 0; i < LINE_HISTORY + 5; i++)
		type("\x1b[A");
	assert_string_equal(line.text, "c10");
}

static void test_long_line(void **state)
{
	(void)state;
	for (int i = 0; i < LINE_BYTES + 100; i++)
		type("x");
	assert_int_equal(line.length, LINE_BYTES - 1);
	assert_int_equal(strlen(line.text), LINE_BYTES - 1);
	type("\x01y");
	assert_int_equal(line.length, LINE_BYTES - 1);
}

static void test_events(void **state)
{
	(void)state;
	assert_int_equal(type("li\t"), LINE_COMPLETE);
	line_insert(&line, "st ");
	assert_string_equal(line.text, "list ");
	assert_int_equal(type("\x03"), LINE_INTERRUPT);
}

static void test_garbage(void **state)
{
	(void)state;
	srand(7);
	for (int i = 0; i < 200000; i++) {
		u8 byte = (u8)(rand() % 3 ? rand() % 64 + 27 : rand());

		if (line_feed(&line, byte) == LINE_DONE)
			line_start(&line);
		assert_true(line.cursor <= line.length);
		assert_true(line.length < LINE_BYTES);
		assert_int_equal(strlen(line.text), line.length);
		terminal_flush();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_typing, set_up),
		cmocka_unit_test_setup(test_editing, set_up),
		cmocka_unit_test_setup(test_history, set_up),
		cmocka_unit_test_setup(test_history_wraps, set_up),
		cmocka_unit_test_setup(test_long_line, set_up),
		cmocka_unit_test_setup(test_events, set_up),
		cmocka_unit_test_setup(test_garbage, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
