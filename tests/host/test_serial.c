/* SPDX-License-Identifier: Apache-2.0 */
/* The host's console port, on a UART of a few lines: what is typed and printed, with and without its interrupt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake/fake_cpu.h"
#include "types.h"

/* Drivers are not part of the core that host tests link with; these are their ports. */
#define ARCH_IO_H
static u8 port_read8(u16 port);
static void port_write8(u16 port, u8 value);
#include "drivers/serial.c"

static struct {
	u8 scratch, lcr, ier;
	const char *typed;
	char sent[256];
	u32 sent_bytes, room;
} chip;
static bool there, routable;

static u8 port_read8(u16 port)
{
	if (!there)
		return 0xff;
	switch (port - 0x3f8) {
	case UART_DATA:
		return *chip.typed ? (u8)*chip.typed++ : 0;
	case UART_LSR:
		return (u8)((*chip.typed ? LSR_DATA_READY : 0) | (chip.room ? LSR_TRANSMIT_EMPTY : 0));
	case UART_SCRATCH:
		return chip.scratch;
	}
	return 0;
}

static void port_write8(u16 port, u8 value)
{
	switch (port - 0x3f8) {
	case UART_DATA:
		if (chip.lcr & LCR_DLAB)
			break;
		assert_true(chip.sent_bytes < sizeof(chip.sent) - 1);
		chip.sent[chip.sent_bytes++] = (char)value;
		if (chip.room)
			chip.room--;
		break;
	case UART_IER:
		if (!(chip.lcr & LCR_DLAB))
			chip.ier = value;
		break;
	case UART_LCR:
		chip.lcr = value;
		break;
	case UART_SCRATCH:
		chip.scratch = value;
		break;
	}
}

int irq_alloc(u8 *free_vector)
{
	*free_vector = 0x30;
	return 0;
}

int irq_route_isa(u8 isa_irq, u8 to)
{
	assert_int_equal(isa_irq, 4);
	assert_int_equal(to, 0x30);
	return routable ? 0 : -E_NOENT;
}

bool irq_taken(u8 which)
{
	(void)which;
	return false;
}

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	memset(&chip, 0, sizeof(chip));
	chip.typed = "";
	chip.room = 1;
	there = true;
	routable = true;
	have_interrupt = false;
	transmit_interrupt_on = false;
	return 0;
}

static void with_its_interrupt_nothing_is_polled(void **state)
{
	u8 bytes[8];

	(void)state;
	assert_int_equal(serial_init(0x3f8, 115200, 4), 0);
	assert_int_equal(chip.ier, IER_RECEIVED);
	assert_int_equal(serial_next_deadline(), 0);
	chip.typed = "list\n";
	assert_true(serial_poll());
	assert_int_equal(serial_read(bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "list\n", 5);
	chip.room = 0;
	serial_write("a\nb", 3);
	assert_false(serial_poll());
	assert_int_equal(chip.ier, IER_RECEIVED | IER_TRANSMIT_EMPTY);
	chip.room = 16;
	assert_false(serial_poll());
	assert_string_equal(chip.sent, "a\r\nb");
	assert_int_equal(chip.ier, IER_RECEIVED);
}

/* The loop does not sleep longer than the chip's FIFO takes to overflow, whatever else there is to do. */
static void without_it_the_port_is_polled(void **state)
{
	(void)state;
	routable = false;
	assert_int_equal(serial_init(0x3f8, 115200, 4), 0);
	assert_int_equal(chip.ier, 0);
	fake_time_set(NS_PER_S);
	assert_in_range(serial_next_deadline(), NS_PER_S + 1, NS_PER_S + 16 * 10 * NS_PER_S / 115200);
	chip.room = 0;
	serial_write("x", 1);
	assert_true(serial_poll());
	assert_int_equal(chip.ier, 0);
}

static void without_a_port_nothing_happens(void **state)
{
	(void)state;
	there = false;
	assert_int_equal(serial_init(0x3f8, 115200, 4), -E_NOENT);
	serial_write("x", 1);
	assert_false(serial_poll());
	assert_false(serial_drain());
	assert_int_equal(serial_next_deadline(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(with_its_interrupt_nothing_is_polled, setup),
		cmocka_unit_test_setup(without_it_the_port_is_polled, setup),
		cmocka_unit_test_setup(without_a_port_nothing_happens, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
