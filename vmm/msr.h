/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's model-specific registers. On the vCPU's CPU, or while it does not run. */
#ifndef VMM_MSR_H
#define VMM_MSR_H

#include "types.h"

struct vcpu;

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_ADJUST = 0x3b,
	MSR_PAT = 0x277,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC_FIRST = 0x800,
	MSR_X2APIC_LAST = 0x8ff,
	MSR_EFER = 0xc0000080,
	MSR_KVM_WALL_CLOCK_OLD = 0x11,
	MSR_KVM_SYSTEM_TIME_OLD = 0x12,
	MSR_KVM_WALL_CLOCK = 0x4b564d00,
	MSR_KVM_SYSTEM_TIME = 0x4b564d01,
};

/* -E_INVAL: the guest gets #GP(0). */
int must_check msr_guest_read(struct vcpu *vcpu, u32 index, u64 *value);
int must_check msr_guest_write(struct vcpu *vcpu, u32 index, u64 value);

int must_check msr_file_init(struct vcpu *vcpu);
void msr_file_fini(struct vcpu *vcpu);
void msr_file_reset(struct vcpu *vcpu);

/* One MSR in the stream. Those in struct cpu_state and the LAPIC's are not among them. */
struct msr_value {
	u32 index;
	u32 reserved;
	u64 value;
};
static_assert(sizeof(struct msr_value) == 16, "wire layout");

#define MSR_VALUES_MAX 64

/* Returns how many; values has room for MSR_VALUES_MAX. */
u32 msr_save(const struct vcpu *vcpu, struct msr_value *values);
/* Pure: can they be loaded? -E_INVAL, and why names the MSR. */
int must_check msr_check(const struct msr_value *values, u32 count, char *why, size_t why_bytes);
/* Of values that msr_check passed. The guest's memory must be there. */
void msr_load(struct vcpu *vcpu, const struct msr_value *values, u32 count);

#endif
