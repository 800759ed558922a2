/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests as they run: started, paused, their translations and the dirty log. Service CPU.
 */
#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "vmm/hvm.h"
#include "vmm/pvclock.h"
#include "vmm/sched.h"
#include "vmm/startup.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_internal.h"

static void vm_freeze(struct vm *vm)
{
	if (vm->frozen)
		return;
	/* What was on its way to a vCPU is part of its state. */
	for (u32 i = 0; i < vm->vcpu_count; i++)
		startup_take(vm->vcpus[i]);
	/* The devices first: what they stop is stamped with a time that still runs. */
	spin_lock(&vm->lock);
	devices_pause(vm);
	spin_unlock(&vm->lock);
	vm->frozen_time_ns = vm_time_ns(vm);
	vm->frozen_tsc = vm_tsc(vm);
	WRITE_ONCE(vm->frozen, true);
}

/* Here nothing was moved: the clocks show again what they would have shown anyway. */
static void vm_thaw(struct vm *vm)
{
	WRITE_ONCE(vm->frozen, false);
	spin_lock(&vm->lock);
	devices_resume(vm);
	spin_unlock(&vm->lock);
	/* What was rung while they were paused. */
	vm_doorbell(vm);
}

void vm_wake(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++)
		sched_wake(vm->vcpus[i]);
}

void vm_wait_stopped(struct vm *vm)
{
	/*
	 * Against vcpu_run(), which sets running and then looks at the pause bits: here a pause bit
	 * was set before. The fence in vcpu_kick() is between; one of the two sees the other.
	 */
	memory_barrier();
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		vcpu_kick(vcpu);
		while (load_acquire(&vcpu->running))
			cpu_relax();
	}
}

void vm_pause(struct vm *vm, enum vm_pause who)
{
	atomic_or(&vm->paused, who);
	vm_wait_stopped(vm);
	if (who & VM_PAUSE_FROZEN)
		vm_freeze(vm);
}

void vm_unpause(struct vm *vm, enum vm_pause who)
{
	u32 left = vm->paused & ~(u32)who;

	if (vm->frozen && !(left & VM_PAUSE_FROZEN))
		vm_thaw(vm);
	atomic_and(&vm->paused, ~(u32)who);
	if (!left)
		vm_wake(vm);
}

void vm_start(struct vm *vm)
{
	assert(vm->state == VM_BUILDING);
	if (!(vm->paused & VM_PAUSE_FROZEN))
		vm_thaw(vm);
	/* An arrived guest's clock pages must speak of this host's TSC before it runs. */
	pvclock_begin(vm);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		vcpu_update_tsc(vm->vcpus[i]);
		pvclock_refresh(vm->vcpus[i]);
	}
	WRITE_ONCE(vm->state, VM_LIVE);
	if (!vm->paused)
		vm_wake(vm);
}

void vm_hold(struct vm *vm)
{
	vm->holds++;
}

void vm_release(struct vm *vm)
{
	assert(vm->holds);
	vm->holds--;
}

/*
 * A vCPU that is seen outside of the guest after the request was stored will find it before it
 * enters (vcpu.c's head): in_guest = 1, fence, look at requests. One that is seen inside gets an
 * IPI; it has flushed, or will before it runs guest code, once it has taken the request.
 */
void vm_flush_tlbs(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++)
		atomic_or(&vm->vcpus[i]->requests, VCPU_REQ_FLUSH);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		if (READ_ONCE(vm->vcpus[i]->in_guest))
			cpu_kick(vm->vcpus[i]->cpu);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		while (load_acquire(&vcpu->in_guest) && READ_ONCE(vcpu->requests) & VCPU_REQ_FLUSH)
			cpu_relax();
	}
}

/*
 * The same, and every vCPU has been out of its exit handlers since, in which it may be using a pointer into
 * guest memory: the requests are taken before an entry only. vm->lock is not held: they may wait for it.
 */
static void vm_wait_let_go(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		atomic_or(&vm->vcpus[i]->requests, VCPU_REQ_FLUSH);
		if (READ_ONCE(vm->vcpus[i]->in_guest))
			cpu_kick(vm->vcpus[i]->cpu);
	}
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		while (load_acquire(&vcpu->running) && READ_ONCE(vcpu->requests) & VCPU_REQ_FLUSH)
			cpu_relax();
	}
}

void vm_reap_memory(struct vm *vm)
{
	if (!vm->gmem.leaving_count)
		return;
	vm_wait_let_go(vm);
	gmem_reap(&vm->gmem);
	vm_memory_came_free();
}

int vm_dirty_start(struct vm *vm)
{
	int error = gmem_log_start(&vm->gmem);

	if (error)
		return error;
	/* From here on the CPUs list what they write to, where they do: only then D bits may be cleared. */
	if (vm->gmem.dirty->listed)
		vm_flush_tlbs(vm);
	gmem_log_clear(&vm->gmem);
	vm_flush_tlbs(vm);
	return 0;
}

u64 vm_dirty_collect(struct vm *vm, u64 *bitmap)
{
	u64 found = gmem_log_collect(&vm->gmem, bitmap);

	/*
	 * D is cleared in memory, but a CPU that has the translation cached with D set stores
	 * without setting it again (APM 2 15.25.5, SDM 3 29.4.3.4): without the flush such a store
	 * is lost. The negative control of the race test leaves it out.
	 */
	if (!fault_hit("skip-dirty-kick"))
		vm_flush_tlbs(vm);
	return found;
}

void vm_dirty_stop(struct vm *vm)
{
	gmem_log_stop(&vm->gmem);
	vm_flush_tlbs(vm);
	npt_reap(&vm->gmem.npt);
	/* Its balloon gives back what it has got meanwhile. */
	vm_doorbell(vm);
}
