/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host device interrupts. All go to the service CPU; the handler sets CPU_PENDING_DEVICE, masks
 * nothing and acknowledges the local APIC; the service loop then polls the drivers.
 */
#ifndef ARCH_IRQ_H
#define ARCH_IRQ_H

#include "types.h"

/* Reserves a vector for a device; -E_NOMEM when all are taken. */
int must_check irq_alloc(u8 *vector);
/* What to write into an MSI or MSI-X entry to raise vector on the service CPU. */
u64 irq_msi_address(void);
u32 irq_msi_data(u8 vector);
/* Routes an ISA interrupt (MADT overrides applied) or an IOAPIC pin to the vector, unmasked. */
int must_check irq_route_isa(u8 isa_irq, u8 vector);
int must_check irq_route_gsi(u32 gsi, u8 vector, bool level, bool active_low);
/* How often the vector came, and whether it came since the last call (atomic). */
bool irq_taken(u8 vector);

#endif
