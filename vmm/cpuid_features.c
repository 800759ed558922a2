/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: every feature bit that a guest may be shown (SDM 2 CPUID, APM 3 appendix E). What is
 * not here is hidden, so that a new CPU's features stay hidden until somebody has thought of their
 * registers. Hidden on purpose:
 *	SVM, VMX, SMX			no nested guests
 *	MONITOR, MWAITX, WAITPKG	a halted vCPU gives its CPU away by HLT
 *	PMU, DS, PT, IBS, RDPRU		counters are the host's
 *	MPX, PKU, CET, AMX, XSAVES	their state is not switched
 *	LA57				the walker knows 4 levels
 *	SPEC_CTRL, IBPB, STIBP, SSBD	MSRs that are not passed on
 *	TSX				broken by microcode at will
 *	thermal, power, RDT, SGX	the host's business
 *
 * The fourth column is the level (x86-64 psABI 3.1.1) from which on a guest with one is shown the bit: the
 * psABI's own, and what every CPU of that level with VT-x or SVM has and a modern kernel makes good use of:
 *	v2	rdtscp, nx, and what all x86-64 CPUs have
 *	v3	aes, pclmulqdq, fsgsbase, smep, xsaveopt
 *	v4	smap, rdseed, adx, clflushopt, xsavec, xgetbv1
 * Not vme, which emulated CPUs lack; not constant_tsc: hosts that exchange guests differ in frequency, and
 * the paravirtual clock is right on all of them.
 */
#include "vmm/cpuid_features.h"

const struct cpuid_word_place cpuid_words[CPUID_WORDS] = {
	[CPUID_1_ECX] = { 1, 0, CPUID_ECX },
	[CPUID_1_EDX] = { 1, 0, CPUID_EDX },
	[CPUID_6_EAX] = { 6, 0, CPUID_EAX },
	[CPUID_7_EBX] = { 7, 0, CPUID_EBX },
	[CPUID_7_ECX] = { 7, 0, CPUID_ECX },
	[CPUID_7_EDX] = { 7, 0, CPUID_EDX },
	[CPUID_71_EAX] = { 7, 1, CPUID_EAX },
	[CPUID_D1_EAX] = { 0xd, 1, CPUID_EAX },
	[CPUID_81_ECX] = { 0x80000001, 0, CPUID_ECX },
	[CPUID_81_EDX] = { 0x80000001, 0, CPUID_EDX },
	[CPUID_87_EDX] = { 0x80000007, 0, CPUID_EDX },
	[CPUID_88_EBX] = { 0x80000008, 0, CPUID_EBX },
};

u32 *cpuid_entry_register(struct cpuid_entry *entry, enum cpuid_register reg)
{
	switch (reg) {
	case CPUID_EAX:
		return &entry->eax;
	case CPUID_EBX:
		return &entry->ebx;
	case CPUID_ECX:
		return &entry->ecx;
	case CPUID_EDX:
		break;
	}
	return &entry->edx;
}

const struct cpuid_feature cpuid_features[] = {
	{ CPUID_1_ECX, 0, FROM_HOST, LEVEL_2, "pni" },
	{ CPUID_1_ECX, 1, FROM_HOST, LEVEL_3, "pclmulqdq" },
	{ CPUID_1_ECX, 9, FROM_HOST, LEVEL_2, "ssse3" },
	{ CPUID_1_ECX, 12, FROM_AVX, LEVEL_3, "fma" },
	{ CPUID_1_ECX, 13, FROM_HOST, LEVEL_2, "cx16" },
	{ CPUID_1_ECX, 17, FROM_HOST, NO_LEVEL, "pcid" },
	{ CPUID_1_ECX, 19, FROM_HOST, LEVEL_2, "sse4_1" },
	{ CPUID_1_ECX, 20, FROM_HOST, LEVEL_2, "sse4_2" },
	{ CPUID_1_ECX, 21, FROM_US, ANY_LEVEL, "x2apic" },
	{ CPUID_1_ECX, 22, FROM_HOST, LEVEL_3, "movbe" },
	{ CPUID_1_ECX, 23, FROM_HOST, LEVEL_2, "popcnt" },
	{ CPUID_1_ECX, 24, FROM_US, ANY_LEVEL, "tsc_deadline_timer" },
	{ CPUID_1_ECX, 25, FROM_HOST, LEVEL_3, "aes" },
	{ CPUID_1_ECX, 26, FROM_XSAVE, LEVEL_3, "xsave" },
	{ CPUID_1_ECX, 28, FROM_AVX, LEVEL_3, "avx" },
	{ CPUID_1_ECX, 29, FROM_AVX, LEVEL_3, "f16c" },
	{ CPUID_1_ECX, 30, FROM_HOST, NO_LEVEL, "rdrand" },
	{ CPUID_1_ECX, 31, FROM_US, ANY_LEVEL, "hypervisor" },

	{ CPUID_1_EDX, 0, FROM_HOST, LEVEL_2, "fpu" },
	{ CPUID_1_EDX, 1, FROM_HOST, NO_LEVEL, "vme" },
	{ CPUID_1_EDX, 2, FROM_HOST, LEVEL_2, "de" },
	{ CPUID_1_EDX, 3, FROM_HOST, LEVEL_2, "pse" },
	{ CPUID_1_EDX, 4, FROM_HOST, LEVEL_2, "tsc" },
	{ CPUID_1_EDX, 5, FROM_HOST, LEVEL_2, "msr" },
	{ CPUID_1_EDX, 6, FROM_HOST, LEVEL_2, "pae" },
	{ CPUID_1_EDX, 7, FROM_US, ANY_LEVEL, "mce" },
	{ CPUID_1_EDX, 8, FROM_HOST, LEVEL_2, "cx8" },
	{ CPUID_1_EDX, 9, FROM_US, ANY_LEVEL, "apic" },
	{ CPUID_1_EDX, 11, FROM_HOST, LEVEL_2, "sep" },
	{ CPUID_1_EDX, 12, FROM_US, ANY_LEVEL, "mtrr" },
	{ CPUID_1_EDX, 13, FROM_HOST, LEVEL_2, "pge" },
	{ CPUID_1_EDX, 14, FROM_US, ANY_LEVEL, "mca" },
	{ CPUID_1_EDX, 15, FROM_HOST, LEVEL_2, "cmov" },
	{ CPUID_1_EDX, 16, FROM_HOST, LEVEL_2, "pat" },
	{ CPUID_1_EDX, 17, FROM_HOST, LEVEL_2, "pse36" },
	{ CPUID_1_EDX, 19, FROM_HOST, LEVEL_2, "clflush" },
	{ CPUID_1_EDX, 23, FROM_HOST, LEVEL_2, "mmx" },
	{ CPUID_1_EDX, 24, FROM_HOST, LEVEL_2, "fxsr" },
	{ CPUID_1_EDX, 25, FROM_HOST, LEVEL_2, "sse" },
	{ CPUID_1_EDX, 26, FROM_HOST, LEVEL_2, "sse2" },
	{ CPUID_1_EDX, 28, FROM_SMP, ANY_LEVEL, "ht" },

	/* The APIC timer runs on whatever the host's CPU does. */
	{ CPUID_6_EAX, 2, FROM_US, ANY_LEVEL, "arat" },

	{ CPUID_7_EBX, 0, FROM_HOST, LEVEL_3, "fsgsbase" },
	{ CPUID_7_EBX, 1, FROM_US, ANY_LEVEL, "tsc_adjust" },
	{ CPUID_7_EBX, 3, FROM_HOST, LEVEL_3, "bmi1" },
	{ CPUID_7_EBX, 5, FROM_AVX, LEVEL_3, "avx2" },
	{ CPUID_7_EBX, 6, FROM_HOST, NO_LEVEL, "fdp_excptn_only" },
	{ CPUID_7_EBX, 7, FROM_HOST, LEVEL_3, "smep" },
	{ CPUID_7_EBX, 8, FROM_HOST, LEVEL_3, "bmi2" },
	{ CPUID_7_EBX, 9, FROM_HOST, NO_LEVEL, "erms" },
	{ CPUID_7_EBX, 10, FROM_HOST, NO_LEVEL, "invpcid" },
	{ CPUID_7_EBX, 13, FROM_HOST, NO_LEVEL, "zero_fcs_fds" },
	{ CPUID_7_EBX, 16, FROM_AVX512, LEVEL_4, "avx512f" },
	{ CPUID_7_EBX, 17, FROM_AVX512, LEVEL_4, "avx512dq" },
	{ CPUID_7_EBX, 18, FROM_HOST, LEVEL_4, "rdseed" },
	{ CPUID_7_EBX, 19, FROM_HOST, LEVEL_4, "adx" },
	{ CPUID_7_EBX, 20, FROM_HOST, LEVEL_4, "smap" },
	{ CPUID_7_EBX, 21, FROM_AVX512, NO_LEVEL, "avx512ifma" },
	{ CPUID_7_EBX, 23, FROM_HOST, LEVEL_4, "clflushopt" },
	{ CPUID_7_EBX, 24, FROM_HOST, NO_LEVEL, "clwb" },
	{ CPUID_7_EBX, 28, FROM_AVX512, LEVEL_4, "avx512cd" },
	{ CPUID_7_EBX, 29, FROM_HOST, NO_LEVEL, "sha_ni" },
	{ CPUID_7_EBX, 30, FROM_AVX512, LEVEL_4, "avx512bw" },
	{ CPUID_7_EBX, 31, FROM_AVX512, LEVEL_4, "avx512vl" },

	{ CPUID_7_ECX, 1, FROM_AVX512, NO_LEVEL, "avx512vbmi" },
	{ CPUID_7_ECX, 2, FROM_HOST, NO_LEVEL, "umip" },
	{ CPUID_7_ECX, 6, FROM_AVX512, NO_LEVEL, "avx512_vbmi2" },
	{ CPUID_7_ECX, 8, FROM_HOST, NO_LEVEL, "gfni" },
	{ CPUID_7_ECX, 9, FROM_AVX, NO_LEVEL, "vaes" },
	{ CPUID_7_ECX, 10, FROM_AVX, NO_LEVEL, "vpclmulqdq" },
	{ CPUID_7_ECX, 11, FROM_AVX512, NO_LEVEL, "avx512_vnni" },
	{ CPUID_7_ECX, 12, FROM_AVX512, NO_LEVEL, "avx512_bitalg" },
	{ CPUID_7_ECX, 14, FROM_AVX512, NO_LEVEL, "avx512_vpopcntdq" },
	{ CPUID_7_ECX, 22, FROM_HOST, NO_LEVEL, "rdpid" },
	{ CPUID_7_ECX, 25, FROM_HOST, NO_LEVEL, "cldemote" },
	{ CPUID_7_ECX, 27, FROM_HOST, NO_LEVEL, "movdiri" },
	{ CPUID_7_ECX, 28, FROM_HOST, NO_LEVEL, "movdir64b" },

	{ CPUID_7_EDX, 4, FROM_HOST, NO_LEVEL, "fsrm" },
	{ CPUID_7_EDX, 10, FROM_HOST, NO_LEVEL, "md_clear" },
	{ CPUID_7_EDX, 14, FROM_HOST, NO_LEVEL, "serialize" },

	{ CPUID_71_EAX, 4, FROM_AVX, NO_LEVEL, "avx_vnni" },
	{ CPUID_71_EAX, 5, FROM_AVX512, NO_LEVEL, "avx512_bf16" },
	{ CPUID_71_EAX, 10, FROM_HOST, NO_LEVEL, "fzrm" },
	{ CPUID_71_EAX, 11, FROM_HOST, NO_LEVEL, "fsrs" },
	{ CPUID_71_EAX, 12, FROM_HOST, NO_LEVEL, "fsrc" },

	{ CPUID_D1_EAX, 0, FROM_XSAVE, LEVEL_3, "xsaveopt" },
	{ CPUID_D1_EAX, 1, FROM_XSAVE, LEVEL_4, "xsavec" },
	{ CPUID_D1_EAX, 2, FROM_XSAVE, LEVEL_4, "xgetbv1" },

	{ CPUID_81_ECX, 0, FROM_HOST, LEVEL_2, "lahf_lm" },
	{ CPUID_81_ECX, 1, FROM_SMP, ANY_LEVEL, "cmp_legacy" },
	{ CPUID_81_ECX, 5, FROM_HOST, LEVEL_3, "abm" },
	{ CPUID_81_ECX, 6, FROM_HOST, NO_LEVEL, "sse4a" },
	{ CPUID_81_ECX, 7, FROM_HOST, NO_LEVEL, "misalignsse" },
	{ CPUID_81_ECX, 8, FROM_HOST, NO_LEVEL, "3dnowprefetch" },
	{ CPUID_81_ECX, 11, FROM_AVX, NO_LEVEL, "xop" },
	{ CPUID_81_ECX, 16, FROM_AVX, NO_LEVEL, "fma4" },
	{ CPUID_81_ECX, 21, FROM_HOST, NO_LEVEL, "tbm" },

	/* AMD repeats leaf 1's EDX here: as far as the host does, in any level. */
	{ CPUID_81_EDX, 0, FROM_HOST, ANY_LEVEL, "fpu" },
	{ CPUID_81_EDX, 1, FROM_HOST, NO_LEVEL, "vme" },
	{ CPUID_81_EDX, 2, FROM_HOST, ANY_LEVEL, "de" },
	{ CPUID_81_EDX, 3, FROM_HOST, ANY_LEVEL, "pse" },
	{ CPUID_81_EDX, 4, FROM_HOST, ANY_LEVEL, "tsc" },
	{ CPUID_81_EDX, 5, FROM_HOST, ANY_LEVEL, "msr" },
	{ CPUID_81_EDX, 6, FROM_HOST, ANY_LEVEL, "pae" },
	{ CPUID_81_EDX, 7, FROM_HOST, ANY_LEVEL, "mce" },
	{ CPUID_81_EDX, 8, FROM_HOST, ANY_LEVEL, "cx8" },
	{ CPUID_81_EDX, 9, FROM_HOST, ANY_LEVEL, "apic" },
	{ CPUID_81_EDX, 11, FROM_HOST, LEVEL_2, "syscall" },
	{ CPUID_81_EDX, 12, FROM_HOST, ANY_LEVEL, "mtrr" },
	{ CPUID_81_EDX, 13, FROM_HOST, ANY_LEVEL, "pge" },
	{ CPUID_81_EDX, 14, FROM_HOST, ANY_LEVEL, "mca" },
	{ CPUID_81_EDX, 15, FROM_HOST, ANY_LEVEL, "cmov" },
	{ CPUID_81_EDX, 16, FROM_HOST, ANY_LEVEL, "pat" },
	{ CPUID_81_EDX, 17, FROM_HOST, ANY_LEVEL, "pse36" },
	{ CPUID_81_EDX, 20, FROM_HOST, LEVEL_2, "nx" },
	{ CPUID_81_EDX, 22, FROM_HOST, NO_LEVEL, "mmxext" },
	{ CPUID_81_EDX, 23, FROM_HOST, ANY_LEVEL, "mmx" },
	{ CPUID_81_EDX, 24, FROM_HOST, ANY_LEVEL, "fxsr" },
	{ CPUID_81_EDX, 25, FROM_HOST, NO_LEVEL, "fxsr_opt" },
	{ CPUID_81_EDX, 26, FROM_HOST, NO_LEVEL, "pdpe1gb" },
	{ CPUID_81_EDX, 27, FROM_HOST, LEVEL_2, "rdtscp" },
	{ CPUID_81_EDX, 29, FROM_HOST, LEVEL_2, "lm" },
	{ CPUID_81_EDX, 30, FROM_HOST, NO_LEVEL, "3dnowext" },
	{ CPUID_81_EDX, 31, FROM_HOST, NO_LEVEL, "3dnow" },

	{ CPUID_87_EDX, 8, FROM_HOST, NO_LEVEL, "constant_tsc" },

	{ CPUID_88_EBX, 0, FROM_HOST, NO_LEVEL, "clzero" },
	{ CPUID_88_EBX, 2, FROM_HOST, NO_LEVEL, "xsaveerptr" },
	{ CPUID_88_EBX, 9, FROM_HOST, NO_LEVEL, "wbnoinvd" },
};

const u32 cpuid_feature_count = ARRAY_SIZE(cpuid_features);
