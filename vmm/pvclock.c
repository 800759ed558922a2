/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the guest's clock pages. Called by vmm/msr.c on the vCPU's CPU, and by vm_start() on the
 * service CPU while the vCPU does not run.
 */
#include "vmm/pvclock.h"

#include "arch/x86_64/cpu.h"
#include "lib/string.h"
#include "lib/ticks.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define ENABLED BIT(0)

void pvclock_begin(struct vm *vm)
{
	vm->clock_tsc = vm_tsc(vm);
	vm->clock_ns = vm_time_ns(vm);
}

void pvclock_refresh(struct vcpu *vcpu)
{
	struct gmem *gmem = &vcpu->vm->gmem;
	gpa_t gpa = vcpu->pvclock_msr & ~ENABLED;
	struct ticks_scale scale = vcpu->vm->tsc_scale;
	struct pvclock_time page;
	u32 odd;

	if (!(vcpu->pvclock_msr & ENABLED))
		return;
	/* The version goes on from where it is: a reader may be in the middle, even across a move. */
	if (gmem_read(gmem, gpa, &odd, sizeof(odd)))
		return;
	odd = (odd + 1) | 1;
	memset(&page, 0, sizeof(page));
	page.version = odd;
	page.tsc_timestamp = vcpu->vm->clock_tsc + vcpu->tsc_adjust;
	page.system_time_ns = vcpu->vm->clock_ns;
	page.tsc_to_system_mul = scale.mul;
	page.tsc_shift = scale.shift;
	page.flags = PVCLOCK_TSC_STABLE;
	/* A reader on another vCPU sees an odd version first; the even one comes last. */
	if (gmem_write(gmem, gpa, &odd, sizeof(odd)))
		return;
	if (gmem_write(gmem, gpa, &page, sizeof(page)))
		return;
	page.version = odd + 1;
	if (gmem_write(gmem, gpa, &page.version, sizeof(page.version)))
		return;
}

void pvclock_set_time_msr(struct vcpu *vcpu, u64 value)
{
	vcpu->pvclock_msr = value;
	pvclock_refresh(vcpu);
}

void pvclock_set_wall_msr(struct vcpu *vcpu, u64 value)
{
	u64 at_zero_ns = wall_time_ns() - vm_time_ns(vcpu->vm);
	struct pvclock_wall page = {
		.version = 2,
		.seconds = (u32)(at_zero_ns / NS_PER_S),
		.nanoseconds = (u32)(at_zero_ns % NS_PER_S),
	};

	vcpu->pvclock_wall_msr = value;
	/* Outside of memory: nothing to write, as with a real CPU's ignored stores. */
	if (gmem_write(&vcpu->vm->gmem, value, &page, sizeof(page)))
		return;
}
