/* SPDX-License-Identifier: Apache-2.0 */
/* How interrupt messages find their APICs: the "bus" between PIC, I/O APIC, MSIs, ICRs and LAPICs. */
#ifndef DEVICES_IRQCHIP_H
#define DEVICES_IRQCHIP_H

#include "devices/lapic.h"
#include "types.h"

struct vm;

struct irq_message {
	u32 dest;
	bool broadcast; /* all of them, whatever dest says */
	bool logical;
	bool level;
	u8 vector;
	enum lapic_mode mode;
	const struct lapic *except; /* "all excluding self" */
};

/* Any CPU, no lock needed. False if nobody took it. */
bool irqchip_deliver(struct vm *vm, const struct irq_message *message);
/* An EOI of a level interrupt; vm->lock held. */
void irqchip_eoi(struct vm *vm, u8 vector);
/* The PIC's output changed; vm->lock held. */
void irqchip_pic_intr(struct vm *vm, bool level);

#endif
