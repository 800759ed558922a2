/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's two clocks: its time, which all its devices' clocks derive from, and its TSC. They are read on any
 * CPU; set while the guest does not run.
 *
 * A guest that came from a host with another TSC frequency keeps its own where the CPU scales it (SDM 3
 * 26.3, APM 2 15.30.5). Elsewhere its TSC goes as the host's: the paravirtual clock, which says how fast
 * that is, stays right, and what counts ticks by itself does not.
 */
#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* A ratio has no more bits before the point (SVM's TSC_RATIO). */
#define RATIO_MAX 255

u64 vm_time_ns(const struct vm *vm)
{
	if (READ_ONCE(vm->frozen))
		return vm->frozen_time_ns;
	return time_ns() + (u64)vm->time_offset_ns;
}

static u64 host_tsc_scaled(const struct vm *vm)
{
	u64 tsc = tsc_read();

	return vm->tsc_ratio ? ticks_scaled(tsc, vm->tsc_ratio, hvm->tsc_ratio_bits()) : tsc;
}

u64 vm_tsc(const struct vm *vm)
{
	if (READ_ONCE(vm->frozen))
		return vm->frozen_tsc;
	return host_tsc_scaled(vm) + vm->tsc_offset;
}

void vm_time_load(struct vm *vm, u64 guest_time_ns, u64 guest_tsc)
{
	vm->time_offset_ns = (s64)(guest_time_ns - time_ns());
	vm->tsc_offset = guest_tsc - host_tsc_scaled(vm);
	vm->frozen_time_ns = guest_time_ns;
	vm->frozen_tsc = guest_tsc;
	for (u32 i = 0; i < vm->vcpu_count; i++)
		vcpu_update_tsc(vm->vcpus[i]);
}

u64 vm_tsc_khz(const struct vm *vm)
{
	return vm->tsc_ratio ? vm->tsc_khz : tsc_khz();
}

u64 vm_tsc_to_ns(const struct vm *vm, u64 ticks)
{
	return ticks_to_ns(vm->tsc_scale, ticks);
}

bool tsc_khz_differ(u64 khz, u64 other_khz)
{
	u64 off = khz > other_khz ? khz - other_khz : other_khz - khz;

	return off * 1000000 > other_khz * TSC_TOLERANCE_PPM;
}

bool vm_tsc_set_khz(struct vm *vm, u32 khz)
{
	u32 bits = hvm->tsc_ratio_bits ? hvm->tsc_ratio_bits() : 0;
	u64 host_khz = tsc_khz();

	vm->tsc_khz = khz;
	vm->tsc_ratio = 0;
	if (bits && tsc_khz_differ(khz, host_khz) && khz / host_khz <= RATIO_MAX)
		vm->tsc_ratio = ticks_ratio(khz, host_khz, bits);
	vm->tsc_scale = ticks_scale(vm_tsc_khz(vm));
	return vm->tsc_ratio != 0;
}
