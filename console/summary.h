/* SPDX-License-Identifier: Apache-2.0 */
/* What the console says of a move: a line while it goes on, and its summary. Service CPU. */
#ifndef CONSOLE_SUMMARY_H
#define CONSOLE_SUMMARY_H

#include "migrate/migrate.h"
#include "types.h"

#define SUMMARY_BYTES 640

/* It is not under way (any more). */
bool summary_ended(const struct migrate_progress *p);
/* In the terminal's row, instead of what is there; cut at its end. */
void summary_draw(const struct migrate_progress *p);
/* Of one that has ended: one line, of a check several. */
void summary_text(const struct migrate_progress *p, char *text, size_t size);
/* "2.9 s", "340 ms"; into buf, which is also returned. */
const char *summary_time(char *buf, size_t size, u64 ns);

#endif
