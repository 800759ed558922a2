/* SPDX-License-Identifier: Apache-2.0 */
/* arch/x86_64/cpu.h and fpu.h for host tests: time stands still unless it is moved. */
#ifndef FAKE_CPU_H
#define FAKE_CPU_H

#include "arch/x86_64/cpu.h"
#include "types.h"

#define FAKE_TSC_KHZ 1000000ull /* a tick is a nanosecond */

/* Time zero, one CPU, no kicks, no CPUID leaves, no MSRs. */
void fake_cpu_reset(void);
void fake_time_set(u64 ns);
void fake_time_advance(u64 ns);
void fake_cpu_set_count(u32 count);
/* Which CPU the test is on from now on. */
void fake_cpu_set_self(u32 index);
/* How often cpu_kick(index) was called. */
u64 fake_cpu_kicks(u32 index);
/* The deadline that was set last on CPU index. */
u64 fake_cpu_timer(u32 index);
/* What cpuid_read() answers; leaves that were not set are zero. */
void fake_cpuid_set(u32 leaf, u32 subleaf, struct cpuid_regs regs);
/* MSRs that were not set fault. */
void fake_msr_set(u32 msr, u64 value);
/* Whose registers CPU index holds (fpu.h), NULL: nobody's. */
void *fake_fpu_owner(u32 index);
u64 fake_fpu_xcr0(u32 index);

/* What random_u64() gives from here on. */
void fake_random_seed(u64 seed);

#endif
