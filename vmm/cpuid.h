/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests are shown of the CPU: one table decides it, leaf by leaf (vmm/cpuid.c). A guest's
 * own copy is made when it is created, goes with it in a migration, and never changes.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include "arch/x86_64/cpu.h"
#include "types.h"
#include "vmm/vm_config.h"

struct vcpu;

struct cpuid_entry {
	u32 leaf, subleaf;
	u32 eax, ebx, ecx, edx;
};
static_assert(sizeof(struct cpuid_entry) == 24, "wire layout");

#define CPUID_ENTRIES_MAX 64

/* Also travels in a migration's HELLO: fixed width; entries past count are zero. */
struct cpuid_policy {
	u32 count;
	u32 vcpus;
	struct cpuid_entry entries[CPUID_ENTRIES_MAX];
};
static_assert(sizeof(struct cpuid_policy) == 8 + CPUID_ENTRIES_MAX * 24, "wire layout");

/* From the host's CPUID, for a guest with this many vCPUs. */
void cpuid_policy_build(struct cpuid_policy *policy, u32 vcpus);
/*
 * Cuts a policy of this host down to a level, for a guest with so much memory: what is left is the same on
 * every host of the level, but for data (the CPU's name, caches). -E_NOSYS: why names what this host lacks.
 */
int must_check cpuid_policy_limit(struct cpuid_policy *policy, enum cpu_level level, u64 memory_bytes, char *why,
				  size_t why_bytes);
/* "host", "x86-64-v2"... */
const char *cpuid_level_name(enum cpu_level level);
int must_check cpuid_level_find(const char *name, enum cpu_level *level);
/*
 * Can this host show a guest from a peer all of it? -E_REFUSED: why names what is missing ("avx2,
 * sha_ni"); -E_INVAL: no policy that cpuid_policy_build could have made.
 */
int must_check cpuid_policy_check(const struct cpuid_policy *policy, char *why, size_t why_bytes);
/* The CPUID instruction: leaf and subleaf in EAX and ECX, the answer in EAX, EBX, ECX, EDX. */
void cpuid_execute(struct vcpu *vcpu);

/* The registers that hold feature bits. */
enum cpuid_word {
	CPUID_1_ECX, CPUID_1_EDX, CPUID_6_EAX, CPUID_7_EBX, CPUID_7_ECX, CPUID_7_EDX, CPUID_71_EAX, CPUID_D1_EAX,
	CPUID_81_ECX, CPUID_81_EDX, CPUID_87_EDX, CPUID_88_EBX, CPUID_WORDS
};
u32 cpuid_policy_word(const struct cpuid_policy *policy, enum cpuid_word word);
/* XCR0 bits that the guest may set. */
u64 cpuid_policy_xcr0(const struct cpuid_policy *policy);
/* The components of an XSAVE area in which a guest may have something: SSE's needs no XCR0. */
u64 cpuid_policy_state(const struct cpuid_policy *policy);
/* The XCR0 bits that any guest of this host may be shown. */
u64 cpuid_host_xcr0(void);

#endif
