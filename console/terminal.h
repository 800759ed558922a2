/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out of the console's line: queued, sent as the line has room. "\n" is one character here,
 * the driver makes "\r\n" of it.
 */
#ifndef CONSOLE_TERMINAL_H
#define CONSOLE_TERMINAL_H

#include "console/console.h"
#include "types.h"

#define TERMINAL_COLUMNS 80
#define TERMINAL_QUEUE_BYTES KIB(128)

#define TERMINAL_CLEAR_LINE "\r\x1b[K"
/* What is longer than the row is cut at its end, not wrapped: a line that is drawn again must be one row. */
#define TERMINAL_WRAP_OFF "\x1b[?7l"
#define TERMINAL_WRAP_ON "\x1b[?7h"

void terminal_init(const struct console_io *io);
void terminal_write(const char *text, size_t len);
void terminal_puts(const char *text);
void terminal_printf(const char *fmt, ...) printf_like(1, 2);
size_t terminal_read(u8 *buf, size_t size);
/* Bytes that the queue still takes: who has a lot to say (a guest's console) waits for room. */
size_t terminal_room(void);
/* Sends what fits; true if some is left. */
bool terminal_flush(void);
/* Waits until all is on the line (before the machine goes off), a second at most. */
void terminal_drain(void);

#endif
