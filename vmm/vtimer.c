/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timers of the guest's devices. Set from any CPU; run on the vCPU's CPU between two runs.
 *
 * vcpu->next_deadline_ns is never later than the nearest timer, so the run loop looks at that alone:
 *	set:	store the timer's deadline; fence; lower the cache if that is nearer
 *	run:	cache = none; fence; look at every timer, lower the cache for each that stays armed
 * If run misses a new deadline, set's lowering comes after run's "none" and stays.
 */
#include "vmm/vtimer.h"

#include "compiler.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* 0 counts as never. */
static bool nearer(u64 a, u64 b)
{
	return a - 1 < b - 1;
}

static bool lower_cache(struct vcpu *vcpu, u64 deadline_ns)
{
	u64 old = READ_ONCE(vcpu->next_deadline_ns);

	while (nearer(deadline_ns, old))
		if (__atomic_compare_exchange_n(&vcpu->next_deadline_ns, &old, deadline_ns, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

void vtimer_init(struct vtimer *timer, struct vcpu *vcpu, bool locked, void (*fire)(struct vtimer *, u64))
{
	timer->deadline_ns = 0;
	timer->fire = fire;
	timer->locked = locked;
	timer->vcpu = vcpu;
	timer->next = vcpu->timers;
	vcpu->timers = timer;
}

void vtimer_set(struct vtimer *timer, u64 deadline_ns)
{
	WRITE_ONCE(timer->deadline_ns, deadline_ns);
	memory_barrier();
	if (lower_cache(timer->vcpu, deadline_ns))
		vcpu_kick(timer->vcpu);
}

u64 vtimer_next(const struct vcpu *vcpu)
{
	return READ_ONCE(vcpu->next_deadline_ns);
}

/* Takes the deadline if it has come; a timer set anew at the same time stays set. */
static bool take_due(struct vtimer *timer, u64 now_ns)
{
	u64 deadline = READ_ONCE(timer->deadline_ns);

	return deadline && deadline <= now_ns &&
	       __atomic_compare_exchange_n(&timer->deadline_ns, &deadline, 0, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/* The lock comes first: a device that sets its timer anew under it is never told of the old deadline. */
static void fire_if_due(struct vtimer *timer, u64 now_ns)
{
	struct vm *vm = timer->vcpu->vm;
	u64 deadline = READ_ONCE(timer->deadline_ns);

	if (!deadline || deadline > now_ns)
		return;
	if (timer->locked)
		spin_lock(&vm->lock);
	if (take_due(timer, now_ns))
		timer->fire(timer, now_ns);
	if (timer->locked)
		spin_unlock(&vm->lock);
}

void vtimer_run(struct vcpu *vcpu)
{
	u64 now_ns = vm_time_ns(vcpu->vm);

	WRITE_ONCE(vcpu->next_deadline_ns, 0);
	memory_barrier();
	for (struct vtimer *timer = vcpu->timers; timer; timer = timer->next)
		fire_if_due(timer, now_ns);
	for (struct vtimer *timer = vcpu->timers; timer; timer = timer->next)
		lower_cache(vcpu, READ_ONCE(timer->deadline_ns));
}
