/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing between interrupt controllers, and the vCPU loop's door to them (vmm/irqchip.h).
 * Messages may come from any CPU; the irqchip_* of a vCPU run on its own CPU.
 */
#include "devices/irqchip.h"

#include "compiler.h"
#include "devices/board.h"
#include "errors.h"
#include "vmm/board.h"
#include "vmm/irqchip.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_X2APIC_END = 0x900 };

static struct board *board_of(const struct vm *vm)
{
	return vm->board;
}

/* --- messages --- */

static bool is_target(const struct lapic *lapic, const struct irq_message *message)
{
	if (lapic == message->except)
		return false;
	return message->broadcast || lapic_matches(lapic, message->dest, message->logical);
}

/* SDM 3 10.6.2.4: the one that does the least important work gets it. */
static bool deliver_lowest(struct vm *vm, const struct irq_message *message)
{
	struct lapic *best = NULL;

	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct lapic *lapic = vm->vcpus[i]->lapic;

		if (!is_target(lapic, message) || !lapic_sw_enabled(lapic))
			continue;
		if (!best || lapic_priority(lapic) < lapic_priority(best))
			best = lapic;
	}
	return best && lapic_receive(best, LAPIC_FIXED, message->vector, message->level);
}

bool irqchip_deliver(struct vm *vm, const struct irq_message *message)
{
	bool taken = false;

	if (message->mode == LAPIC_LOWEST)
		return deliver_lowest(vm, message);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct lapic *lapic = vm->vcpus[i]->lapic;

		if (is_target(lapic, message))
			taken |= lapic_receive(lapic, message->mode, message->vector, message->level);
	}
	return taken;
}

void irqchip_eoi(struct vm *vm, u8 vector)
{
	ioapic_eoi(&board_of(vm)->ioapic, vector);
}

void irqchip_pic_intr(struct vm *vm, bool level)
{
	/* Wired to the boot CPU's LINT0. */
	lapic_set_intr(vm->vcpus[0]->lapic, level);
}

void irqchip_set_line(struct vm *vm, u32 gsi, bool level)
{
	struct board *board = board_of(vm);

	if (gsi == 0) {
		pic_set_line(&board->pic, 0, level);
		ioapic_set_line(&board->ioapic, BOARD_PIT_GSI, level);
		return;
	}
	if (gsi < PIC_LINES)
		pic_set_line(&board->pic, gsi, level);
	ioapic_set_line(&board->ioapic, gsi, level);
}

void irqchip_msi(struct vm *vm, u64 address, u32 data)
{
	struct irq_message message = {
		.dest = (u32)(address >> 12 & 0xff),
		.logical = address & BIT(2),
		.level = data & BIT(15),
		.vector = (u8)data,
		.mode = data >> 8 & 7,
	};

	/* Elsewhere it would be a store to memory that is not there: lost. */
	if (address >> 20 != BOARD_LAPIC_BASE >> 20)
		return;
	message.broadcast = message.dest == 0xff && !message.logical;
	irqchip_deliver(vm, &message);
}

/* --- the vCPU loop --- */

void irqchip_gather(struct vcpu *vcpu)
{
	lapic_gather(vcpu->lapic);
}

int irqchip_pending(struct vcpu *vcpu)
{
	struct lapic *lapic = vcpu->lapic;

	if (unlikely(lapic_extint_pending(lapic)))
		return pic_peek(&board_of(vcpu->vm)->pic);
	return lapic_pending(lapic);
}

bool irqchip_extint_pending(const struct vcpu *vcpu)
{
	return lapic_extint_pending(vcpu->lapic);
}

void irqchip_view(const struct vcpu *vcpu, struct irqchip_view *view)
{
	const struct lapic *lapic = vcpu->lapic;
	u8 requested = (u8)MAX(lapic_highest(lapic, LAPIC_IRR), 0);
	u8 in_service = (u8)MAX(lapic_highest(lapic, LAPIC_ISR), 0);
	u8 class = requested >> 4;
	bool on = lapic_sw_enabled(lapic);

	view->x2apic = on && lapic_x2apic(lapic);
	view->requested = requested;
	view->in_service = in_service;
	view->tpr_threshold = 0;
	if (on && class > in_service >> 4 && class <= lapic_get(lapic, LAPIC_TPR) >> 4)
		view->tpr_threshold = class;
	lapic_map_save(lapic, LAPIC_TMR, view->level);
}

void irqchip_level_eoi(struct vcpu *vcpu, u8 vector)
{
	struct vm *vm = vcpu->vm;

	spin_lock(&vm->lock);
	irqchip_eoi(vm, vector);
	spin_unlock(&vm->lock);
}

u8 irqchip_accept(struct vcpu *vcpu)
{
	struct lapic *lapic = vcpu->lapic;
	struct vm *vm = vcpu->vm;
	u8 vector;

	if (likely(!lapic_extint_pending(lapic)))
		return lapic_accept(lapic);
	spin_lock(&vm->lock);
	vector = pic_intack(&board_of(vm)->pic);
	spin_unlock(&vm->lock);
	return vector;
}

bool irqchip_nmi_pending(const struct vcpu *vcpu)
{
	return READ_ONCE(vcpu->lapic->nmi);
}

void irqchip_nmi_take(struct vcpu *vcpu)
{
	if (!(atomic_and(&vcpu->lapic->nmi, ~LAPIC_NMI_ANOTHER) & LAPIC_NMI_ANOTHER))
		atomic_and(&vcpu->lapic->nmi, ~LAPIC_NMI_WAITS);
}

void irqchip_nmi_merge(struct vcpu *vcpu)
{
	if (READ_ONCE(vcpu->lapic->nmi) & LAPIC_NMI_WAITS)
		atomic_and(&vcpu->lapic->nmi, ~LAPIC_NMI_ANOTHER);
}

void irqchip_init(struct vcpu *vcpu)
{
	lapic_timer_stop(vcpu->lapic);
	lapic_clear(vcpu->lapic);
}

void irqchip_set_tpr(struct vcpu *vcpu, u8 cr8)
{
	lapic_set_tpr(vcpu->lapic, (u32)(cr8 & 0xf) << 4);
}

u8 irqchip_get_tpr(const struct vcpu *vcpu)
{
	return (u8)(lapic_get(vcpu->lapic, LAPIC_TPR) >> 4);
}

int irqchip_msr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
	struct lapic *lapic = vcpu->lapic;

	if (msr >= MSR_X2APIC && msr < MSR_X2APIC_END)
		return lapic_x2apic(lapic) ? lapic_read(lapic, msr - MSR_X2APIC, value) : -E_INVAL;
	switch (msr) {
	case MSR_APIC_BASE:
		*value = lapic->apic_base;
		return 0;
	case MSR_TSC_DEADLINE:
		*value = lapic->tsc_deadline;
		return 0;
	}
	return -E_NOENT;
}

int irqchip_msr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
	struct lapic *lapic = vcpu->lapic;

	if (msr >= MSR_X2APIC && msr < MSR_X2APIC_END)
		return lapic_x2apic(lapic) ? lapic_write(lapic, msr - MSR_X2APIC, value, false) : -E_INVAL;
	switch (msr) {
	case MSR_TSC_DEADLINE:
		lapic_timer_set_deadline(lapic, value);
		return 0;
	case MSR_APIC_BASE:
		return lapic_set_base(lapic, value);
	}
	return -E_NOENT;
}
