/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes and checks of XSAVE areas. Service CPU.
 */
#include "vmm/xsave.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "errors.h"
#include "lib/string.h"

#define LEGACY_BYTES 512
#define HEADER_BYTES 64
/* Bits that any x86-64 CPU takes; DAZ is bit 6 (SDM 1 10.2.3). */
#define MXCSR_ALLOWED 0xffffu

enum { MXCSR_OFFSET = 24, XSTATE_BV_OFFSET = 512, XCOMP_BV_OFFSET = 520 };

u32 xsave_bytes(u64 xcr0)
{
	u32 bytes = LEGACY_BYTES + HEADER_BYTES;

	for (u32 component = 2; component < 63; component++) {
		struct cpuid_regs regs;

		if (!(xcr0 & BIT(component)))
			continue;
		regs = cpuid_read(0xd, component);
		bytes = MAX(bytes, regs.ebx + regs.eax);
	}
	return bytes;
}

u32 vcpu_xsave_bytes(void)
{
	return fpu_area_bytes();
}

void vcpu_xsave_hide(void *area, u64 xcr0)
{
	u8 *place = (u8 *)area + XSTATE_BV_OFFSET;
	u64 xstate_bv;

	memcpy(&xstate_bv, place, sizeof(xstate_bv));
	xstate_bv &= xcr0;
	memcpy(place, &xstate_bv, sizeof(xstate_bv));
}

int vcpu_xsave_check(const void *area, u32 bytes, u64 xcr0)
{
	const u8 *byte = area;
	u64 xstate_bv;
	u32 mxcsr;

	if (bytes < LEGACY_BYTES + HEADER_BYTES || bytes < xsave_bytes(xcr0) || bytes > vcpu_xsave_bytes())
		return -E_INVAL;
	memcpy(&mxcsr, byte + MXCSR_OFFSET, sizeof(mxcsr));
	memcpy(&xstate_bv, byte + XSTATE_BV_OFFSET, sizeof(xstate_bv));
	if (mxcsr & ~MXCSR_ALLOWED || xstate_bv & ~xcr0)
		return -E_INVAL;
	/* XCOMP_BV and the rest of the header are zero in the standard format. */
	for (u32 i = XCOMP_BV_OFFSET; i < LEGACY_BYTES + HEADER_BYTES; i++)
		if (byte[i])
			return -E_INVAL;
	return 0;
}
