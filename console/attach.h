/* SPDX-License-Identifier: Apache-2.0 */
/* The console's line lent to a guest's serial console, until Ctrl-]. Service CPU. */
#ifndef CONSOLE_ATTACH_H
#define CONSOLE_ATTACH_H

#include "types.h"

struct vm;

void attach_start(struct vm *vm);
bool attach_active(void);
/* What was typed; false: Ctrl-] was among it, and the line is the shell's again. */
bool attach_input(const u8 *bytes, size_t n);
/* Shows what the guest printed. False: the guest has gone. */
bool attach_poll(void);
/* The guest has ended and may be gone in a moment: its last words, if its console is the one that is shown. */
void attach_last_look(const struct vm *vm);

#endif
