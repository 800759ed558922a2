/* SPDX-License-Identifier: Apache-2.0 */
/* What msr.c (the guest's accesses) and msr_move.c (migration) share. */
#ifndef VMM_MSR_INTERNAL_H
#define VMM_MSR_INTERNAL_H

#include "types.h"

struct vcpu;

#define VARIABLE_MTRRS 8
#define FIXED_MTRRS 11
#define LOGGED_MAX 32

/* MSRs that are mere storage. */
struct msr_file {
	u64 mtrr_def;
	u64 mtrr_variable[2 * VARIABLE_MTRRS]; /* base, mask; base, mask... */
	u64 mtrr_fixed[FIXED_MTRRS];
	u32 logged[LOGGED_MAX];                /* unknown ones, so that each is logged once */
	u32 logged_count;
};

enum msr_kind {
	KIND_CONSTANT,  /* reads value; writes are ignored */
	KIND_READ_ONLY, /* reads value; writes fault */
	KIND_EFER,
	KIND_PAT,
	KIND_ADDRESS,   /* the backend's, canonical */
	KIND_LOW32,     /* the backend's, 32 bits */
	KIND_ANY,       /* the backend's, any value */
	KIND_DEBUGCTL,
	KIND_TSC_AUX,   /* the backend's, 32 bits; there with the instructions that read it */
	KIND_TSC,
	KIND_TSC_ADJUST,
	KIND_IRQCHIP,
	KIND_PVCLOCK,
	KIND_MTRR_VARIABLE,
	KIND_MTRR_FIXED,
	KIND_MTRR_DEF,
};

struct msr_rule {
	u32 first, last;
	enum msr_kind kind;
	u64 value;
};

/* Rising. */
extern const struct msr_rule msr_rules[];
extern const u32 msr_rule_count;
/* NULL: no such MSR. */
const struct msr_rule *msr_find_rule(u32 index);
int must_check msr_read_rule(struct vcpu *vcpu, const struct msr_rule *rule, u32 index, u64 *value);

/* Of KIND_MTRR_*. */
u64 *msr_mtrr_place(struct msr_file *file, const struct msr_rule *rule, u32 index);
bool msr_mtrr_valid(const struct msr_rule *rule, u32 index, u64 value);

#endif
