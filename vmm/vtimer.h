/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of the guest's devices, in vm_time_ns(). They fire on the CPU of the vCPU that they belong
 * to, between two runs, with vm->lock held if locked is set.
 */
#ifndef VMM_VTIMER_H
#define VMM_VTIMER_H

#include "types.h"

struct vcpu;

struct vtimer {
	u64 deadline_ns; /* 0: not armed */
	void (*fire)(struct vtimer *timer, u64 now_ns);
	bool locked;
	struct vcpu *vcpu;
	struct vtimer *next;
};

void vtimer_init(struct vtimer *timer, struct vcpu *vcpu, bool locked, void (*fire)(struct vtimer *, u64));
/* Arms (or with 0 disarms). From any CPU: the vCPU is kicked if its next deadline moves nearer. */
void vtimer_set(struct vtimer *timer, u64 deadline_ns);
/* The vCPU's nearest deadline in vm_time_ns, 0 if there is none. */
u64 vtimer_next(const struct vcpu *vcpu);
/* Fires what is due. */
void vtimer_run(struct vcpu *vcpu);

#endif
