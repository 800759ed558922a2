/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's registers, out of and into the backend. Service CPU, while the vCPU does not run. What
 * is loaded comes from a peer: checked for everything that the CPU would refuse at the entry
 * (APM 2 15.5.1, SDM 3 27.3.1), so that a refusal there is a fault of ours or of the backend.
 */
#include "vmm/vcpu.h"

#include "errors.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

#define RFLAGS_RESERVED_ONE BIT(1)
#define RFLAGS_VM BIT(17)
#define RFLAGS_KNOWN 0x3f7fd7ull

/* All that a policy could ever allow: the guest's own is checked where the policy is known. */
#define CR4_KNOWN (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
		   CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | \
		   CR4_SMAP)
#define CR0_KNOWN (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)
#define SEGMENT_ATTR_KNOWN 0xfffu

void vcpu_save(const struct vcpu *vcpu, struct cpu_state *state)
{
	hvm->get_state(vcpu, state);
	state->xcr0 = vcpu->xcr0;
	state->cr8 = irqchip_get_tpr(vcpu);
	/* What is left of an event that was delivered is nobody's business. */
	if (state->event.type == EVENT_NONE)
		memset(&state->event, 0, sizeof(state->event));
}

int vcpu_load(struct vcpu *vcpu, const struct cpu_state *state)
{
	int error;

	if (cpu_state_check(state) || state->cr4 & ~cr4_allowed(vcpu->vm->cpuid) ||
	    state->efer & ~efer_allowed(vcpu->vm->cpuid) || xcr0_check(vcpu->vm->cpuid, state->xcr0))
		return -E_INVAL;
	error = hvm->set_state(vcpu, state);
	if (error)
		return error;
	vcpu->xcr0 = state->xcr0;
	vcpu->irq_window = false;
	hvm->request_irq_window(vcpu, false);
	return 0;
}

static bool control_ok(const struct cpu_state *s)
{
	bool long_mode = s->efer & EFER_LME && s->cr0 & CR0_PG;

	if (s->cr0 & ~CR0_KNOWN || s->cr4 & ~CR4_KNOWN || s->efer & ~EFER_KNOWN || s->cr8 > 15)
		return false;
	if (s->cr0 & CR0_NW && !(s->cr0 & CR0_CD))
		return false;
	if (s->cr0 & CR0_PG && !(s->cr0 & CR0_PE))
		return false;
	if (long_mode && !(s->cr4 & CR4_PAE))
		return false;
	if (long_mode != ((s->efer & EFER_LMA) != 0))
		return false;
	if (s->cr4 & CR4_PCIDE && !long_mode)
		return false;
	if (long_mode && s->cs.attr & SEGMENT_L && s->cs.attr & SEGMENT_DB)
		return false;
	/* Bit 63 of CR3 is never stored; addresses have 52 bits at most. */
	return !(s->cr3 >> 52) && !(s->xcr0 & ~(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)) && s->xcr0 & XCR0_X87 &&
	       !s->xss;
}

static bool segments_ok(const struct cpu_state *s)
{
	const struct segment *all[] = { &s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs, &s->ldtr, &s->tr };

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->attr & ~SEGMENT_ATTR_KNOWN || !cr_canonical(all[i]->base))
			return false;
	return cr_canonical(s->gdtr.base) && cr_canonical(s->idtr.base) && s->gdtr.limit <= 0xffff &&
	       s->idtr.limit <= 0xffff;
}

static bool addresses_ok(const struct cpu_state *s)
{
	return cr_canonical(s->lstar) && cr_canonical(s->cstar) && cr_canonical(s->kernel_gs_base) &&
	       cr_canonical(s->sysenter_esp) && cr_canonical(s->sysenter_eip) && cr_canonical(s->rip);
}

static bool pat_ok(u64 pat)
{
	for (u32 i = 0; i < 64; i += 8) {
		u8 type = (u8)(pat >> i);

		if (type == 2 || type == 3 || type > 7)
			return false;
	}
	return true;
}

static bool event_ok(const struct vm_event *event)
{
	switch ((enum event_type)event->type) {
	case EVENT_NONE:
		return !event->vector && !event->has_error_code && !event->error_code && !event->reserved;
	case EVENT_IRQ:
	case EVENT_SOFT_INT:
		break;
	case EVENT_NMI:
		return event->vector == 2 && !event->has_error_code && !event->reserved;
	case EVENT_EXCEPTION:
		/* Vector 2 is the NMI, which is no exception. */
		return event->vector < 32 && event->vector != 2 && event->has_error_code <= 1 && !event->reserved;
	default:
		return false;
	}
	return !event->has_error_code && !event->reserved;
}

int cpu_state_check(const struct cpu_state *s)
{
	if (!control_ok(s) || !segments_ok(s) || !addresses_ok(s) || !pat_ok(s->pat) || !event_ok(&s->event))
		return -E_INVAL;
	if (!(s->rflags & RFLAGS_RESERVED_ONE) || s->rflags & ~RFLAGS_KNOWN)
		return -E_INVAL;
	if (s->rflags & RFLAGS_VM && s->efer & EFER_LMA)
		return -E_INVAL;
	if (s->dr6 >> 32 || s->dr7 >> 32 || s->sfmask >> 32 || s->tsc_aux >> 32)
		return -E_INVAL;
	if (s->debugctl & ~BIT(1) || s->spec_ctrl)
		return -E_INVAL;
	if (s->interrupt_shadow > 1 || s->nmi_blocked > 1)
		return -E_INVAL;
	for (u32 i = 0; i < ARRAY_SIZE(s->reserved); i++)
		if (s->reserved[i])
			return -E_INVAL;
	return 0;
}
