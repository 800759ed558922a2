/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paravirtual clock as KVM defined it (CPUID 0x40000001 bit 3): guests compute their time from
 * the TSC and a page that we write. On the vCPU's CPU, or while it does not run.
 */
#ifndef VMM_PVCLOCK_H
#define VMM_PVCLOCK_H

#include "types.h"

struct vcpu;
struct vm;

#define PVCLOCK_TSC_STABLE BIT(0)

struct pvclock_time {
	u32 version; /* odd while it is being written */
	u32 reserved0;
	u64 tsc_timestamp;
	u64 system_time_ns; /* at tsc_timestamp */
	u32 tsc_to_system_mul; /* ns = (tsc << shift) * mul >> 32 */
	s8 tsc_shift;
	u8 flags;
	u8 reserved1[2];
};
static_assert(sizeof(struct pvclock_time) == 32, "guest interface");

struct pvclock_wall {
	u32 version;
	u32 seconds, nanoseconds; /* UTC since 1970 when the guest's system time was 0 */
};
static_assert(sizeof(struct pvclock_wall) == 12, "guest interface");

/* The MSRs' writes. */
void pvclock_set_time_msr(struct vcpu *vcpu, u64 value);
void pvclock_set_wall_msr(struct vcpu *vcpu, u64 value);
/*
 * The guest begins to run here: all of its vCPUs' pages say the same line from now on, so that their times
 * agree to the last tick (PVCLOCK_TSC_STABLE is a promise of that).
 */
void pvclock_begin(struct vm *vm);
/* Writes the time page again: the TSC's offset or frequency changed (arrival on this host). */
void pvclock_refresh(struct vcpu *vcpu);

#endif
