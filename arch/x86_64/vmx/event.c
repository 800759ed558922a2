/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts and exceptions on their way into the guest. On the vCPU's CPU, or while it does not run.
 *
 * One event at a time waits in vv->event; it goes in by the VM entry's event injection (SDM 3 27.6) at
 * the next entry. If its delivery itself caused the exit, the IDT-vectoring information (25.9.3) has
 * it, and it waits again.
 */
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"

/* Exceptions that push an error code (SDM 3 table 6-1): 8, 10-14, 17. */
#define VECTORS_WITH_ERROR 0x27d00u

void vmx_set_event(struct vmx_vcpu *vv, struct vm_event event)
{
	vv->event = event;
	if (event.type == EVENT_NONE)
		vv->attention &= ~(u32)ATTENTION_EVENT;
	else
		vv->attention |= ATTENTION_EVENT;
}

void vmx_inject(struct vcpu *vcpu, struct vm_event event)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (vv->event.type != EVENT_NONE) {
		assert(event.type == EVENT_EXCEPTION);
		hvm_event_merge(&vv->event, event);
		return;
	}
	assert(hvm_event_valid(&event));
	vmx_set_event(vv, event);
}

bool vmx_event_pending(const struct vcpu *vcpu)
{
	return vmx_of(vcpu)->attention & ATTENTION_EVENT;
}

bool vmx_irq_ready(const struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	return vcpu->regs.rflags & RFLAGS_IF && !(vv->attention & ATTENTION_EVENT) &&
	       !(vmcs_interruptibility(vv) & BLOCKED_SHADOW);
}

/* The TPR is looked at in the LAPIC's model, so not here. */
void vmx_request_irq_window(struct vcpu *vcpu, bool on)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (on)
		vv->primary |= PRIMARY_INTERRUPT_WINDOW;
	else
		vv->primary &= ~(u32)PRIMARY_INTERRUPT_WINDOW;
	vv->attention |= ATTENTION_CONTROLS;
}

/* 26.2: before any instruction, once virtual NMIs are not blocked. It closes by itself (exit.c). */
void vmx_request_nmi_window(struct vcpu *vcpu, bool on)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (on)
		vv->primary |= PRIMARY_NMI_WINDOW;
	else
		vv->primary &= ~(u32)PRIMARY_NMI_WINDOW;
	vv->attention |= ATTENTION_CONTROLS;
}

static void end_shadow(struct vmx_vcpu *vv)
{
	if (unlikely(vmcs_interruptibility(vv) & BLOCKED_SHADOW))
		vmcs_change(vv, GROUP_BLOCKING)->interruptibility &= ~(u32)BLOCKED_SHADOW;
}

/*
 * Also single-stepping: a guest that steps over what we emulate gets its #DB as if the CPU had
 * executed it.
 */
void vmx_insn_done(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	end_shadow(vv);
	/* It held back the breakpoints of that instruction only (SDM 3 18.3.1.1). */
	vcpu->regs.rflags &= ~RFLAGS_RF;
	if (likely(!(vcpu->regs.rflags & RFLAGS_TF)))
		return;
	vv->dr6 |= DR6_BS;
	vmx_inject(vcpu, (struct vm_event){ .type = EVENT_EXCEPTION, .vector = VECTOR_DB });
}

/* With virtual NMIs the CPU itself keeps the blocking, from the injection to the handler's IRET (25.3). */
void vmx_set_nmi_blocked(struct vmx_vcpu *vv, bool blocked)
{
	struct vmx_guest *guest = vmcs_change(vv, GROUP_BLOCKING);

	if (blocked)
		guest->interruptibility |= BLOCKED_BY_NMI;
	else
		guest->interruptibility &= ~(u32)BLOCKED_BY_NMI;
}

/* 27.2.1.3: in real mode no error code is pushed, in protected mode always or never. */
static u32 encode(const struct vm_event *event, bool protected_mode)
{
	static const u8 types[] = {
		[EVENT_IRQ] = INFO_IRQ,
		[EVENT_NMI] = INFO_NMI,
		[EVENT_EXCEPTION] = INFO_EXCEPTION,
	};
	u32 info = event->vector | (u32)types[event->type] << 8 | INFO_VALID;

	if (event->type == EVENT_EXCEPTION && protected_mode && VECTORS_WITH_ERROR >> event->vector & 1)
		info |= INFO_HAS_ERROR;
	return info;
}

void vmx_event_enter(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	bool protected_mode = vmcs_guest(vv, GROUP_CR0)->cr0 & CR0_PE;

	vmcs_write(VMCS_ENTRY_EVENT, encode(&vv->event, protected_mode));
	vmcs_write(VMCS_ENTRY_ERROR_CODE, vv->event.error_code);
	/* 27.3.1.5: an interrupt or NMI goes into no shadow, an NMI into no blocking by one. */
	if (vv->event.type != EVENT_EXCEPTION)
		end_shadow(vv);
	if (vv->event.type == EVENT_NMI)
		vmx_set_nmi_blocked(vv, false);
	vv->injected = vv->event;
	vv->attention |= ATTENTION_INJECTED;
	vmx_set_event(vv, (struct vm_event){ .type = EVENT_NONE });
}

/* IDT-vectoring information -> event. EVENT_NONE: the instruction that raised it is executed again instead. */
static struct vm_event interrupted_event(const struct vmx_vcpu *vv, u32 info)
{
	struct vm_event event = { .type = EVENT_NONE, .vector = info & INFO_VECTOR };

	switch (INFO_TYPE(info)) {
	case INFO_NMI:
		event.type = EVENT_NMI;
		break;
	case INFO_EXCEPTION:
		event.type = EVENT_EXCEPTION;
		break;
	case INFO_SOFT_INT:
	case INFO_PRIVILEGED:
	case INFO_SOFT_EXCEPTION:
		/* INT n, INT1, INT3, INTO: RIP is at the instruction (28.3.3). Never injected. */
		assert(vv->injected.type == EVENT_NONE);
		break;
	default:
		event.type = EVENT_IRQ;
		break;
	}
	if (event.type == EVENT_EXCEPTION && info & INFO_HAS_ERROR) {
		event.has_error_code = 1;
		event.error_code = (u32)vmcs_read(VMCS_IDT_EVENT_ERROR);
	}
	return event;
}

void vmx_event_exit(struct vcpu *vcpu, u32 idt_event)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (idt_event & INFO_VALID) {
		vmx_set_event(vv, interrupted_event(vv, idt_event));
		/* Its delivery had begun, so the CPU has blocked NMIs already; it begins again. */
		if (vv->event.type == EVENT_NMI)
			vmx_set_nmi_blocked(vv, false);
	}
	vv->injected.type = EVENT_NONE;
	vv->attention &= ~(u32)ATTENTION_INJECTED;
}
