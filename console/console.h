/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: the prompt on the serial port, and the guests' consoles behind it. Service CPU.
 * docs/manual.md describes the commands; console/command.h is their table.
 */
#ifndef CONSOLE_CONSOLE_H
#define CONSOLE_CONSOLE_H

#include "types.h"
#include "vmm/config/config.h"

struct vm;

/* The line below: the serial driver; in host tests a pair of buffers. */
struct console_io {
	size_t (*read)(u8 *buf, size_t size);
	size_t (*room)(void);
	void (*write)(const char *text, size_t len);
	bool (*drain)(void); /* moves bytes to the line; true if some are left */
};

/* config stays where it is: commands show it. */
void console_init(const struct console_io *io, const struct host_config *config);
/* Reads what was typed, prints what is new; true if there is more to do at once. */
bool console_poll(void);
/* When it next wants to be polled although nothing happens (progress lines), time_ns; 0: never. */
u64 console_next_deadline(void);
/* A guest has ended, restarted, arrived...: a line "NAME WHAT" above the prompt. */
void console_guest_event(struct vm *vm, const char *what);
/* Starts the guests of godwit.cfg; each problem is a line with its file's name. */
void console_start_guests(void);

#endif
