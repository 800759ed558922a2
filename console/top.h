/* SPDX-License-Identifier: Apache-2.0 */
/* The screen of `top`: who uses the CPUs, drawn again every second. Service CPU. */
#ifndef CONSOLE_TOP_H
#define CONSOLE_TOP_H

#include "types.h"

void top_start(void);
bool top_active(void);
/* A key; true: it has left the screen. */
bool top_input(u8 byte);
void top_poll(void);
/* When top_poll() wants to be called again; 0: never. */
u64 top_deadline(void);
/* How long the CPU has idled, the time that goes on right now included. */
u64 top_idle_ns(u32 cpu);

#endif
