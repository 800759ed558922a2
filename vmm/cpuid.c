/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID: the table of leaves, a guest's copy of it, the instruction. Built by the service CPU;
 * answered on the vCPU's CPU.
 */
#include "vmm/cpuid.h"

#include "arch/x86_64/fpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/cpuid_features.h"
#include "vmm/cr.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define XCR0_KNOWN (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)
#define XSAVE_FIXED_BYTES (512 + 64)
#define LEAF1_ECX_OSXSAVE BIT(27)
#define EDX_APIC BIT(9) /* of leaf 1 and of AMD's copy */
#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_EXTENDED 0x80000000u
#define BASIC_MAX 0xdu
#define EXTENDED_MAX 0x80000008u

/* How the registers of a leaf come about, besides the words above. */
enum leaf_kind {
	LEAF_FEATURES,   /* nothing but the words */
	LEAF_DATA,       /* the host's, for information: names, caches */
	LEAF_SPECIAL,    /* leaf_special() */
};

/* In rising order; what is not here reads as zero. Leaf 0xb is answered by cpuid_topology(). */
static const struct {
	u32 leaf, subleaf;
	enum leaf_kind kind;
} leaves[] = {
	{ 0, 0, LEAF_SPECIAL },                 /* the last leaf, the vendor */
	{ 1, 0, LEAF_SPECIAL },                 /* family, model; topology */
	{ 2, 0, LEAF_DATA },                    /* Intel: caches and TLBs */
	{ 4, 0, LEAF_SPECIAL },                 /* Intel: caches, shared by how many */
	{ 4, 1, LEAF_SPECIAL },
	{ 4, 2, LEAF_SPECIAL },
	{ 4, 3, LEAF_SPECIAL },
	{ 6, 0, LEAF_FEATURES },
	{ 7, 0, LEAF_SPECIAL },                 /* the last subleaf */
	{ 7, 1, LEAF_FEATURES },
	{ 0xd, 0, LEAF_SPECIAL },               /* XSAVE's components */
	{ 0xd, 1, LEAF_FEATURES },
	{ 0xd, 2, LEAF_SPECIAL },
	{ 0xd, 5, LEAF_SPECIAL },
	{ 0xd, 6, LEAF_SPECIAL },
	{ 0xd, 7, LEAF_SPECIAL },
	{ LEAF_HYPERVISOR, 0, LEAF_SPECIAL },   /* "KVMKVMKVM": guests know its clock */
	{ LEAF_HYPERVISOR + 1, 0, LEAF_SPECIAL },
	{ LEAF_EXTENDED, 0, LEAF_SPECIAL },
	{ 0x80000001, 0, LEAF_SPECIAL },
	{ 0x80000002, 0, LEAF_DATA },           /* the CPU's name */
	{ 0x80000003, 0, LEAF_DATA },
	{ 0x80000004, 0, LEAF_DATA },
	{ 0x80000005, 0, LEAF_DATA },           /* AMD: caches and TLBs */
	{ 0x80000006, 0, LEAF_DATA },
	{ 0x80000007, 0, LEAF_FEATURES },
	{ 0x80000008, 0, LEAF_SPECIAL },        /* address widths; cores */
};
static_assert(ARRAY_SIZE(leaves) <= CPUID_ENTRIES_MAX, "the policy has room for every leaf");

/* KVM's features (Linux, Documentation/virt/kvm/x86/cpuid): its clock in the new MSRs, and stable. */
#define KVM_FEATURES (BIT(3) | BIT(24))

static u64 key(u32 leaf, u32 subleaf)
{
	return (u64)leaf << 32 | subleaf;
}

/* Entries are sorted: checked when they come from a peer. */
static const struct cpuid_entry *find(const struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
	u64 wanted = key(leaf, subleaf);
	u32 low = 0;
	u32 high = MIN(policy->count, CPUID_ENTRIES_MAX);

	while (low < high) {
		u32 middle = (low + high) / 2;
		const struct cpuid_entry *entry = &policy->entries[middle];
		u64 here = key(entry->leaf, entry->subleaf);

		if (here == wanted)
			return entry;
		if (here < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* --- building --------------------------------------------------------------------------------- */

u64 cpuid_host_xcr0(void)
{
	u64 xcr0 = fpu_features() & XCR0_KNOWN;

	if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || !(xcr0 & XCR0_AVX))
		xcr0 &= ~XCR0_AVX512;
	return xcr0;
}

static struct cpuid_regs host_leaf(u32 leaf, u32 subleaf)
{
	u32 base = leaf & LEAF_EXTENDED;

	/* Beyond the last leaf, Intel's CPUs answer with some other leaf (SDM 2, CPUID). */
	if (leaf > cpuid_read(base, 0).eax)
		return (struct cpuid_regs){ 0 };
	if (leaf == 7 && subleaf > cpuid_read(7, 0).eax)
		return (struct cpuid_regs){ 0 };
	return cpuid_read(leaf, subleaf);
}

static u32 host_word(u32 word)
{
	struct cpuid_regs regs = host_leaf(cpuid_words[word].leaf, cpuid_words[word].subleaf);
	struct cpuid_entry entry = { 0, 0, regs.eax, regs.ebx, regs.ecx, regs.edx };

	return *cpuid_entry_register(&entry, cpuid_words[word].reg);
}

static bool feature_shown(const struct cpuid_feature *feature, u32 vcpus)
{
	u64 xcr0 = cpuid_host_xcr0();

	switch ((enum cpuid_source)feature->source) {
	case FROM_US:
		return true;
	case FROM_SMP:
		return vcpus > 1;
	case FROM_HOST:
		break;
	case FROM_XSAVE:
		if (!(xcr0 & XCR0_SSE))
			return false;
		break;
	case FROM_AVX:
		if (!(xcr0 & XCR0_AVX))
			return false;
		break;
	case FROM_AVX512:
		if (!(xcr0 & XCR0_AVX512))
			return false;
		break;
	}
	return host_word(feature->word) & BIT(feature->bit);
}

static u32 word_shown(u32 word, u32 vcpus)
{
	u32 bits = 0;

	for (u32 i = 0; i < cpuid_feature_count; i++)
		if (cpuid_features[i].word == word && feature_shown(&cpuid_features[i], vcpus))
			bits |= (u32)BIT(cpuid_features[i].bit);
	return bits;
}

static u32 topology_shift(u32 vcpus)
{
	u32 shift = 0;

	while ((1u << shift) < vcpus)
		shift++;
	return shift;
}

/* Leaf 0xd, subleaf 0: everything at once; EBX depends on XCR0 and is computed for each CPUID. */
static void leaf_xsave(struct cpuid_entry *entry)
{
	u64 xcr0 = cpuid_host_xcr0();

	entry->eax = (u32)xcr0;
	entry->edx = (u32)(xcr0 >> 32);
	entry->ecx = xcr0 ? xsave_bytes(xcr0) : 0;
}

/* One component; ECX bit 1: aligned in the compacted format. */
static void leaf_xsave_component(struct cpuid_entry *entry, const struct cpuid_regs *host)
{
	if (!(cpuid_host_xcr0() & BIT(entry->subleaf)))
		return;
	entry->eax = host->eax;
	entry->ebx = host->ebx;
	entry->ecx = host->ecx & BIT(1);
}

static void leaf_special(struct cpuid_entry *entry, const struct cpuid_regs *host, u32 vcpus)
{
	switch (entry->leaf) {
	case 0:
		*entry = (struct cpuid_entry){ 0, 0, BASIC_MAX, host->ebx, host->ecx, host->edx };
		return;
	case 1:
		entry->eax = host->eax;
		entry->ebx = (host->ebx & 0xff00) | vcpus << 16; /* CLFLUSH's line; the APIC ID comes later */
		return;
	case 4:
		/* A package of its own for every vCPU's caches. */
		if (host->eax & 0x1f)
			*entry = (struct cpuid_entry){ 4, entry->subleaf, host->eax & 0x3fff, host->ebx, host->ecx,
						       host->edx };
		return;
	case 7:
		entry->eax = MIN(host->eax, 1);
		return;
	case 0xd:
		if (entry->subleaf == 0)
			leaf_xsave(entry);
		else
			leaf_xsave_component(entry, host);
		return;
	case LEAF_HYPERVISOR:
		*entry = (struct cpuid_entry){ LEAF_HYPERVISOR, 0, LEAF_HYPERVISOR + 1, 0x4b4d564b, 0x564b4d56, 0x4d };
		return;
	case LEAF_HYPERVISOR + 1:
		entry->eax = (u32)KVM_FEATURES;
		return;
	case LEAF_EXTENDED:
		*entry = (struct cpuid_entry){ LEAF_EXTENDED, 0, EXTENDED_MAX, host->ebx, host->ecx, host->edx };
		return;
	case 0x80000001:
		entry->eax = host->eax;
		return;
	case 0x80000008:
		entry->eax = host->eax & 0xffff;
		entry->ecx = (vcpus - 1) | topology_shift(vcpus) << 12;
		return;
	}
}

void cpuid_policy_build(struct cpuid_policy *policy, u32 vcpus)
{
	memset(policy, 0, sizeof(*policy));
	policy->vcpus = vcpus;
	policy->count = ARRAY_SIZE(leaves);
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct cpuid_entry *entry = &policy->entries[i];
		struct cpuid_regs host = host_leaf(leaves[i].leaf, leaves[i].subleaf);

		*entry = (struct cpuid_entry){ .leaf = leaves[i].leaf, .subleaf = leaves[i].subleaf };
		if (leaves[i].kind == LEAF_DATA)
			*entry = (struct cpuid_entry){ entry->leaf, entry->subleaf, host.eax, host.ebx, host.ecx,
						       host.edx };
		else if (leaves[i].kind == LEAF_SPECIAL)
			leaf_special(entry, &host, vcpus);
		for (u32 word = 0; word < CPUID_WORDS; word++)
			if (cpuid_words[word].leaf == entry->leaf && cpuid_words[word].subleaf == entry->subleaf)
				*cpuid_entry_register(entry, cpuid_words[word].reg) = word_shown(word, vcpus);
	}
}

/* --- the instruction -------------------------------------------------------------------------- */

/* Of XSAVE's area for what XCR0 enables now: by the components' offsets, or compacted (SDM 1 13.4.3). */
static u32 xsave_area(const struct cpuid_policy *policy, u64 xcr0, bool compact)
{
	u32 bytes = XSAVE_FIXED_BYTES;

	for (u32 component = 2; component < 63; component++) {
		const struct cpuid_entry *entry;

		if (!(xcr0 >> component))
			break;
		if (!(xcr0 & BIT(component)))
			continue;
		entry = find(policy, 0xd, component);
		if (!entry)
			continue;
		if (!compact)
			bytes = MAX(bytes, entry->ebx + entry->eax);
		else
			bytes = (entry->ecx & BIT(1) ? (u32)ALIGN_UP(bytes, 64) : bytes) + entry->eax;
	}
	return bytes;
}

/* Leaf 0xd, subleaves 0 and 1: where the host has XSAVE. */
static noinline void answer_xsave(struct vcpu *vcpu, bool compact)
{
	u64 *gpr = vcpu->regs.gpr;

	if (gpr[GPR_RAX])
		gpr[GPR_RBX] = xsave_area(vcpu->vm->cpuid, vcpu->xcr0, compact);
}

/* Leaf 1: the APIC ID, and what CR4 and APIC_BASE say (SDM 3 11.4.3). */
static noinline void answer_identity(struct vcpu *vcpu)
{
	u64 *gpr = vcpu->regs.gpr;

	gpr[GPR_RBX] |= vcpu->index << 24;
	if (hvm->get_cr(vcpu, 4) & CR4_OSXSAVE)
		gpr[GPR_RCX] |= LEAF1_ECX_OSXSAVE;
	if (unlikely(vcpu->apic_off))
		gpr[GPR_RDX] &= ~(u64)EDX_APIC;
}

/* Leaf 0xb: threads (one), then cores. */
static noinline void answer_topology(struct vcpu *vcpu, u32 subleaf)
{
	u32 vcpus = vcpu->vm->cpuid->vcpus;
	u64 *gpr = vcpu->regs.gpr;

	gpr[GPR_RCX] = subleaf & 0xff;
	gpr[GPR_RDX] = vcpu->index;
	if (subleaf == 0) {
		gpr[GPR_RBX] = 1;
		gpr[GPR_RCX] |= 1 << 8;
	} else if (subleaf == 1) {
		gpr[GPR_RAX] = topology_shift(vcpus);
		gpr[GPR_RBX] = vcpus;
		gpr[GPR_RCX] |= 2 << 8;
	}
}

static bool has_subleaves(u32 leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xd;
}

static void answer(struct vcpu *vcpu, const struct cpuid_entry *entry, u32 leaf, u32 subleaf)
{
	u64 *gpr = vcpu->regs.gpr;

	gpr[GPR_RAX] = entry->eax;
	gpr[GPR_RBX] = entry->ebx;
	gpr[GPR_RCX] = entry->ecx;
	gpr[GPR_RDX] = entry->edx;
	if (leaf == 1)
		answer_identity(vcpu);
	else if (leaf == 0xb)
		answer_topology(vcpu, subleaf);
	else if (leaf == 0xd && subleaf < 2)
		answer_xsave(vcpu, subleaf == 1);
	else if (leaf == 0x80000001 && vcpu->apic_off)
		gpr[GPR_RDX] &= ~(u64)EDX_APIC;
}

static noinline void search(struct vcpu *vcpu, u8 *hint)
{
	static const struct cpuid_entry nothing;
	u32 leaf = (u32)vcpu->regs.gpr[GPR_RAX];
	u32 subleaf = (u32)vcpu->regs.gpr[GPR_RCX];
	const struct cpuid_policy *policy = vcpu->vm->cpuid;
	const struct cpuid_entry *entry = find(policy, leaf, has_subleaves(leaf) ? subleaf : 0);

	if (entry)
		*hint = (u8)(entry - policy->entries);
	answer(vcpu, entry ? entry : &nothing, leaf, subleaf);
}

/*
 * The entry is looked for where it was found the last time; else by a search. A hint is only a
 * place among the policy's entries to look at: the entry itself says what it is.
 */
void cpuid_execute(struct vcpu *vcpu)
{
	const struct cpuid_policy *policy = vcpu->vm->cpuid;
	u32 leaf = (u32)vcpu->regs.gpr[GPR_RAX];
	u32 subleaf = (u32)vcpu->regs.gpr[GPR_RCX];
	u8 *hint = &vcpu->cpuid_hints[(leaf + (leaf >> 27)) % CPUID_HINTS];
	u32 place = *hint;
	const struct cpuid_entry *entry = policy->entries + place;

	if (unlikely(entry->leaf != leaf || (entry->subleaf != subleaf && has_subleaves(leaf))))
		search(vcpu, hint);
	else
		answer(vcpu, entry, leaf, subleaf);
}

u32 cpuid_policy_word(const struct cpuid_policy *policy, enum cpuid_word word)
{
	const struct cpuid_entry *entry = find(policy, cpuid_words[word].leaf, cpuid_words[word].subleaf);
	struct cpuid_entry copy;

	if (!entry)
		return 0;
	copy = *entry;
	return *cpuid_entry_register(&copy, cpuid_words[word].reg);
}

u64 cpuid_policy_xcr0(const struct cpuid_policy *policy)
{
	const struct cpuid_entry *entry = find(policy, 0xd, 0);
	u64 xcr0 = entry ? entry->eax | (u64)entry->edx << 32 : 0;

	return xcr0 | XCR0_X87;
}

u64 cpuid_policy_state(const struct cpuid_policy *policy)
{
	return cpuid_policy_xcr0(policy) | XCR0_SSE;
}
