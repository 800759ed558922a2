/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end: stops the other CPUs by NMI and shows the state on the log's panic sink. Any CPU, in
 * any state: takes no locks that it may not get, and trusts no pointer that it did not check.
 */
#include "arch/x86_64/init.h"
#include "arch/x86_64/apic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/regs.h"
#include "arch/x86_64/traps.h"
#include "compiler.h"
#include "lib/format.h"
#include "lib/log.h"
#include "version.h"

#define BACKTRACE_MAX 24

extern const u8 image_start[], text_start[], text_end[];

/* The CPU that panicked first, + 1. */
static u32 owner;

static const char *const vector_names[32] = {
	"divide error", "debug", "NMI", "breakpoint", "overflow", "bound range", "invalid opcode",
	"no device", "double fault", NULL, "invalid TSS", "segment not present", "stack fault",
	"general protection", "page fault", NULL, "x87 fault", "alignment check", "machine check",
	"SIMD fault", "virtualization", "control protection", NULL, NULL, NULL, NULL, NULL, NULL,
	"hypervisor injection", "VMM communication", "security", NULL,
};

static noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void panic_nmi(void)
{
	if (READ_ONCE(owner))
		halt();
}

/* The first CPU here goes on, alone; a panic inside of the panic just stops. */
static void panic_begin(void)
{
	__asm__ volatile("cli");
	if (atomic_swap(&owner, 1))
		halt();
	log_set_panicking();
	apic_ipi_others(APIC_NMI);
}

static const char *cpu_text(char *buf, size_t size)
{
	struct cpu *cpu = cpu_by_apic_id(cpu_apic_id());

	if (cpu)
		str_format(buf, size, "CPU %u", cpu->index);
	else
		str_format(buf, size, "APIC id %u", cpu_apic_id());
	return buf;
}

/*
 * Addresses are shown relative to the image: what addr2line -e build/godwit.elf wants. Of callers it is the last
 * byte of the call: where a call that never returns would return to is another function.
 */
static void show_backtrace(u64 rip, u64 rbp)
{
	for (u32 i = 0; i < BACKTRACE_MAX; i++) {
		const u64 *frame = (const u64 *)rbp;

		if (rip < (uintptr_t)text_start || rip >= (uintptr_t)text_end)
			log_info("  #%-2u %#llx (not in the image)", i, (unsigned long long)rip);
		else
			log_info("  #%-2u image + %#llx", i,
				  (unsigned long long)(rip - (uintptr_t)image_start));
		if (!rbp || !IS_ALIGNED(rbp, 8) || !paging_mapped(rbp, 16) || frame[0] <= rbp)
			break;
		rbp = frame[0];
		if (!frame[1])
			break;
		rip = frame[1] - 1;
	}
}

static noreturn void panic_end(void)
{
	log_info("Godwit %s has stopped. Its image was at %#llx.", godwit_version,
		  (unsigned long long)(uintptr_t)image_start);
	halt();
}

void panic(const char *fmt, ...)
{
	char text[256];
	char cpu[32];
	va_list ap;

	panic_begin();
	va_start(ap, fmt);
	str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("panic on %s: %s", cpu_text(cpu, sizeof(cpu)), text);
	show_backtrace((uintptr_t)__builtin_return_address(0) - 1,
		       *(const u64 *)__builtin_frame_address(0));
	panic_end();
}

static void show_registers(const struct trap_frame *f)
{
	const struct {
		const char *name;
		u64 value;
	} registers[] = {
		{ "rax", f->rax }, { "rbx", f->rbx }, { "rcx", f->rcx }, { "rdx", f->rdx },
		{ "rsi", f->rsi }, { "rdi", f->rdi }, { "rbp", f->rbp }, { "rsp", f->rsp },
		{ "r8 ", f->r8 },  { "r9 ", f->r9 },  { "r10", f->r10 }, { "r11", f->r11 },
		{ "r12", f->r12 }, { "r13", f->r13 }, { "r14", f->r14 }, { "r15", f->r15 },
		{ "rip", f->rip }, { "flg", f->rflags }, { "cs ", f->cs }, { "ss ", f->ss },
		{ "cr0", cr0_read() }, { "cr2", cr2_read() }, { "cr3", cr3_read() },
		{ "cr4", cr4_read() },
	};

	for (u32 i = 0; i < ARRAY_SIZE(registers); i += 4)
		log_info("  %s %016llx  %s %016llx  %s %016llx  %s %016llx", registers[i].name,
			  (unsigned long long)registers[i].value, registers[i + 1].name,
			  (unsigned long long)registers[i + 1].value, registers[i + 2].name,
			  (unsigned long long)registers[i + 2].value, registers[i + 3].name,
			  (unsigned long long)registers[i + 3].value);
}

/* Where the compiler's checks end: UD2 (gcc) or UD1 with a number (clang: 67 0F B9 40 n). */
static bool is_compiler_trap(const struct trap_frame *frame)
{
	const u8 *at = (const u8 *)frame->rip;

	if (frame->vector != VECTOR_INVALID_OPCODE || at < text_start || at + 4 > text_end)
		return false;
	return (at[0] == 0x0f && at[1] == 0x0b) || (at[0] == 0x67 && at[1] == 0x0f && at[2] == 0xb9);
}

void panic_trap(const struct trap_frame *frame)
{
	const char *name = frame->vector < ARRAY_SIZE(vector_names) ? vector_names[frame->vector] :
								      NULL;
	char cpu[32];

	panic_begin();
	log_error("panic on %s: exception %llu (%s), error code %#llx",
		  cpu_text(cpu, sizeof(cpu)), (unsigned long long)frame->vector,
		  name ? name : "reserved", (unsigned long long)frame->error);
	if (is_compiler_trap(frame))
		log_error("  undefined behaviour: what the C at image + %#llx was about to do has no meaning",
			  (unsigned long long)(frame->rip - (uintptr_t)image_start));
	if (frame->vector == VECTOR_PAGE_FAULT)
		log_info("  %s of %#llx: %s", frame->error & 16 ? "execution" :
			  frame->error & 2 ? "write" : "read", (unsigned long long)cr2_read(),
			  frame->error & 1 ? "not allowed" : "nothing is mapped there");
	show_registers(frame);
	show_backtrace(frame->rip, frame->rbp);
	panic_end();
}
