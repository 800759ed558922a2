/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC. Every function acts on the APIC of the CPU that calls it; interrupts are off, or
 * we are in a handler.
 */
#include "arch/x86_64/apic.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/regs.h"
#include "arch/x86_64/traps.h"
#include "compiler.h"
#include "lib/log.h"

/* Register offsets of the MMIO page (SDM 3 table 10-1); x2APIC's MSRs are offset / 16. */
enum apic_registers {
	LAPIC_TPR = 0x80,
	LAPIC_EOI = 0xb0,
	LAPIC_SVR = 0xf0,
	LAPIC_ESR = 0x280,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_THERMAL = 0x330,
	LAPIC_LVT_PERFORMANCE = 0x340,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_TIMER_INITIAL = 0x380,
	LAPIC_TIMER_CURRENT = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3e0,
};

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define LVT_NMI 0x400
#define LVT_TSC_DEADLINE (2 << 17)
#define ICR_PENDING 0x1000
#define ICR_OTHERS 0xc0000
#define DIVIDE_BY_1 0xb

static bool x2apic;
static bool tsc_deadline;
static u8 *mmio;

static u32 apic_read(u32 reg)
{
	if (x2apic)
		return (u32)msr_read(MSR_X2APIC + reg / 16);
	return mmio_read32(mmio + reg);
}

static void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		msr_write(MSR_X2APIC + reg / 16, value);
	else
		mmio_write32(mmio + reg, value);
}

/* Silences the sources that we don't use. The number of LVT entries is in the version register. */
static void lvt_init(void)
{
	apic_write(LAPIC_LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
	apic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	apic_write(LAPIC_LVT_LINT1, LVT_NMI);
	apic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	apic_write(LAPIC_LVT_PERFORMANCE, LVT_MASKED);
	apic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_write(LAPIC_TIMER_INITIAL, 0);
}

void apic_cpu_init(void)
{
	u64 base = msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	/* From disabled to x2APIC it must be two steps (SDM 3 10.12.5). */
	msr_write(MSR_APIC_BASE, base);
	if (x2apic)
		msr_write(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	apic_write(LAPIC_TPR, 0);
	apic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	lvt_init();
	/* An interrupt that the firmware took but didn't acknowledge would block all of ours. */
	for (u32 i = 0; i < 8; i++)
		apic_eoi();
}

void apic_init(void)
{
	struct cpuid_regs features = cpuid_read(1, 0);

	x2apic = features.ecx & BIT(21);
	tsc_deadline = features.ecx & BIT(24);
	if (!x2apic)
		mmio = paging_map_device(ALIGN_DOWN(msr_read(MSR_APIC_BASE), PAGE_SIZE) &
					 (BIT(52) - 1), PAGE_SIZE);
	apic_cpu_init();
}

void apic_eoi(void)
{
	apic_write(LAPIC_EOI, 0);
}

static void icr_write(u32 apic_id, u32 command)
{
	if (x2apic) {
		/* This WRMSR may overtake earlier stores (SDM 3 10.12.3). */
		__asm__ volatile("mfence; lfence" : : : "memory");
		msr_write(MSR_X2APIC + LAPIC_ICR / 16, (u64)apic_id << 32 | command);
		return;
	}
	while (apic_read(LAPIC_ICR) & ICR_PENDING)
		cpu_relax();
	apic_write(LAPIC_ICR_HIGH, apic_id << 24);
	apic_write(LAPIC_ICR, command);
}

void apic_ipi(u32 apic_id, u32 command)
{
	icr_write(apic_id, command);
}

void apic_ipi_others(u32 command)
{
	if (x2apic || mmio) /* a panic may come before there is an APIC to use */
		icr_write(0, command | ICR_OTHERS);
}

void apic_timer_start(u32 ticks)
{
	apic_write(LAPIC_TIMER_INITIAL, ticks);
}

u32 apic_timer_left(void)
{
	return apic_read(LAPIC_TIMER_CURRENT);
}

bool apic_timer_has_deadline(void)
{
	return tsc_deadline;
}

void apic_timer_deadline(u64 tsc)
{
	/* Orders the MSR after the LVT's MMIO write (SDM 3 10.5.4.1). */
	memory_barrier();
	msr_write(MSR_TSC_DEADLINE, tsc);
}
