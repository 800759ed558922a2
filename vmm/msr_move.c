/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSRs that move with a guest, besides those in struct cpu_state and in the LAPIC's state. Service
 * CPU, while the vCPU does not run. What is checked and loaded comes from a peer.
 */
#include "vmm/msr.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "vmm/msr_internal.h"
#include "vmm/vcpu.h"

static bool is_saved(const struct msr_rule *rule, u32 index)
{
	switch (rule->kind) {
	case KIND_TSC_ADJUST:
	case KIND_MTRR_VARIABLE:
	case KIND_MTRR_FIXED:
	case KIND_MTRR_DEF:
		return true;
	case KIND_PVCLOCK:
		return index >= MSR_KVM_WALL_CLOCK; /* the old numbers are other names of the same */
	default:
		return false; /* in struct cpu_state, in the LAPIC's state, or constant */
	}
}

u32 msr_save(const struct vcpu *vcpu, struct msr_value *values)
{
	u32 count = 0;

	for (u32 i = 0; i < msr_rule_count; i++) {
		for (u32 index = msr_rules[i].first; index <= msr_rules[i].last; index++) {
			struct msr_value *out = &values[count];

			if (!is_saved(&msr_rules[i], index))
				continue;
			assert(count < MSR_VALUES_MAX);
			*out = (struct msr_value){ .index = index };
			if (!msr_read_rule((struct vcpu *)vcpu, &msr_rules[i], index, &out->value))
				count++;
		}
	}
	return count;
}

static bool value_valid(const struct msr_rule *rule, const struct msr_value *value)
{
	if (!is_saved(rule, value->index) || value->reserved)
		return false;
	if (rule->kind == KIND_TSC_ADJUST || rule->kind == KIND_PVCLOCK)
		return true;
	return msr_mtrr_valid(rule, value->index, value->value);
}

int msr_check(const struct msr_value *values, u32 count, char *why, size_t why_bytes)
{
	if (count > MSR_VALUES_MAX)
		return say(-E_INVAL, why, why_bytes, "%u MSRs", count);
	for (u32 i = 0; i < count; i++) {
		const struct msr_rule *rule = msr_find_rule(values[i].index);

		if (!rule || !value_valid(rule, &values[i]))
			return say(-E_INVAL, why, why_bytes, "MSR %#x = %#llx", values[i].index,
				   (unsigned long long)values[i].value);
	}
	return 0;
}

void msr_load(struct vcpu *vcpu, const struct msr_value *values, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		const struct msr_rule *rule = msr_find_rule(values[i].index);

		if (!rule)
			continue;
		if (rule->kind == KIND_TSC_ADJUST)
			vcpu->tsc_adjust = values[i].value;
		else if (rule->kind != KIND_PVCLOCK)
			*msr_mtrr_place(vcpu->msrs, rule, values[i].index) = values[i].value;
		else if (values[i].index == MSR_KVM_SYSTEM_TIME)
			vcpu->pvclock_msr = values[i].value; /* the page: vm_start() */
		else
			vcpu->pvclock_wall_msr = values[i].value;
	}
	vcpu_update_tsc(vcpu);
}
