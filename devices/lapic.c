/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's interrupt logic: who takes a message, what is pending, acceptance and EOI
 * (SDM 3 10.4, 10.6, 10.8). Messages arrive from any CPU; the rest runs on the vCPU's own CPU.
 * Registers are in lapic_regs.c, the timer in lapic_timer.c, the state in lapic_state.c.
 */
#include "devices/lapic.h"

#include "compiler.h"
#include "devices/irqchip.h"
#include "vmm/hvm.h"
#include "vmm/irqchip.h"
#include "vmm/startup.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

int lapic_highest(const struct lapic *lapic, enum lapic_reg map)
{
	for (int i = 7; i >= 0; i--) {
		u32 word = lapic_get(lapic, map + (u32)i);

		if (word)
			return i * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

/* SDM 3 10.8.3.1: the class of what is in service, unless TPR is at least as high. */
u32 lapic_ppr(const struct lapic *lapic)
{
	int in_service = lapic_highest(lapic, LAPIC_ISR);
	u32 class = in_service < 0 ? 0 : (u32)in_service & 0xf0;
	u32 tpr = lapic_get(lapic, LAPIC_TPR);

	return (tpr & 0xf0) >= class ? tpr : class;
}

void lapic_set_tpr(struct lapic *lapic, u32 tpr)
{
	lapic_put(lapic, LAPIC_TPR, tpr & 0xff);
	/* What was held back may be let through now. */
	vcpu_look(lapic->vcpu);
}

int lapic_pending(const struct lapic *lapic)
{
	int vector = lapic_highest(lapic, LAPIC_IRR);

	/* SDM 3 10.4.7.2: what IRR holds when software disables the APIC stays there. */
	if (vector < 0 || !lapic_sw_enabled(lapic))
		return -1;
	return ((u32)vector & 0xf0) > (lapic_ppr(lapic) & 0xf0) ? vector : -1;
}

bool lapic_extint_pending(const struct lapic *lapic)
{
	u32 lint0;

	if (!READ_ONCE(lapic->intr))
		return false;
	if (!lapic_hw_enabled(lapic))
		return true;
	lint0 = lapic_get(lapic, LAPIC_LVT_LINT0);
	return !(lint0 & LAPIC_LVT_MASKED) && (lint0 >> 8 & 7) == LAPIC_EXTINT;
}

u8 lapic_accept(struct lapic *lapic)
{
	int vector = lapic_pending(lapic);

	/* Nothing (it cannot happen between pending and accept): what the APIC does is a spurious interrupt. */
	if (vector < 0)
		return (u8)lapic_get(lapic, LAPIC_SVR);
	atomic_and(lapic_map(lapic, LAPIC_IRR, (u32)vector), ~(1u << vector % 32));
	*lapic_map(lapic, LAPIC_ISR, (u32)vector) |= 1u << vector % 32;
	return (u8)vector;
}

void lapic_eoi(struct lapic *lapic, bool locked)
{
	int vector = lapic_highest(lapic, LAPIC_ISR);

	if (vector < 0)
		return;
	*lapic_map(lapic, LAPIC_ISR, (u32)vector) &= ~(1u << vector % 32);
	if (likely(!(READ_ONCE(*lapic_map(lapic, LAPIC_TMR, (u32)vector)) & 1u << vector % 32)))
		return;
	if (locked)
		irqchip_eoi(lapic->vcpu->vm, (u8)vector);
	else
		irqchip_level_eoi(lapic->vcpu, (u8)vector);
}

static bool matches_logical(const struct lapic *lapic, u32 dest)
{
	u32 ldr = lapic_get(lapic, LAPIC_LDR);

	if (lapic_x2apic(lapic))
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	ldr >>= 24;
	if (dest > 0xff)
		return false;
	/* SDM 3 10.6.2.2: the flat model, or clusters of four. */
	if (lapic_get(lapic, LAPIC_DFR) >> 28 == 0xf)
		return ldr & dest;
	return ldr >> 4 == dest >> 4 && (ldr & dest & 0xf);
}

bool lapic_matches(const struct lapic *lapic, u32 dest, bool logical)
{
	if (logical)
		return matches_logical(lapic, dest);
	return dest == lapic->vcpu->index;
}

u32 lapic_priority(const struct lapic *lapic)
{
	return lapic_ppr(lapic);
}

void lapic_error(struct lapic *lapic, u32 bit)
{
	u32 lvt = lapic_get(lapic, LAPIC_LVT_ERROR);

	atomic_or(&lapic->errors, bit);
	/* A bad vector in the error LVT itself is left at that: no error about an error. */
	if (!(lvt & LAPIC_LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_receive(lapic, LAPIC_FIXED, (u8)lvt, false);
}

/* A vector into IRR, its kind into TMR before. */
static void request(u32 *irr, u32 *tmr, u32 bit, bool level)
{
	if (level)
		atomic_or(tmr, bit);
	else if (READ_ONCE(*tmr) & bit)
		atomic_and(tmr, ~bit);
	atomic_or(irr, bit);
}

void lapic_gather(struct lapic *lapic)
{
	if (likely(!READ_ONCE(lapic->posted_any)) || !atomic_swap(&lapic->posted_any, 0))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(lapic->posted); i++) {
		u32 vectors = atomic_swap(&lapic->posted[i], 0);

		for (; vectors; vectors &= vectors - 1) {
			u32 bit = vectors & -vectors;

			request(lapic_at(lapic, LAPIC_IRR + i), lapic_at(lapic, LAPIC_TMR + i), bit,
				READ_ONCE(lapic->posted_level[i]) & bit);
		}
	}
}

static bool receive_fixed(struct lapic *lapic, u8 vector, bool level)
{
	u32 bit = 1u << vector % 32;

	if (!lapic_sw_enabled(lapic))
		return false;
	if (vector < 16) {
		lapic_error(lapic, LAPIC_ESR_RECEIVE_VECTOR);
		return false;
	}
	if (!hvm->apic_sync || lapic->vcpu == vcpu_current()) {
		request(lapic_map(lapic, LAPIC_IRR, vector), lapic_map(lapic, LAPIC_TMR, vector), bit, level);
	} else {
		request(&lapic->posted[vector / 32], &lapic->posted_level[vector / 32], bit, level);
		atomic_swap(&lapic->posted_any, 1);
	}
	vcpu_kick(lapic->vcpu);
	return true;
}

static void receive_init(struct lapic *lapic)
{
	/* SDM 3 8.4: an INIT of the boot CPU is a reset; the others wait for their start-up message. */
	if (lapic->vcpu->index == 0) {
		vm_want(lapic->vcpu->vm, VM_WANT_REBOOT);
		return;
	}
	startup_init(lapic->vcpu);
}

bool lapic_receive(struct lapic *lapic, enum lapic_mode mode, u8 vector, bool level)
{
	switch (mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST:
		return receive_fixed(lapic, vector, level);
	case LAPIC_NMI:
		if (!lapic_hw_enabled(lapic))
			return false;
		if (atomic_or(&lapic->nmi, LAPIC_NMI_WAITS) & LAPIC_NMI_WAITS)
			atomic_or(&lapic->nmi, LAPIC_NMI_ANOTHER);
		vcpu_kick(lapic->vcpu);
		return true;
	case LAPIC_INIT:
		receive_init(lapic);
		return true;
	case LAPIC_STARTUP:
		startup_sipi(lapic->vcpu, vector);
		return true;
	case LAPIC_EXTINT:
		/* Only LINT0 is wired to the PIC's INTA. */
	case LAPIC_SMI:
	case LAPIC_RESERVED:
		return false;
	}
	return false;
}

void lapic_set_intr(struct lapic *lapic, bool level)
{
	bool was = READ_ONCE(lapic->intr);

	WRITE_ONCE(lapic->intr, level);
	if (!level || was)
		return;
	/* With LINT0 as a fixed interrupt the edge counts; with ExtINT the level is looked at. */
	if ((lapic_get(lapic, LAPIC_LVT_LINT0) >> 8 & 7) != LAPIC_EXTINT)
		lapic_lvt_event(lapic, LAPIC_LVT_LINT0);
	vcpu_kick(lapic->vcpu);
}

void lapic_lvt_event(struct lapic *lapic, enum lapic_reg reg)
{
	u32 lvt = lapic_get(lapic, reg);
	enum lapic_mode mode = lvt >> 8 & 7;

	if (lvt & LAPIC_LVT_MASKED)
		return;
	/* Timer and error entries have no mode bits: these read 0, which is fixed. */
	if (mode == LAPIC_FIXED || mode == LAPIC_NMI)
		lapic_receive(lapic, mode, (u8)lvt, false);
}
