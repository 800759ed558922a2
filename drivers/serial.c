/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550 UART that is the host's console. The service CPU polls it, woken by its interrupt
 * when bytes came or the transmitter's FIFO has drained; without the interrupt, polling suffices.
 */
#include "drivers/serial.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/irq.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/ring.h"

/* Registers (National PC16550D, 8.0); DLL and DLM while LCR.DLAB is set. */
enum uart_registers {
	UART_DATA = 0,
	UART_DLL = 0,
	UART_IER = 1,
	UART_DLM = 1,
	UART_IIR = 2,
	UART_FCR = 2,
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_SCRATCH = 7,
};

enum uart_bits {
	IER_RECEIVED = 1 << 0,
	IER_TRANSMIT_EMPTY = 1 << 1,
	FCR_ENABLE = 1 << 0,
	FCR_CLEAR = 3 << 1,
	FCR_TRIGGER_8 = 2 << 6,
	LCR_8N1 = 3,
	LCR_DLAB = 1 << 7,
	MCR_DTR_RTS = 3,
	MCR_OUT2 = 1 << 3, /* lets the interrupt out of the chip on a PC */
	LSR_DATA_READY = 1 << 0,
	LSR_TRANSMIT_EMPTY = 1 << 5,
};

#define FIFO_BYTES 16
#define CLOCK_BAUD 115200
/* Without the interrupt: at 115200 baud 16 bytes, the whole FIFO, come within 1.4 ms. */
#define POLL_NS NS_PER_MS
#define PANIC_SPINS 200000 /* port reads of about 1 us: a dead line must not hang a panic */

static u16 base = 0x3f8;
static bool absent;
static bool have_interrupt;
static u8 vector;
static bool transmit_interrupt_on;
static u64 dropped;

static struct ring transmit;
static struct ring receive;
static u8 transmit_bytes[KIB(32)];
static u8 receive_bytes[KIB(4)];

static bool answers(u16 port)
{
	port_write8(port + UART_SCRATCH, 0x5a);
	if (port_read8(port + UART_SCRATCH) != 0x5a)
		return false;
	port_write8(port + UART_SCRATCH, 0xa5);
	return port_read8(port + UART_SCRATCH) == 0xa5;
}

static void set_baud(u32 baud)
{
	u16 divisor = (u16)MAX(CLOCK_BAUD / baud, 1);

	port_write8(base + UART_LCR, LCR_DLAB | LCR_8N1);
	port_write8(base + UART_DLL, (u8)divisor);
	port_write8(base + UART_DLM, (u8)(divisor >> 8));
}

static void interrupt_init(u8 isa_irq)
{
	if (irq_alloc(&vector) == 0 && irq_route_isa(isa_irq, vector) == 0)
		have_interrupt = true;
	else
		log_warn("serial: IRQ %u can't be routed, so the port is polled", isa_irq);
}

int serial_init(u16 port, u32 baud, u8 isa_irq)
{
	ring_init(&transmit, transmit_bytes, sizeof(transmit_bytes));
	ring_init(&receive, receive_bytes, sizeof(receive_bytes));
	absent = !answers(port);
	if (absent)
		return trace_error(-E_NOENT);
	base = port;
	port_write8(base + UART_IER, 0);
	if (baud)
		set_baud(baud);
	port_write8(base + UART_LCR, LCR_8N1);
	port_write8(base + UART_FCR, FCR_ENABLE | FCR_CLEAR | FCR_TRIGGER_8);
	port_write8(base + UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	interrupt_init(isa_irq);
	if (have_interrupt)
		port_write8(base + UART_IER, IER_RECEIVED);
	return 0;
}

size_t serial_room(void)
{
	return ring_room(&transmit) / 2; /* every byte might be a newline, which takes two */
}

void serial_write(const char *text, size_t len)
{
	if (absent)
		return;
	for (size_t i = 0; i < len; i++) {
		if (ring_room(&transmit) < 2) {
			dropped += len - i;
			return;
		}
		if (text[i] == '\n')
			ring_put(&transmit, "\r", 1);
		ring_put(&transmit, &text[i], 1);
	}
}

size_t serial_read(u8 *buf, size_t size)
{
	return ring_get(&receive, buf, size);
}

static void receive_poll(void)
{
	while (ring_room(&receive) && port_read8(base + UART_LSR) & LSR_DATA_READY) {
		u8 byte = port_read8(base + UART_DATA);

		ring_put(&receive, &byte, 1);
	}
}

/* An empty FIFO takes 16 bytes at once; it is empty, not just shorter, when LSR says so. */
static void transmit_poll(void)
{
	while (ring_used(&transmit) && port_read8(base + UART_LSR) & LSR_TRANSMIT_EMPTY) {
		u8 bytes[FIFO_BYTES];
		size_t n = ring_get(&transmit, bytes, sizeof(bytes));

		for (size_t i = 0; i < n; i++)
			port_write8(base + UART_DATA, bytes[i]);
	}
}

static void interrupts_update(void)
{
	bool wanted = ring_used(&transmit) != 0;

	if (!have_interrupt || wanted == transmit_interrupt_on)
		return;
	transmit_interrupt_on = wanted;
	port_write8(base + UART_IER, IER_RECEIVED | (wanted ? IER_TRANSMIT_EMPTY : 0));
}

bool serial_poll(void)
{
	if (absent)
		return false;
	/* An edge-triggered line stays high, and silent, until every cause has been read away. */
	if (have_interrupt && irq_taken(vector))
		(void)port_read8(base + UART_IIR);
	receive_poll();
	transmit_poll();
	interrupts_update();
	if (dropped && ring_used(&transmit) == 0) {
		log_warn("serial: %llu bytes did not fit and were dropped",
			 (unsigned long long)dropped);
		dropped = 0;
	}
	return ring_used(&receive) || (!have_interrupt && ring_used(&transmit));
}

u64 serial_next_deadline(void)
{
	return absent || have_interrupt ? 0 : time_ns() + POLL_NS;
}

bool serial_drain(void)
{
	serial_poll();
	return !absent && ring_used(&transmit) != 0;
}

static void panic_put(u8 byte)
{
	for (u32 i = 0; i < PANIC_SPINS; i++)
		if (port_read8(base + UART_LSR) & LSR_TRANSMIT_EMPTY) {
			port_write8(base + UART_DATA, byte);
			return;
		}
	absent = true;
}

void serial_panic_write(const char *text, size_t len)
{
	u8 byte;

	if (absent || !answers(base)) {
		absent = true;
		return;
	}
	/* What was said before comes before. */
	while (transmit.size && ring_get(&transmit, &byte, 1))
		panic_put(byte);
	for (size_t i = 0; i < len && !absent; i++) {
		if (text[i] == '\n')
			panic_put('\r');
		panic_put((u8)text[i]);
	}
}
