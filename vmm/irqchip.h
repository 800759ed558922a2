/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's interrupt controllers as the vCPU loop and the devices see them. devices/lapic.c,
 * ioapic.c and pic.c implement it (vmm/ includes nothing of devices/).
 */
#ifndef VMM_IRQCHIP_H
#define VMM_IRQCHIP_H

#include "types.h"

struct vcpu;
struct vm;

/* --- LAPIC, on the vCPU's own CPU, vm->lock not held (some of these take it) --- */
/* What other CPUs have sent becomes visible to the functions below. */
void irqchip_gather(struct vcpu *vcpu);
/* The vector to be taken next (IRR over PPR, or the PIC's INTR), -1 if none. Pure. */
int irqchip_pending(struct vcpu *vcpu);
/* Is it the PIC's? No CPU virtualizes that one. */
bool irqchip_extint_pending(const struct vcpu *vcpu);
/* The vector goes into the guest now: IRR -> ISR, or the PIC's INTA cycle; returns the vector. */
u8 irqchip_accept(struct vcpu *vcpu);
/*
 * An NMI waits for this vCPU; take clears it (EVENT_NMI is injected now). Two can wait, as one would be handled and the other
 * one kept by then; merge makes them one, for a vCPU that handles one already (SDM 3 6.7.1).
 */
bool irqchip_nmi_pending(const struct vcpu *vcpu);
void irqchip_nmi_take(struct vcpu *vcpu);
void irqchip_nmi_merge(struct vcpu *vcpu);
/* What a CPU that virtualizes the local APIC must be told of it, besides its page (SDM 3 chapter 30). */
struct irqchip_view {
	bool x2apic;              /* it is on, and in x2APIC mode */
	u8 requested, in_service; /* the highest vectors; 0: none */
	u8 tpr_threshold;         /* TPR's class below which something that waits is let through; 0: none waits */
	u64 level[4];             /* the vectors whose EOI others must hear of: irqchip_level_eoi() */
};
void irqchip_view(const struct vcpu *vcpu, struct irqchip_view *view);
/* The CPU has done a level interrupt's EOI. */
void irqchip_level_eoi(struct vcpu *vcpu, u8 vector);
/* Its local APIC's part of an INIT (SDM 3 11.4.7.3): all but IA32_APIC_BASE and the ID. */
void irqchip_init(struct vcpu *vcpu);
/* CR8 / TPR. */
void irqchip_set_tpr(struct vcpu *vcpu, u8 cr8);
u8 irqchip_get_tpr(const struct vcpu *vcpu);
/* IA32_APIC_BASE, x2APIC MSRs 0x800-0x8ff, IA32_TSC_DEADLINE. -E_NOENT: none of these; -E_INVAL: #GP. */
int must_check irqchip_msr_read(struct vcpu *vcpu, u32 msr, u64 *value);
int must_check irqchip_msr_write(struct vcpu *vcpu, u32 msr, u64 value);

/* --- from any CPU --- */
/* Drives an interrupt line (GSI: IOAPIC pin; below 16 the PIC too). vm->lock held. */
void irqchip_set_line(struct vm *vm, u32 gsi, bool level);
/* An MSI write (SDM 3 11.11): address 0xfee....., data. Needs no lock. */
void irqchip_msi(struct vm *vm, u64 address, u32 data);

#endif
