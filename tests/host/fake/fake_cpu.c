/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_cpu.h"

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/fpu.h"
#include "arch/x86_64/random.h"
#include "errors.h"
#include "lib/fault.h"
#include "lib/log.h"

#define FAKE_CPUIDS 64
#define FAKE_MSRS 64
#define WALL_TIME_AT_BOOT_NS (1700000000ull * NS_PER_S)

static struct cpu cpus[CPUS_MAX];
static struct {
	u64 kicks;
	u64 timer_ns;
	void *fpu_owner;
	u64 xcr0;
} more[CPUS_MAX];
static u32 count = 1;
static u32 self;
static u64 now_ns;
static struct {
	u32 leaf, subleaf;
	struct cpuid_regs regs;
} cpuids[FAKE_CPUIDS];
static u32 cpuid_count;
static struct {
	u32 index;
	u64 value;
} msrs[FAKE_MSRS];
static u32 msr_count;

void fake_cpu_reset(void)
{
	memset(cpus, 0, sizeof(cpus));
	memset(more, 0, sizeof(more));
	cpuid_count = 0;
	msr_count = 0;
	now_ns = 0;
	fake_cpu_set_count(1);
	self = 0;
}

void fake_time_set(u64 ns)
{
	now_ns = ns;
}

void fake_time_advance(u64 ns)
{
	now_ns += ns;
}

void fake_cpu_set_count(u32 n)
{
	count = n;
	for (u32 i = 0; i < CPUS_MAX; i++) {
		cpus[i].index = i;
		cpus[i].apic_id = i;
		cpus[i].online = i < n;
	}
}

void fake_cpu_set_self(u32 index)
{
	self = index;
}

u64 fake_cpu_kicks(u32 index)
{
	return more[index].kicks;
}

u64 fake_cpu_timer(u32 index)
{
	return more[index].timer_ns;
}

u32 cpu_count(void)
{
	return count;
}

struct cpu *cpu_get(u32 index)
{
	return &cpus[index];
}

struct cpu *cpu_self(void)
{
	cpus[self].index = self;
	return &cpus[self];
}

void cpu_kick(u32 index)
{
	more[index].kicks++;
	cpus[index].pending |= CPU_PENDING_KICK;
}

u32 cpu_take_pending(void)
{
	u32 pending = cpus[self].pending;

	cpus[self].pending = 0;
	return pending;
}

void cpu_idle(u64 deadline_ns)
{
	if (!cpus[self].pending && deadline_ns > now_ns)
		now_ns = deadline_ns;
}

void cpu_timer_set(u64 deadline_ns)
{
	more[self].timer_ns = deadline_ns;
}

void cpu_start_others(unused void (*main_loop)(void))
{
}

u64 time_ns(void)
{
	return now_ns;
}

u64 tsc_read(void)
{
	return now_ns;
}

u64 tsc_khz(void)
{
	return FAKE_TSC_KHZ;
}

u64 tsc_to_ns(u64 tsc)
{
	return tsc;
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

u64 wall_time_ns(void)
{
	return WALL_TIME_AT_BOOT_NS + now_ns;
}

void fake_cpuid_set(u32 leaf, u32 subleaf, struct cpuid_regs regs)
{
	u32 at = 0;

	while (at < cpuid_count && (cpuids[at].leaf != leaf || cpuids[at].subleaf != subleaf))
		at++;
	if (at == FAKE_CPUIDS)
		abort();
	cpuids[at].leaf = leaf;
	cpuids[at].subleaf = subleaf;
	cpuids[at].regs = regs;
	if (at == cpuid_count)
		cpuid_count++;
}

struct cpuid_regs cpuid_read(u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < cpuid_count; i++)
		if (cpuids[i].leaf == leaf && cpuids[i].subleaf == subleaf)
			return cpuids[i].regs;
	return (struct cpuid_regs){ 0 };
}

void fake_msr_set(u32 msr, u64 value)
{
	u32 at = 0;

	while (at < msr_count && msrs[at].index != msr)
		at++;
	if (at == FAKE_MSRS)
		abort();
	msrs[at].index = msr;
	msrs[at].value = value;
	if (at == msr_count)
		msr_count++;
}

int msr_read_safe(u32 msr, u64 *value)
{
	for (u32 i = 0; i < msr_count; i++) {
		if (msrs[i].index != msr)
			continue;
		*value = msrs[i].value;
		return 0;
	}
	return -E_NOENT;
}

int msr_write_safe(u32 msr, u64 value)
{
	u64 old;

	if (msr_read_safe(msr, &old))
		return -E_NOENT;
	fake_msr_set(msr, value);
	return 0;
}

u64 msr_read(u32 msr)
{
	u64 value;

	if (msr_read_safe(msr, &value))
		panic("RDMSR %#x faults", msr);
	return value;
}

void msr_write(u32 msr, u64 value)
{
	if (msr_write_safe(msr, value))
		panic("WRMSR %#x faults", msr);
}

/* The same numbers in every run: xorshift64. */
static u64 random_state = 0x9e3779b97f4a7c15ull;

u64 random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

void fake_random_seed(u64 seed)
{
	random_state = seed * 0x9e3779b97f4a7c15ull | 1;
}

int random_seed(u64 seed[4])
{
	for (u32 i = 0; i < 4; i++)
		seed[i] = random_u64();
	return fault_hit("fake.random") ? -E_IO : 0;
}

const char *random_trouble(unused int error)
{
	return "the fake generator is broken";
}

u64 fpu_features(void)
{
	struct cpuid_regs regs = cpuid_read(0xd, 0);

	return regs.eax | (u64)regs.edx << 32;
}

u64 fpu_use(void)
{
	if (more[self].fpu_owner)
		abort();
	return fpu_features();
}

u32 fpu_area_bytes(void)
{
	return 1024;
}

void fpu_area_init(void *area)
{
	memset(area, 0, 576);
}

void fpu_load(void *area, u64 xcr0)
{
	more[self].fpu_owner = area;
	more[self].xcr0 = xcr0;
}

void fpu_set_xcr0(void *area, u64 xcr0)
{
	if (more[self].fpu_owner == area)
		more[self].xcr0 = xcr0;
}

void fpu_flush(void *area)
{
	if (more[self].fpu_owner == area)
		more[self].fpu_owner = NULL;
}

void *fake_fpu_owner(u32 index)
{
	return more[index].fpu_owner;
}

u64 fake_fpu_xcr0(u32 index)
{
	return more[index].xcr0;
}
