/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC: 24 pins (82093AA data sheet, with the EOI register of version 0x20). vm->lock held. */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"

#define IOAPIC_PINS 24

/* Redirection entries. */
enum { IOAPIC_LOGICAL = BIT(11), IOAPIC_REMOTE_IRR = BIT(14), IOAPIC_LEVEL = BIT(15), IOAPIC_MASKED = BIT(16) };

struct ioapic_state {
	u64 redirection[IOAPIC_PINS];
	u32 lines;  /* bit per pin: asserted */
	u32 id;
	u8 select;
	u8 reserved[7];
};
static_assert(sizeof(struct ioapic_state) == 24 * 8 + 16, "wire layout");

struct ioapic {
	struct device dev;
	struct ioapic_state s;
};

void ioapic_init(struct ioapic *ioapic, struct vm *vm);
io_handler ioapic_mmio; /* ctx: the ioapic */
void ioapic_set_line(struct ioapic *ioapic, u32 pin, bool level);
/* A LAPIC's EOI of a level-triggered vector. */
void ioapic_eoi(struct ioapic *ioapic, u8 vector);

#endif
