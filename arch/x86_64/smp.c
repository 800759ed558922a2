/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts the other CPUs, one after the other, by INIT-SIPI-SIPI (SDM 3 8.4). The service CPU
 * calls; each started CPU runs smp_entry() on a stack of its own.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/apic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/regs.h"
#include "compiler.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define INIT_WAIT_NS (10 * NS_PER_MS)   /* between INIT and the first SIPI */
#define STARTUP_WAIT_NS (200 * NS_PER_US) /* before the second */
#define ONLINE_WAIT_NS (2 * NS_PER_S)

extern const u8 trampoline_start[], trampoline_end[], trampoline_cr3[], trampoline_cr4[],
	trampoline_far32[], trampoline_far64[], trampoline_gdt_base[], trampoline_entry[],
	trampoline_stack[], trampoline_argument[];

static hpa_t trampoline;
static u64 parked_tsc;
static void (*others_loop)(void);
/* The TSC as a started CPU saw it when it came; 0 before. */
static u64 arrival_tsc;

void smp_park_others(void)
{
	parked_tsc = tsc_read(); /* there is no clock yet */
	apic_ipi_others(APIC_INIT);
}

void smp_init(hpa_t page)
{
	trampoline = page;
}

/* Since smp_park_others(); most of it has passed with other things. */
static void wait_for_init(void)
{
	while (tsc_to_ns(tsc_read() - parked_tsc) < INIT_WAIT_NS)
		cpu_relax();
}

static noreturn void smp_entry(struct cpu_block *block)
{
	cpu_block_load(block);
	cpu_control_init();
	apic_cpu_init();
	cpu_register(&block->area);
	/* From here on the starter goes on, with the next CPU or with its own work. */
	store_release(&arrival_tsc, tsc_read());
	others_loop();
	panic("the loop of CPU %u has ended", cpu_self()->index);
}

/* A variable of the trampoline's copy. */
static void *copy_of(const u8 *symbol)
{
	return page_ptr(trampoline + (u64)(symbol - trampoline_start));
}

static void set32(const u8 *symbol, u32 value)
{
	memcpy(copy_of(symbol), &value, sizeof(value));
}

static void set64(const u8 *symbol, u64 value)
{
	memcpy(copy_of(symbol), &value, sizeof(value));
}

static void add32(const u8 *symbol, u32 value)
{
	u32 before;

	memcpy(&before, copy_of(symbol), sizeof(before));
	set32(symbol, before + value);
}

static void trampoline_fill(void)
{
	u32 base = (u32)trampoline;

	memcpy(page_ptr(trampoline), trampoline_start, (size_t)(trampoline_end - trampoline_start));
	add32(trampoline_gdt_base, base);
	add32(trampoline_far32, base);
	add32(trampoline_far64, base);
	set32(trampoline_cr3, (u32)paging_root());
	set32(trampoline_cr4, (u32)cr4_read() & (CR4_PAE | CR4_LA57));
	set64(trampoline_entry, (uintptr_t)smp_entry);
}

/* Writable for us while it is filled in, executable while the CPU runs it: never both. */
static void trampoline_prepare(struct cpu_block *block)
{
	paging_protect(trampoline, PAGE_SIZE, PAGING_READ_WRITE);
	set64(trampoline_stack, (uintptr_t)(block->stack + STACK_PAGES));
	set64(trampoline_argument, (uintptr_t)block);
	paging_protect(trampoline, PAGE_SIZE, PAGING_READ_EXECUTE);
}

static bool arrived_by(u64 deadline_ns)
{
	while (time_ns() < deadline_ns) {
		if (load_acquire(&arrival_tsc))
			return true;
		cpu_relax();
	}
	return load_acquire(&arrival_tsc) != 0;
}

static bool start_cpu(u32 apic_id)
{
	hpa_t page = pages_alloc(CPU_BLOCK_ORDER);
	struct cpu_block *block;
	u32 startup = APIC_STARTUP | (u32)(trampoline >> PAGE_SHIFT);
	u64 before = tsc_read();

	if (page == HPA_NONE)
		return false;
	block = page_ptr(page);
	cpu_block_guard(block);
	block->area.cpu.apic_id = apic_id;
	WRITE_ONCE(arrival_tsc, 0);
	trampoline_prepare(block);
	apic_ipi(apic_id, startup);
	if (!arrived_by(time_ns() + STARTUP_WAIT_NS)) {
		apic_ipi(apic_id, startup);
		if (!arrived_by(time_ns() + ONLINE_WAIT_NS)) {
			/* Put it back to sleep: coming late, it would take the next one's stack. */
			apic_ipi(apic_id, APIC_INIT);
			return false;
		}
	}
	if (arrival_tsc < before || arrival_tsc > tsc_read())
		log_warn("the clock (TSC) of the CPU with APIC id %u differs from the boot CPU's",
			 apic_id);
	return true;
}

void cpu_start_others(void (*main_loop)(void))
{
	const struct acpi_info *acpi = acpi_info();
	u32 own_id = cpu_self()->apic_id;

	others_loop = main_loop;
	if (acpi->cpus_left_out)
		log_warn("%u of this machine's CPUs are not used: %u are the most", acpi->cpus_left_out, CPUS_MAX);
	if (acpi->cpu_count <= 1)
		return;
	if (!trampoline) {
		log_error("no memory below 1 MiB is free: the other CPUs can't be started");
		return;
	}
	trampoline_fill();
	wait_for_init();
	for (u32 i = 0; i < acpi->cpu_count; i++)
		if (acpi->apic_ids[i] != own_id && !start_cpu(acpi->apic_ids[i]))
			log_error("the CPU with APIC id %u does not start", acpi->apic_ids[i]);
	paging_protect(trampoline, PAGE_SIZE, PAGING_READ_WRITE);
}
