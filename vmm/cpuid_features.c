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
	{ CPUID_1_ECX, 0, FROM_HOST, "pni" },
	{ CPUID_1_ECX, 1, FROM_HOST, "pclmulqdq" },
	{ CPUID_1_ECX, 9, FROM_HOST, "ssse3" },
	{ CPUID_1_ECX, 12, FROM_AVX, "fma" },
	{ CPUID_1_ECX, 13, FROM_HOST, "cx16" },
	{ CPUID_1_ECX, 17, FROM_HOST, "pcid" },
	{ CPUID_1_ECX, 19, FROM_HOST, "sse4_1" },
	{ CPUID_1_ECX, 20, FROM_HOST, "sse4_2" },
	{ CPUID_1_ECX, 21, FROM_US, "x2apic" },
	{ CPUID_1_ECX, 22, FROM_HOST, "movbe" },
	{ CPUID_1_ECX, 23, FROM_HOST, "popcnt" },
	{ CPUID_1_ECX, 24, FROM_US, "tsc_deadline_timer" },
	{ CPUID_1_ECX, 25, FROM_HOST, "aes" },
	{ CPUID_1_ECX, 26, FROM_XSAVE, "xsave" },
	{ CPUID_1_ECX, 28, FROM_AVX, "avx" },
	{ CPUID_1_ECX, 29, FROM_AVX, "f16c" },
	{ CPUID_1_ECX, 30, FROM_HOST, "rdrand" },
	{ CPUID_1_ECX, 31, FROM_US, "hypervisor" },

	{ CPUID_1_EDX, 0, FROM_HOST, "fpu" },
	{ CPUID_1_EDX, 1, FROM_HOST, "vme" },
	{ CPUID_1_EDX, 2, FROM_HOST, "de" },
	{ CPUID_1_EDX, 3, FROM_HOST, "pse" },
	{ CPUID_1_EDX, 4, FROM_HOST, "tsc" },
	{ CPUID_1_EDX, 5, FROM_HOST, "msr" },
	{ CPUID_1_EDX, 6, FROM_HOST, "pae" },
	{ CPUID_1_EDX, 7, FROM_US, "mce" },
	{ CPUID_1_EDX, 8, FROM_HOST, "cx8" },
	{ CPUID_1_EDX, 9, FROM_US, "apic" },
	{ CPUID_1_EDX, 11, FROM_HOST, "sep" },
	{ CPUID_1_EDX, 12, FROM_US, "mtrr" },
	{ CPUID_1_EDX, 13, FROM_HOST, "pge" },
	{ CPUID_1_EDX, 14, FROM_US, "mca" },
	{ CPUID_1_EDX, 15, FROM_HOST, "cmov" },
	{ CPUID_1_EDX, 16, FROM_HOST, "pat" },
	{ CPUID_1_EDX, 17, FROM_HOST, "pse36" },
	{ CPUID_1_EDX, 19, FROM_HOST, "clflush" },
	{ CPUID_1_EDX, 23, FROM_HOST, "mmx" },
	{ CPUID_1_EDX, 24, FROM_HOST, "fxsr" },
	{ CPUID_1_EDX, 25, FROM_HOST, "sse" },
	{ CPUID_1_EDX, 26, FROM_HOST, "sse2" },
	{ CPUID_1_EDX, 28, FROM_SMP, "ht" },

	/* The APIC timer runs on whatever the host's CPU does. */
	{ CPUID_6_EAX, 2, FROM_US, "arat" },

	{ CPUID_7_EBX, 0, FROM_HOST, "fsgsbase" },
	{ CPUID_7_EBX, 1, FROM_US, "tsc_adjust" },
	{ CPUID_7_EBX, 3, FROM_HOST, "bmi1" },
	{ CPUID_7_EBX, 5, FROM_AVX, "avx2" },
	{ CPUID_7_EBX, 6, FROM_HOST, "fdp_excptn_only" },
	{ CPUID_7_EBX, 7, FROM_HOST, "smep" },
	{ CPUID_7_EBX, 8, FROM_HOST, "bmi2" },
	{ CPUID_7_EBX, 9, FROM_HOST, "erms" },
	{ CPUID_7_EBX, 10, FROM_HOST, "invpcid" },
	{ CPUID_7_EBX, 13, FROM_HOST, "zero_fcs_fds" },
	{ CPUID_7_EBX, 16, FROM_AVX512, "avx512f" },
	{ CPUID_7_EBX, 17, FROM_AVX512, "avx512dq" },
	{ CPUID_7_EBX, 18, FROM_HOST, "rdseed" },
	{ CPUID_7_EBX, 19, FROM_HOST, "adx" },
	{ CPUID_7_EBX, 20, FROM_HOST, "smap" },
	{ CPUID_7_EBX, 21, FROM_AVX512, "avx512ifma" },
	{ CPUID_7_EBX, 23, FROM_HOST, "clflushopt" },
	{ CPUID_7_EBX, 24, FROM_HOST, "clwb" },
	{ CPUID_7_EBX, 28, FROM_AVX512, "avx512cd" },
	{ CPUID_7_EBX, 29, FROM_HOST, "sha_ni" },
	{ CPUID_7_EBX, 30, FROM_AVX512, "avx512bw" },
	{ CPUID_7_EBX, 31, FROM_AVX512, "avx512vl" },

	{ CPUID_7_ECX, 1, FROM_AVX512, "avx512vbmi" },
	{ CPUID_7_ECX, 2, FROM_HOST, "umip" },
	{ CPUID_7_ECX, 6, FROM_AVX512, "avx512_vbmi2" },
	{ CPUID_7_ECX, 8, FROM_HOST, "gfni" },
	{ CPUID_7_ECX, 9, FROM_AVX, "vaes" },
	{ CPUID_7_ECX, 10, FROM_AVX, "vpclmulqdq" },
	{ CPUID_7_ECX, 11, FROM_AVX512, "avx512_vnni" },
	{ CPUID_7_ECX, 12, FROM_AVX512, "avx512_bitalg" },
	{ CPUID_7_ECX, 14, FROM_AVX512, "avx512_vpopcntdq" },
	{ CPUID_7_ECX, 22, FROM_HOST, "rdpid" },
	{ CPUID_7_ECX, 25, FROM_HOST, "cldemote" },
	{ CPUID_7_ECX, 27, FROM_HOST, "movdiri" },
	{ CPUID_7_ECX, 28, FROM_HOST, "movdir64b" },

	{ CPUID_7_EDX, 4, FROM_HOST, "fsrm" },
	{ CPUID_7_EDX, 10, FROM_HOST, "md_clear" },
	{ CPUID_7_EDX, 14, FROM_HOST, "serialize" },

	{ CPUID_71_EAX, 4, FROM_AVX, "avx_vnni" },
	{ CPUID_71_EAX, 5, FROM_AVX512, "avx512_bf16" },
	{ CPUID_71_EAX, 10, FROM_HOST, "fzrm" },
	{ CPUID_71_EAX, 11, FROM_HOST, "fsrs" },
	{ CPUID_71_EAX, 12, FROM_HOST, "fsrc" },

	{ CPUID_D1_EAX, 0, FROM_XSAVE, "xsaveopt" },
	{ CPUID_D1_EAX, 1, FROM_XSAVE, "xsavec" },
	{ CPUID_D1_EAX, 2, FROM_XSAVE, "xgetbv1" },

	{ CPUID_81_ECX, 0, FROM_HOST, "lahf_lm" },
	{ CPUID_81_ECX, 1, FROM_SMP, "cmp_legacy" },
	{ CPUID_81_ECX, 5, FROM_HOST, "abm" },
	{ CPUID_81_ECX, 6, FROM_HOST, "sse4a" },
	{ CPUID_81_ECX, 7, FROM_HOST, "misalignsse" },
	{ CPUID_81_ECX, 8, FROM_HOST, "3dnowprefetch" },
	{ CPUID_81_ECX, 11, FROM_AVX, "xop" },
	{ CPUID_81_ECX, 16, FROM_AVX, "fma4" },
	{ CPUID_81_ECX, 21, FROM_HOST, "tbm" },

	/* AMD repeats leaf 1's EDX here. */
	{ CPUID_81_EDX, 0, FROM_HOST, "fpu" },
	{ CPUID_81_EDX, 1, FROM_HOST, "vme" },
	{ CPUID_81_EDX, 2, FROM_HOST, "de" },
	{ CPUID_81_EDX, 3, FROM_HOST, "pse" },
	{ CPUID_81_EDX, 4, FROM_HOST, "tsc" },
	{ CPUID_81_EDX, 5, FROM_HOST, "msr" },
	{ CPUID_81_EDX, 6, FROM_HOST, "pae" },
	{ CPUID_81_EDX, 7, FROM_HOST, "mce" },
	{ CPUID_81_EDX, 8, FROM_HOST, "cx8" },
	{ CPUID_81_EDX, 9, FROM_HOST, "apic" },
	{ CPUID_81_EDX, 11, FROM_HOST, "syscall" },
	{ CPUID_81_EDX, 12, FROM_HOST, "mtrr" },
	{ CPUID_81_EDX, 13, FROM_HOST, "pge" },
	{ CPUID_81_EDX, 14, FROM_HOST, "mca" },
	{ CPUID_81_EDX, 15, FROM_HOST, "cmov" },
	{ CPUID_81_EDX, 16, FROM_HOST, "pat" },
	{ CPUID_81_EDX, 17, FROM_HOST, "pse36" },
	{ CPUID_81_EDX, 20, FROM_HOST, "nx" },
	{ CPUID_81_EDX, 22, FROM_HOST, "mmxext" },
	{ CPUID_81_EDX, 23, FROM_HOST, "mmx" },
	{ CPUID_81_EDX, 24, FROM_HOST, "fxsr" },
	{ CPUID_81_EDX, 25, FROM_HOST, "fxsr_opt" },
	{ CPUID_81_EDX, 26, FROM_HOST, "pdpe1gb" },
	{ CPUID_81_EDX, 27, FROM_HOST, "rdtscp" },
	{ CPUID_81_EDX, 29, FROM_HOST, "lm" },
	{ CPUID_81_EDX, 30, FROM_HOST, "3dnowext" },
	{ CPUID_81_EDX, 31, FROM_HOST, "3dnow" },

	{ CPUID_87_EDX, 8, FROM_HOST, "constant_tsc" },

	{ CPUID_88_EBX, 0, FROM_HOST, "clzero" },
	{ CPUID_88_EBX, 2, FROM_HOST, "xsaveerptr" },
	{ CPUID_88_EBX, 9, FROM_HOST, "wbnoinvd" },
};

const u32 cpuid_feature_count = ARRAY_SIZE(cpuid_features);
