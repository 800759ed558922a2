/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each CPU has of its own, in one block of pages: its stacks, each above a guard page that
 * is not mapped, and its area (struct cpu, GDT, TSS), which GS points to.
 */
#ifndef ARCH_PERCPU_H
#define ARCH_PERCPU_H

#include "arch/x86_64/cpu.h"
#include "types.h"

#define STACK_PAGES 8

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7]; /* ist[0] is IST1 */
	u64 reserved2;
	u16 reserved3;
	u16 io_map_base;
} packed;
static_assert(sizeof(struct tss) == 104, "SDM 3 8.7");

enum {
	IST_DOUBLE_FAULT = 1,
	IST_NMI = 2,
	IST_MACHINE_CHECK = 3,
	IST_COUNT = 3,
};

/* Selectors. The code selector is also in entry.asm. */
enum {
	GDT_CODE = 0x08,
	GDT_DATA = 0x10,
	GDT_TSS = 0x18,
	GDT_ENTRIES = 5,
};

struct cpu_area {
	struct cpu_area *self; /* first: cpu_self() reads it through GS */
	struct cpu cpu;
	u64 timer_ns; /* what the timer is armed for; 0: nothing */
	u64 gdt[GDT_ENTRIES];
	struct tss tss;
};
static_assert(offsetof(struct cpu_area, self) == 0, "cpu_self() and entry.asm");

struct cpu_block {
	u8 ist_guard[IST_COUNT][2][PAGE_SIZE]; /* [i][0] is the guard, [i][1] the stack */
	u8 stack_guard[PAGE_SIZE];
	u8 stack[STACK_PAGES][PAGE_SIZE];
	union {
		struct cpu_area area;
		u8 area_page[PAGE_SIZE];
	};
} aligned(4096);
static_assert(sizeof(struct cpu_block) == 16 * PAGE_SIZE, "an order 4 block");
#define CPU_BLOCK_ORDER 4

/* The boot CPU's, which is there before there is a page allocator. */
extern struct cpu_block cpu_boot_block;

static inline struct cpu_area *cpu_area_self(void)
{
	return container_of(cpu_self(), struct cpu_area, cpu);
}

/* Unmaps the block's guard pages. */
void cpu_block_guard(struct cpu_block *block);
/* Makes this CPU's own block its own: GDT, TSS, IDT, GS, control registers. On that CPU. */
void cpu_block_load(struct cpu_block *block);
/* CR0, CR4, EFER and PAT as every CPU of ours has them. */
void cpu_control_init(void);
/* This CPU's APIC id by CPUID: true also where GS can't be trusted. */
u32 cpu_apic_id(void);
/* The CPU with this APIC id, or NULL. */
struct cpu *cpu_by_apic_id(u32 apic_id);
/* Makes the area known as CPU number cpu_count(), which then grows by one. */
void cpu_register(struct cpu_area *area);

#endif
