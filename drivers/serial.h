/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's 16550 (console). Service CPU; serial_panic_write also from a panic on any CPU.
 * Output is buffered and sent as the FIFO drains, so a slow line never stops the service loop.
 */
#ifndef DRIVERS_SERIAL_H
#define DRIVERS_SERIAL_H

#include "types.h"

/* port: I/O base (0x3f8), baud 0 = leave as the firmware set it; -E_NOENT if no UART answers. */
int must_check serial_init(u16 port, u32 baud, u8 isa_irq);
/* Queues text ("\n" becomes "\r\n"); room() is what fits now; overflow is dropped and counted. */
size_t serial_room(void);
void serial_write(const char *text, size_t len);
/* Bytes received since the last call. */
size_t serial_read(u8 *buf, size_t size);
/* Moves bytes between the rings and the UART; returns true if there is more to do soon. */
bool serial_poll(void);
/* The same for who waits until all is out; true while something is left to send. */
bool serial_drain(void);
/* When to poll again at the latest (time_ns); 0: the port's interrupt says when. */
u64 serial_next_deadline(void);
/* Straight to the UART, polling: early boot and panic. */
void serial_panic_write(const char *text, size_t len);

#endif
