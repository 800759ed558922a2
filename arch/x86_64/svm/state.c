/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's registers, whole and one by one. On the vCPU's CPU, or while it does not run. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/svm.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/msr.h"

/* The CPU keeps the privilege level apart from SS (APM 2 appendix B, CPL); in a struct cpu_state it is SS.DPL. */
static u16 ss_attr(const struct vmcb_state *state)
{
	return (u16)((state->ss.attr & ~(3u << 5)) | (u32)(state->cpl & 3) << 5);
}

void svm_get_mode(const struct vcpu *vcpu, struct paging_mode *mode)
{
	const struct vmcb_state *state = &svm_of(vcpu)->vmcb->state;

	mode->cr0 = state->cr0;
	mode->cr3 = state->cr3;
	mode->cr4 = state->cr4;
	mode->efer = state->efer & ~(u64)EFER_SVME;
	mode->cs = state->cs;
	mode->ss = state->ss;
	mode->ds = state->ds;
	mode->es = state->es;
	mode->fs = state->fs;
	mode->gs = state->gs;
	mode->cpl = state->cpl;
}

static void get_segments(const struct vmcb_state *from, struct cpu_state *to)
{
	to->es = from->es;
	to->cs = from->cs;
	to->ss = from->ss;
	to->ss.attr = ss_attr(from);
	to->ds = from->ds;
	to->fs = from->fs;
	to->gs = from->gs;
	to->ldtr = from->ldtr;
	to->tr = from->tr;
	to->gdtr = (struct segment){ .base = from->gdtr.base, .limit = from->gdtr.limit & 0xffff };
	to->idtr = (struct segment){ .base = from->idtr.base, .limit = from->idtr.limit & 0xffff };
}

void svm_get_state(const struct vcpu *vcpu, struct cpu_state *state)
{
	const struct svm_vcpu *sv = svm_of(vcpu);
	const struct vmcb_state *from = &sv->vmcb->state;

	memset(state, 0, sizeof(*state));
	memcpy(state->gpr, vcpu->regs.gpr, sizeof(state->gpr));
	state->rip = vcpu->regs.rip;
	state->rflags = vcpu->regs.rflags;
	state->cr0 = from->cr0;
	state->cr2 = from->cr2;
	state->cr3 = from->cr3;
	state->cr4 = from->cr4;
	state->cr8 = svm_get_cr(vcpu, 8);
	state->xcr0 = vcpu->xcr0;
	memcpy(state->dr, sv->dr, sizeof(state->dr));
	state->dr6 = from->dr6;
	state->dr7 = from->dr7;
	get_segments(from, state);
	state->efer = from->efer & ~(u64)EFER_SVME;
	state->star = from->star;
	state->lstar = from->lstar;
	state->cstar = from->cstar;
	state->sfmask = from->sfmask;
	state->kernel_gs_base = from->kernel_gs_base;
	state->sysenter_cs = from->sysenter_cs;
	state->sysenter_esp = from->sysenter_esp;
	state->sysenter_eip = from->sysenter_eip;
	state->pat = from->g_pat;
	state->tsc_aux = sv->tsc_aux;
	state->debugctl = sv->debugctl;
	state->event = sv->event;
	state->interrupt_shadow = sv->vmcb->control.shadow & SHADOW_ACTIVE ? 1 : 0;
	state->nmi_blocked = sv->nmi_blocked;
}

static void set_segments(struct vmcb_state *to, const struct cpu_state *from)
{
	to->es = from->es;
	to->cs = from->cs;
	to->ss = from->ss;
	to->ds = from->ds;
	to->fs = from->fs;
	to->gs = from->gs;
	to->ldtr = from->ldtr;
	to->tr = from->tr;
	to->gdtr = from->gdtr;
	to->idtr = from->idtr;
	to->cpl = SEGMENT_DPL(from->ss.attr);
}

void svm_state_to_area(struct vmcb_state *to, const struct cpu_state *state)
{
	to->cr0 = state->cr0;
	to->cr2 = state->cr2;
	to->cr3 = state->cr3;
	to->cr4 = state->cr4;
	to->dr6 = state->dr6;
	to->dr7 = state->dr7;
	set_segments(to, state);
	to->efer = state->efer | EFER_SVME; /* or VMRUN refuses (APM 2 15.5.1) */
	to->star = state->star;
	to->lstar = state->lstar;
	to->cstar = state->cstar;
	to->sfmask = state->sfmask;
	to->kernel_gs_base = state->kernel_gs_base;
	to->sysenter_cs = state->sysenter_cs;
	to->sysenter_esp = state->sysenter_esp;
	to->sysenter_eip = state->sysenter_eip;
	to->g_pat = state->pat;
}

int svm_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	struct svm_vcpu *sv = svm_of(vcpu);

	if (!hvm_state_valid(state, svm_features.rdtscp))
		return trace_error(-E_INVAL);
	memcpy(vcpu->regs.gpr, state->gpr, sizeof(state->gpr));
	vcpu->regs.rip = state->rip;
	vcpu->regs.rflags = state->rflags | RFLAGS_FIXED;
	vcpu->xcr0 = state->xcr0;
	fpu_set_xcr0(vcpu->xsave, state->xcr0);
	svm_state_to_area(&sv->vmcb->state, state);
	svm_set_cr(vcpu, 8, state->cr8);
	memcpy(sv->dr, state->dr, sizeof(state->dr));
	svm_set_dr_live(sv, state->dr7 & DR7_BREAKPOINTS);
	sv->tsc_aux = state->tsc_aux;
	sv->attention |= ATTENTION_SWITCH;
	sv->debugctl = state->debugctl;
	svm_set_event(sv, state->event);
	sv->vmcb->control.shadow = state->interrupt_shadow ? SHADOW_ACTIVE : 0;
	svm_set_nmi_blocked(sv, state->nmi_blocked);
	vmcb_touched(sv->vmcb, ~0u);
	svm_flush_tlb(vcpu);
	return 0;
}

/* EFER.LMA follows CR0.PG, as it does when the CPU itself executes the MOV. */
static void set_cr0(struct vcpu *vcpu, u64 value)
{
	struct vmcb_state *state = &svm_of(vcpu)->vmcb->state;

	if ((state->cr0 ^ value) & CR0_PAGING)
		svm_flush_tlb(vcpu);
	state->cr0 = value;
	if (value & CR0_PG && state->efer & EFER_LME)
		state->efer |= EFER_LMA;
	else
		state->efer &= ~(u64)EFER_LMA;
}

void svm_set_cr(struct vcpu *vcpu, u8 cr, u64 value)
{
	struct vmcb *vmcb = svm_of(vcpu)->vmcb;

	switch (cr) {
	case 0:
		set_cr0(vcpu, value);
		vmcb_touched(vmcb, CLEAN_CRX);
		break;
	case 2:
		vmcb->state.cr2 = value;
		vmcb_touched(vmcb, CLEAN_CR2);
		break;
	case 4:
		if ((vmcb->state.cr4 ^ value) & CR4_PAGING)
			svm_flush_tlb(vcpu);
		vmcb->state.cr4 = value;
		vmcb_touched(vmcb, CLEAN_CRX);
		break;
	case 8:
		vmcb->control.vintr = (vmcb->control.vintr & ~VINTR_TPR) | (value & 0xf);
		vmcb_touched(vmcb, CLEAN_TPR);
		break;
	default:
		assert(!"CR0, CR2, CR4 or CR8");
	}
}

u64 svm_get_cr(const struct vcpu *vcpu, u8 cr)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;

	/* CPUID asks for it each time: no jump table. */
	if (likely(cr == 4))
		return vmcb->state.cr4;
	switch (cr) {
	case 0:
		return vmcb->state.cr0;
	case 2:
		return vmcb->state.cr2;
	case 3:
		return vmcb->state.cr3;
	case 8:
		return vmcb->control.vintr & 0xf;
	default:
		return 0;
	}
}

/* Those that the CPU takes from the VMCB as they are; NULL: not one of those. */
static u64 *plain_msr(struct vmcb_state *state, u32 msr)
{
	switch (msr) {
	case MSR_STAR:
		return &state->star;
	case MSR_LSTAR:
		return &state->lstar;
	case MSR_CSTAR:
		return &state->cstar;
	case MSR_SFMASK:
		return &state->sfmask;
	case MSR_FS_BASE:
		return &state->fs.base;
	case MSR_GS_BASE:
		return &state->gs.base;
	case MSR_KERNEL_GS_BASE:
		return &state->kernel_gs_base;
	case MSR_SYSENTER_CS:
		return &state->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &state->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &state->sysenter_eip;
	default:
		return NULL;
	}
}

int svm_get_msr(const struct vcpu *vcpu, u32 msr, u64 *value)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	const u64 *plain = plain_msr(&sv->vmcb->state, msr);

	if (plain) {
		*value = *plain;
		return 0;
	}
	switch (msr) {
	case MSR_EFER:
		*value = sv->vmcb->state.efer & ~(u64)EFER_SVME;
		return 0;
	case MSR_PAT:
		*value = sv->vmcb->state.g_pat;
		return 0;
	case MSR_DEBUGCTL:
		*value = sv->debugctl;
		return 0;
	case MSR_TSC_AUX:
		*value = sv->tsc_aux;
		return svm_features.rdtscp ? 0 : -E_NOENT;
	default:
		return -E_NOENT;
	}
}

static int must_check set_plain(struct vmcb *vmcb, u32 msr, u64 *plain, u64 value)
{
	/* The others are no addresses. */
	if (msr != MSR_STAR && msr != MSR_SFMASK && msr != MSR_SYSENTER_CS && !hvm_canonical(value))
		return -E_INVAL;
	*plain = value;
	vmcb_touched(vmcb, CLEAN_SEG);
	return 0;
}

static int must_check set_efer(struct vcpu *vcpu, u64 value)
{
	struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	u64 old = vmcb->state.efer;

	if (value & ~(u64)EFER_KNOWN)
		return -E_INVAL;
	/* LMA can't be written (APM 2 3.1.7); NXE changes what cached translations mean. */
	vmcb->state.efer = (value & ~(u64)EFER_LMA) | (old & EFER_LMA) | EFER_SVME;
	if ((old ^ value) & EFER_NXE)
		svm_flush_tlb(vcpu);
	vmcb_touched(vmcb, CLEAN_CRX);
	return 0;
}

int svm_set_msr(struct vcpu *vcpu, u32 msr, u64 value)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	u64 *plain = plain_msr(&sv->vmcb->state, msr);

	if (plain)
		return set_plain(sv->vmcb, msr, plain, value);
	switch (msr) {
	case MSR_EFER:
		return set_efer(vcpu, value);
	case MSR_PAT:
		if (!hvm_pat_valid(value))
			return -E_INVAL;
		sv->vmcb->state.g_pat = value;
		vmcb_touched(sv->vmcb, CLEAN_NP);
		return 0;
	case MSR_DEBUGCTL:
		if (value & ~DEBUGCTL_KNOWN)
			return -E_INVAL;
		sv->debugctl = value;
		return 0;
	case MSR_TSC_AUX:
		if (!svm_features.rdtscp)
			return -E_NOENT;
		if (value & HIGH_HALF)
			return -E_INVAL;
		sv->tsc_aux = value;
		sv->attention |= ATTENTION_SWITCH;
		return 0;
	default:
		return -E_NOENT;
	}
}

void svm_set_tsc(struct vcpu *vcpu, u64 offset, u64 ratio)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct vmcb *vmcb = sv->vmcb;

	assert(!ratio || svm_features.tsc_ratio);
	sv->tsc_ratio = ratio ? ratio : TSC_RATIO_ONE;
	sv->attention |= ATTENTION_SWITCH;
	vmcb->control.tsc_offset = offset;
	vmcb_touched(vmcb, CLEAN_I);
}
