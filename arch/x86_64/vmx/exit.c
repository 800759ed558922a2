/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the VMCS after an exit to struct vm_exit. On the vCPU's CPU, right after the exit.
 */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"
#include "vmm/vm.h"

/* Debug exceptions do not change them before their exit (SDM 3 28.1). */
#define DR6_CONDITIONS 0xfull
#define DR6_FIXED 0xffff0ff0ull
#define DR7_GD BIT(13)

static u8 insn_length(void)
{
	u64 length = vmcs_read(VMCS_EXIT_INSN_BYTES);

	return length <= 15 ? (u8)length : 0;
}

static void exit_of_insn(struct vm_exit *exit, enum vm_exit_kind kind)
{
	exit->kind = kind;
	exit->insn_len = insn_length();
}

static void exit_unknown(const struct vmx_vcpu *vv, struct vm_exit *exit, enum vm_exit_kind kind)
{
	exit->kind = kind;
	exit->raw.code = vv->exit_reason;
	exit->raw.info1 = vmcs_read(VMCS_EXIT_QUALIFICATION);
	exit->raw.info2 = vmcs_read(VMCS_EXIT_EVENT);
}

/* Table 28-5. */
static void exit_io(const struct vcpu *vcpu, struct vm_exit *exit)
{
	u64 info = vmcs_read(VMCS_EXIT_QUALIFICATION);

	exit_of_insn(exit, VM_EXIT_IO);
	exit->io.port = (u16)(info >> IO_PORT_SHIFT);
	exit->io.size = (u8)((info & IO_SIZE) + 1);
	exit->io.in = info & IO_IN;
	exit->io.string = info & IO_STRING;
	exit->io.rep = info & IO_REP;
	exit->io.next_rip = vcpu->regs.rip + exit->insn_len;
	if (exit->io.size != 1 && exit->io.size != 2 && exit->io.size != 4)
		exit_unknown(vmx_of(vcpu), exit, VM_EXIT_UNKNOWN);
}

static void exit_msr(const struct vcpu *vcpu, struct vm_exit *exit, enum vm_exit_kind kind)
{
	const u64 *gpr = vcpu->regs.gpr;

	exit_of_insn(exit, kind);
	exit->msr.index = (u32)gpr[GPR_RCX];
	exit->msr.value = gpr[GPR_RDX] << 32 | (u32)gpr[GPR_RAX];
}

/* An IRET had ended the blocking of NMIs, and will be executed again (28.2.3). */
static void block_nmi_again(struct vmx_vcpu *vv)
{
	if (!(vmcs_read(VMCS_IDT_EVENT) & INFO_VALID))
		vmx_set_nmi_blocked(vv, true);
}

/* Table 28-7. */
static void exit_ept_violation(struct vcpu *vcpu, struct vm_exit *exit)
{
	u64 info = vmcs_read(VMCS_EXIT_QUALIFICATION);

	exit->kind = VM_EXIT_NPT;
	exit->npt.gpa = vmcs_read(VMCS_GUEST_PHYSICAL);
	exit->npt.write = info & EPT_WRITE;
	exit->npt.fetch = info & EPT_FETCH;
	exit->npt.table_walk = info & EPT_LINEAR_VALID && !(info & EPT_FINAL);
	exit->npt.insn_bytes = 0;
	if (unlikely(info & QUALIFICATION_UNBLOCKED_NMI))
		block_nmi_again(vmx_of(vcpu));
}

/* A reserved bit or a wrong type in our own tables: nothing that the guest can do about it. */
static void exit_ept_misconfiguration(const struct vcpu *vcpu, struct vm_exit *exit)
{
	u64 gpa = vmcs_read(VMCS_GUEST_PHYSICAL);

	log_error("%s: EPT misconfiguration at %#llx", vcpu->vm->config.name, (unsigned long long)gpa);
	exit_unknown(vmx_of(vcpu), exit, VM_EXIT_UNKNOWN);
	exit->raw.info1 = gpa;
}

/* Table 28-3. */
static void exit_cr(const struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	u64 info = vmcs_read(VMCS_EXIT_QUALIFICATION);
	u8 cr = CR_NUMBER(info);

	if (CR_ACCESS(info) != CR_ACCESS_MOV_TO || (cr != 0 && cr != 4 && cr != 8)) {
		exit_unknown(vv, exit, VM_EXIT_UNKNOWN);
		return;
	}
	exit_of_insn(exit, VM_EXIT_CR_WRITE);
	exit->cr.cr = cr;
	exit->cr.value = vcpu->regs.gpr[CR_GPR(info)];
	/* Outside of 64-bit mode the operand is 32 bits (SDM 2, MOV to control registers). */
	if (!(vmcs_guest(vv, GROUP_SEGMENTS)->segments[VMCS_CS].attr & SEGMENT_L))
		exit->cr.value = (u32)exit->cr.value;
}

static void exit_xsetbv(const struct vcpu *vcpu, struct vm_exit *exit)
{
	const u64 *gpr = vcpu->regs.gpr;

	exit_of_insn(exit, VM_EXIT_XSETBV);
	exit->xsetbv.index = (u32)gpr[GPR_RCX];
	exit->xsetbv.value = gpr[GPR_RDX] << 32 | (u32)gpr[GPR_RAX];
}

/*
 * What the CPU would have done before the handler: DR6 from the qualification (table 28-1), DR7.GD
 * and DEBUGCTL's bits off (SDM 3 18.2.3, 18.4.1). The handler is in no interrupt shadow.
 */
static void debug_exception(struct vmx_vcpu *vv)
{
	u64 conditions = vmcs_read(VMCS_EXIT_QUALIFICATION) & DB_DR6;
	const struct vmx_guest *guest = vmcs_guest(vv, GROUP_DEBUG | GROUP_BLOCKING);

	vv->dr6 = (vv->dr6 & ~DR6_CONDITIONS) | conditions | DR6_FIXED;
	if (guest->dr7 & DR7_GD || guest->debugctl) {
		struct vmx_guest *change = vmcs_change(vv, GROUP_DEBUG);

		change->dr7 &= ~DR7_GD;
		change->debugctl = 0;
	}
	if (guest->interruptibility & BLOCKED_SHADOW)
		vmcs_change(vv, GROUP_BLOCKING)->interruptibility &= ~(u32)BLOCKED_SHADOW;
}

static void exit_exception(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	u32 info = (u32)vmcs_read(VMCS_EXIT_EVENT);
	u8 vector = info & INFO_VECTOR;

	if (INFO_TYPE(info) == INFO_NMI) {
		vmx_serve_nmi();
		exit->kind = VM_EXIT_HOST;
		return;
	}
	if (vector == VECTOR_MC)
		panic("machine check while a guest ran, at guest rip %#llx", (unsigned long long)vcpu->regs.rip);
	if (vector != VECTOR_DB && vector != VECTOR_AC) {
		exit_unknown(vv, exit, VM_EXIT_UNKNOWN);
		return;
	}
	if (unlikely(info & INFO_UNBLOCKED_NMI))
		block_nmi_again(vv);
	if (vector == VECTOR_DB)
		debug_exception(vv);
	exit->kind = VM_EXIT_EXCEPTION;
	exit->exception.vector = vector;
	exit->exception.has_error_code = vector == VECTOR_AC;
	exit->exception.error_code = (u32)vmcs_read(VMCS_EXIT_EVENT_ERROR);
}

/* The first access to a debug register: the guest gets them until no breakpoint is on (run.c). */
static void exit_dr(struct vcpu *vcpu, struct vm_exit *exit)
{
	vmx_set_dr_live(vmx_of(vcpu), true);
	exit->kind = VM_EXIT_HOST;
}

static void exit_nmi_window(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	vv->primary &= ~(u32)PRIMARY_NMI_WINDOW;
	vv->attention |= ATTENTION_CONTROLS;
	exit->kind = VM_EXIT_HOST;
}

/* Something that waits is let through now (30.1.2). */
static void exit_tpr(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu_look(vcpu);
	exit->kind = VM_EXIT_IRQ_WINDOW;
}

/* 30.1.4: ISR and PPR are as after the EOI, and the instruction is done. */
static void exit_eoi(struct vm_exit *exit)
{
	exit->kind = VM_EXIT_EOI;
	exit->eoi.vector = (u8)vmcs_read(VMCS_EXIT_QUALIFICATION);
}

static void exit_pml_full(struct vcpu *vcpu, struct vm_exit *exit)
{
	vmx_pml_drain(vcpu);
	if (unlikely(vmcs_read(VMCS_EXIT_QUALIFICATION) & QUALIFICATION_UNBLOCKED_NMI))
		block_nmi_again(vmx_of(vcpu));
	exit->kind = VM_EXIT_DIRTY_LOG;
}

/*
 * The exits that their reason alone describes: the kind, and whether it is of an instruction, whose length the
 * VMCS has. 0: there is more to look at.
 */
enum { SIMPLE = 0x40, SIMPLE_INSN = 0x80, SIMPLE_KIND = 0x3f };
#define EVENT(kind) (SIMPLE | (kind))
#define INSN(kind) (SIMPLE | SIMPLE_INSN | (kind))
static const u8 simple_exits[] = {
	[EXIT_EXTERNAL_INTERRUPT] = EVENT(VM_EXIT_HOST),
	[EXIT_TRIPLE_FAULT] = EVENT(VM_EXIT_TRIPLE_FAULT),
	[EXIT_INIT] = EVENT(VM_EXIT_HOST),
	[EXIT_INTERRUPT_WINDOW] = EVENT(VM_EXIT_IRQ_WINDOW),
	[EXIT_CPUID] = INSN(VM_EXIT_CPUID),
	[EXIT_GETSEC] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_HLT] = INSN(VM_EXIT_HLT),
	[EXIT_INVD] = INSN(VM_EXIT_CACHE),
	[EXIT_RDPMC] = EVENT(VM_EXIT_PRIVILEGED),
	[EXIT_RSM] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMCALL] = INSN(VM_EXIT_HYPERCALL),
	[EXIT_VMCLEAR] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMLAUNCH] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMPTRLD] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMPTRST] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMREAD] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMRESUME] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMWRITE] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMXOFF] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_VMXON] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_MWAIT] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_MONITOR] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_PAUSE] = INSN(VM_EXIT_PAUSE),
	[EXIT_INVEPT] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_PREEMPTION_TIMER] = EVENT(VM_EXIT_HOST),
	[EXIT_INVVPID] = EVENT(VM_EXIT_UNDEFINED),
	[EXIT_WBINVD] = INSN(VM_EXIT_CACHE),
};

/* Those that are failures, or none of ours. */
static void exit_other(const struct vcpu *vcpu, struct vm_exit *exit)
{
	const struct vmx_vcpu *vv = vmx_of(vcpu);

	if (vv->exit_reason == EXIT_TASK_SWITCH)
		log_error("%s: a task switch by hardware, which Godwit does not emulate", vcpu->vm->config.name);
	if (!(vv->exit_reason & EXIT_ENTRY_FAILED)) {
		exit_unknown(vv, exit, VM_EXIT_UNKNOWN);
		return;
	}
	log_error("%s: VM entry failed: %s", vcpu->vm->config.name,
		  vmx_entry_failure((u32)vv->exit_reason, vmcs_read(VMCS_EXIT_QUALIFICATION)));
	exit_unknown(vv, exit, VM_EXIT_ENTRY_FAILED);
}

/* Those that need a look at the VMCS. */
static noinline void decode_more(struct vcpu *vcpu, struct vm_exit *exit)
{
	switch (vmx_of(vcpu)->exit_reason) {
	case EXIT_EXCEPTION_NMI:
		exit_exception(vcpu, exit);
		return;
	case EXIT_NMI_WINDOW:
		exit_nmi_window(vcpu, exit);
		return;
	case EXIT_CR:
		exit_cr(vcpu, exit);
		return;
	case EXIT_DR:
		exit_dr(vcpu, exit);
		return;
	case EXIT_IO:
		exit_io(vcpu, exit);
		return;
	case EXIT_RDMSR:
		exit_msr(vcpu, exit, VM_EXIT_MSR_READ);
		return;
	case EXIT_WRMSR:
		exit_msr(vcpu, exit, VM_EXIT_MSR_WRITE);
		return;
	case EXIT_EPT_VIOLATION:
		exit_ept_violation(vcpu, exit);
		return;
	case EXIT_EPT_MISCONFIGURATION:
		exit_ept_misconfiguration(vcpu, exit);
		return;
	case EXIT_XSETBV:
		exit_xsetbv(vcpu, exit);
		return;
	case EXIT_TPR_BELOW_THRESHOLD:
		exit_tpr(vcpu, exit);
		return;
	case EXIT_VIRTUAL_EOI:
		exit_eoi(exit);
		return;
	case EXIT_PML_FULL:
		exit_pml_full(vcpu, exit);
		return;
	default:
		exit_other(vcpu, exit);
	}
}

void vmx_decode_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	/* The upper half of the word has flags (25.9.1) that no exit of ours has, but a failed entry. */
	u64 reason = vmx_of(vcpu)->exit_reason;
	u8 simple = reason < ARRAY_SIZE(simple_exits) ? simple_exits[reason] : 0;

	exit->insn_len = 0;
	if (!simple) {
		decode_more(vcpu, exit);
		return;
	}
	exit->kind = simple & SIMPLE_KIND;
	if (simple & SIMPLE_INSN)
		exit->insn_len = insn_length();
}
