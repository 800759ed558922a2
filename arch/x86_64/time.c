/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock and each CPU's one-shot timer. The TSC is the clock; its frequency comes from CPUID
 * 15h or is measured against the ACPI PM timer, and so is the local APIC timer's.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/apic.h"
#include "arch/x86_64/percpu.h"
#include "compiler.h"
#include "lib/log.h"
#include "lib/ticks.h"

#define PM_TIMER_HZ 3579545ull /* ACPI 4.8.3.3 */
#define PM_TIMER_MASK 0xffffffu /* some have 32 bits; 24 are enough */
#define CALIBRATION_NS (20 * NS_PER_MS)
#define CALIBRATION_TSC_MAX BIT(35) /* seconds, on any machine */

/* Set once at boot. */
static u64 base_tsc;
static u64 base_wall_s;
static u64 frequency_khz;
static struct ticks_scale tsc_scale;
static u64 lapic_ticks_per_ns; /* 32.32 fixed point */

u64 tsc_read(void)
{
	u32 low;
	u32 high;

	/* LFENCE: not before what comes earlier in the program (SDM 2, RDTSC). */
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

u64 tsc_khz(void)
{
	return frequency_khz;
}

u64 tsc_to_ns(u64 tsc)
{
	return ticks_to_ns(tsc_scale, tsc);
}

u64 ns_to_tsc(u64 ns)
{
	return ticks_from_ns(frequency_khz, ns);
}

u64 time_ns(void)
{
	return tsc_to_ns(tsc_read() - base_tsc);
}

u64 wall_time_ns(void)
{
	return base_wall_s * NS_PER_S + time_ns();
}

/* A moment by all three clocks. */
struct sample {
	u64 tsc;
	u32 pm;
	u32 lapic_left;
};

/* The quickest of a few readings: one that something came between would be far off. */
static struct sample sample_take(u16 port)
{
	struct sample best = { 0 };
	u64 best_width = ~0ull;

	for (int i = 0; i < 8; i++) {
		u64 before = tsc_read();
		u32 pm = port_read32(port) & PM_TIMER_MASK;
		u32 left = apic_timer_left();
		u64 width = tsc_read() - before;

		if (width >= best_width)
			continue;
		best_width = width;
		best.tsc = before + width / 2;
		best.pm = pm;
		best.lapic_left = left;
	}
	return best;
}

static u32 pm_ticks(const struct sample *from, const struct sample *to)
{
	return (to->pm - from->pm) & PM_TIMER_MASK;
}

/* CPUID 15h: TSC = crystal * EBX / EAX; 0 where the crystal's frequency is not told. */
static u64 khz_by_cpuid(void)
{
	struct cpuid_regs r;

	if (cpuid_read(0, 0).eax < 0x15)
		return 0;
	r = cpuid_read(0x15, 0);
	if (!r.eax || !r.ebx || !r.ecx)
		return 0;
	return (u64)r.ecx * r.ebx / r.eax / 1000;
}

static void calibrate(u16 port)
{
	struct sample from;
	struct sample to;
	u64 ns;
	u64 lapic_ticks;

	apic_timer_start(~0u);
	from = sample_take(port);
	do {
		cpu_relax();
		to = sample_take(port);
		ns = pm_ticks(&from, &to) * NS_PER_S / PM_TIMER_HZ;
		if (to.tsc - from.tsc > CALIBRATION_TSC_MAX)
			panic("this machine's ACPI PM timer stands still; Godwit measures its clocks by it");
	} while (ns < CALIBRATION_NS);
	apic_timer_start(0);
	frequency_khz = khz_by_cpuid();
	if (!frequency_khz)
		frequency_khz = (to.tsc - from.tsc) * 1000000 / ns;
	lapic_ticks = from.lapic_left - to.lapic_left;
	lapic_ticks_per_ns = (lapic_ticks << 32) / ns;
}

void time_init(u64 entry_tsc, u64 wall_time_s)
{
	u16 port = acpi_info()->pm_timer_port;

	if (!port)
		panic("this machine has no ACPI PM timer, which Godwit measures its clocks by");
	base_tsc = entry_tsc;
	base_wall_s = wall_time_s;
	calibrate(port);
	assert(frequency_khz >= 1000 && frequency_khz < 100000000);
	assert(apic_timer_has_deadline() || lapic_ticks_per_ns);
	tsc_scale = ticks_scale(frequency_khz);
	log_set_clock(time_ns);
}

static void timer_arm(u64 deadline_ns)
{
	u64 tsc = tsc_read();
	u64 now = tsc_to_ns(tsc - base_tsc);
	/* A far deadline comes early, in pieces: whoever waits looks at the clock anyway. */
	u64 wait = deadline_ns > now ? MIN(deadline_ns - now, 4 * NS_PER_S) : 0;
	u64 ticks = (u64)((unsigned __int128)wait * lapic_ticks_per_ns >> 32);

	/*
	 * From now on: what both conversions neglect is much, counted from the boot some months ago. 2
	 * more are past the rounding: not a moment early, or whoever waits would be woken in vain.
	 */
	if (apic_timer_has_deadline())
		apic_timer_deadline(deadline_ns ? tsc + ns_to_tsc(wait + 2) : 0);
	else
		apic_timer_start(deadline_ns ? (u32)MAX(MIN(ticks, ~0u), 1) : 0);
}

void cpu_timer_set(u64 deadline_ns)
{
	struct cpu_area *area = cpu_area_self();

	if (area->timer_ns == deadline_ns)
		return;
	area->timer_ns = deadline_ns;
	timer_arm(deadline_ns);
}
