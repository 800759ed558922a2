/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts and exceptions on their way into the guest. On the vCPU's CPU, or while it does not run.
 *
 * One event at a time waits in sv->event; it goes in by EVENTINJ (APM 2 15.20) at the next entry.
 * If its delivery itself caused the exit, EXITINTINFO (15.7.2) has it, and it waits again.
 */
#include "arch/x86_64/svm/svm.h"
#include "lib/log.h"

void svm_set_event(struct svm_vcpu *sv, struct vm_event event)
{
	sv->event = event;
	if (event.type == EVENT_NONE)
		sv->attention &= ~(u32)ATTENTION_EVENT;
	else
		sv->attention |= ATTENTION_EVENT;
}

void svm_inject(struct vcpu *vcpu, struct vm_event event)
{
	struct svm_vcpu *sv = svm_of(vcpu);

	if (sv->event.type != EVENT_NONE) {
		assert(event.type == EVENT_EXCEPTION);
		hvm_event_merge(&sv->event, event);
		return;
	}
	assert(event.type == EVENT_SOFT_INT || hvm_event_valid(&event));
	svm_set_event(sv, event);
}

bool svm_event_pending(const struct vcpu *vcpu)
{
	return svm_of(vcpu)->attention & ATTENTION_EVENT;
}

bool svm_irq_ready(const struct vcpu *vcpu)
{
	const struct svm_vcpu *sv = svm_of(vcpu);

	return vcpu->regs.rflags & RFLAGS_IF && !(sv->vmcb->control.shadow & SHADOW_ACTIVE) &&
	       !(sv->attention & ATTENTION_EVENT);
}

/*
 * A virtual interrupt that is never delivered: it exits instead, at the moment when the guest
 * could take it (15.21.4). The TPR is looked at in the LAPIC's model, so not here.
 */
void svm_request_irq_window(struct vcpu *vcpu, bool on)
{
	struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	u64 window = VINTR_IRQ | VINTR_PRIO(0xf) | VINTR_IGNORE_TPR;

	if (on) {
		vmcb->control.vintr |= window;
		vmcb->control.intercept_misc1 |= INTERCEPT_VINTR;
	} else {
		vmcb->control.vintr &= ~window;
		vmcb->control.intercept_misc1 &= ~(u32)INTERCEPT_VINTR;
	}
	vmcb_touched(vmcb, CLEAN_TPR | CLEAN_I);
}

/*
 * Also single-stepping: a guest that steps over what we emulate gets its #DB as if the CPU had
 * executed it.
 */
void svm_insn_done(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct vmcb *vmcb = sv->vmcb;

	vmcb->control.shadow &= ~SHADOW_ACTIVE;
	if (likely(!(vcpu->regs.rflags & (RFLAGS_RF | RFLAGS_TF))))
		return;
	/* It held back the breakpoints of that instruction only (SDM 3 18.3.1.1). */
	vcpu->regs.rflags &= ~RFLAGS_RF;
	if (!(vcpu->regs.rflags & RFLAGS_TF))
		return;
	vmcb->state.dr6 |= DR6_BS;
	vmcb_touched(vmcb, CLEAN_DRX);
	svm_inject(vcpu, (struct vm_event){ .type = EVENT_EXCEPTION, .vector = VECTOR_DB });
}

/*
 * While an NMI's handler runs, its IRET exits. It is executed after that exit, so NMIs stay blocked
 * until an exit at another RIP.
 */
void svm_set_nmi_blocked(struct svm_vcpu *sv, bool blocked)
{
	sv->nmi_blocked = blocked;
	sv->attention &= ~(u32)ATTENTION_NMI_IRET;
	if (blocked)
		sv->vmcb->control.intercept_misc1 |= INTERCEPT_IRET;
	else
		sv->vmcb->control.intercept_misc1 &= ~(u32)INTERCEPT_IRET;
	vmcb_touched(sv->vmcb, CLEAN_I);
}

void svm_iret_exit(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);

	sv->attention |= ATTENTION_NMI_IRET;
	sv->nmi_iret_rip = vcpu->regs.rip;
	sv->step_refused = false;
	sv->vmcb->control.intercept_misc1 &= ~(u32)INTERCEPT_IRET;
	vmcb_touched(sv->vmcb, CLEAN_I);
}

void svm_request_nmi_window(struct vcpu *vcpu, bool on)
{
	svm_of(vcpu)->nmi_waits = on;
}

/*
 * Nothing exits behind an IRET, so it is executed with TF, which it replaces by what it pops: the #DB comes behind it. What it raises
 * itself exits before it is delivered, as the handler's frame would have our TF in it. So not when an event goes in before it, nor when
 * it returns from a task (NT), which stores RFLAGS.
 */
void svm_step_begin(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);

	if (!sv->nmi_waits || sv->step_refused || vcpu->regs.rip != sv->nmi_iret_rip || sv->attention & ATTENTION_INJECTED ||
	    vcpu->regs.rflags & (RFLAGS_TF | RFLAGS_NT))
		return;
	sv->attention |= ATTENTION_STEP;
	sv->step_dr6 = sv->vmcb->state.dr6;
	sv->vmcb->state.dr6 &= ~DR6_BS;
	vcpu->regs.rflags |= RFLAGS_TF;
	sv->vmcb->control.intercept_exceptions = ~0u;
	vmcb_touched(sv->vmcb, CLEAN_I | CLEAN_DRX);
}

bool svm_step_end(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct vmcb *vmcb = sv->vmcb;
	u64 code = vmcb->control.exit_code;
	bool executed = code == EXIT_EXCEPTION + VECTOR_DB && vmcb->state.dr6 & DR6_BS;

	sv->attention &= ~(u32)ATTENTION_STEP;
	vmcb->control.intercept_exceptions = INTERCEPT_EXCEPTIONS;
	vmcb->state.dr6 = (vmcb->state.dr6 & ~DR6_BS) | (sv->step_dr6 & DR6_BS);
	vmcb_touched(vmcb, CLEAN_I | CLEAN_DRX);
	if (executed) {
		svm_set_nmi_blocked(sv, false);
		/* A breakpoint on what it reads is the guest's. */
		return !(vmcb->state.dr6 & ~sv->step_dr6 & DR6_BREAKPOINTS);
	}
	/* Not executed: it begins again, and what it raises is raised without us. */
	vcpu->regs.rflags &= ~RFLAGS_TF;
	sv->step_refused = code >= EXIT_EXCEPTION && code <= EXIT_EXCEPTION_LAST;
	return sv->step_refused && code != EXIT_EXCEPTION + VECTOR_DB && code != EXIT_EXCEPTION + VECTOR_MC;
}

static u64 encode(const struct vm_event *event)
{
	static const u8 types[] = {
		[EVENT_IRQ] = INJ_INTR,
		[EVENT_NMI] = INJ_NMI,
		[EVENT_EXCEPTION] = INJ_EXCEPTION,
		[EVENT_SOFT_INT] = INJ_SOFT_INT,
	};
	u64 inj = event->vector | (u64)types[event->type] << 8 | INJ_VALID;

	if (event->has_error_code)
		inj |= INJ_HAS_ERROR | (u64)event->error_code << 32;
	return inj;
}

void svm_event_enter(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct vmcb_control *control = &sv->vmcb->control;

	control->event_inj = encode(&sv->event);
	/* The pushed RIP of a software interrupt is nRIP's where there is one (15.20). */
	control->next_rip = vcpu->regs.rip;
	if (sv->event.type == EVENT_NMI && !sv->nmi_blocked)
		svm_set_nmi_blocked(sv, true);
	sv->injected = sv->event;
	sv->attention |= ATTENTION_INJECTED;
	svm_set_event(sv, (struct vm_event){ .type = EVENT_NONE });
}

/* EXITINTINFO -> event. EVENT_NONE: the instruction that raised it is executed again instead. */
static struct vm_event interrupted_event(const struct svm_vcpu *sv, u64 info)
{
	struct vm_event event = { .type = EVENT_NONE, .vector = info & INJ_VECTOR };

	switch (INJ_TYPE(info)) {
	case INJ_NMI:
		event.type = EVENT_NMI;
		break;
	case INJ_EXCEPTION:
		/*
		 * INT3 and INTO: RIP is at the instruction, unless the event was injected. QEMU:
		 * an interrupt that V_IRQ delivered has this type; reinjected so it is invalid.
		 */
		if (event.vector >= FIRST_IRQ_VECTOR)
			event.type = EVENT_IRQ;
		else if ((event.vector != VECTOR_BP && event.vector != VECTOR_OF) ||
			 sv->injected.type == EVENT_EXCEPTION)
			event.type = EVENT_EXCEPTION;
		break;
	case INJ_SOFT_INT:
		if (sv->injected.type == EVENT_SOFT_INT)
			event.type = EVENT_SOFT_INT;
		break;
	default:
		event.type = EVENT_IRQ;
		break;
	}
	if (event.type == EVENT_EXCEPTION && info & INJ_HAS_ERROR) {
		event.has_error_code = 1;
		event.error_code = (u32)(info >> 32);
	}
	return event;
}

void svm_event_exit(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	u64 info = sv->vmcb->control.exit_int_info;

	if (sv->attention & ATTENTION_NMI_IRET && vcpu->regs.rip != sv->nmi_iret_rip)
		svm_set_nmi_blocked(sv, false);
	if (info & INJ_VALID)
		svm_set_event(sv, interrupted_event(sv, info));
	sv->injected.type = EVENT_NONE;
	sv->attention &= ~(u32)ATTENTION_INJECTED;
	sv->vmcb->control.event_inj = 0;
}
