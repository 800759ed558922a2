/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levels: a guest that is shown no more than one of them can be exchanged by hosts that differ. The table of
 * features says which bit belongs to which level (vmm/cpuid_features.c); CR4, XCR0 and MSRs follow the bits.
 * Service CPU, when a guest is created. Pure.
 */
#include "vmm/cpuid.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "mm/gmem.h"
#include "vmm/cpuid_features.h"
#include "vmm/cr.h"
#include "vmm/xsave.h"

/* What the least of the CPUs with 64 bits and nested paging have. */
#define PHYSICAL_BITS_MIN 36
#define LINEAR_BITS 48

static const struct {
	enum cpu_level level;
	const char *name;
} levels[] = {
	{ LEVEL_HOST, "host" },
	{ LEVEL_2, "x86-64-v2" },
	{ LEVEL_3, "x86-64-v3" },
	{ LEVEL_4, "x86-64-v4" },
};

const char *cpuid_level_name(enum cpu_level level)
{
	for (u32 i = 0; i < ARRAY_SIZE(levels); i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "?";
}

int cpuid_level_find(const char *name, enum cpu_level *level)
{
	for (u32 i = 0; i < ARRAY_SIZE(levels); i++) {
		if (str_equal(levels[i].name, name)) {
			*level = levels[i].level;
			return 0;
		}
	}
	return -E_NOENT;
}

void cpuid_miss(struct cpuid_missing *missing, const char *name)
{
	size_t room = missing->size - missing->used;
	int n = str_format(missing->text + missing->used, room, "%s%s", missing->used ? ", " : "", name);

	missing->used += MIN((size_t)n, room - 1);
}

static void limit_word(struct cpuid_entry *entry, u32 word, enum cpu_level level, struct cpuid_missing *missing)
{
	u32 *bits = cpuid_entry_register(entry, cpuid_words[word].reg);

	for (u32 i = 0; i < cpuid_feature_count; i++) {
		const struct cpuid_feature *feature = &cpuid_features[i];

		if (feature->word != word || feature->level == ANY_LEVEL)
			continue;
		if (feature->level > (u32)level)
			*bits &= ~(u32)BIT(feature->bit);
		else if (!(*bits & BIT(feature->bit)))
			cpuid_miss(missing, feature->name);
	}
}

/* The components that the level's instructions use. */
static u64 level_xcr0(enum cpu_level level)
{
	switch (level) {
	case LEVEL_4:
		return XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
	case LEVEL_3:
		return XCR0_X87 | XCR0_SSE | XCR0_AVX;
	case LEVEL_2:
	case LEVEL_HOST:
		break;
	}
	return 0;
}

/* Leaf 0xd: where a component lies is the same on all CPUs by one vendor; the rest becomes so here. */
static void limit_xsave(struct cpuid_entry *entry, u64 xcr0)
{
	if (entry->subleaf == 0)
		*entry = (struct cpuid_entry){ .leaf = 0xd, .eax = entry->eax & (u32)xcr0,
					       .ecx = xcr0 ? xsave_bytes(xcr0) : 0 };
	else if (entry->subleaf >= 2 && !(xcr0 & BIT(entry->subleaf)))
		*entry = (struct cpuid_entry){ .leaf = 0xd, .subleaf = entry->subleaf };
}

static u32 physical_bits(u64 memory_bytes)
{
	u64 end = memory_bytes <= GMEM_LOW_END ? GIB(4) : GMEM_HIGH_START + memory_bytes - GMEM_LOW_END;
	u32 bits = PHYSICAL_BITS_MIN;

	while (bits < 52 && end > BIT(bits))
		bits++;
	return bits;
}

/* No more than the guest needs: what the hosts have differs most of all. */
static void limit_addresses(struct cpuid_entry *entry, u64 memory_bytes, struct cpuid_missing *missing)
{
	u32 bits = physical_bits(memory_bytes);
	char text[40];

	if ((entry->eax & 0xff) < bits) {
		str_format(text, sizeof(text), "%u physical address bits", bits);
		cpuid_miss(missing, text);
	}
	entry->eax = LINEAR_BITS << 8 | bits;
}

int cpuid_policy_limit(struct cpuid_policy *policy, enum cpu_level level, u64 memory_bytes, char *why,
		       size_t why_bytes)
{
	struct cpuid_missing missing = { .text = why, .size = why_bytes };

	why[0] = '\0';
	if (level == LEVEL_HOST)
		return 0;
	for (u32 i = 0; i < policy->count; i++) {
		struct cpuid_entry *entry = &policy->entries[i];

		for (u32 word = 0; word < CPUID_WORDS; word++)
			if (cpuid_words[word].leaf == entry->leaf && cpuid_words[word].subleaf == entry->subleaf)
				limit_word(entry, word, level, &missing);
		if (entry->leaf == 7 && entry->subleaf == 0)
			entry->eax = 0; /* no level has anything in subleaf 1 */
		else if (entry->leaf == 0xd)
			limit_xsave(entry, level_xcr0(level));
		else if (entry->leaf == 0x80000008)
			limit_addresses(entry, memory_bytes, &missing);
	}
	return missing.used ? -E_NOSYS : 0;
}
