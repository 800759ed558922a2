/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' FPU registers: whose are in which CPU, and XCR0. On the CPU whose registers they are,
 * interrupts off. Each CPU writes its own slot only.
 *
 * XCR0 has the guest's value only while the guest's registers are in the CPU; XSAVE and XRSTOR run
 * with all of fpu_features(), as a guest may have put something into a component before it cleared
 * its XCR0 bit (SDM 1 13.3: the state stays).
 */
#include "arch/x86_64/fpu.h"

#include "arch/x86_64/cpu.h"
#include "lib/log.h"
#include "lib/string.h"

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7))
#define XCR0_PKRU BIT(9)
#define SWITCHED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU)

#define CPUID_1_ECX_XSAVE BIT(26)
#define CPUID_XSAVE_LEAF 0xd
#define CPUID_88_EBX_ERRPTR BIT(2) /* "XSaveErPtr": always saved and restored */

#define LEGACY_AND_HEADER_BYTES 576 /* SDM 1 13.4 */
#define FCW_AT_RESET 0x40           /* SDM 3 table 10-1; FNINIT makes it 0x37f */
#define MXCSR_AT_RESET 0x1f80
enum { FCW_OFFSET = 0, FTW_OFFSET = 4, MXCSR_OFFSET = 24, XSTATE_BV_OFFSET = 512 };

/* The area whose registers the CPU holds; NULL: nobody's, and XCR0 is what it may be. */
static void *owners[CPUS_MAX];
/* The same on all CPUs; written once by the boot CPU before others run guests. */
static u64 features;
static u32 area_bytes;
/* XSAVE and XRSTOR leave the x87 error pointers alone while no exception is pending (CVE-2006-1056). */
static bool pointers_stay;

static void xcr0_write(u64 value)
{
	__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static u64 xcr0_read(void)
{
	u32 low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (u64)high << 32;
}

static void xsave(void *area)
{
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)features), "d"((u32)(features >> 32)) : "memory");
}

static void xrstor(const void *area)
{
	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)features), "d"((u32)(features >> 32)) : "memory");
}

u64 fpu_features(void)
{
	struct cpuid_regs regs;

	if (features)
		return features;
	if (!(cpuid_read(1, 0).ecx & CPUID_1_ECX_XSAVE))
		return 0;
	regs = cpuid_read(CPUID_XSAVE_LEAF, 0);
	pointers_stay = cpuid_read(0x80000000, 0).eax < 0x80000008 ||
			!(cpuid_read(0x80000008, 0).ebx & CPUID_88_EBX_ERRPTR);
	features = (regs.eax | (u64)regs.edx << 32) & SWITCHED;
	/* All three or none (SDM 1 13.3). */
	if ((features & XCR0_AVX512) != XCR0_AVX512)
		features &= ~XCR0_AVX512;
	area_bytes = LEGACY_AND_HEADER_BYTES;
	for (u32 i = 2; i < 64; i++) {
		if (!(features & BIT(i)))
			continue;
		regs = cpuid_read(CPUID_XSAVE_LEAF, i);
		area_bytes = MAX(area_bytes, regs.ebx + regs.eax);
	}
	return features;
}

u32 fpu_area_bytes(void)
{
	fpu_features();
	return area_bytes;
}

/*
 * XSTATE_BV 0 would mean "as after FNINIT" for the x87 part, so that part is given. The SSE part
 * is in its initial state, but MXCSR is always loaded from the area (SDM 1 13.8).
 */
void fpu_area_init(void *area)
{
	u8 *byte = area;
	u16 fcw = FCW_AT_RESET;
	u8 ftw = 0xff; /* abridged: all valid, +0.0 */
	u32 mxcsr = MXCSR_AT_RESET;
	u64 xstate_bv = XCR0_X87;

	memset(area, 0, fpu_area_bytes());
	memcpy(byte + FCW_OFFSET, &fcw, sizeof(fcw));
	memcpy(byte + FTW_OFFSET, &ftw, sizeof(ftw));
	memcpy(byte + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	memcpy(byte + XSTATE_BV_OFFSET, &xstate_bv, sizeof(xstate_bv));
}

/* Another guest's last x87 instruction and operand addresses give way to ours, which say nothing. */
static void clear_error_pointers(void)
{
	static const u32 zero;

	__asm__ volatile("fnclex; emms; fildl %0" : : "m"(zero));
}

void fpu_load(void *area, u64 xcr0)
{
	void **owner = &owners[cpu_self()->index];

	if (*owner == area)
		return;
	assert(IS_ALIGNED((uintptr_t)area, 64) && !(xcr0 & ~features));
	xcr0_write(features);
	if (*owner)
		xsave(*owner);
	if (pointers_stay)
		clear_error_pointers();
	xrstor(area);
	if (xcr0 != features)
		xcr0_write(xcr0);
	*owner = area;
}

void fpu_set_xcr0(void *area, u64 xcr0)
{
	if (owners[cpu_self()->index] != area)
		return;
	assert(!(xcr0 & ~features));
	xcr0_write(xcr0);
}

u64 fpu_use(void)
{
	assert(!owners[cpu_self()->index]);
	if (!fpu_features())
		return 0;
	/* It may still be as at a reset, when no guest has run here yet. */
	if (xcr0_read() != features)
		xcr0_write(features);
	return features;
}

void fpu_flush(void *area)
{
	void **owner = &owners[cpu_self()->index];

	if (*owner != area)
		return;
	xcr0_write(features);
	xsave(area);
	*owner = NULL;
}
