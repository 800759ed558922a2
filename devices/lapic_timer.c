/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's timer (SDM 3 10.5.4): one-shot, periodic, TSC-deadline. Counts vm time, so it
 * stands still with the guest and continues on another host. On the vCPU's own CPU.
 */
#include "arch/x86_64/cpu.h"
#include "devices/clock.h"
#include "devices/lapic.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

static_assert(LAPIC_TIMER_HZ == NS_PER_S, "a tick is a nanosecond");

static u32 timer_lvt(const struct lapic *lapic)
{
	return lapic_get(lapic, LAPIC_LVT_TIMER);
}

/* Divide configuration: bits 0, 1 and 3; 0b111 means 1 (SDM 3 figure 10-10). */
static unsigned int divide_shift(const struct lapic *lapic)
{
	u32 divide = lapic_get(lapic, LAPIC_TIMER_DIVIDE);
	u32 code = (divide & 3) | (divide >> 1 & 4);

	return (code + 1) & 7;
}

static u64 period_ns(const struct lapic *lapic)
{
	return (u64)lapic_get(lapic, LAPIC_TIMER_INITIAL) << divide_shift(lapic);
}

static void deadline_arm(struct lapic *lapic)
{
	struct vm *vm = lapic->vcpu->vm;
	u64 now = vcpu_tsc(lapic->vcpu);

	if (lapic->tsc_deadline == 0) {
		vtimer_set(&lapic->timer, 0);
	} else if (lapic->tsc_deadline <= now) {
		/* SDM 3 10.5.4.1: a time that has gone fires at once. */
		lapic->tsc_deadline = 0;
		vtimer_set(&lapic->timer, 0);
		lapic_lvt_event(lapic, LAPIC_LVT_TIMER);
	} else {
		u64 wait = vm_tsc_to_ns(vm, lapic->tsc_deadline - now);

		/* One more, for what both conversions rounded down: never early. */
		vtimer_set(&lapic->timer, vm_time_ns(vm) + MIN(wait, CLOCK_NS_MAX) + 1);
	}
}

void lapic_timer_arm(struct lapic *lapic)
{
	u64 deadline = lapic->timer_deadline_ns;

	if (timer_lvt(lapic) & LAPIC_LVT_DEADLINE) {
		deadline_arm(lapic);
		return;
	}
	if (deadline && (timer_lvt(lapic) & LAPIC_LVT_PERIODIC) && period_ns(lapic) < CLOCK_PERIOD_MIN_NS)
		deadline = MAX(deadline, vm_time_ns(lapic->vcpu->vm) + CLOCK_PERIOD_MIN_NS);
	vtimer_set(&lapic->timer, deadline);
}

void lapic_timer_stop(struct lapic *lapic)
{
	vtimer_set(&lapic->timer, 0);
}

static void fire(struct vtimer *timer, u64 now_ns)
{
	struct lapic *lapic = container_of(timer, struct lapic, timer);
	u64 deadline = lapic->timer_deadline_ns;
	u64 period = period_ns(lapic);

	if (timer_lvt(lapic) & LAPIC_LVT_DEADLINE) {
		/* Early by a rounding, or the TSC moved on an arrival: deadline_arm() decides. */
		deadline_arm(lapic);
		return;
	}
	if ((timer_lvt(lapic) & LAPIC_LVT_PERIODIC) && period) {
		/* Periods that were missed are gone, as they are for a CPU that had interrupts off. */
		if (now_ns >= deadline)
			deadline += ((now_ns - deadline) / period + 1) * period;
		lapic->timer_deadline_ns = deadline;
		lapic_timer_arm(lapic);
	} else {
		lapic->timer_deadline_ns = 0;
		vtimer_set(timer, 0);
	}
	lapic_lvt_event(lapic, LAPIC_LVT_TIMER);
}

void lapic_timer_init(struct lapic *lapic)
{
	vtimer_init(&lapic->timer, lapic->vcpu, false, fire);
}

u32 lapic_timer_count(const struct lapic *lapic)
{
	u64 now = vm_time_ns(lapic->vcpu->vm);
	u64 deadline = lapic->timer_deadline_ns;
	u64 period = period_ns(lapic);
	u64 left;

	if (deadline == 0 || period == 0)
		return 0;
	if (now < deadline)
		left = deadline - now;
	else if (timer_lvt(lapic) & LAPIC_LVT_PERIODIC)
		left = period - (now - deadline) % period;
	else
		left = 0;
	return (u32)MIN(DIV_UP(left, 1ull << divide_shift(lapic)), lapic_get(lapic, LAPIC_TIMER_INITIAL));
}

static void start_count(struct lapic *lapic, u32 count)
{
	u64 now = vm_time_ns(lapic->vcpu->vm);

	lapic->timer_deadline_ns = count ? now + ((u64)count << divide_shift(lapic)) : 0;
	lapic_timer_arm(lapic);
}

void lapic_timer_set_initial(struct lapic *lapic, u32 count)
{
	/* SDM 3 10.5.4.1: in TSC-deadline mode writes to the initial count are ignored. */
	if (timer_lvt(lapic) & LAPIC_LVT_DEADLINE)
		return;
	lapic_put(lapic, LAPIC_TIMER_INITIAL, count);
	start_count(lapic, count);
}

void lapic_timer_set_divide(struct lapic *lapic, u32 divide)
{
	u32 left = lapic_timer_count(lapic);

	lapic_put(lapic, LAPIC_TIMER_DIVIDE, divide);
	if (lapic->timer_deadline_ns)
		start_count(lapic, left);
}

void lapic_timer_set_lvt(struct lapic *lapic, u32 value)
{
	u32 changed = timer_lvt(lapic) ^ value;

	/* SDM 3 10.5.4.1: a switch to or from TSC-deadline mode disarms the timer. */
	if (changed & LAPIC_LVT_DEADLINE) {
		lapic->tsc_deadline = 0;
		lapic->timer_deadline_ns = 0;
	}
	lapic_put(lapic, LAPIC_LVT_TIMER, value);
	if (changed & (LAPIC_LVT_DEADLINE | LAPIC_LVT_PERIODIC))
		lapic_timer_arm(lapic);
}

void lapic_timer_set_deadline(struct lapic *lapic, u64 tsc)
{
	if (!(timer_lvt(lapic) & LAPIC_LVT_DEADLINE))
		return;
	lapic->tsc_deadline = tsc;
	deadline_arm(lapic);
}
