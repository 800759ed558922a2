/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's ACPI tables say (ACPI 6.5), read once at boot. Lengths are checked, checksums
 * too; a table that is broken counts as missing.
 */
#ifndef ARCH_ACPI_H
#define ARCH_ACPI_H

#include "arch/x86_64/cpu.h"
#include "types.h"

#define ACPI_IOAPICS_MAX 8

struct acpi_ioapic {
	hpa_t base;
	u32 gsi_base;
};

/* How an ISA interrupt is wired; without an override: GSI = IRQ, edge, active high. */
struct acpi_isa_irq {
	u32 gsi;
	bool level;
	bool active_low;
};

struct acpi_info {
	u32 cpu_count; /* enabled local APICs, the boot CPU among them */
	u32 apic_ids[CPUS_MAX];
	u32 cpus_left_out; /* enabled, but more than CPUS_MAX */
	u32 ioapic_count;
	struct acpi_ioapic ioapics[ACPI_IOAPICS_MAX];
	struct acpi_isa_irq isa[16];
	/* FADT; ports are 0 where there is none. */
	u16 pm_timer_port;
	u16 pm1a_control_port;
	u16 pm1b_control_port;
	u16 smi_command_port;
	u8 acpi_enable;
	u8 sleep_type_a; /* for S5, if have_s5 */
	u8 sleep_type_b;
	bool have_s5;
	bool have_reset;
	bool reset_is_memory;
	u64 reset_address;
	u8 reset_value;
};

const struct acpi_info *acpi_info(void);

#endif
