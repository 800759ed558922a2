/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables, and where every exception and interrupt arrives. Any CPU.
 * Interrupts come only in the two places that let them in (cpu_idle, the guest window), so a
 * handler only sets flags. Exceptions are our own bugs and end in a panic, but for those that
 * the fixup table expects.
 */
#include "arch/x86_64/traps.h"

#include "arch/x86_64/init.h"
#include "arch/x86_64/io.h"
#include "arch/x86_64/apic.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/regs.h"
#include "compiler.h"
#include "errors.h"

struct idt_entry {
	u16 offset_low;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset_middle;
	u32 offset_high;
	u32 reserved;
};
static_assert(sizeof(struct idt_entry) == 16, "SDM 3 6.14.1");

#define IDT_INTERRUPT_GATE 0x8e /* present, DPL 0, interrupts off inside */

struct table_pointer {
	u16 limit;
	u64 base;
} packed;

#define STUB_BYTES 16
extern const u8 isr_stubs[];
void gdt_load(const struct table_pointer *gdt);
noreturn void stack_switch(noreturn void (*next)(void *arg), void *arg, void *stack_top);

bool msr_try_read(u32 msr, u64 *value);
bool msr_try_write(u32 msr, u64 value);
extern const u8 msr_try_read_at[], msr_try_write_at[], msr_try_fault[];

/* Instructions that may raise #GP, and where to go on then. */
static const struct fixup {
	const u8 *at;
	const u8 *fault;
} fixups[] = {
	{ msr_try_read_at, msr_try_fault },
	{ msr_try_write_at, msr_try_fault },
};

static struct idt_entry idt[256];
struct cpu_block cpu_boot_block;

static void idt_init(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(idt); i++) {
		u64 stub = (uintptr_t)isr_stubs + i * STUB_BYTES;

		idt[i].offset_low = (u16)stub;
		idt[i].offset_middle = (u16)(stub >> 16);
		idt[i].offset_high = (u32)(stub >> 32);
		idt[i].selector = GDT_CODE;
		idt[i].type = IDT_INTERRUPT_GATE;
	}
	/* These may come when the stack itself is what is broken. */
	idt[VECTOR_DOUBLE_FAULT].ist = IST_DOUBLE_FAULT;
	idt[VECTOR_NMI].ist = IST_NMI;
	idt[VECTOR_MACHINE_CHECK].ist = IST_MACHINE_CHECK;
}

static void gdt_fill(struct cpu_area *area)
{
	u64 tss = (uintptr_t)&area->tss;

	area->gdt[GDT_CODE / 8] = 0x00af9b000000ffffull;
	area->gdt[GDT_DATA / 8] = 0x00cf93000000ffffull;
	/* An available 64-bit TSS takes two places (SDM 3 8.2.3). */
	area->gdt[GDT_TSS / 8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
				 (tss >> 24 & 0xff) << 56;
	area->gdt[GDT_TSS / 8 + 1] = tss >> 32;
	area->tss.io_map_base = sizeof(struct tss);
}

void cpu_block_load(struct cpu_block *block)
{
	struct cpu_area *area = &block->area;
	struct table_pointer gdt = { sizeof(area->gdt) - 1, (uintptr_t)area->gdt };
	struct table_pointer idtr = { sizeof(idt) - 1, (uintptr_t)idt };
	u16 tss_selector = GDT_TSS;

	area->self = area;
	area->cpu.stack = block->stack;
	for (u32 i = 0; i < IST_COUNT; i++)
		area->tss.ist[i] = (uintptr_t)block->ist_guard[i][1] + PAGE_SIZE;
	gdt_fill(area);
	gdt_load(&gdt);
	__asm__ volatile("lidt %0" : : "m"(idtr));
	__asm__ volatile("ltr %0" : : "r"(tss_selector));
	msr_write(MSR_GS_BASE, (uintptr_t)area);
}

/* The PICs are masked for good; their spurious interrupts are moved out of the exceptions' way. */
static void pic_off(void)
{
	static const struct {
		u16 port;
		u8 value;
	} writes[] = {
		{ 0x20, 0x11 }, { 0xa0, 0x11 }, { 0x21, VECTOR_PIC }, { 0xa1, VECTOR_PIC + 8 },
		{ 0x21, 4 },    { 0xa1, 2 },    { 0x21, 1 },          { 0xa1, 1 },
		{ 0x21, 0xff }, { 0xa1, 0xff },
	};

	for (u32 i = 0; i < ARRAY_SIZE(writes); i++)
		port_write8(writes[i].port, writes[i].value);
}

void traps_init(void)
{
	struct cpu_area *area = &cpu_boot_block.area;

	idt_init();
	cpu_block_load(&cpu_boot_block);
	cpu_control_init();
	pic_off();
	area->cpu.apic_id = cpu_apic_id();
	cpu_register(area);
}

void startup_switch_stack(noreturn void (*next)(void *arg), void *arg)
{
	stack_switch(next, arg, cpu_boot_block.stack + STACK_PAGES);
}

int msr_read_safe(u32 msr, u64 *value)
{
	return msr_try_read(msr, value) ? 0 : -E_NOENT;
}

int msr_write_safe(u32 msr, u64 value)
{
	return msr_try_write(msr, value) ? 0 : -E_NOENT;
}

static bool fixup_find(struct trap_frame *frame)
{
	for (u32 i = 0; i < ARRAY_SIZE(fixups); i++) {
		if (frame->rip != (uintptr_t)fixups[i].at)
			continue;
		frame->rip = (uintptr_t)fixups[i].fault;
		return true;
	}
	return false;
}

static void handle_interrupt(u8 vector)
{
	struct cpu_area *area = cpu_area_self();

	switch (vector) {
	case VECTOR_SPURIOUS: /* wants no EOI (SDM 3 10.9) */
		return;
	case VECTOR_TIMER:
		area->timer_ns = 0;
		atomic_or(&area->cpu.pending, CPU_PENDING_TIMER);
		break;
	case VECTOR_KICK: /* only has to end a HLT or a guest's run: cpu_kick() set pending */
		break;
	default:
		irq_note(vector);
		break;
	}
	apic_eoi();
}

void trap_dispatch(struct trap_frame *frame)
{
	if (frame->vector >= VECTOR_EXCEPTIONS)
		handle_interrupt((u8)frame->vector);
	else if (frame->vector == VECTOR_NMI)
		panic_nmi();
	else if (frame->vector != VECTOR_GENERAL_PROTECTION || !fixup_find(frame))
		panic_trap(frame);
}
