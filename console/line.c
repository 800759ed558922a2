/* SPDX-License-Identifier: Apache-2.0 */
/* The line editor: see line.h. Service CPU. */
#include "console/line.h"

#include "console/terminal.h"
#include "lib/string.h"

#define CTRL(c) ((c) & 0x1f)
#define ESC 0x1b
#define DEL 0x7f

enum escape_state { ESCAPE_NONE, ESCAPE_SEEN, ESCAPE_BRACKET };

void line_init(struct line *line, const char *prompt)
{
	memset(line, 0, sizeof(*line));
	str_copy(line->prompt, sizeof(line->prompt), prompt);
}

void line_start(struct line *line)
{
	line->length = 0;
	line->cursor = 0;
	line->text[0] = 0;
	line->history_at = 0;
	line->escape = ESCAPE_NONE;
	terminal_puts(line->prompt);
}

/* The line is shown in one row: when it is longer than the row, the part around the cursor. */
void line_redraw(const struct line *line)
{
	u32 width = TERMINAL_COLUMNS - 1 - (u32)strlen(line->prompt);
	u32 first = line->cursor >= width ? line->cursor - width + 1 : 0;
	u32 shown = MIN(line->length - first, width);

	terminal_puts(TERMINAL_CLEAR_LINE);
	terminal_puts(line->prompt);
	terminal_write(line->text + first, shown);
	if (first + shown > line->cursor)
		terminal_printf("\x1b[%uD", first + shown - line->cursor);
}

void line_insert(struct line *line, const char *text)
{
	u32 n = (u32)strlen(text);
	bool at_end = line->cursor == line->length;

	if (line->length + n >= LINE_BYTES)
		return;
	memmove(line->text + line->cursor + n, line->text + line->cursor, line->length - line->cursor + 1);
	memcpy(line->text + line->cursor, text, n);
	line->length += n;
	line->cursor += n;
	if (at_end && strlen(line->prompt) + line->length < TERMINAL_COLUMNS - 1)
		terminal_write(text, n);
	else
		line_redraw(line);
}

static void delete_range(struct line *line, u32 from, u32 to)
{
	memmove(line->text + from, line->text + to, line->length - to + 1);
	line->length -= to - from;
	line->cursor = from;
	line_redraw(line);
}

static void move_to(struct line *line, u32 cursor)
{
	line->cursor = cursor;
	line_redraw(line);
}

static u32 word_start(const struct line *line)
{
	u32 at = line->cursor;

	while (at && line->text[at - 1] == ' ')
		at--;
	while (at && line->text[at - 1] != ' ')
		at--;
	return at;
}

static void history_add(struct line *line)
{
	char *last = line->history[(line->history_count + LINE_HISTORY - 1) % LINE_HISTORY];

	if (!line->length || (line->history_count && str_equal(last, line->text)))
		return;
	str_copy(line->history[line->history_count % LINE_HISTORY], LINE_BYTES, line->text);
	line->history_count++;
}

/* back: +1 older, -1 newer. */
static void history_move(struct line *line, int back)
{
	u32 kept = MIN(line->history_count, (u32)LINE_HISTORY);
	const char *text = line->typed;

	if ((back > 0 && line->history_at == kept) || (back < 0 && !line->history_at))
		return;
	if (!line->history_at)
		str_copy(line->typed, LINE_BYTES, line->text);
	line->history_at += (u32)back;
	if (line->history_at)
		text = line->history[(line->history_count - line->history_at) % LINE_HISTORY];
	str_copy(line->text, LINE_BYTES, text);
	line->length = (u32)strlen(line->text);
	move_to(line, line->length);
}

static void feed_escape(struct line *line, u8 byte)
{
	if (line->escape == ESCAPE_SEEN) {
		line->escape = byte == '[' || byte == 'O' ? ESCAPE_BRACKET : ESCAPE_NONE;
		line->parameter = 0;
		return;
	}
	if (byte >= '0' && byte <= '9') {
		line->parameter = (u8)(line->parameter * 10 + (byte - '0'));
		return;
	}
	if (byte == ';')
		return;
	line->escape = ESCAPE_NONE;
	if (byte == 'A')
		history_move(line, 1);
	else if (byte == 'B')
		history_move(line, -1);
	else if (byte == 'C' && line->cursor < line->length)
		move_to(line, line->cursor + 1);
	else if (byte == 'D' && line->cursor)
		move_to(line, line->cursor - 1);
	else if (byte == 'H' || (byte == '~' && (line->parameter == 1 || line->parameter == 7)))
		move_to(line, 0);
	else if (byte == 'F' || (byte == '~' && (line->parameter == 4 || line->parameter == 8)))
		move_to(line, line->length);
	else if (byte == '~' && line->parameter == 3 && line->cursor < line->length)
		delete_range(line, line->cursor, line->cursor + 1);
}

static void feed_control(struct line *line, u8 byte)
{
	switch (byte) {
	case CTRL('A'):
		move_to(line, 0);
		break;
	case CTRL('E'):
		move_to(line, line->length);
		break;
	case CTRL('B'):
		move_to(line, line->cursor ? line->cursor - 1 : 0);
		break;
	case CTRL('F'):
		move_to(line, MIN(line->cursor + 1, line->length));
		break;
	case CTRL('P'):
		history_move(line, 1);
		break;
	case CTRL('N'):
		history_move(line, -1);
		break;
	case CTRL('H'):
	case DEL:
		if (line->cursor)
			delete_range(line, line->cursor - 1, line->cursor);
		break;
	case CTRL('D'):
		if (line->cursor < line->length)
			delete_range(line, line->cursor, line->cursor + 1);
		break;
	case CTRL('K'):
		delete_range(line, line->cursor, line->length);
		break;
	case CTRL('U'):
		delete_range(line, 0, line->cursor);
		break;
	case CTRL('W'):
		delete_range(line, word_start(line), line->cursor);
		break;
	case CTRL('L'):
		terminal_puts("\x1b[H\x1b[2J");
		line_redraw(line);
		break;
	default:
		break; /* other control characters mean nothing here */
	}
}

enum line_event line_feed(struct line *line, u8 byte)
{
	char text[2] = { (char)byte, 0 };

	if (line->escape != ESCAPE_NONE) {
		feed_escape(line, byte);
	} else if (byte == ESC) {
		line->escape = ESCAPE_SEEN;
	} else if (byte == '\r' || byte == '\n') {
		terminal_puts("\n");
		history_add(line);
		return LINE_DONE;
	} else if (byte == '\t') {
		return LINE_COMPLETE;
	} else if (byte == CTRL('C')) {
		return LINE_INTERRUPT;
	} else if (byte < ' ' || byte == DEL) {
		feed_control(line, byte);
	} else if (byte < DEL) {
		line_insert(line, text);
	}
	return LINE_NONE;
}
