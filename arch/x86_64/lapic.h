/* SPDX-License-Identifier: Apache-2.0 */
/* The host's local APIC, of the CPU that calls: xAPIC or, where there is one, x2APIC (SDM 3 10). */
#ifndef ARCH_LAPIC_H
#define ARCH_LAPIC_H

#include "types.h"

/* Low words of the interrupt command register: delivery mode, level, trigger. */
enum lapic_command {
	LAPIC_FIXED = 0x4000,   /* | vector */
	LAPIC_NMI = 0x4400,
	LAPIC_INIT = 0x4500,
	LAPIC_STARTUP = 0x4600, /* | page number */
};

/* On each CPU, once. */
void lapic_cpu_init(void);
void lapic_eoi(void);
void lapic_ipi(u32 apic_id, u32 command);
void lapic_ipi_others(u32 command);
/* The timer, in its own ticks (bus clock / 1); 0 stops it. */
void lapic_timer_start(u32 ticks);
u32 lapic_timer_left(void);
/* The timer by TSC value instead; only if lapic_timer_has_deadline(). 0 stops it. */
bool lapic_timer_has_deadline(void);
void lapic_timer_deadline(u64 tsc);
const char *lapic_mode_name(void);

#endif
