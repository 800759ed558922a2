/* SPDX-License-Identifier: Apache-2.0 */
/* The 8254, the MC146818 and ACPI's PM block. */
#include "dev_world.h"

#define APIC(reg) (BOARD_LAPIC_BASE + 16u * (reg))
/* ns of n ticks of the PIT, rounded up. */
#define PIT_NS(n) (((n) * 1000000000ull + 1193181) / 1193182)

static struct world *w;

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000000);
	w = world_new();
	mmio_write(w, APIC(LAPIC_SVR), 0x1ff);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x10700);
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

static void route(u32 pin, u32 low)
{
	mmio_write(w, BOARD_IOAPIC_BASE, 0x10 + 2 * pin);
	mmio_write(w, BOARD_IOAPIC_BASE + 0x10, low);
}

/* Was there exactly this interrupt (-1: none)? */
static void expect(int vector)
{
	assert_int_equal(take(w), vector);
	if (vector >= 0)
		mmio_write(w, APIC(LAPIC_EOI), 0);
}

/* --- PIT --- */

static void pit_load(u32 channel, u8 mode, u16 count)
{
	out8(w, 0x43, (u8)(channel << 6 | 0x30 | mode << 1));
	out8(w, (u16)(0x40 + channel), (u8)count);
	out8(w, (u16)(0x40 + channel), (u8)(count >> 8));
}

static u16 pit_read(u32 channel)
{
	u8 low = in8(w, (u16)(0x40 + channel));

	return (u16)(low | in8(w, (u16)(0x40 + channel)) << 8);
}

static u16 pit_count(u32 channel)
{
	out8(w, 0x43, (u8)(channel << 6));
	return pit_read(channel);
}

static void test_pit_one_shot(void **state)
{
	(void)state;
	route(2, 0x40);
	pit_load(0, 0, 1000);
	assert_int_equal(pit_count(0), 1000);
	world_advance(w, PIT_NS(999));
	expect(-1);
	assert_int_equal(pit_count(0), 1);
	move();
	world_advance(w, PIT_NS(1));
	expect(0x40);
	world_advance(w, PIT_NS(10));
	expect(-1);
	assert_in_range(pit_count(0), 0xfff4, 0xfff6);
	world_advance(w, NS_PER_S);
	expect(-1);
}

/* What is due while the guest stands still comes when it goes on, once: here, or on another host. */
static void test_pit_due_in_a_pause(void **state)
{
	static const u8 one_shot_modes[] = { 0, 4 };

	(void)state;
	route(2, 0x40);
	for (u32 i = 0; i < ARRAY_SIZE(one_shot_modes); i++) {
		pit_load(0, one_shot_modes[i], 1000);
		take(w); /* modes differ in where OUT starts */
		mmio_write(w, APIC(LAPIC_EOI), 0);
		devices_pause(&w->vm);
		fake_time_advance(2 * PIT_NS(1000));
		devices_resume(&w->vm);
		expect(0x40);
		pit_load(0, one_shot_modes[i], 1000);
		devices_pause(&w->vm);
		fake_time_advance(2 * PIT_NS(1000));
		move();
		expect(0x40);
		/* It was the only one. */
		devices_pause(&w->vm);
		devices_resume(&w->vm);
		world_advance(w, NS_PER_S);
		expect(-1);
	}
}

static void test_pit_rate(void **state)
{
	(void)state;
	route(2, 0x40);
	pit_load(0, 2, 11932); /* 100 Hz */
	expect(0x40); /* OUT goes high with the mode: an edge */
	for (u64 i = 1; i <= 100; i++) {
		world_advance(w, PIT_NS(11932 * i) - PIT_NS(11932 * (i - 1)));
		expect(0x40);
		expect(-1);
	}
	pit_load(0, 3, 11932);
	expect(-1);
	world_advance(w, PIT_NS(11931));
	expect(-1);
	world_advance(w, 1000);
	expect(0x40);
	/* The fastest rate does not stop the host. */
	pit_load(0, 2, 1);
	world_advance(w, NS_PER_MS);
	pit_load(0, 0, 0);
	world_advance(w, PIT_NS(65536) - 1);
	expect(0x40);
	expect(-1);
	world_advance(w, 1);
	expect(0x40);
}

static void test_pit_square(void **state)
{
	(void)state;
	out8(w, 0x61, 1);
	pit_load(2, 3, 1000);
	assert_int_equal(in8(w, 0x61) & 0x20, 0x20);
	world_advance(w, PIT_NS(100));
	assert_int_equal(pit_count(2), 800); /* by two */
	world_advance(w, PIT_NS(450));
	assert_int_equal(in8(w, 0x61) & 0x20, 0);
	assert_int_equal(pit_count(2), 900);
}

/* The way that kernels calibrate their TSC. */
static void test_pit_speaker_gate(void **state)
{
	(void)state;
	out8(w, 0x61, 0);
	pit_load(2, 0, 5000);
	world_advance(w, PIT_NS(9000));
	assert_int_equal(in8(w, 0x61) & 0x21, 0); /* the gate holds it */
	assert_int_equal(pit_count(2), 5000);
	out8(w, 0x61, 1);
	world_advance(w, PIT_NS(4000));
	assert_int_equal(in8(w, 0x61) & 0x21, 1);
	assert_int_equal(pit_count(2), 1000);
	out8(w, 0x61, 0);
	world_advance(w, NS_PER_S);
	move();
	assert_in_range(pit_count(2), 999, 1000);
	out8(w, 0x61, 1);
	world_advance(w, PIT_NS(1001));
	assert_int_equal(in8(w, 0x61) & 0x21, 0x21);
	/* Mode 1: the gate's edge starts it. */
	out8(w, 0x61, 0);
	pit_load(2, 1, 100);
	assert_int_equal(in8(w, 0x61) & 0x20, 0x20);
	out8(w, 0x61, 3);
	assert_int_equal(in8(w, 0x61) & 0x23, 3);
	world_advance(w, PIT_NS(101));
	assert_int_equal(in8(w, 0x61) & 0x20, 0x20);
	/* Mode 4: low for one tick. */
	pit_load(2, 4, 100);
	world_advance(w, PIT_NS(100));
	assert_int_equal(in8(w, 0x61) & 0x20, 0);
	world_advance(w, PIT_NS(1));
	assert_int_equal(in8(w, 0x61) & 0x20, 0x20);
}

static void test_pit_read_back(void **state)
{
	(void)state;
	pit_load(0, 2, 1000);
	world_advance(w, PIT_NS(200));
	out8(w, 0x43, 0xc2); /* count and status of 0 */
	world_advance(w, PIT_NS(300));
	out8(w, 0x43, 0xd2); /* latched already: ignored */
	assert_int_equal(in8(w, 0x40), 0xb4);
	assert_int_equal(pit_read(0), 800);
	assert_in_range(pit_read(0), 499, 500);
	out8(w, 0x43, 0x16); /* low byte only, mode 3 */
	out8(w, 0x43, 0xe2);
	assert_int_equal(in8(w, 0x40), 0xd6); /* no count yet */
	out8(w, 0x40, 200);
	assert_int_equal(in8(w, 0x40), 200);
	out8(w, 0x43, 0x35); /* BCD, mode 2 */
	out8(w, 0x40, 0x00);
	out8(w, 0x40, 0x10);
	world_advance(w, PIT_NS(1));
	assert_int_equal(pit_count(0), 0x0999);
	assert_int_equal(in8(w, 0x43), 0xff);
}

/* --- RTC --- */

static u8 cmos(u8 reg)
{
	out8(w, 0x70, reg);
	return in8(w, 0x71);
}

static void cmos_write(u8 reg, u8 value)
{
	out8(w, 0x70, reg);
	out8(w, 0x71, value);
}

static void set_date(u8 century, u8 year, u8 month, u8 day, u8 hour, u8 minute, u8 second)
{
	cmos_write(RTC_B, cmos(RTC_B) | 0x80);
	cmos_write(RTC_CENTURY, century);
	cmos_write(RTC_YEAR, year);
	cmos_write(RTC_MONTH, month);
	cmos_write(RTC_DAY, day);
	cmos_write(RTC_HOURS, hour);
	cmos_write(RTC_MINUTES, minute);
	cmos_write(RTC_SECONDS, second);
	cmos_write(RTC_B, cmos(RTC_B) & 0x7f);
}

static void test_rtc_calendar(void **state)
{
	(void)state;
	set_date(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x59);
	world_advance(w, NS_PER_S);
	assert_int_equal(cmos(RTC_DAY), 0x29);
	assert_int_equal(cmos(RTC_WEEKDAY), 5); /* a Thursday */
	assert_int_equal(cmos(RTC_HOURS), 0);
	world_advance(w, 86400 * NS_PER_S);
	assert_int_equal(cmos(RTC_MONTH), 3);
	assert_int_equal(cmos(RTC_DAY), 1);
	set_date(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
	move();
	world_advance(w, NS_PER_S);
	assert_int_equal(cmos(RTC_CENTURY), 0x20);
	assert_int_equal(cmos(RTC_YEAR), 0);
	assert_int_equal(cmos(RTC_MONTH), 1);
	/* Binary, 12 hours. */
	cmos_write(RTC_B, 4);
	set_date(20, 30, 5, 6, 0x80 | 12, 30, 31);
	assert_int_equal(cmos(RTC_HOURS), 0x8c);
	world_advance(w, 12 * 3600 * NS_PER_S);
	assert_int_equal(cmos(RTC_HOURS), 12);
	assert_int_equal(cmos(RTC_DAY), 7);
	cmos_write(RTC_B, 6);
	assert_int_equal(cmos(RTC_HOURS), 0);
	assert_int_equal(cmos(RTC_MINUTES), 30);
	assert_int_equal(cmos(RTC_SECONDS), 31);
	/* One register while it runs. */
	cmos_write(RTC_MINUTES, 7);
	assert_int_equal(cmos(RTC_MINUTES), 7);
	assert_int_equal(cmos(RTC_YEAR), 30);
	/* Nonsense is taken as something. */
	set_date(99, 99, 99, 99, 99, 99, 99);
	assert_int_equal(cmos(RTC_YEAR), 99);
	assert_int_equal(cmos(RTC_CENTURY), 20);
	world_advance(w, 100 * NS_PER_S);
	assert_int_equal(cmos(RTC_YEAR), 99);
	assert_int_equal(cmos(RTC_SECONDS), 59);
}

static void test_rtc_registers(void **state)
{
	(void)state;
	assert_int_equal(cmos(RTC_D), 0x80);
	assert_int_equal(cmos(RTC_A) & 0x7f, 0x26);
	assert_int_equal(in8(w, 0x70), 0xff);
	cmos_write(0x40, 0x5a);
	move();
	assert_int_equal(cmos(0x40), 0x5a);
	devices_reset(&w->vm); /* the battery */
	assert_int_equal(cmos(0x40), 0x5a);
	/* UIP in the last 244 us of a second. */
	set_date(0x20, 0x24, 1, 1, 0, 0, 0);
	world_advance(w, NS_PER_S - vm_time_ns(&w->vm) % NS_PER_S - 300000);
	assert_int_equal(cmos(RTC_A) & 0x80, 0);
	world_advance(w, 100000);
	assert_int_equal(cmos(RTC_A) & 0x80, 0x80);
	world_advance(w, 200000);
	assert_int_equal(cmos(RTC_A) & 0x80, 0);
}

static void test_rtc_interrupts(void **state)
{
	(void)state;
	route(8, 0x48);
	set_date(0x20, 0x24, 1, 1, 0, 0, 0);
	cmos(RTC_C);
	cmos_write(RTC_B, 0x12); /* update-ended */
	world_advance(w, NS_PER_S);
	expect(0x48);
	world_advance(w, 3 * NS_PER_S);
	expect(-1); /* the line is still up */
	assert_int_equal(cmos(RTC_C) & 0x90, 0x90);
	assert_int_equal(cmos(RTC_C), 0);
	move();
	world_advance(w, NS_PER_S);
	expect(0x48);
	cmos(RTC_C);
	/* Periodic: 1024 Hz. */
	cmos_write(RTC_B, 0x42);
	cmos(RTC_C);
	for (u32 i = 0, got = 0; i < 1024; i++) {
		world_advance(w, NS_PER_S / 1024 + 1);
		if (take(w) == 0x48) {
			mmio_write(w, APIC(LAPIC_EOI), 0);
			got++;
		}
		assert_int_equal(cmos(RTC_C) & 0xc0, 0xc0);
		assert_int_equal(got, i + 1);
	}
	/* Alarm at 03:20 and any second. */
	set_date(0x20, 0x24, 1, 1, 3, 0x19, 0x58);
	cmos_write(RTC_HOURS_ALARM, 3);
	cmos_write(RTC_MINUTES_ALARM, 0x20);
	cmos_write(RTC_SECONDS_ALARM, 0xff);
	cmos_write(RTC_B, 0x22);
	cmos(RTC_C);
	world_advance(w, NS_PER_S);
	expect(-1);
	world_advance(w, NS_PER_S);
	expect(0x48);
	assert_int_equal(cmos(RTC_C) & 0xa0, 0xa0);
	world_advance(w, NS_PER_S);
	expect(0x48);
	cmos_write(RTC_SECONDS_ALARM, 0x99); /* never */
	cmos(RTC_C);
	world_advance(w, 100000 * NS_PER_S);
	expect(-1);
}

/* --- ACPI PM --- */

static void test_pm_timer(void **state)
{
	u32 before = in32(w, BOARD_PM_TMR_PORT);

	(void)state;
	world_advance(w, NS_PER_S);
	assert_int_equal(in32(w, BOARD_PM_TMR_PORT) - before, 3579545);
	assert_int_equal(in16(w, BOARD_PM_TMR_PORT), in32(w, BOARD_PM_TMR_PORT) & 0xffff);
	route(9, 0x49 | 0x8000);
	out16(w, BOARD_PM1_EVT_PORT + 2, 1);
	assert_int_equal(in16(w, BOARD_PM1_EVT_PORT) & 1, 0);
	world_advance(w, 600 * NS_PER_S); /* bit 31 turns after 599.9 s */
	expect(0x49);
	out16(w, BOARD_PM1_EVT_PORT, 1);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	while (take(w) >= 0)
		mmio_write(w, APIC(LAPIC_EOI), 0);
	world_advance(w, 590 * NS_PER_S);
	expect(-1);
	move();
	world_advance(w, 10 * NS_PER_S);
	expect(0x49);
}

static void test_pm_button(void **state)
{
	(void)state;
	route(9, 0x49 | 0x8000);
	assert_int_equal(in16(w, BOARD_PM1_CNT_PORT) & 1, 1);
	board_power_button(&w->vm);
	expect(-1); /* not enabled */
	assert_int_equal(in16(w, BOARD_PM1_EVT_PORT), 0x100);
	move();
	out16(w, BOARD_PM1_EVT_PORT + 2, 0xffff);
	assert_int_equal(in16(w, BOARD_PM1_EVT_PORT + 2), 0x521);
	assert_int_equal(take(w), 0x49);
	out8(w, BOARD_PM1_EVT_PORT + 1, 1);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	expect(-1);
	assert_int_equal(in16(w, BOARD_PM1_EVT_PORT), 0);
	out16(w, BOARD_GPE0_PORT + 2, 0x1234);
	assert_int_equal(in32(w, BOARD_GPE0_PORT), 0x12340000);
}

static void test_pm_sleep(void **state)
{
	(void)state;
	out16(w, BOARD_PM1_CNT_PORT, 0x2000); /* S0 */
	out16(w, BOARD_PM1_CNT_PORT, 5 << 10);
	assert_int_equal(w->vm.want, 0);
	assert_int_equal(in16(w, BOARD_PM1_CNT_PORT), 5 << 10 | 1);
	out16(w, BOARD_PM1_CNT_PORT, 5 << 10 | 0x2000);
	assert_int_equal(w->vm.want, VM_WANT_SHUTDOWN);
	w->vm.want = 0;
	out8(w, BOARD_PM1_CNT_PORT + 1, 0x34); /* byte-wise */
	assert_int_equal(w->vm.want, VM_WANT_SHUTDOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pit_one_shot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_due_in_a_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_square, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_speaker_gate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rtc_calendar, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rtc_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rtc_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_timer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_button, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_sleep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
