/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's registers, whole and one by one. On the vCPU's CPU, or while it does not run. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/msr.h"

void vmx_get_mode(const struct vcpu *vcpu, struct paging_mode *mode)
{
	const struct vmx_guest *guest = vmcs_guest(vmx_of(vcpu), GROUP_CONTROL | GROUP_SEGMENTS);

	mode->cr0 = guest->cr0;
	mode->cr3 = guest->cr3;
	mode->cr4 = guest->cr4;
	mode->efer = guest->efer;
	mode->cs = guest->segments[VMCS_CS];
	mode->ss = guest->segments[VMCS_SS];
	mode->ds = guest->segments[VMCS_DS];
	mode->es = guest->segments[VMCS_ES];
	mode->fs = guest->segments[VMCS_FS];
	mode->gs = guest->segments[VMCS_GS];
	mode->cpl = SEGMENT_DPL(guest->segments[VMCS_SS].attr);
}

static void get_segments(const struct vmx_guest *from, struct cpu_state *to)
{
	to->es = from->segments[VMCS_ES];
	to->cs = from->segments[VMCS_CS];
	to->ss = from->segments[VMCS_SS];
	to->ds = from->segments[VMCS_DS];
	to->fs = from->segments[VMCS_FS];
	to->gs = from->segments[VMCS_GS];
	to->ldtr = from->segments[VMCS_LDTR];
	to->tr = from->segments[VMCS_TR];
	to->gdtr = from->gdtr;
	to->idtr = from->idtr;
}

void vmx_get_state(const struct vcpu *vcpu, struct cpu_state *state)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	const struct vmx_guest *from = vmcs_guest(vv, GROUP_ALL);

	vmx_loaded_save(vv);
	memset(state, 0, sizeof(*state));
	memcpy(state->gpr, vcpu->regs.gpr, sizeof(state->gpr));
	state->rip = vcpu->regs.rip;
	state->rflags = vcpu->regs.rflags;
	state->cr0 = from->cr0;
	state->cr2 = vv->loaded.cr2;
	state->cr3 = from->cr3;
	state->cr4 = from->cr4;
	state->cr8 = vmx_get_cr(vcpu, 8);
	state->xcr0 = vcpu->xcr0;
	memcpy(state->dr, vv->dr, sizeof(state->dr));
	state->dr6 = vv->dr6;
	state->dr7 = from->dr7;
	get_segments(from, state);
	state->efer = from->efer;
	state->star = vv->loaded.star;
	state->lstar = vv->loaded.lstar;
	state->cstar = vv->cstar;
	state->sfmask = vv->loaded.sfmask;
	state->kernel_gs_base = vv->loaded.kernel_gs_base;
	state->sysenter_cs = from->sysenter_cs;
	state->sysenter_esp = from->sysenter_esp;
	state->sysenter_eip = from->sysenter_eip;
	state->pat = from->pat;
	state->tsc_aux = vv->loaded.tsc_aux;
	state->debugctl = from->debugctl;
	state->event = vv->event;
	state->interrupt_shadow = from->interruptibility & BLOCKED_SHADOW ? 1 : 0;
	state->nmi_blocked = from->interruptibility & BLOCKED_BY_NMI ? 1 : 0;
}

static void set_segments(struct vmx_guest *to, const struct cpu_state *from)
{
	to->segments[VMCS_ES] = from->es;
	to->segments[VMCS_CS] = from->cs;
	to->segments[VMCS_SS] = from->ss;
	to->segments[VMCS_DS] = from->ds;
	to->segments[VMCS_FS] = from->fs;
	to->segments[VMCS_GS] = from->gs;
	to->segments[VMCS_LDTR] = from->ldtr;
	to->segments[VMCS_TR] = from->tr;
	to->gdtr = from->gdtr;
	to->idtr = from->idtr;
}

static void set_loaded(struct vmx_vcpu *vv, const struct cpu_state *state)
{
	vv->loaded = (struct vmx_loaded){
		.cr2 = state->cr2,
		.star = state->star,
		.lstar = state->lstar,
		.sfmask = state->sfmask,
		.kernel_gs_base = state->kernel_gs_base,
		.tsc_aux = state->tsc_aux,
	};
	vv->attention |= ATTENTION_LOADED;
}

/* STI's shadow needs IF (SDM 3 27.3.1.5); MOV SS's is as good. */
static u32 shadow(const struct cpu_state *state)
{
	if (!state->interrupt_shadow)
		return 0;
	return state->rflags & RFLAGS_IF ? BLOCKED_BY_STI : BLOCKED_BY_MOV_SS;
}

void vmx_load_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	struct vmx_guest *to = &vv->guest;

	memcpy(vcpu->regs.gpr, state->gpr, sizeof(state->gpr));
	vcpu->regs.rip = state->rip;
	vcpu->regs.rflags = state->rflags | RFLAGS_FIXED;
	to->cr0 = state->cr0;
	to->cr3 = state->cr3;
	to->cr4 = state->cr4;
	to->efer = state->efer;
	vmx_set_cr(vcpu, 8, state->cr8);
	memcpy(vv->dr, state->dr, sizeof(state->dr));
	vv->dr6 = state->dr6;
	to->dr7 = state->dr7;
	vmx_set_dr_live(vv, state->dr7 & DR7_BREAKPOINTS);
	set_segments(to, state);
	set_loaded(vv, state);
	vv->cstar = state->cstar;
	to->sysenter_cs = state->sysenter_cs;
	to->sysenter_esp = state->sysenter_esp;
	to->sysenter_eip = state->sysenter_eip;
	to->pat = state->pat;
	to->debugctl = state->debugctl;
	to->interruptibility = shadow(state);
	vv->valid = GROUP_ALL;
	vv->dirty = GROUP_ALL;
	vv->attention |= ATTENTION_IMAGE;
	vmx_set_event(vv, state->event);
	vmx_set_nmi_blocked(vv, state->nmi_blocked);
	vmx_flush_tlb(vcpu);
}

int vmx_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	if (!hvm_state_valid(state, vmx_features.rdtscp))
		return trace_error(-E_INVAL);
	vcpu->xcr0 = state->xcr0;
	fpu_set_xcr0(vcpu->xsave, state->xcr0);
	vmx_load_state(vcpu, state);
	return 0;
}

static void flush_guest(struct vmx_vcpu *vv)
{
	vv->attention |= ATTENTION_FLUSH_GUEST;
}

/* EFER.LMA follows CR0.PG, as it does when the CPU itself executes the MOV. */
static void set_cr0(struct vmx_vcpu *vv, u64 value)
{
	struct vmx_guest *guest = vmcs_change(vv, GROUP_CONTROL);

	if ((guest->cr0 ^ value) & CR0_PAGING)
		flush_guest(vv);
	guest->cr0 = value;
	if (value & CR0_PG && guest->efer & EFER_LME)
		guest->efer |= EFER_LMA;
	else
		guest->efer &= ~(u64)EFER_LMA;
}

static void set_cr4(struct vmx_vcpu *vv, u64 value)
{
	struct vmx_guest *guest = vmcs_change(vv, GROUP_CONTROL);

	if ((guest->cr4 ^ value) & CR4_PAGING)
		flush_guest(vv);
	guest->cr4 = value;
}

void vmx_set_cr(struct vcpu *vcpu, u8 cr, u64 value)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	switch (cr) {
	case 0:
		set_cr0(vv, value);
		break;
	case 2:
		vmx_loaded_save(vv);
		vv->loaded.cr2 = value;
		vv->attention |= ATTENTION_LOADED;
		break;
	case 4:
		set_cr4(vv, value);
		break;
	case 8:
		/* What a MOV from CR8 reads (30.3): the APIC's own TPR, whose low half CR8 has not got. */
		if (vcpu->apic_page[VIRTUAL_APIC_TPR] >> 4 != value)
			vcpu->apic_page[VIRTUAL_APIC_TPR] = (u32)value << 4;
		break;
	default:
		assert(!"CR0, CR2, CR4 or CR8");
	}
}

u64 vmx_get_cr(const struct vcpu *vcpu, u8 cr)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	/* CPUID asks for it each time: no jump table. */
	if (likely(cr == 4))
		return vmcs_cr4(vv);
	switch (cr) {
	case 0:
		return vmcs_guest(vv, GROUP_CR0)->cr0;
	case 2:
		vmx_loaded_save(vv);
		return vv->loaded.cr2;
	case 3:
		return vmcs_guest(vv, GROUP_CR3)->cr3;
	case 8:
		return vcpu->apic_page[VIRTUAL_APIC_TPR] >> 4 & 0xf;
	default:
		return 0;
	}
}

/* Where it is in struct vmx_guest, and in which group; NULL: not there. */
static u64 *guest_msr(struct vmx_vcpu *vv, u32 msr, enum vmx_group *group)
{
	*group = GROUP_MSRS;
	switch (msr) {
	case MSR_SYSENTER_CS:
		return &vv->guest.sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &vv->guest.sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &vv->guest.sysenter_eip;
	case MSR_PAT:
		return &vv->guest.pat;
	case MSR_FS_BASE:
		*group = GROUP_SEGMENTS;
		return &vv->guest.segments[VMCS_FS].base;
	case MSR_GS_BASE:
		*group = GROUP_SEGMENTS;
		return &vv->guest.segments[VMCS_GS].base;
	case MSR_EFER:
		*group = GROUP_CONTROL;
		return &vv->guest.efer;
	case MSR_DEBUGCTL:
		*group = GROUP_DEBUG;
		return &vv->guest.debugctl;
	default:
		return NULL;
	}
}

/* The same for those that the CPU has in its own registers. */
static u64 *loaded_msr(struct vmx_vcpu *vv, u32 msr)
{
	switch (msr) {
	case MSR_STAR:
		return &vv->loaded.star;
	case MSR_LSTAR:
		return &vv->loaded.lstar;
	case MSR_SFMASK:
		return &vv->loaded.sfmask;
	case MSR_KERNEL_GS_BASE:
		return &vv->loaded.kernel_gs_base;
	case MSR_TSC_AUX:
		return vmx_features.rdtscp ? &vv->loaded.tsc_aux : NULL;
	default:
		return NULL;
	}
}

int vmx_get_msr(const struct vcpu *vcpu, u32 msr, u64 *value)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	enum vmx_group group;
	const u64 *place = guest_msr(vv, msr, &group);

	if (place) {
		(void)vmcs_guest(vv, group);
	} else {
		place = msr == MSR_CSTAR ? &vv->cstar : loaded_msr(vv, msr);
		if (!place)
			return -E_NOENT;
		vmx_loaded_save(vv);
	}
	*value = *place;
	return 0;
}

static bool msr_value_valid(u32 msr, u64 value)
{
	switch (msr) {
	case MSR_STAR:
	case MSR_SFMASK:
	case MSR_SYSENTER_CS:
		return true;
	case MSR_EFER:
		return !(value & ~(u64)EFER_KNOWN);
	case MSR_PAT:
		return hvm_pat_valid(value);
	case MSR_DEBUGCTL:
		return !(value & ~DEBUGCTL_KNOWN);
	case MSR_TSC_AUX:
		return !(value & HIGH_HALF);
	default:
		return hvm_canonical(value);
	}
}

/* LMA can't be written (SDM 3 2.2.1); NXE changes what cached translations mean. */
static u64 efer_to_write(struct vmx_vcpu *vv, u64 value)
{
	u64 old = vv->guest.efer;

	if ((old ^ value) & EFER_NXE)
		flush_guest(vv);
	return (value & ~(u64)EFER_LMA) | (old & EFER_LMA);
}

int vmx_set_msr(struct vcpu *vcpu, u32 msr, u64 value)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	enum vmx_group group;
	u64 *place = guest_msr(vv, msr, &group);

	if (!place && msr != MSR_CSTAR && !loaded_msr(vv, msr))
		return -E_NOENT;
	if (!msr_value_valid(msr, value))
		return -E_INVAL;
	if (place) {
		(void)vmcs_change(vv, group);
		*place = msr == MSR_EFER ? efer_to_write(vv, value) : value;
	} else if (msr == MSR_CSTAR) {
		vv->cstar = value;
	} else {
		vmx_loaded_save(vv);
		*loaded_msr(vv, msr) = value;
		vv->attention |= ATTENTION_LOADED;
	}
	return 0;
}

void vmx_set_tsc(struct vcpu *vcpu, u64 offset, u64 ratio)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	assert(!ratio || vmx_features.tsc_scaling);
	vv->tsc_offset = offset;
	vv->tsc_ratio = ratio;
	if (ratio)
		vv->secondary |= SECONDARY_TSC_SCALING;
	else
		vv->secondary &= ~(u32)SECONDARY_TSC_SCALING;
	vv->attention |= ATTENTION_CONTROLS;
}
