/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_hvm.h"

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "mm/pages.h"
#include "vmm/cr.h"
#include "vmm/files.h"
#include "vmm/msr.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define ACTIONS 64
#define TLB_ENTRIES 64
#define RFLAGS_IF BIT(9)

enum fake_op { OP_STORE, OP_LOAD, OP_EXIT };

struct fake_action {
	enum fake_op op;
	gpa_t gpa;
	u32 size;
	u64 value;
	struct vm_exit exit;
	bool has_rax, has_rcx_rdx, is_msr;
	u64 rax, rcx, rdx;
};

struct fake_tlb_entry {
	bool valid, dirty;
	u64 page;
	hpa_t hpa;
};

struct fake_vcpu {
	struct cpu_state state;
	struct vm_event event;
	bool irq_window, nmi_window, flush;
	u64 tsc_offset;
	struct fake_action actions[ACTIONS];
	u32 first, count;
	struct fake_tlb_entry tlb[TLB_ENTRIES];
	u32 tlb_next;
	u64 result;
	u32 events[256];
	u32 error_code;
	u64 flushes, entries;
};

/* As AMD's, but for the names (APM 2 5.3.3). */
static const struct npt_format format = {
	.name = "fake",
	.table_bits = 7,
	.leaf_bits = 5,
	.write_bit = BIT(1),
	.nx_bit = BIT(63),
	.large_bit = BIT(7),
	.present_mask = BIT(0),
	.accessed_bit = BIT(5),
	.dirty_bit = BIT(6),
	.address_mask = 0x000ffffffffff000ull,
	.pages_1g = true,
};

static void (*in_guest_hook)(struct vcpu *vcpu);

static struct fake_vcpu *fake_of(const struct vcpu *vcpu)
{
	return vcpu->vendor;
}

void fake_hvm_set_hook(void (*in_guest)(struct vcpu *vcpu))
{
	in_guest_hook = in_guest;
}

/* --- the script ------------------------------------------------------------------------------- */

static struct fake_action *add(struct vcpu *vcpu, enum fake_op op)
{
	struct fake_vcpu *f = fake_of(vcpu);
	struct fake_action *action;

	if (f->count == ACTIONS)
		abort();
	action = &f->actions[(f->first + f->count++) % ACTIONS];
	memset(action, 0, sizeof(*action));
	action->op = op;
	vcpu->activity = VCPU_ACTIVE;
	sched_wake(vcpu);
	return action;
}

void fake_guest_store(struct vcpu *vcpu, gpa_t gpa, u32 size, u64 value)
{
	struct fake_action *action = add(vcpu, OP_STORE);

	action->gpa = gpa;
	action->size = size;
	action->value = value;
}

void fake_guest_load(struct vcpu *vcpu, gpa_t gpa, u32 size)
{
	struct fake_action *action = add(vcpu, OP_LOAD);

	action->gpa = gpa;
	action->size = size;
}

void fake_guest_exit(struct vcpu *vcpu, const struct vm_exit *exit)
{
	add(vcpu, OP_EXIT)->exit = *exit;
}

static struct fake_action *add_exit(struct vcpu *vcpu, enum vm_exit_kind kind, u8 insn_len)
{
	struct fake_action *action = add(vcpu, OP_EXIT);

	action->exit.kind = kind;
	action->exit.insn_len = insn_len;
	return action;
}

static void add_io(struct vcpu *vcpu, u16 port, u32 size, bool in, u64 value)
{
	struct fake_action *action = add_exit(vcpu, VM_EXIT_IO, 1);

	action->exit.io.port = port;
	action->exit.io.size = (u8)size;
	action->exit.io.in = in;
	action->has_rax = true;
	action->rax = value;
}

void fake_guest_out(struct vcpu *vcpu, u16 port, u32 size, u64 value)
{
	add_io(vcpu, port, size, false, value);
}

void fake_guest_in(struct vcpu *vcpu, u16 port, u32 size)
{
	add_io(vcpu, port, size, true, 0);
}

void fake_guest_wrmsr(struct vcpu *vcpu, u32 msr, u64 value)
{
	struct fake_action *action = add_exit(vcpu, VM_EXIT_MSR_WRITE, 2);

	action->exit.msr.index = msr;
	action->exit.msr.value = value;
}

void fake_guest_rdmsr(struct vcpu *vcpu, u32 msr)
{
	struct fake_action *action = add_exit(vcpu, VM_EXIT_MSR_READ, 2);

	action->exit.msr.index = msr;
	action->is_msr = true;
}

void fake_guest_cpuid(struct vcpu *vcpu, u32 leaf, u32 subleaf)
{
	struct fake_action *action = add_exit(vcpu, VM_EXIT_CPUID, 2);

	action->has_rax = true;
	action->has_rcx_rdx = true;
	action->rax = leaf;
	action->rcx = subleaf;
}

void fake_guest_write_cr(struct vcpu *vcpu, u8 cr, u64 value)
{
	struct fake_action *action = add_exit(vcpu, VM_EXIT_CR_WRITE, 3);

	action->exit.cr.cr = cr;
	action->exit.cr.value = value;
}

u64 fake_guest_result(const struct vcpu *vcpu)
{
	const struct fake_vcpu *f = fake_of(vcpu);

	/* The register that the last exit filled, unless it was a load from memory. */
	return f->result == ~0ull ? vcpu->regs.gpr[GPR_RAX] | vcpu->regs.gpr[GPR_RDX] << 32 : f->result;
}

u32 fake_guest_left(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->count;
}

u32 fake_guest_events(const struct vcpu *vcpu, u8 vector)
{
	return fake_of(vcpu)->events[vector];
}

u32 fake_guest_error_code(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->error_code;
}

u64 fake_guest_cr2(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->state.cr2;
}

u64 fake_guest_flushes(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->flushes;
}

bool fake_guest_nmi_window(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->nmi_window;
}

u64 fake_guest_entries(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->entries;
}

/* --- memory as the hardware sees it ----------------------------------------------------------- */

static void tlb_flush(struct fake_vcpu *f)
{
	memset(f->tlb, 0, sizeof(f->tlb));
	f->flushes++;
}

static struct fake_tlb_entry *tlb_find(struct fake_vcpu *f, u64 page)
{
	for (u32 i = 0; i < TLB_ENTRIES; i++)
		if (f->tlb[i].valid && f->tlb[i].page == page)
			return &f->tlb[i];
	return NULL;
}

/* Walks the nested tables, sets A and (for a store) D; false: not mapped. */
static bool npt_walk_hardware(struct vcpu *vcpu, gpa_t gpa, bool write, hpa_t *hpa)
{
	u64 *table = page_ptr(vcpu->vm->gmem.npt.root);

	for (int level = 4; level > 0; level--) {
		u32 shift = PAGE_SHIFT + 9 * (u32)(level - 1);
		u64 *entry = &table[gpa >> shift & 511];
		bool leaf = level == 1 || *entry & format.large_bit;

		if (!(*entry & format.present_mask))
			return false;
		__atomic_fetch_or(entry, format.accessed_bit | (leaf && write ? format.dirty_bit : 0),
				  __ATOMIC_SEQ_CST);
		if (leaf) {
			*hpa = (*entry & format.address_mask & ~(BIT(shift) - 1)) | (gpa & (BIT(shift) - 1));
			return true;
		}
		table = page_ptr(*entry & format.address_mask);
	}
	return false;
}

/* NULL: a nested page fault. */
static u8 *guest_memory(struct vcpu *vcpu, gpa_t gpa, bool write)
{
	struct fake_vcpu *f = fake_of(vcpu);
	u64 page = gpa / PAGE_SIZE;
	struct fake_tlb_entry *entry = tlb_find(f, page);
	hpa_t hpa;

	if (entry && (entry->dirty || !write))
		return (u8 *)page_ptr(entry->hpa) + gpa % PAGE_SIZE;
	if (!npt_walk_hardware(vcpu, gpa, write, &hpa))
		return NULL;
	if (!entry)
		entry = &f->tlb[f->tlb_next++ % TLB_ENTRIES];
	*entry = (struct fake_tlb_entry){ true, write, page, ALIGN_DOWN(hpa, PAGE_SIZE) };
	return page_ptr(hpa);
}

/* MOV [RDI], RAX and back. The opcode's width and prefix by size. */
static void make_npt_exit(struct vcpu *vcpu, const struct fake_action *action, struct vm_exit *exit)
{
	bool write = action->op == OP_STORE;
	u8 *insn = exit->npt.insn;
	u8 n = 0;

	memset(exit, 0, sizeof(*exit));
	exit->kind = VM_EXIT_NPT;
	exit->npt.gpa = action->gpa;
	exit->npt.write = write;
	if (action->size == 2)
		insn[n++] = 0x66;
	if (action->size == 8)
		insn[n++] = 0x48;
	insn[n++] = (u8)((write ? 0x88 : 0x8a) | (action->size > 1));
	insn[n++] = 0x07;
	exit->npt.insn_bytes = n;
	vcpu->regs.gpr[GPR_RDI] = action->gpa;
	vcpu->regs.gpr[GPR_RAX] = action->value;
	vcpu->regs.gpr[GPR_RDX] = 0;
}

/* true: it exits. */
static bool access_memory(struct vcpu *vcpu, const struct fake_action *action, struct vm_exit *exit)
{
	struct fake_vcpu *f = fake_of(vcpu);
	bool write = action->op == OP_STORE;
	u8 *memory = guest_memory(vcpu, action->gpa, write);

	if (!memory) {
		f->result = ~0ull;
		make_npt_exit(vcpu, action, exit);
		return true;
	}
	if (write) {
		memcpy(memory, &action->value, action->size);
		return false;
	}
	f->result = 0;
	memcpy(&f->result, memory, action->size);
	return false;
}

static void take_exit(struct vcpu *vcpu, const struct fake_action *action, struct vm_exit *exit)
{
	*exit = action->exit;
	fake_of(vcpu)->result = ~0ull;
	if (action->has_rax) {
		vcpu->regs.gpr[GPR_RAX] = action->rax;
		vcpu->regs.gpr[GPR_RDX] = 0;
	}
	if (action->has_rcx_rdx)
		vcpu->regs.gpr[GPR_RCX] = action->rcx;
	if (exit->kind == VM_EXIT_IO)
		exit->io.next_rip = vcpu->regs.rip + 1;
}

static void take_event(struct vcpu *vcpu)
{
	struct fake_vcpu *f = fake_of(vcpu);

	if (f->event.type == EVENT_NONE)
		return;
	f->events[f->event.vector]++;
	if (f->event.has_error_code)
		f->error_code = f->event.error_code;
	f->event.type = EVENT_NONE;
}

static void fake_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct fake_vcpu *f = fake_of(vcpu);

	memset(exit, 0, sizeof(*exit));
	f->entries++;
	if (f->flush) {
		f->flush = false;
		tlb_flush(f);
	}
	take_event(vcpu);
	if (in_guest_hook)
		in_guest_hook(vcpu);
	if (cpu_self()->pending) {
		exit->kind = VM_EXIT_HOST;
		return;
	}
	while (f->count) {
		const struct fake_action *action = &f->actions[f->first];

		f->first = (f->first + 1) % ACTIONS;
		f->count--;
		if (action->op == OP_EXIT) {
			take_exit(vcpu, action, exit);
			return;
		}
		if (access_memory(vcpu, action, exit)) {
			u64 page;

			/* RAM that is not there now: nobody carries the access out, it is tried again. */
			if (!gmem_page_of(&vcpu->vm->gmem, action->gpa, &page)) {
				f->first = (f->first + ACTIONS - 1) % ACTIONS;
				f->count++;
			}
			return;
		}
	}
	exit->kind = VM_EXIT_HLT;
	exit->insn_len = 1;
}

/* --- the rest of struct hvm_ops --------------------------------------------------------------- */

/* APM 2 table 14-1. */
static int fake_vcpu_init(struct vcpu *vcpu)
{
	struct fake_vcpu *f = fault_hit("fake.vcpu_init") ? NULL : calloc(1, sizeof(*f));

	if (!f)
		return -E_NOMEM;
	vcpu->vendor = f;
	vcpu->regs.rflags = 2;
	vcpu->regs.rip = 0xfff0;
	f->state.cr0 = CR0_ET | CR0_CD | CR0_NW;
	f->state.dr6 = 0xffff0ff0;
	f->state.dr7 = 0x400;
	f->state.pat = 0x0007040600070406ull;
	f->state.cs = (struct segment){ 0xf000, 0x9b, 0xffff, 0xffff0000 };
	f->state.xcr0 = 1;
	return 0;
}

static void fake_vcpu_fini(struct vcpu *vcpu)
{
	assert(vcpu->vendor);
	free(vcpu->vendor);
	vcpu->vendor = NULL;
}

static void fake_get_state(const struct vcpu *vcpu, struct cpu_state *state)
{
	const struct fake_vcpu *f = fake_of(vcpu);

	*state = f->state;
	memcpy(state->gpr, vcpu->regs.gpr, sizeof(state->gpr));
	state->rip = vcpu->regs.rip;
	state->rflags = vcpu->regs.rflags;
	state->event = f->event;
}

static int fake_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	struct fake_vcpu *f = fake_of(vcpu);

	f->state = *state;
	f->event = state->event;
	memcpy(vcpu->regs.gpr, state->gpr, sizeof(state->gpr));
	vcpu->regs.rip = state->rip;
	vcpu->regs.rflags = state->rflags;
	return 0;
}

static void fake_get_mode(const struct vcpu *vcpu, struct paging_mode *mode)
{
	const struct cpu_state *s = &fake_of(vcpu)->state;

	*mode = (struct paging_mode){
		.cr0 = s->cr0, .cr3 = s->cr3, .cr4 = s->cr4, .efer = s->efer,
		.cs = s->cs, .ss = s->ss, .ds = s->ds, .es = s->es, .fs = s->fs, .gs = s->gs,
		.cpl = SEGMENT_DPL(s->ss.attr),
	};
}

static u64 *control_register(struct fake_vcpu *f, u8 cr)
{
	switch (cr) {
	case 0:
		return &f->state.cr0;
	case 2:
		return &f->state.cr2;
	case 3:
		return &f->state.cr3;
	case 4:
		return &f->state.cr4;
	default:
		return &f->state.cr8;
	}
}

static void fake_set_cr(struct vcpu *vcpu, u8 cr, u64 value)
{
	*control_register(fake_of(vcpu), cr) = value;
}

static u64 fake_get_cr(const struct vcpu *vcpu, u8 cr)
{
	return *control_register(fake_of(vcpu), cr);
}

static u64 *msr_place(struct fake_vcpu *f, u32 msr)
{
	switch (msr) {
	case 0x174:
		return &f->state.sysenter_cs;
	case 0x175:
		return &f->state.sysenter_esp;
	case 0x176:
		return &f->state.sysenter_eip;
	case 0x1d9:
		return &f->state.debugctl;
	case MSR_PAT:
		return &f->state.pat;
	case MSR_EFER:
		return &f->state.efer;
	case 0xc0000081:
		return &f->state.star;
	case 0xc0000082:
		return &f->state.lstar;
	case 0xc0000100:
		return &f->state.fs.base;
	default:
		return NULL;
	}
}

static int fake_get_msr(const struct vcpu *vcpu, u32 msr, u64 *value)
{
	const u64 *place = msr_place(fake_of(vcpu), msr);

	if (!place)
		return -E_NOENT;
	*value = *place;
	return 0;
}

static int fake_set_msr(struct vcpu *vcpu, u32 msr, u64 value)
{
	u64 *place = msr_place(fake_of(vcpu), msr);

	if (!place)
		return -E_NOENT;
	*place = value;
	return 0;
}

static bool fake_irq_ready(const struct vcpu *vcpu)
{
	return vcpu->regs.rflags & RFLAGS_IF && fake_of(vcpu)->event.type == EVENT_NONE;
}

static void fake_inject(struct vcpu *vcpu, struct vm_event event)
{
	struct fake_vcpu *f = fake_of(vcpu);

	assert(event.type != EVENT_IRQ || fake_irq_ready(vcpu));
	f->event = event;
}

static bool fake_event_pending(const struct vcpu *vcpu)
{
	return fake_of(vcpu)->event.type != EVENT_NONE;
}

static void fake_request_irq_window(struct vcpu *vcpu, bool on)
{
	fake_of(vcpu)->irq_window = on;
}

static void fake_request_nmi_window(struct vcpu *vcpu, bool on)
{
	fake_of(vcpu)->nmi_window = on;
}

static void fake_insn_done(struct vcpu *vcpu)
{
	fake_of(vcpu)->state.interrupt_shadow = 0;
}

static void fake_flush_tlb(struct vcpu *vcpu)
{
	fake_of(vcpu)->flush = true;
}

static void fake_set_tsc(struct vcpu *vcpu, u64 offset, unused u64 ratio)
{
	fake_of(vcpu)->tsc_offset = offset;
}

static const char *fake_missing(void)
{
	return NULL;
}

static int fake_cpu_on(unused struct cpu *cpu)
{
	return 0;
}

static void fake_cpu_off(unused struct cpu *cpu)
{
}

static const struct npt_format *fake_npt_format(void)
{
	return &format;
}

const struct hvm_ops fake_hvm_ops = {
	.name = "fake",
	.npt_name = "fake",
	.missing = fake_missing,
	.cpu_on = fake_cpu_on,
	.cpu_off = fake_cpu_off,
	.vcpu_init = fake_vcpu_init,
	.vcpu_fini = fake_vcpu_fini,
	.vcpu_run = fake_vcpu_run,
	.get_state = fake_get_state,
	.set_state = fake_set_state,
	.get_mode = fake_get_mode,
	.set_cr = fake_set_cr,
	.get_cr = fake_get_cr,
	.get_msr = fake_get_msr,
	.set_msr = fake_set_msr,
	.irq_ready = fake_irq_ready,
	.inject = fake_inject,
	.event_pending = fake_event_pending,
	.request_irq_window = fake_request_irq_window,
	.request_nmi_window = fake_request_nmi_window,
	.insn_done = fake_insn_done,
	.flush_tlb = fake_flush_tlb,
	.set_tsc = fake_set_tsc,
	.npt_format = fake_npt_format,
};

/* --- a machine -------------------------------------------------------------------------------- */

static void install_files(void)
{
	static u8 kernel[4096];
	static const u8 initrd[100] = "initrd";
	static const u32 init_size = 0x2000, magic = 0x53726448, alignment = 0x200000, initrd_max = 0x7fffffff,
			 cmdline = 2047;

	if (files_find("vmlinuz"))
		return;
	kernel[0x1f1] = 1; /* setup sectors */
	kernel[0x1fe] = 0x55;
	kernel[0x1ff] = 0xaa;
	kernel[0x201] = 0x66;
	memcpy(&kernel[0x202], &magic, 4);
	kernel[0x206] = 15;
	kernel[0x207] = 2;
	kernel[0x211] = 1;
	memcpy(&kernel[0x22c], &initrd_max, 4);
	memcpy(&kernel[0x230], &alignment, 4);
	kernel[0x234] = 1;
	kernel[0x236] = 1;
	memcpy(&kernel[0x238], &cmdline, 4);
	kernel[0x25a] = 0x20; /* preferred: 2 MiB */
	memcpy(&kernel[0x260], &init_size, 4);
	memset(&kernel[0x400], 0x90, sizeof(kernel) - 0x400);
	files_add("vmlinuz", kernel, sizeof(kernel));
	files_add("initrd.img", initrd, sizeof(initrd));
}

void fake_hvm_install(void)
{
	fake_cpuid_set(0, 0, (struct cpuid_regs){ 0xd, 0x656b6146, 0x656b6146, 0x656b6146 });
	fake_cpuid_set(1, 0, (struct cpuid_regs){ 0x600f10, 0x800, 0xffffffff, 0xffffffff });
	fake_cpuid_set(7, 0, (struct cpuid_regs){ 1, 0xffffffff, 0xffffffff, 0xffffffff });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 7, 832, 832, 0 });
	fake_cpuid_set(0xd, 1, (struct cpuid_regs){ 0xf, 0, 0, 0 });
	fake_cpuid_set(0xd, 2, (struct cpuid_regs){ 256, 576, 0, 0 });
	fake_cpuid_set(0x80000000, 0, (struct cpuid_regs){ 0x80000008, 0x656b6146, 0x656b6146, 0x656b6146 });
	fake_cpuid_set(0x80000001, 0, (struct cpuid_regs){ 0x600f10, 0, 0xffffffff, 0xffffffff });
	fake_cpuid_set(0x80000008, 0, (struct cpuid_regs){ 0x3028, 0, 0, 0 });
	install_files();
	hvm = &fake_hvm_ops;
}

void fake_vm_config(struct vm_config *config, const char *name, u32 memory_mib)
{
	static u8 number;

	memset(config, 0, sizeof(*config));
	strncpy(config->name, name, sizeof(config->name) - 1);
	memset(config->uuid, ++number, sizeof(config->uuid));
	config->memory_mib = memory_mib;
	config->vcpus = 1;
	strcpy(config->kernel, "vmlinuz");
	strcpy(config->ramdisk, "initrd.img");
	strcpy(config->extra, "console=ttyS0");
	config->on_reboot = VM_RESTART;
}

void fake_clear_memory(void)
{
	while (vm_service())
		;
}

void fake_run(void)
{
	bool more = true;

	while (more) {
		cpu_take_pending();
		more = vm_service();
		more |= sched_run_slice();
	}
}
