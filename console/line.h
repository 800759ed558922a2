/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line editor: bytes in, an edited line out, with history. It writes to the terminal what the user sees.
 * Keys: arrows, Home, End, Delete, Backspace, Ctrl-A E B F K U W L P N, Tab (completion by the owner).
 */
#ifndef CONSOLE_LINE_H
#define CONSOLE_LINE_H

#include "types.h"

#define LINE_BYTES 512
#define LINE_HISTORY 32

enum line_event {
	LINE_NONE,
	LINE_DONE,      /* Enter: line->text is complete; call line_start for the next */
	LINE_COMPLETE,  /* Tab: the owner may call line_insert */
	LINE_INTERRUPT, /* Ctrl-C */
};

struct line {
	char prompt[64];
	char text[LINE_BYTES];
	u32 length, cursor;
	char history[LINE_HISTORY][LINE_BYTES];
	u32 history_count;  /* ever added */
	u32 history_at;     /* lines back from the newest; 0: the line being typed */
	char typed[LINE_BYTES]; /* what was being typed when history was entered */
	u8 escape;          /* state of an escape sequence */
	u8 parameter;
};

void line_init(struct line *line, const char *prompt);
/* Empties the line and shows the prompt. */
void line_start(struct line *line);
/* Shows prompt, text and cursor again, after something else was printed. */
void line_redraw(const struct line *line);
enum line_event line_feed(struct line *line, u8 byte);
void line_insert(struct line *line, const char *text);

#endif
