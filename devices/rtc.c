/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MC146818: update, alarm and periodic interrupts, and the CMOS memory. Events are noted when
 * somebody looks; the timer runs only while an interrupt is enabled. On the vCPU's CPU, vm->lock held.
 */
#include "devices/rtc.h"

#include "arch/x86_64/cpu.h"
#include "devices/clock.h"
#include "devices/port8.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

static_assert(RTC_CENTURY == BOARD_RTC_CENTURY, "one address");

enum { A_UIP = BIT(7), A_WRITABLE = 0x7f, A_RATE = 0x0f, A_DIVIDER_32768 = 0x20 };
enum { B_24_HOURS = BIT(1), B_UIE = BIT(4), B_AIE = BIT(5), B_PIE = BIT(6), B_SET = BIT(7) };
enum { C_UF = B_UIE, C_AF = B_AIE, C_PF = B_PIE, C_IRQF = BIT(7), C_FLAGS = C_UF | C_AF | C_PF };
enum { D_VRT = BIT(7) };

#define CRYSTAL_HZ 32768u
/* UIP comes this long before the second ends (data sheet, "Update cycle"). */
#define UIP_NS 244000u

static bool is_time(u32 reg)
{
	return reg == RTC_CENTURY || (reg <= RTC_YEAR && reg != RTC_SECONDS_ALARM && reg != RTC_MINUTES_ALARM &&
				      reg != RTC_HOURS_ALARM);
}

static u64 utc_ns(const struct rtc *rtc, u64 now)
{
	s64 utc = (s64)now + rtc->s.offset_ns;

	return utc > 0 ? (u64)utc : 0;
}

/* In ticks of the crystal, as a shift; 0: no periodic interrupt. */
static u32 period_shift(const struct rtc *rtc)
{
	u32 rate = rtc->s.cmos[RTC_A] & A_RATE;

	if (rate == 0)
		return 0;
	/* Rates 1 and 2 are 8 and 9 again (data sheet, table 5). */
	return rate <= 2 ? rate + 6 : rate - 1;
}

/* What happened since the last look goes into register C. */
static void catch_up(struct rtc *rtc, u64 now)
{
	u8 *cmos = rtc->s.cmos;
	u64 seen_s = utc_ns(rtc, rtc->s.seen_ns) / NS_PER_S;
	u64 now_s = utc_ns(rtc, now) / NS_PER_S;
	u32 shift = period_shift(rtc);

	if (now <= rtc->s.seen_ns)
		return;
	if (shift && clock_ticks(now, CRYSTAL_HZ) >> shift != clock_ticks(rtc->s.seen_ns, CRYSTAL_HZ) >> shift)
		cmos[RTC_C] |= C_PF;
	if (!(cmos[RTC_B] & B_SET) && now_s > seen_s) {
		cmos[RTC_C] |= C_UF;
		if (rtc_time_alarm(cmos, seen_s + 1) <= now_s)
			cmos[RTC_C] |= C_AF;
	}
	rtc->s.seen_ns = now;
}

/* vm time of the next enabled event, 0: none. */
static u64 next_event(const struct rtc *rtc, u64 now)
{
	const u8 *cmos = rtc->s.cmos;
	u64 utc = utc_ns(rtc, now);
	u32 shift = period_shift(rtc);
	u64 next = 0;

	if ((cmos[RTC_B] & B_PIE) && shift)
		next = clock_ns(((clock_ticks(now, CRYSTAL_HZ) >> shift) + 1) << shift, CRYSTAL_HZ);
	if (!(cmos[RTC_B] & B_SET) && (cmos[RTC_B] & (B_UIE | B_AIE))) {
		u64 second = utc / NS_PER_S + 1;
		u64 event;

		if (!(cmos[RTC_B] & B_UIE))
			second = rtc_time_alarm(cmos, second);
		if (second != ~0ull) {
			event = now + (second * NS_PER_S - utc);
			next = next ? MIN(next, event) : event;
		}
	}
	return next;
}

/* After any change: line and timer. */
static void update(struct rtc *rtc, u64 now)
{
	u8 *cmos = rtc->s.cmos;
	bool irq;

	catch_up(rtc, now);
	irq = cmos[RTC_B] & cmos[RTC_C] & C_FLAGS;
	cmos[RTC_C] = (u8)((cmos[RTC_C] & C_FLAGS) | (irq ? C_IRQF : 0));
	irqchip_set_line(rtc->dev.vm, RTC_GSI, irq);
	/* While the line is up nothing can be added to it. */
	vtimer_set(&rtc->timer, irq ? 0 : next_event(rtc, now));
}

static void fire(struct vtimer *timer, u64 now_ns)
{
	update(container_of(timer, struct rtc, timer), now_ns);
}

/* The clock goes on from what the registers say. */
static void set_time(struct rtc *rtc, u64 now)
{
	u64 fraction = utc_ns(rtc, now) % NS_PER_S;

	rtc->s.offset_ns = (s64)(rtc_time_decode(rtc->s.cmos) * NS_PER_S + fraction) - (s64)now;
}

static void write_b(struct rtc *rtc, u8 value, u64 now)
{
	u8 *cmos = rtc->s.cmos;
	u8 old = cmos[RTC_B];

	/* SET stops the clock with the time in the registers, and starts it with what they hold then. */
	if ((value & B_SET) && !(old & B_SET))
		rtc_time_encode(cmos, utc_ns(rtc, now) / NS_PER_S);
	cmos[RTC_B] = value;
	if (!(value & B_SET) && (old & B_SET))
		set_time(rtc, now);
}

static void write_register(struct rtc *rtc, u32 reg, u8 value, u64 now)
{
	u8 *cmos = rtc->s.cmos;

	catch_up(rtc, now);
	switch (reg) {
	case RTC_A:
		cmos[RTC_A] = value & A_WRITABLE;
		break;
	case RTC_B:
		write_b(rtc, value, now);
		break;
	case RTC_C:
	case RTC_D:
		return;
	default:
		if (is_time(reg) && !(cmos[RTC_B] & B_SET)) {
			rtc_time_encode(cmos, utc_ns(rtc, now) / NS_PER_S);
			cmos[reg] = value;
			set_time(rtc, now);
		} else {
			cmos[reg] = value;
		}
		break;
	}
	update(rtc, now);
}

static u8 read_register(struct rtc *rtc, u32 reg, u64 now)
{
	u8 *cmos = rtc->s.cmos;
	u8 value;

	switch (reg) {
	case RTC_A:
		value = cmos[RTC_A];
		if (!(cmos[RTC_B] & B_SET) && utc_ns(rtc, now) % NS_PER_S >= NS_PER_S - UIP_NS)
			value |= A_UIP;
		return value;
	case RTC_C:
		update(rtc, now);
		value = cmos[RTC_C];
		cmos[RTC_C] = 0;
		update(rtc, now);
		return value;
	case RTC_D:
		return D_VRT;
	}
	if (is_time(reg) && !(cmos[RTC_B] & B_SET))
		rtc_time_encode(cmos, utc_ns(rtc, now) / NS_PER_S);
	return cmos[reg];
}

static u8 rtc_read(void *ctx, u32 port)
{
	struct rtc *rtc = ctx;

	if (port == 0)
		return 0xff; /* the index is write-only */
	return read_register(rtc, rtc->s.index, vm_time_ns(rtc->dev.vm));
}

static void rtc_write(void *ctx, u32 port, u8 value)
{
	struct rtc *rtc = ctx;

	if (port == 0)
		rtc->s.index = value & (RTC_BYTES - 1); /* bit 7 masks NMIs: nothing here raises one */
	else
		write_register(rtc, rtc->s.index, value, vm_time_ns(rtc->dev.vm));
}

void rtc_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, rtc_read, rtc_write);
}

static void rtc_pause(struct device *dev)
{
	vtimer_set(&container_of(dev, struct rtc, dev)->timer, 0);
}

static void rtc_resume(struct device *dev)
{
	update(container_of(dev, struct rtc, dev), vm_time_ns(dev->vm));
}

/* Time and memory have a battery; only interrupts go off (data sheet, "RESET"). */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	u64 now = vm_time_ns(dev->vm);

	if (rtc->s.cmos[RTC_B] & B_SET)
		write_b(rtc, rtc->s.cmos[RTC_B] & (u8)~B_SET, now);
	rtc->s.cmos[RTC_B] &= (u8)~C_FLAGS;
	rtc->s.cmos[RTC_C] = 0;
	rtc->s.index = 0;
	update(rtc, now);
}

static int rtc_check(struct device *dev, const void *state)
{
	const struct rtc_state *s = state;

	(void)dev;
	if (s->offset_ns > (s64)CLOCK_NS_MAX || s->offset_ns < -(s64)CLOCK_NS_MAX || s->seen_ns > CLOCK_NS_MAX)
		return trace_error(-E_INVAL);
	if (s->index >= RTC_BYTES || (s->cmos[RTC_A] & ~A_WRITABLE) || (s->cmos[RTC_C] & ~(C_FLAGS | C_IRQF)))
		return trace_error(-E_INVAL);
	return mem_is_zero(s->reserved, sizeof(s->reserved)) ? 0 : trace_error(-E_INVAL);
}

static const struct device_ops rtc_ops = {
	.name = "rtc",
	.type = DEVICE_RTC,
	.version = 1,
	DEVICE_STATE(struct rtc, s),
	.pause = rtc_pause,
	.resume = rtc_resume,
	.reset = rtc_reset,
	.check = rtc_check,
};

void rtc_init(struct rtc *rtc, struct vm *vm)
{
	u64 now = vm_time_ns(vm);

	memset(&rtc->s, 0, sizeof(rtc->s));
	rtc->s.offset_ns = (s64)wall_time_ns() - (s64)now;
	rtc->s.seen_ns = now;
	rtc->s.cmos[RTC_A] = A_DIVIDER_32768 | 6;
	rtc->s.cmos[RTC_B] = B_24_HOURS;
	vtimer_init(&rtc->timer, vm->vcpus[0], true, fire);
	device_add(vm, &rtc->dev, &rtc_ops, 0);
	rtc_reset(&rtc->dev);
}
