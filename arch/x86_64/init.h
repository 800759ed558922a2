/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order in which arch/x86_64 comes up. boot/main.c calls these on the boot CPU, in this order;
 * nobody else includes this.
 */
#ifndef ARCH_INIT_H
#define ARCH_INIT_H

#include "types.h"

/* First of all, from a function without stack protector: what protects the stacks of all others. */
void stack_guard_init(void);
/* Before ExitBootServices: the size of the pool that paging_init() will want. */
u64 paging_pool_pages(hpa_t memory_end);
/* Leaves the firmware's stack for good. */
noreturn void startup_switch_stack(noreturn void (*next)(void *arg), void *arg);

/* GDT, TSS, IDT, this CPU's own area: from here on faults are shown. */
void traps_init(void);

/* Begins with empty tables, from a zeroed pool; then each range of memory; then they are used. */
void paging_init(hpa_t pool, u64 pool_bytes);
void paging_map_memory(hpa_t base, u64 bytes);
void paging_start(void);
/* Gives what is left of the pool to the page allocator. */
void paging_pool_release(void);

/* The local APIC, then INIT to all others, who may still run the firmware's code. */
void apic_init(void);
void smp_park_others(void);
/* Host tables; what is missing or broken is logged and left empty. */
void acpi_init(hpa_t rsdp);
/* Clock and timers; the time base is the TSC at the UEFI entry. */
void time_init(u64 entry_tsc, u64 wall_time_s);
void irq_init(void);
void power_init(void *reset_system);
/* The page below 1 MiB that the other CPUs start in; 0: there is none. */
void smp_init(hpa_t trampoline);

#endif
