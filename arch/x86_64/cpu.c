/* SPDX-License-Identifier: Apache-2.0 */
/* Who is who among the CPUs; waking and sleeping; control registers. Any CPU. */
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/init.h"
#include "arch/x86_64/apic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/regs.h"
#include "arch/x86_64/traps.h"
#include "compiler.h"
#include "lib/log.h"

/* Written while the CPU that it describes is not up yet. */
static struct cpu *cpus[CPUS_MAX];
static u32 count;

u32 cpu_count(void)
{
	return READ_ONCE(count);
}

struct cpu *cpu_get(u32 index)
{
	assert(index < count);
	return cpus[index];
}

struct cpu *cpu_self(void)
{
	struct cpu_area *area;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(area));
	return &area->cpu;
}

struct cpu *cpu_by_apic_id(u32 apic_id)
{
	for (u32 i = 0; i < count; i++)
		if (cpus[i]->apic_id == apic_id)
			return cpus[i];
	return NULL;
}

void cpu_register(struct cpu_area *area)
{
	assert(count < CPUS_MAX);
	area->cpu.index = count;
	area->cpu.online = true;
	cpus[count] = &area->cpu;
	store_release(&count, count + 1);
}

void cpu_block_guard(struct cpu_block *block)
{
	for (u32 i = 0; i < IST_COUNT; i++)
		paging_protect((uintptr_t)block->ist_guard[i][0], PAGE_SIZE, PAGING_NONE);
	paging_protect((uintptr_t)block->stack_guard, PAGE_SIZE, PAGING_NONE);
}

void cpu_control_init(void)
{
	u64 cr4 = (cr4_read() & CR4_LA57) | CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	u64 cr0 = cr0_read() & ~(u64)(CR0_EM | CR0_TS | CR0_CD | CR0_NW);

	if (cpuid_read(1, 0).ecx & BIT(26))
		cr4 |= CR4_OSXSAVE;
	if (cpuid_read(0, 0).eax >= 7 && cpuid_read(7, 0).ebx & BIT(7))
		cr4 |= CR4_SMEP;
	msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_NXE);
	cr4_write(cr4);
	cr0_write(cr0 | CR0_MP | CR0_NE | CR0_WP);
	/* Our page tables, and what guests get, count on PAT entry 0 being write-back, 3 uncached. */
	if (msr_read(MSR_PAT) != PAT_AT_RESET)
		msr_write(MSR_PAT, PAT_AT_RESET);
}

void cpu_kick(u32 index)
{
	struct cpu *cpu = cpu_get(index);

	atomic_or(&cpu->pending, CPU_PENDING_KICK);
	/* Who kicks itself is awake, and looks at pending before it sleeps or enters a guest. */
	if (cpu != cpu_self())
		apic_ipi(cpu->apic_id, APIC_FIXED | VECTOR_KICK);
}

u32 cpu_take_pending(void)
{
	struct cpu *cpu = cpu_self();

	if (!READ_ONCE(cpu->pending))
		return 0;
	return atomic_swap(&cpu->pending, 0);
}

void cpu_idle(u64 deadline_ns)
{
	struct cpu *cpu = cpu_self();
	u64 start = time_ns();

	if (deadline_ns && deadline_ns <= start)
		return;
	cpu_timer_set(deadline_ns);
	WRITE_ONCE(cpu->idle_since_ns, start);
	/*
	 * Interrupts are off here, so nothing can set pending on this CPU between the look and the
	 * HLT: what arrives from now on stays in the APIC until STI, which itself holds interrupts
	 * back for one more instruction (SDM 2, STI). Another CPU's cpu_kick() always sends an IPI.
	 */
	if (!READ_ONCE(cpu->pending))
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	WRITE_ONCE(cpu->idle_since_ns, 0);
	cpu->idle_ns += time_ns() - start;
}

struct cpuid_regs cpuid_read(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf));
	return r;
}

u32 cpu_apic_id(void)
{
	if (cpuid_read(0, 0).eax >= 0xb) {
		struct cpuid_regs topology = cpuid_read(0xb, 0);

		if (topology.ebx)
			return topology.edx;
	}
	return cpuid_read(1, 0).ebx >> 24;
}

u64 msr_read(u32 msr)
{
	u32 low;
	u32 high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (u64)high << 32 | low;
}

void msr_write(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
