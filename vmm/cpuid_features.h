/* SPDX-License-Identifier: Apache-2.0 */
/* The feature bits that guests may see; all others are hidden. For vmm/cpuid*.c only. */
#ifndef VMM_CPUID_FEATURES_H
#define VMM_CPUID_FEATURES_H

#include "types.h"
#include "vmm/cpuid.h"
#include "vmm/vm_config.h"

enum cpuid_source {
	FROM_HOST,       /* if the host has it */
	FROM_US,         /* always: we emulate it */
	FROM_SMP,        /* if the guest has several vCPUs */
	FROM_XSAVE,      /* if the host has it and XSAVE */
	FROM_AVX,        /* and its state is among what we switch */
	FROM_AVX512,
};

/* Besides enum cpu_level. */
enum {
	ANY_LEVEL = LEVEL_HOST, /* as it would be without a level: ours, or AMD's copies */
	NO_LEVEL = 255,
};

struct cpuid_feature {
	u8 word;         /* enum cpuid_word */
	u8 bit;
	u8 source;       /* enum cpuid_source */
	u8 level;        /* the least that has it: enum cpu_level, ANY_LEVEL, NO_LEVEL */
	const char *name; /* as Linux calls it in /proc/cpuinfo */
};

extern const struct cpuid_feature cpuid_features[];
extern const u32 cpuid_feature_count;

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Where each word of feature bits is. */
struct cpuid_word_place {
	u32 leaf, subleaf;
	enum cpuid_register reg;
};
extern const struct cpuid_word_place cpuid_words[CPUID_WORDS];

/* A list of what a host lacks: "avx2, bmi1", cut where the room ends. */
struct cpuid_missing {
	char *text;
	size_t size;
	size_t used;
};
void cpuid_miss(struct cpuid_missing *missing, const char *name);

u32 *cpuid_entry_register(struct cpuid_entry *entry, enum cpuid_register reg);

#endif
