/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that C has no words for, and the control and model-specific registers' bits. */
#ifndef ARCH_REGS_H
#define ARCH_REGS_H

#include "types.h"

enum cr0_bits {
	CR0_PE = 1 << 0,
	CR0_MP = 1 << 1,
	CR0_EM = 1 << 2,
	CR0_TS = 1 << 3,
	CR0_NE = 1 << 5,
	CR0_WP = 1 << 16,
	CR0_NW = 1 << 29,
	CR0_CD = 1 << 30,
};

enum cr4_bits {
	CR4_PAE = 1 << 5,
	CR4_MCE = 1 << 6,
	CR4_OSFXSR = 1 << 9,
	CR4_OSXMMEXCPT = 1 << 10,
	CR4_LA57 = 1 << 12,
	CR4_OSXSAVE = 1 << 18,
	CR4_SMEP = 1 << 20,
};

enum efer_bits {
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NXE = 1 << 11,
};

enum msrs {
	MSR_APIC_BASE = 0x1b,
	MSR_PAT = 0x277,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800, /* + register offset / 16 */
};
#define MSR_EFER 0xc0000080u
#define MSR_GS_BASE 0xc0000101u

#define PAT_AT_RESET 0x0007040600070406ull /* SDM 3 11.12.4 */

static inline u64 cr0_read(void)
{
	u64 v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static inline void cr0_write(u64 v)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}

static inline u64 cr2_read(void)
{
	u64 v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static inline u64 cr3_read(void)
{
	u64 v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline void cr3_write(u64 v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline u64 cr4_read(void)
{
	u64 v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static inline void cr4_write(u64 v)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

static inline void tlb_flush_page(u64 address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#endif
