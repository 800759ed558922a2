/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC (82093AA) and the 8259A pair: lines, masks, priorities, EOIs. */
#include "dev_world.h"

#define APIC(reg) (BOARD_LAPIC_BASE + 16u * (reg))
#define LEVEL 0x8000u
#define MASKED 0x10000u

static struct world *w;

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000000);
	w = world_new();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

static void move(void)
{
	struct world *there = world_move(w);

	world_free(w);
	w = there;
	running_world = w;
}

/* --- I/O APIC --- */

static void ioapic_write(u32 reg, u32 value)
{
	mmio_write(w, BOARD_IOAPIC_BASE, reg);
	mmio_write(w, BOARD_IOAPIC_BASE + 0x10, value);
}

static u32 ioapic_read(u32 reg)
{
	mmio_write(w, BOARD_IOAPIC_BASE, reg);
	return mmio_read(w, BOARD_IOAPIC_BASE + 0x10);
}

static void route(u32 pin, u32 low)
{
	ioapic_write(0x11 + 2 * pin, 0);
	ioapic_write(0x10 + 2 * pin, low);
}

static void eoi(void)
{
	mmio_write(w, APIC(LAPIC_EOI), 0);
}

static void test_ioapic_registers(void **state)
{
	(void)state;
	assert_int_equal(ioapic_read(1), 0x170020);
	ioapic_write(0, 0xff000000);
	assert_int_equal(ioapic_read(0), 0x0f000000);
	assert_int_equal(ioapic_read(2), 0x0f000000);
	assert_int_equal(ioapic_read(0x10), MASKED);
	ioapic_write(0x3e, 0xffffffff);
	ioapic_write(0x3f, 0xffffffff);
	assert_int_equal(ioapic_read(0x3e), 0x1afff); /* delivery status and remote IRR are read-only */
	assert_int_equal(ioapic_read(0x3f), 0xff000000);
	assert_int_equal(ioapic_read(0x40), 0xffffffff);
	ioapic_write(0x40, 0);
	ioapic_write(0xff, 0);
	assert_int_equal(ioapic_read(5), 0xffffffff);
}

static void test_ioapic_edge(void **state)
{
	(void)state;
	route(10, 0x51);
	set_line(w, 10, true);
	assert_int_equal(take(w), 0x51);
	set_line(w, 10, true);
	assert_int_equal(take(w), -1);
	eoi();
	assert_int_equal(take(w), -1); /* the level means nothing */
	set_line(w, 10, false);
	set_line(w, 10, true);
	assert_int_equal(take(w), 0x51);
	eoi();
	set_line(w, 10, false);
	route(10, 0x51 | MASKED);
	set_line(w, 10, true); /* an edge at a masked pin is lost */
	route(10, 0x51);
	assert_int_equal(take(w), -1);
	set_line(w, 99, true); /* no such pin */
}

static void test_ioapic_level(void **state)
{
	(void)state;
	route(16, 0x61 | LEVEL);
	set_line(w, 16, true);
	assert_int_equal(ioapic_read(0x30), 0x61 | LEVEL | 0x4000);
	assert_int_equal(take(w), 0x61);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TMR + 3)), 1u << 1);
	set_line(w, 16, false);
	set_line(w, 16, true); /* not again before the EOI */
	assert_int_equal(mmio_read(w, APIC(LAPIC_IRR + 3)), 0);
	move();
	eoi();
	assert_int_equal(take(w), 0x61); /* still asserted: again */
	set_line(w, 16, false);
	eoi();
	assert_int_equal(take(w), -1);
	assert_int_equal(ioapic_read(0x30), 0x61 | LEVEL);
	route(16, 0x61 | LEVEL | MASKED);
	set_line(w, 16, true);
	assert_int_equal(take(w), -1);
	route(16, 0x61 | LEVEL); /* unmasked while asserted */
	assert_int_equal(take(w), 0x61);
	/* Directed EOI. */
	mmio_write(w, BOARD_IOAPIC_BASE + 0x40, 0x61);
	assert_int_equal(mmio_read(w, APIC(LAPIC_IRR + 3)), 1u << 1);
	/* A guest clears a stuck remote IRR by way of edge. */
	route(16, 0x61 | MASKED);
	assert_int_equal(ioapic_read(0x30), 0x61 | MASKED);
}

static void test_ioapic_pit_pin(void **state)
{
	(void)state;
	route(0, 0x70);
	route(2, 0x72);
	set_line(w, 0, true);
	assert_int_equal(take(w), 0x72);
}

/* --- 8259A --- */

static void pic_setup(u8 icw4)
{
	out8(w, 0x20, 0x11);
	out8(w, 0x21, 0x30);
	out8(w, 0x21, 4);
	out8(w, 0x21, icw4);
	out8(w, 0xa0, 0x11);
	out8(w, 0xa1, 0x38);
	out8(w, 0xa1, 2);
	out8(w, 0xa1, icw4);
	out8(w, 0x21, 0);
	out8(w, 0xa1, 0);
}

static void test_pic_basic(void **state)
{
	(void)state;
	assert_int_equal(in8(w, 0x21), 0xff); /* masked by "firmware" */
	pic_setup(1);
	assert_int_equal(in8(w, 0x21), 0);
	set_line(w, 3, true);
	assert_int_equal(in8(w, 0x20), 8); /* IRR */
	assert_int_equal(take(w), 0x33);
	assert_int_equal(in8(w, 0x20), 0);
	out8(w, 0x20, 0x0b);
	assert_int_equal(in8(w, 0x20), 8); /* ISR */
	set_line(w, 4, true); /* lower: waits */
	assert_int_equal(take(w), -1);
	set_line(w, 1, true); /* higher: nests */
	assert_int_equal(take(w), 0x31);
	out8(w, 0x20, 0x20);
	assert_int_equal(take(w), -1);
	out8(w, 0x20, 0x63); /* specific EOI of 3 */
	assert_int_equal(take(w), 0x34);
	out8(w, 0x20, 0x20);
	assert_int_equal(take(w), -1);
	out8(w, 0x21, 0x80);
	set_line(w, 7, true);
	assert_int_equal(take(w), -1);
	out8(w, 0x21, 0);
	assert_int_equal(take(w), 0x37);
}

static void test_pic_slave(void **state)
{
	(void)state;
	pic_setup(1);
	set_line(w, 12, true);
	move();
	assert_int_equal(take(w), 0x3c);
	set_line(w, 14, true);
	set_line(w, 8, true);
	assert_int_equal(take(w), -1); /* the master serves its input 2 already: not fully nested */
	out8(w, 0xa0, 0x20);
	out8(w, 0x20, 0x20);
	assert_int_equal(take(w), 0x38);
	out8(w, 0xa0, 0x20);
	out8(w, 0x20, 0x20);
	assert_int_equal(take(w), 0x3e);
	set_line(w, 2, true); /* the cascade is no line */
	assert_int_equal(take(w), -1);
}

static void test_pic_special_nested(void **state)
{
	(void)state;
	pic_setup(0x11);
	set_line(w, 12, true);
	assert_int_equal(take(w), 0x3c);
	set_line(w, 8, true);
	assert_int_equal(take(w), 0x38);
}

static void test_pic_spurious(void **state)
{
	(void)state;
	pic_setup(1);
	set_line(w, 5, true);
	assert_int_equal(irqchip_pending(&w->vcpu), 0x35);
	set_line(w, 5, false);
	assert_int_equal(irqchip_pending(&w->vcpu), -1);
	/* Gone between the two: what a 8259A says then is 7. */
	assert_int_equal(pic_intack(&board_of_world(w)->pic), 0x37);
	out8(w, 0x20, 0x0b);
	assert_int_equal(in8(w, 0x20), 0);
}

static void test_pic_level_and_modes(void **state)
{
	(void)state;
	pic_setup(3); /* automatic EOI */
	out8(w, 0x4d0, 0xff);
	out8(w, 0x4d1, 0xff);
	assert_int_equal(in16(w, 0x4d0), 0xdef8);
	set_line(w, 5, true);
	assert_int_equal(take(w), 0x35);
	assert_int_equal(take(w), 0x35); /* as long as the line is up */
	set_line(w, 5, false);
	assert_int_equal(take(w), -1);
	/* Poll instead of INTA. */
	set_line(w, 6, true);
	out8(w, 0x20, 0x0c);
	assert_int_equal(in8(w, 0x20), 0x86);
	set_line(w, 6, false);
	out8(w, 0x20, 0x0c);
	assert_int_equal(in8(w, 0x20), 0);
	/* Special mask mode: a masked service holds nobody back. */
	out8(w, 0x4d0, 0);
	pic_setup(1);
	set_line(w, 1, true);
	assert_int_equal(take(w), 0x31);
	set_line(w, 6, true);
	assert_int_equal(take(w), -1);
	out8(w, 0x21, 2);
	out8(w, 0x20, 0x68);
	assert_int_equal(take(w), 0x36);
	/* Rotation: 6 is the lowest afterwards. */
	out8(w, 0x20, 0x48);
	out8(w, 0x20, 0xe6);
	out8(w, 0x20, 0x61);
	out8(w, 0x21, 0);
	set_line(w, 6, false);
	set_line(w, 6, true);
	set_line(w, 7, true);
	assert_int_equal(take(w), 0x37);
}

static void test_pic_through_lint0(void **state)
{
	(void)state;
	pic_setup(1);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x10700);
	set_line(w, 5, true);
	assert_int_equal(take(w), -1);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x700);
	assert_int_equal(take(w), 0x35);
	out8(w, 0x20, 0x20);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x00048); /* as a fixed interrupt */
	set_line(w, 3, true);
	assert_int_equal(take(w), 0x48);
	assert_int_equal(in8(w, 0x20), 8);
	eoi();
	/* With the APIC off, INTR goes straight to the CPU. */
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x1b, BOARD_LAPIC_BASE), 0);
	assert_int_equal(take(w), 0x33);
}

/* --- the small ports --- */

static void test_reset_ports(void **state)
{
	(void)state;
	assert_int_equal(in8(w, 0x64) & 3, 0);
	out8(w, 0x64, 0xd1);
	out8(w, 0x64, 0xff);
	assert_int_equal(in8(w, 0x92), 2);
	out8(w, 0x92, 2);
	assert_int_equal(w->vm.want, 0);
	out8(w, 0x64, 0xfe);
	assert_int_equal(w->vm.want, VM_WANT_REBOOT);
	w->vm.want = 0;
	out8(w, 0x92, 3);
	assert_int_equal(w->vm.want, VM_WANT_REBOOT);
}

static void test_msi(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_SVR), 0x1ff);
	irqchip_msi(&w->vm, 0xfee00000, 0x41);
	assert_int_equal(take(w), 0x41);
	/* Another CPU's; and where there is no APIC at all it would be a store, which goes nowhere. */
	irqchip_msi(&w->vm, 0xfee01000, 0x51);
	irqchip_msi(&w->vm, 0x1000, 0x51);
	irqchip_msi(&w->vm, 0x1fee00000, 0x51);
	assert_int_equal(take(w), -1);
}

static void test_no_memory(void **state)
{
	struct world *poor = calloc(1, sizeof(*poor));

	(void)state;
	poor->vcpu.vm = &poor->vm;
	poor->vm.vcpus[0] = &poor->vcpu;
	poor->vm.vcpu_count = 1;
	fake_pages_fail_after(0);
	assert_int_equal(board_init(&poor->vm), -E_NOMEM);
	fake_pages_fail_after(~0ull);
	board_fini(&poor->vm);
	free(poor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ioapic_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_pit_pin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_basic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_slave, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_special_nested, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_spurious, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_level_and_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_through_lint0, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
