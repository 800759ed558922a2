/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of control registers, as the CPU makes them, with "reserved" meaning also: belongs to a
 * feature that this guest is not shown. On the vCPU's CPU, and for arriving state. Pure.
 */
#include "vmm/cr.h"

#include "errors.h"

/* Which CPUID bit makes a CR4 bit exist (SDM 3 2.5). */
static const struct {
	u64 cr4;
	enum cpuid_word word;
	u8 bit;
} cr4_features[] = {
	{ CR4_VME | CR4_PVI, CPUID_1_EDX, 1 },
	{ CR4_TSD, CPUID_1_EDX, 4 },
	{ CR4_DE, CPUID_1_EDX, 2 },
	{ CR4_PSE, CPUID_1_EDX, 3 },
	{ CR4_PAE, CPUID_1_EDX, 6 },
	{ CR4_MCE, CPUID_1_EDX, 7 },
	{ CR4_PGE, CPUID_1_EDX, 13 },
	{ CR4_OSFXSR, CPUID_1_EDX, 24 },
	{ CR4_OSXMMEXCPT, CPUID_1_EDX, 25 },
	{ CR4_UMIP, CPUID_7_ECX, 2 },
	{ CR4_FSGSBASE, CPUID_7_EBX, 0 },
	{ CR4_PCIDE, CPUID_1_ECX, 17 },
	{ CR4_OSXSAVE, CPUID_1_ECX, 26 },
	{ CR4_SMEP, CPUID_7_EBX, 7 },
	{ CR4_SMAP, CPUID_7_EBX, 20 },
};

u64 cr4_allowed(const struct cpuid_policy *policy)
{
	/* PCE only lets user code do RDPMC, which has no counter here: harmless, and kernels set it. */
	u64 allowed = CR4_PCE;

	for (u32 i = 0; i < ARRAY_SIZE(cr4_features); i++)
		if (cpuid_policy_word(policy, cr4_features[i].word) & BIT(cr4_features[i].bit))
			allowed |= cr4_features[i].cr4;
	return allowed;
}

int cr0_check(u64 value, u64 cr4, u64 efer)
{
	if (value >> 32)
		return -E_INVAL;
	if (value & CR0_PG && !(value & CR0_PE))
		return -E_INVAL;
	if (value & CR0_NW && !(value & CR0_CD))
		return -E_INVAL;
	if (value & CR0_PG && efer & EFER_LME && !(cr4 & CR4_PAE))
		return -E_INVAL;
	if (!(value & CR0_PG) && cr4 & CR4_PCIDE)
		return -E_INVAL;
	return 0;
}

int cr4_check(const struct cpuid_policy *policy, u64 value, u64 old, u64 cr0, u64 efer, u64 cr3)
{
	if (value & ~cr4_allowed(policy))
		return -E_INVAL;
	if (efer & EFER_LMA && !(value & CR4_PAE))
		return -E_INVAL;
	/* PCIDE can be turned on only in long mode and with PCID 0 (SDM 3 4.10.1). */
	if (value & ~old & CR4_PCIDE && (!(efer & EFER_LMA) || cr3 & 0xfff || !(cr0 & CR0_PG)))
		return -E_INVAL;
	return 0;
}

u64 efer_allowed(const struct cpuid_policy *policy)
{
	u32 features = cpuid_policy_word(policy, CPUID_81_EDX);
	/* LMA is the CPU's own; writes of it are ignored (APM 2 3.1.7). */
	u64 allowed = EFER_LMA;

	if (features & BIT(11))
		allowed |= EFER_SCE;
	if (features & BIT(29))
		allowed |= EFER_LME;
	if (features & BIT(20))
		allowed |= EFER_NXE;
	if (features & BIT(25))
		allowed |= EFER_FFXSR;
	return allowed;
}

int efer_check(const struct cpuid_policy *policy, u64 value, u64 old, u64 cr0)
{
	if (value & ~efer_allowed(policy))
		return -E_INVAL;
	if ((value ^ old) & EFER_LME && cr0 & CR0_PG)
		return -E_INVAL;
	return 0;
}

int xcr0_check(const struct cpuid_policy *policy, u64 value)
{
	if (value & ~cpuid_policy_xcr0(policy) || !(value & XCR0_X87))
		return -E_INVAL;
	if (value & XCR0_AVX && !(value & XCR0_SSE))
		return -E_INVAL;
	if (value & XCR0_AVX512 && ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
		return -E_INVAL;
	return 0;
}
