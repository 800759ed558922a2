/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A (National's data sheet PC16550D). The line has no speed: what is written has been sent.
 * On the vCPU's CPU, input also on the service CPU; vm->lock held.
 */
#include "devices/uart.h"

#include "devices/port8.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

enum uart_reg { UART_DATA, UART_IER, UART_IIR_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };
enum { IER_RX = BIT(0), IER_THRE = BIT(1), IER_LINE = BIT(2), IER_MODEM = BIT(3), IER_BITS = 0x0f };
enum { IIR_MODEM = 0, IIR_NONE = 1, IIR_THRE = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = BIT(0), FCR_CLEAR_RX = BIT(1), FCR_BITS = 0xc9 };
enum { LCR_DLAB = BIT(7) };
enum { MCR_DTR = BIT(0), MCR_RTS = BIT(1), MCR_OUT1 = BIT(2), MCR_OUT2 = BIT(3), MCR_LOOP = BIT(4), MCR_BITS = 0x1f };
enum { LSR_DATA = BIT(0), LSR_OVERRUN = BIT(1), LSR_THRE = BIT(5), LSR_TEMT = BIT(6) };
enum { MSR_DELTAS = 0x0f, MSR_TERI = BIT(2), MSR_CTS = BIT(4), MSR_DSR = BIT(5), MSR_RI = BIT(6), MSR_DCD = BIT(7) };

static u32 rx_room(const struct uart *uart)
{
	u32 size = uart->s.fcr & FCR_ENABLE ? UART_FIFO_BYTES : 1;

	return size > uart->s.rx_count ? size - uart->s.rx_count : 0;
}

static u32 rx_trigger(const struct uart *uart)
{
	static const u8 levels[4] = {1, 4, 8, 14};

	return uart->s.fcr & FCR_ENABLE ? levels[uart->s.fcr >> 6] : 1;
}

/* The most important reason for an interrupt (data sheet, table IV). */
static u8 reason(const struct uart *uart)
{
	const struct uart_state *s = &uart->s;

	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx_count >= rx_trigger(uart))
		return IIR_RX;
	/* Nothing more is on its way once the input is empty: the four characters' silence begins in the past. */
	if ((s->ier & IER_RX) && s->rx_count)
		return IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre)
		return IIR_THRE;
	if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On PCs OUT2 lets the interrupt through to the line. */
static void drive(struct uart *uart)
{
	uart->irq = reason(uart) != IIR_NONE && (uart->s.mcr & MCR_OUT2);
	irqchip_set_line(uart->dev.vm, BOARD_UART_GSI, uart->irq);
}

/* After everything that may change the reason. */
static void update(struct uart *uart)
{
	bool irq = reason(uart) != IIR_NONE && (uart->s.mcr & MCR_OUT2);

	if (irq != uart->irq)
		drive(uart);
}

static void rx_fill(struct uart *uart)
{
	size_t got;

	if (uart->s.mcr & MCR_LOOP)
		return;
	got = ring_get(&uart->dev.vm->input, uart->s.rx + uart->s.rx_count, rx_room(uart));
	uart->s.rx_count = (u8)(uart->s.rx_count + got);
}

void uart_input(struct uart *uart)
{
	/* What does not fit stays in the ring; a guest that is being moved takes nothing. */
	if (uart->dev.paused)
		return;
	rx_fill(uart);
	update(uart);
}

static noinline u8 read_data(struct uart *uart)
{
	u8 byte;

	if (uart->s.rx_count == 0)
		return 0;
	byte = uart->s.rx[0];
	uart->s.rx_count--;
	memmove(uart->s.rx, uart->s.rx + 1, uart->s.rx_count);
	rx_fill(uart);
	update(uart);
	return byte;
}

static void write_data(struct uart *uart, u8 value)
{
	struct vm *vm = uart->dev.vm;

	if (uart->s.mcr & MCR_LOOP) {
		if (rx_room(uart))
			uart->s.rx[uart->s.rx_count++] = value;
		else
			uart->s.overrun = 1;
	} else {
		ring_push(&vm->console, &value, 1);
		vm_doorbell(vm);
	}
	uart->s.thre = 1;
}

/* In loopback the modem outputs are its inputs (data sheet, "MCR"); else a terminal is connected. */
static void update_modem(struct uart *uart)
{
	u8 old = uart->s.msr;
	u8 new = MSR_CTS | MSR_DSR | MSR_DCD;
	u8 changed;

	if (uart->s.mcr & MCR_LOOP) {
		new = uart->s.mcr & MCR_RTS ? MSR_CTS : 0;
		new |= uart->s.mcr & MCR_DTR ? MSR_DSR : 0;
		new |= uart->s.mcr & MCR_OUT1 ? MSR_RI : 0;
		new |= uart->s.mcr & MCR_OUT2 ? MSR_DCD : 0;
	}
	changed = (old ^ new) >> 4;
	/* RI tells only of its end. */
	if (new & MSR_RI)
		changed &= (u8)~MSR_TERI;
	uart->s.msr = new | (old & MSR_DELTAS) | changed;
}

static void write_fcr(struct uart *uart, u8 value)
{
	/* Switching FIFOs on or off empties them. */
	if (((value ^ uart->s.fcr) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
		uart->s.rx_count = 0;
	uart->s.fcr = value & FCR_ENABLE ? value & FCR_BITS : 0;
	rx_fill(uart);
}

static void write_ier(struct uart *uart, u8 value)
{
	u8 was = uart->s.ier;

	uart->s.ier = value & IER_BITS;
	/* Enabled while the transmitter is empty, and it always is: interrupts at once. */
	if ((uart->s.ier & IER_THRE) && !(was & IER_THRE))
		uart->s.thre = 1;
}

static void uart_write(void *ctx, u32 reg, u8 value)
{
	struct uart *uart = ctx;
	bool dlab = uart->s.lcr & LCR_DLAB;

	switch ((enum uart_reg)reg) {
	case UART_DATA:
		if (dlab)
			uart->s.divisor_low = value;
		else
			write_data(uart, value);
		break;
	case UART_IER:
		if (dlab)
			uart->s.divisor_high = value;
		else
			write_ier(uart, value);
		break;
	case UART_IIR_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->s.lcr = value;
		break;
	case UART_MCR:
		uart->s.mcr = value & MCR_BITS;
		update_modem(uart);
		rx_fill(uart);
		break;
	case UART_LSR:
	case UART_MSR:
		break; /* for the factory's tests only */
	case UART_SCRATCH:
		uart->s.scratch = value;
		break;
	}
	update(uart);
}

static noinline u8 read_iir(struct uart *uart)
{
	u8 iir = reason(uart);

	/* Reading it is what acknowledges "transmitter empty", if that is what it says. */
	if (iir == IIR_THRE) {
		uart->s.thre = 0;
		update(uart);
	}
	return uart->s.fcr & FCR_ENABLE ? iir | IIR_FIFOS : iir;
}

static u8 read_lsr(struct uart *uart)
{
	u8 lsr = LSR_THRE | LSR_TEMT;

	if (uart->s.rx_count)
		lsr |= LSR_DATA;
	if (uart->s.overrun) {
		lsr |= LSR_OVERRUN;
		uart->s.overrun = 0;
		update(uart);
	}
	return lsr;
}

static u8 read_msr(struct uart *uart)
{
	u8 msr = uart->s.msr;

	if (msr & MSR_DELTAS) {
		uart->s.msr &= (u8)~MSR_DELTAS;
		update(uart);
	}
	return msr;
}

static u8 uart_read(void *ctx, u32 reg)
{
	struct uart *uart = ctx;
	bool dlab = uart->s.lcr & LCR_DLAB;

	switch ((enum uart_reg)reg) {
	case UART_DATA:
		return dlab ? uart->s.divisor_low : read_data(uart);
	case UART_IER:
		return dlab ? uart->s.divisor_high : uart->s.ier;
	case UART_IIR_FCR:
		return read_iir(uart);
	case UART_LCR:
		return uart->s.lcr;
	case UART_MCR:
		return uart->s.mcr;
	case UART_LSR:
		return read_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	case UART_SCRATCH:
		return uart->s.scratch;
	}
	return 0xff;
}

void uart_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, uart_read, uart_write);
}

static void uart_resume(struct device *dev)
{
	struct uart *uart = container_of(dev, struct uart, dev);

	/* What was typed while it was on its way. */
	rx_fill(uart);
	drive(uart);
}

static void uart_reset(struct device *dev)
{
	struct uart *uart = container_of(dev, struct uart, dev);

	memset(&uart->s, 0, sizeof(uart->s));
	uart->s.divisor_low = 1; /* 115200 */
	uart->s.msr = MSR_CTS | MSR_DSR | MSR_DCD;
	drive(uart);
}

static int uart_check(struct device *dev, const void *state)
{
	const struct uart_state *s = state;

	(void)dev;
	if (s->rx_count > UART_FIFO_BYTES || (!(s->fcr & FCR_ENABLE) && (s->fcr || s->rx_count > 1)))
		return trace_error(-E_INVAL);
	if ((s->ier & ~IER_BITS) || (s->fcr & ~FCR_BITS) || (s->mcr & ~MCR_BITS) || s->thre > 1 || s->overrun > 1)
		return trace_error(-E_INVAL);
	return mem_is_zero(s->reserved, sizeof(s->reserved)) ? 0 : trace_error(-E_INVAL);
}

static const struct device_ops uart_ops = {
	.name = "uart",
	.type = DEVICE_UART,
	.version = 1,
	DEVICE_STATE(struct uart, s),
	.resume = uart_resume,
	.reset = uart_reset,
	.check = uart_check,
};

void uart_init(struct uart *uart, struct vm *vm)
{
	device_add(vm, &uart->dev, &uart_ops, 0);
	uart_reset(&uart->dev);
}
