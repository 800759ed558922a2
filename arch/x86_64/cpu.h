/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's CPUs as everything above sees them: who am I, what time is it, wake that one,
 * sleep. arch/x86_64 implements it; tests/host/fake has a second implementation.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include "types.h"

#define CPUS_MAX 64
#define SERVICE_CPU 0

struct cpu {
	u32 index;   /* 0 .. cpu_count() - 1; 0 is the boot CPU and the service CPU */
	u32 apic_id;
	bool online; /* runs guests, if any CPU does */
	/* Set by interrupt handlers on this CPU (and by cpu_kick), cleared by who handles it. */
	u32 pending; /* CPU_PENDING_* */
	hpa_t hsave;  /* the vendor backend's own page for this CPU (SVM VM_HSAVE_PA, VMXON region) */
	hpa_t hostvmcb;
	void *stack;
	u64 idle_ns; /* time spent in cpu_idle, for top */
	u64 idle_since_ns; /* it is there since then; 0: it is not */
};

enum {
	CPU_PENDING_TIMER = 1 << 0,
	CPU_PENDING_KICK = 1 << 1,
	CPU_PENDING_DEVICE = 1 << 2, /* a host device's interrupt came */
};

u32 cpu_count(void);
struct cpu *cpu_get(u32 index);
struct cpu *cpu_self(void);

/* Sets the CPU's pending KICK flag and sends it an IPI: ends its idle HLT or its guest's run. */
void cpu_kick(u32 index);
/* Atomically takes and clears this CPU's pending flags. */
u32 cpu_take_pending(void);
/*
 * Halts until an interrupt (timer at deadline_ns at the latest; 0: no deadline). Returns at once
 * if something is pending. Interrupts are enabled only inside.
 */
void cpu_idle(u64 deadline_ns);
/* Of two deadlines; 0: none. */
static inline u64 deadline_sooner(u64 a, u64 b)
{
	return a && b ? MIN(a, b) : a | b;
}
/* Arms this CPU's one-shot timer; it ends a guest's run or an idle HLT. 0 disarms. */
void cpu_timer_set(u64 deadline_ns);
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}
/* Runs fn(arg) on the other CPUs' own stacks; never returns there. Called once by main. */
void cpu_start_others(void (*main_loop)(void));

/* Monotonic time since boot, the same on all CPUs. */
u64 time_ns(void);
u64 tsc_read(void);
u64 tsc_khz(void);
/* Conversions at the calibrated frequency; ns are rounded down, ticks up. */
u64 tsc_to_ns(u64 tsc);
u64 ns_to_tsc(u64 ns);
/* Wall-clock, seconds since 1970 UTC at boot (host RTC) plus time_ns. */
u64 wall_time_ns(void);

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};
struct cpuid_regs cpuid_read(u32 leaf, u32 subleaf);
u64 msr_read(u32 msr);
void msr_write(u32 msr, u64 value);
/* As above, but an MSR that faults gives -E_NOENT instead of a panic. */
int must_check msr_read_safe(u32 msr, u64 *value);
int must_check msr_write_safe(u32 msr, u64 value);

/* A random number from RDRAND/RDSEED if there is one, else from the TSC's jitter. */
u64 random_u64(void);

#endif
