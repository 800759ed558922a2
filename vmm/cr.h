/* SPDX-License-Identifier: Apache-2.0 */
/* Which values control registers, EFER and XCR0 may take: reserved bits and what CPUID hides. Pure. */
#ifndef VMM_CR_H
#define VMM_CR_H

#include "types.h"
#include "vmm/cpuid.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define CR4_PKE BIT(22)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define EFER_FFXSR BIT(14)

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7))

/* Bits 48 to 63 are as bit 47. */
static inline bool cr_canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

/* 0, or -E_INVAL: #GP(0). old values decide what may change (SDM 3 2.5, 4.1.2). */
int must_check cr0_check(u64 value, u64 cr4, u64 efer);
int must_check cr4_check(const struct cpuid_policy *policy, u64 value, u64 old, u64 cr0, u64 efer, u64 cr3);
int must_check efer_check(const struct cpuid_policy *policy, u64 value, u64 old, u64 cr0);
int must_check xcr0_check(const struct cpuid_policy *policy, u64 value);
u64 cr4_allowed(const struct cpuid_policy *policy);
u64 efer_allowed(const struct cpuid_policy *policy);

#endif
