/* SPDX-License-Identifier: Apache-2.0 */
/* The host's local APIC, of the CPU that calls: xAPIC or, where there is one, x2APIC (SDM 3 10). */
#ifndef ARCH_APIC_H
#define ARCH_APIC_H

#include "types.h"

/* Low words of the interrupt command register: delivery mode, level, trigger. */
enum apic_command {
	APIC_FIXED = 0x4000,   /* | vector */
	APIC_NMI = 0x4400,
	APIC_INIT = 0x4500,
	APIC_STARTUP = 0x4600, /* | page number */
};

/* On each CPU, once. */
void apic_cpu_init(void);
void apic_eoi(void);
void apic_ipi(u32 apic_id, u32 command);
void apic_ipi_others(u32 command);
/* The timer, in its own ticks (bus clock / 1); 0 stops it. */
void apic_timer_start(u32 ticks);
u32 apic_timer_left(void);
/* The timer by TSC value instead; only if apic_timer_has_deadline(). 0 stops it. */
bool apic_timer_has_deadline(void);
void apic_timer_deadline(u64 tsc);

#endif
