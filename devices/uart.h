/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A that is the guest's console: what it sends goes to vm->console, what it receives comes
 * from vm->input. vm->lock held.
 */
#ifndef DEVICES_UART_H
#define DEVICES_UART_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"

#define UART_FIFO_BYTES 16

struct uart_state {
	u8 rx[UART_FIFO_BYTES]; /* the oldest first */
	u8 rx_count;
	u8 ier, fcr, lcr, mcr, msr, scratch;
	u8 divisor_low, divisor_high;
	u8 thre;    /* the transmitter-empty interrupt has not been seen yet */
	u8 overrun; /* in loopback only: else the sender waits */
	u8 reserved[5];
};
static_assert(sizeof(struct uart_state) == 32, "wire layout");

struct uart {
	struct device dev;
	struct uart_state s;
	bool irq; /* what the line is driven to */
};

void uart_init(struct uart *uart, struct vm *vm);
io_handler uart_io; /* ctx: the uart */
/* There is something in vm->input. */
void uart_input(struct uart *uart);

#endif
