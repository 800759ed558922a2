/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line of a migration, or of many, and what is said at the end. Service CPU. */
#ifndef CONSOLE_PROGRESS_H
#define CONSOLE_PROGRESS_H

#include "types.h"

/* The move with this number; and the plan under way (migrate/plan.h). */
void progress_watch(u32 id);
void progress_watch_plan(void);
bool progress_active(void);
/* A key: Ctrl-C cancels, any other gives the prompt back (true) while the migration goes on. */
bool progress_input(u8 byte);
void progress_redraw(void);
/* False: it has ended, and the summary or report was printed. */
bool progress_poll(void);
/* What nobody watches any more: logs the summary when it has ended. */
void progress_poll_unwatched(void);
/* When one of the two polls wants to be called again; 0: never. */
u64 progress_deadline(void);
/* All that are under way, or the last one's summary, for migrate --status. */
void progress_print(void);

#endif
