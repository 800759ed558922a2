/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A against National's data sheet, and what drivers do to find out what it is. */
#include "dev_world.h"

#define APIC(reg) (BOARD_LAPIC_BASE + 16u * (reg))
#define PORT(reg) ((u16)(BOARD_UART_PORT + (reg)))

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = 2 };

static struct world *w;

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000000);
	w = world_new();
	mmio_write(w, APIC(LAPIC_SVR), 0x1ff);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x10700);
	mmio_write(w, BOARD_IOAPIC_BASE, 0x18);
	mmio_write(w, BOARD_IOAPIC_BASE + 0x10, 0x44);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

static void type(const char *text)
{
	spin_lock(&w->vm.lock);
	ring_put(&w->vm.input, text, strlen(text));
	board_console_input(&w->vm);
	spin_unlock(&w->vm.lock);
}

static void expect(int vector)
{
	assert_int_equal(take(w), vector);
	if (vector >= 0)
		mmio_write(w, APIC(LAPIC_EOI), 0);
}

static void test_probe(void **state)
{
	(void)state;
	out8(w, PORT(IER), 0xff);
	assert_int_equal(in8(w, PORT(IER)), 0x0f);
	out8(w, PORT(IER), 0);
	out8(w, PORT(SCR), 0x5a);
	assert_int_equal(in8(w, PORT(SCR)), 0x5a);
	assert_int_equal(in8(w, PORT(IIR)), 0x01);
	out8(w, PORT(FCR), 1);
	assert_int_equal(in8(w, PORT(IIR)), 0xc1);
	out8(w, PORT(FCR), 0);
	assert_int_equal(in8(w, PORT(IIR)), 0x01);
	assert_int_equal(in8(w, PORT(LSR)), 0x60);
	assert_int_equal(in8(w, PORT(MSR)), 0xb0);
	/* Loopback: DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
	out8(w, PORT(MCR), 0x1a);
	assert_int_equal(in8(w, PORT(MSR)) & 0xf0, 0x90);
	out8(w, PORT(MCR), 0x15);
	assert_int_equal(in8(w, PORT(MSR)), 0x6b);
	assert_int_equal(in8(w, PORT(MSR)), 0x60);
	out8(w, PORT(MCR), 0xff);
	assert_int_equal(in8(w, PORT(MCR)), 0x1f);
	out8(w, PORT(MCR), 0);
	out8(w, PORT(LCR), 0x83);
	out8(w, PORT(DATA), 12);
	out8(w, PORT(IER), 1);
	assert_int_equal(in8(w, PORT(DATA)), 12);
	assert_int_equal(in8(w, PORT(IER)), 1);
	out8(w, PORT(LCR), 3);
	assert_int_equal(in8(w, PORT(IER)), 0);
	assert_int_equal(in8(w, PORT(LCR)), 3);
	assert_int_equal(ring_used(&w->vm.console), 0);
	/* A wide access is two. */
	in8(w, PORT(MSR));
	assert_int_equal(in16(w, PORT(LSR)), 0xb060);
}

static void test_transmit(void **state)
{
	char text[8] = {0};

	(void)state;
	out8(w, PORT(MCR), 8);
	out8(w, PORT(IER), 2); /* empty: at once */
	expect(0x44);
	assert_int_equal(in8(w, PORT(IIR)), 0x02);
	assert_int_equal(in8(w, PORT(IIR)), 0x01);
	expect(-1);
	out8(w, PORT(DATA), 'h');
	expect(0x44);
	out8(w, PORT(DATA), 'i');
	expect(-1); /* the line has not been down */
	assert_int_equal(in8(w, PORT(IIR)), 0x02);
	assert_int_equal(ring_get(&w->vm.console, text, sizeof(text)), 2);
	assert_string_equal(text, "hi");
	assert_int_equal(w->doorbells, 2);
	/* Without OUT2 the line is cut off. */
	out8(w, PORT(MCR), 0);
	out8(w, PORT(DATA), 'x');
	expect(-1);
	out8(w, PORT(MCR), 8);
	expect(0x44);
}

static void test_receive(void **state)
{
	(void)state;
	out8(w, PORT(MCR), 8);
	out8(w, PORT(FCR), 0x81); /* trigger at 8 */
	out8(w, PORT(IER), 1);
	type("abc");
	expect(0x44);
	assert_int_equal(in8(w, PORT(IIR)), 0xcc); /* timeout: fewer than 8 */
	assert_int_equal(in8(w, PORT(LSR)), 0x61);
	assert_int_equal(in8(w, PORT(DATA)), 'a');
	type("defghijklmnopqrstuvwxyz");
	assert_int_equal(in8(w, PORT(IIR)), 0xc4);
	assert_int_equal(ring_used(&w->vm.input), 9); /* 16 are in the FIFO */
	{
		struct world *there = world_move(w);
		u8 rest[16];

		assert_int_equal(ring_get(&w->vm.input, rest, sizeof(rest)), 9);
		ring_put(&there->vm.input, rest, 9);
		world_free(w);
		w = there;
	}
	for (char c = 'b'; c <= 'z'; c++)
		assert_int_equal(in8(w, PORT(DATA)), c);
	assert_int_equal(in8(w, PORT(LSR)), 0x60);
	assert_int_equal(in8(w, PORT(IIR)), 0xc1);
	assert_int_equal(in8(w, PORT(DATA)), 0);
	/* While it is paused, input waits in the ring. */
	devices_pause(&w->vm);
	type("!");
	assert_int_equal(ring_used(&w->vm.input), 1);
	devices_resume(&w->vm);
	assert_int_equal(in8(w, PORT(DATA)), '!');
	type("xy");
	out8(w, PORT(FCR), 0x83); /* cleared */
	assert_int_equal(in8(w, PORT(LSR)), 0x60);
}

static void test_loopback(void **state)
{
	(void)state;
	out8(w, PORT(MCR), 0x10);
	out8(w, PORT(IER), 4);
	type("k");
	out8(w, PORT(DATA), 'a');
	assert_int_equal(in8(w, PORT(LSR)), 0x61);
	out8(w, PORT(DATA), 'b'); /* no FIFO: one too many */
	assert_int_equal(in8(w, PORT(IIR)), 0x06);
	assert_int_equal(in8(w, PORT(LSR)), 0x63);
	assert_int_equal(in8(w, PORT(DATA)), 'a');
	assert_int_equal(in8(w, PORT(LSR)), 0x60);
	assert_int_equal(ring_used(&w->vm.console), 0);
	out8(w, PORT(MCR), 0);
	assert_int_equal(in8(w, PORT(DATA)), 'k');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transmit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
