/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line of a migration, and its summary. Service CPU. */
#ifndef CONSOLE_PROGRESS_H
#define CONSOLE_PROGRESS_H

#include "types.h"

void progress_watch(void);
bool progress_active(void);
/* A key: Ctrl-C cancels, any other gives the prompt back (true) while the migration goes on. */
bool progress_input(u8 byte);
void progress_redraw(void);
/* False: it has ended, and the summary was printed. */
bool progress_poll(void);
/* While nobody watches: logs the summary when it has ended. */
void progress_poll_unwatched(void);
/* When one of the two polls wants to be called again; 0: never. */
u64 progress_deadline(void);
/* The last migration's summary or the state of the one under way, for migrate --status. */
void progress_print(void);

#endif
