/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this host show a guest what its peer showed it? Before anything of the guest is taken in.
 * Service CPU. Pure; the policy comes from a peer and may be anything.
 */
#include "vmm/cpuid.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/cpuid_features.h"
#include "vmm/vm_config.h"

static const char *feature_name(u32 word, u32 bit, char *unknown, size_t size)
{
	static const char registers[] = "abcd";

	for (u32 i = 0; i < cpuid_feature_count; i++)
		if (cpuid_features[i].word == word && cpuid_features[i].bit == bit)
			return cpuid_features[i].name;
	str_format(unknown, size, "CPUID %#x e%cx bit %u", cpuid_words[word].leaf,
		   registers[cpuid_words[word].reg], bit);
	return unknown;
}

static void check_word(struct cpuid_missing *missing, u32 word, u32 shown, u32 ours)
{
	char unknown[40];

	for (u32 bit = 0; bit < 32; bit++)
		if (shown & ~ours & BIT(bit))
			cpuid_miss(missing, feature_name(word, bit, unknown, sizeof(unknown)));
}

/* The leaves whose other registers the guest relies on. */
static void check_entry(struct cpuid_missing *missing, const struct cpuid_entry *theirs,
			const struct cpuid_entry *ours)
{
	char text[64];

	switch (theirs->leaf) {
	case 0:
		if (theirs->ebx == ours->ebx && theirs->ecx == ours->ecx && theirs->edx == ours->edx)
			return;
		str_format(text, sizeof(text), "a CPU by %.4s%.4s%.4s", (const char *)&theirs->ebx,
			   (const char *)&theirs->edx, (const char *)&theirs->ecx);
		cpuid_miss(missing, text);
		return;
	case 0xd:
		if (theirs->subleaf == 0 && (theirs->eax & ~ours->eax || theirs->edx & ~ours->edx))
			cpuid_miss(missing, "XSAVE components");
		/* Where a component lies is part of what migrates. */
		if (theirs->subleaf >= 2 && theirs->eax && (theirs->eax != ours->eax || theirs->ebx != ours->ebx))
			cpuid_miss(missing, "the same XSAVE layout");
		return;
	case 0x40000000:
	case 0x40000001:
		if (memcmp(theirs, ours, sizeof(*theirs)))
			cpuid_miss(missing, "the same paravirtual clock");
		return;
	case 0x80000008:
		if ((theirs->eax & 0xff) > (ours->eax & 0xff)) {
			str_format(text, sizeof(text), "%u physical address bits", theirs->eax & 0xff);
			cpuid_miss(missing, text);
		}
		return;
	}
}

/* Is it a list that cpuid_policy_build makes, whatever the values? */
static bool well_formed(const struct cpuid_policy *policy, const struct cpuid_policy *own)
{
	static const struct cpuid_entry zero;

	if (policy->count != own->count)
		return false;
	for (u32 i = 0; i < own->count; i++)
		if (policy->entries[i].leaf != own->entries[i].leaf ||
		    policy->entries[i].subleaf != own->entries[i].subleaf)
			return false;
	for (u32 i = policy->count; i < CPUID_ENTRIES_MAX; i++)
		if (memcmp(&policy->entries[i], &zero, sizeof(zero)))
			return false;
	return true;
}

int cpuid_policy_check(const struct cpuid_policy *policy, char *why, size_t why_bytes)
{
	struct cpuid_missing missing = { .text = why, .size = why_bytes };
	struct cpuid_policy own;

	why[0] = '\0';
	cpuid_policy_build(&own, MIN(policy->vcpus, VM_VCPUS_MAX));
	if (policy->vcpus < 1 || policy->vcpus > VM_VCPUS_MAX || !well_formed(policy, &own)) {
		str_copy(why, why_bytes, "a list of CPUID leaves that this version does not make");
		return -E_INVAL;
	}
	for (u32 word = 0; word < CPUID_WORDS; word++)
		check_word(&missing, word, cpuid_policy_word(policy, word), cpuid_policy_word(&own, word));
	for (u32 i = 0; i < policy->count; i++)
		check_entry(&missing, &policy->entries[i], &own.entries[i]);
	return missing.used ? -E_REFUSED : 0;
}
