/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from each kind of exit. On the vCPU's CPU, out of the guest. vm->lock is taken
 * around accesses to the buses only.
 */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "compiler.h"
#include "lib/log.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/emulate.h"
#include "vmm/irqchip.h"
#include "vmm/msr.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

enum { VECTOR_UD = 6, VECTOR_GP = 13 };

/* What KVM answers to a hypercall that it does not know; guests are told that we are like it. */
#define HYPERCALL_ENOSYS ((u64)-1000)

/* The known bits; a write of the others is ignored (SDM 3 2.5). */
#define CR0_KNOWN (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

static void raise_gp(struct vcpu *vcpu)
{
	vcpu_inject_exception(vcpu, VECTOR_GP, true, 0);
}

/* Of an instruction whose length nobody knows, or at the end of 4 GiB: outside of 64-bit mode EIP wraps around. */
static noinline void finish_odd_insn(struct vcpu *vcpu, u32 len)
{
	struct paging_mode mode;

	if (!len && emulate_length(vcpu, &len))
		return;
	vcpu->regs.rip += len;
	hvm->get_mode(vcpu, &mode);
	if (!(mode.efer & EFER_LMA) || !(mode.cs.attr & SEGMENT_L))
		vcpu->regs.rip = (u32)vcpu->regs.rip;
	hvm->insn_done(vcpu);
}

/* The instruction was done: on to the next. */
static inline void finish_insn(struct vcpu *vcpu, const struct vm_exit *exit)
{
	u32 len = exit->insn_len;
	u64 rip = vcpu->regs.rip + len;

	/* EIP went past its end (then it is less than len now), or len is 0 and all are less. */
	if (unlikely((u32)rip <= len - 1)) {
		finish_odd_insn(vcpu, len);
		return;
	}
	vcpu->regs.rip = rip;
	hvm->insn_done(vcpu);
}

/* --- one function for each kind; none inlined, or the usual exits would save registers for all of them */

static noinline void exit_cpuid(struct vcpu *vcpu, const struct vm_exit *exit)
{
	cpuid_execute(vcpu);
	finish_insn(vcpu, exit);
}

/* A 32-bit result clears the upper half, a smaller one leaves the rest (SDM 1 3.4.1.1). */
static u64 merge(u64 old, unsigned int size, u64 value)
{
	switch (size) {
	case 1:
		return (old & ~0xffull) | (u8)value;
	case 2:
		return (old & ~0xffffull) | (u16)value;
	default:
		return (u32)value;
	}
}

static noinline void exit_io(struct vcpu *vcpu, const struct vm_exit *exit)
{
	u64 *rax = &vcpu->regs.gpr[GPR_RAX];
	unsigned int size = exit->io.size;

	if (unlikely(exit->io.string)) {
		emulate_string_io(vcpu, exit);
		return;
	}
	if (exit->io.in)
		*rax = merge(*rax, exit->io.size, emulate_port_read(vcpu->vm, exit->io.port, size));
	else
		emulate_port_write(vcpu->vm, exit->io.port, size, *rax & (BIT(8 * size) - 1));
	vcpu->regs.rip = exit->io.next_rip;
	hvm->insn_done(vcpu);
}

static noinline void exit_msr_read(struct vcpu *vcpu, const struct vm_exit *exit)
{
	u64 value;

	if (msr_guest_read(vcpu, exit->msr.index, &value)) {
		raise_gp(vcpu);
		return;
	}
	vcpu->regs.gpr[GPR_RAX] = (u32)value;
	vcpu->regs.gpr[GPR_RDX] = value >> 32;
	finish_insn(vcpu, exit);
}

static noinline void exit_msr_write(struct vcpu *vcpu, const struct vm_exit *exit)
{
	if (msr_guest_write(vcpu, exit->msr.index, exit->msr.value)) {
		raise_gp(vcpu);
		return;
	}
	finish_insn(vcpu, exit);
}

static int write_cr8(struct vcpu *vcpu, u64 value)
{
	if (value > 15)
		return -1;
	irqchip_set_tpr(vcpu, (u8)value);
	hvm->set_cr(vcpu, 8, value);
	return 0;
}

static int write_cr(struct vcpu *vcpu, u8 cr, u64 value)
{
	const struct cpuid_policy *policy = vcpu->vm->cpuid;
	u64 cr0 = hvm->get_cr(vcpu, 0);
	u64 cr4 = hvm->get_cr(vcpu, 4);
	u64 efer = 0;
	int error;

	if (cr == 8)
		return write_cr8(vcpu, value);
	if (hvm->get_msr(vcpu, MSR_EFER, &efer))
		return -1;
	if (cr == 0)
		error = cr0_check(value, cr4, efer);
	else
		error = cr4_check(policy, value, cr4, cr0, efer, hvm->get_cr(vcpu, 3));
	if (error)
		return error;
	hvm->set_cr(vcpu, cr, cr == 0 ? (value & CR0_KNOWN) | CR0_ET : value);
	return 0;
}

static noinline void exit_cr_write(struct vcpu *vcpu, const struct vm_exit *exit)
{
	if (write_cr(vcpu, exit->cr.cr, exit->cr.value)) {
		raise_gp(vcpu);
		return;
	}
	finish_insn(vcpu, exit);
}

static noinline void exit_xsetbv(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct paging_mode mode;

	/* Not every CPU looks at CR4 and the privilege level before it exits (SDM 3 26.1.1; SDM 2 XSETBV). */
	hvm->get_mode(vcpu, &mode);
	if (!(mode.cr4 & CR4_OSXSAVE)) {
		vcpu_inject_exception(vcpu, VECTOR_UD, false, 0);
		return;
	}
	if (mode.cpl || exit->xsetbv.index || xcr0_check(vcpu->vm->cpuid, exit->xsetbv.value)) {
		raise_gp(vcpu);
		return;
	}
	vcpu->xcr0 = exit->xsetbv.value;
	fpu_set_xcr0(vcpu->xsave, vcpu->xcr0);
	finish_insn(vcpu, exit);
}

/* RAM that the guest gave back to the host comes again with its first touch, zeroed; what is no RAM is a device. */
static noinline void exit_npt(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct gmem *gmem = &vcpu->vm->gmem;
	u64 page;

	if (likely(gmem_page_of(gmem, exit->npt.gpa, &page)) || likely(!READ_ONCE(gmem->gave_back))) {
		emulate_npt(vcpu, exit);
		return;
	}
	/* Or another vCPU was faster. The access is tried again. */
	if (gmem_fill(gmem, page))
		vm_fail(vcpu->vm, "it uses memory that it gave back (%#llx), and this host has none left",
			(unsigned long long)exit->npt.gpa);
}

static noinline void exit_hlt(struct vcpu *vcpu, const struct vm_exit *exit)
{
	finish_insn(vcpu, exit);
	/* The run loop looks for a reason to wake, after a fence, before it gives the CPU away. */
	WRITE_ONCE(vcpu->activity, VCPU_HALTED);
	vcpu_look(vcpu);
}

static noinline void exit_pause(struct vcpu *vcpu, const struct vm_exit *exit)
{
	finish_insn(vcpu, exit);
	sched_give_way(vcpu);
}

static noinline void exit_hypercall(struct vcpu *vcpu, const struct vm_exit *exit)
{
	vcpu->regs.gpr[GPR_RAX] = HYPERCALL_ENOSYS;
	finish_insn(vcpu, exit);
}

static noinline void exit_triple_fault(struct vcpu *vcpu)
{
	/* A machine resets then (SDM 3 6.15, #DF). */
	log_info("%s: triple fault at %#llx: reset", vcpu->vm->config.name, (unsigned long long)vcpu->regs.rip);
	vm_want(vcpu->vm, VM_WANT_REBOOT);
}

static noinline void exit_stop(struct vcpu *vcpu, const struct vm_exit *exit, const char *what)
{
	vm_fail(vcpu->vm, "%s at rip %#llx: code %#llx, %#llx, %#llx", what, (unsigned long long)vcpu->regs.rip,
		(unsigned long long)exit->raw.code, (unsigned long long)exit->raw.info1,
		(unsigned long long)exit->raw.info2);
}

void vcpu_handle_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	switch (exit->kind) {
	case VM_EXIT_HOST:
	case VM_EXIT_IRQ_WINDOW:
	case VM_EXIT_DIRTY_LOG:
		return; /* the run loop looks for interrupts before each entry */
	case VM_EXIT_IO:
		exit_io(vcpu, exit);
		return;
	case VM_EXIT_MSR_READ:
		exit_msr_read(vcpu, exit);
		return;
	case VM_EXIT_MSR_WRITE:
		exit_msr_write(vcpu, exit);
		return;
	case VM_EXIT_CPUID:
		exit_cpuid(vcpu, exit);
		return;
	case VM_EXIT_HLT:
		exit_hlt(vcpu, exit);
		return;
	case VM_EXIT_PAUSE:
		exit_pause(vcpu, exit);
		return;
	case VM_EXIT_CACHE:
		finish_insn(vcpu, exit);
		return;
	case VM_EXIT_NPT:
		exit_npt(vcpu, exit);
		return;
	case VM_EXIT_CR_WRITE:
		exit_cr_write(vcpu, exit);
		return;
	case VM_EXIT_XSETBV:
		exit_xsetbv(vcpu, exit);
		return;
	case VM_EXIT_HYPERCALL:
		exit_hypercall(vcpu, exit);
		return;
	case VM_EXIT_UNDEFINED:
		vcpu_inject_exception(vcpu, VECTOR_UD, false, 0);
		return;
	case VM_EXIT_PRIVILEGED:
		raise_gp(vcpu);
		return;
	case VM_EXIT_EXCEPTION:
		vcpu_inject_exception(vcpu, exit->exception.vector, exit->exception.has_error_code,
				      exit->exception.error_code);
		return;
	case VM_EXIT_EOI:
		irqchip_level_eoi(vcpu, exit->eoi.vector);
		return;
	case VM_EXIT_TRIPLE_FAULT:
		exit_triple_fault(vcpu);
		return;
	case VM_EXIT_ENTRY_FAILED:
		exit_stop(vcpu, exit, "the CPU refused its state");
		return;
	case VM_EXIT_UNKNOWN:
		exit_stop(vcpu, exit, "an exit that nobody asked for");
		return;
	}
}
