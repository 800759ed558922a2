/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bed of the migration tests: real guests (vmm/, devices/, mm/) on a made-up CPU, a guest
 * "program" that stores at random and remembers what its memory must be, and the service loop.
 * Source and peer are the same host, over a fake wire.
 * Included once by each test program.
 */
#ifndef MIGRATE_BED_H
#define MIGRATE_BED_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/x86_64/npt_amd.c"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pages.h"
#include "fake/fake_pipe.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "migrate/verify.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"
#include "net/tls/tls.h"
#include "vmm/config/config.h"
#include "vmm/cpuid.h"
#include "vmm/hvm.h"
#include "vmm/kernel.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* A guest's memory. */
#ifndef BED_MIB
#define BED_MIB 16
#endif
/* This host by its address on the wire: "localhost" would not go over the fake pipe. */
#define BED_PEER "10.0.0.9"
#define BED_BYTES MIB(BED_MIB)
#define BED_PAGES (BED_BYTES / PAGE_SIZE)
#define BED_STEP_NS (20 * NS_PER_US)

/* --- a CPU ------------------------------------------------------------------------------------ */

struct bed_cpu {
	struct cpu_state state;
	u64 tsc_offset, tsc_ratio;
	bool event;
};

static int bed_vcpu_init(struct vcpu *vcpu)
{
	struct bed_cpu *cpu = calloc(1, sizeof(*cpu));

	vcpu->vendor = cpu;
	vcpu->regs.rflags = 2;
	vcpu->regs.rip = 0xfff0;
	cpu->state.cr0 = 0x60000010;
	cpu->state.dr6 = 0xffff0ff0;
	cpu->state.dr7 = 0x400;
	cpu->state.xcr0 = 1;
	cpu->state.pat = 0x0007040600070406ull;
	cpu->state.tr.attr = 0x8b;
	cpu->state.ldtr.attr = 0x82;
	return 0;
}

static void bed_vcpu_fini(struct vcpu *vcpu)
{
	free(vcpu->vendor);
	vcpu->vendor = NULL;
}

static void bed_get_state(const struct vcpu *vcpu, struct cpu_state *state)
{
	const struct bed_cpu *cpu = vcpu->vendor;

	*state = cpu->state;
	memcpy(state->gpr, vcpu->regs.gpr, sizeof(state->gpr));
	state->rip = vcpu->regs.rip;
	state->rflags = vcpu->regs.rflags;
}

static int bed_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
	struct bed_cpu *cpu = vcpu->vendor;

	if (fault_hit("bed.set_state"))
		return -E_INVAL;
	cpu->state = *state;
	memcpy(vcpu->regs.gpr, state->gpr, sizeof(state->gpr));
	vcpu->regs.rip = state->rip;
	vcpu->regs.rflags = state->rflags;
	return 0;
}

static u64 bed_get_cr(const struct vcpu *vcpu, u8 cr)
{
	const struct bed_cpu *cpu = vcpu->vendor;

	return cr == 0 ? cpu->state.cr0 : cr == 4 ? cpu->state.cr4 : cpu->state.cr8;
}

static int bed_get_msr(unused const struct vcpu *vcpu, unused u32 msr, unused u64 *value)
{
	return -E_NOENT;
}

static int bed_set_msr(unused struct vcpu *vcpu, unused u32 msr, unused u64 value)
{
	return -E_NOENT;
}

static bool bed_yes(unused const struct vcpu *vcpu)
{
	return true;
}

static bool bed_no(unused const struct vcpu *vcpu)
{
	return false;
}

static void bed_nothing(unused struct vcpu *vcpu)
{
}

static void bed_inject(unused struct vcpu *vcpu, unused struct vm_event event)
{
}

static void bed_window(unused struct vcpu *vcpu, unused bool on)
{
}

static void bed_set_tsc(struct vcpu *vcpu, u64 offset, u64 ratio)
{
	struct bed_cpu *cpu = vcpu->vendor;

	cpu->tsc_offset = offset;
	cpu->tsc_ratio = ratio;
}

static const struct npt_format *bed_format(void)
{
	return npt_amd_format(false);
}

/* 0: this CPU does not scale. */
static u32 bed_ratio_bits;

static u32 bed_tsc_ratio_bits(void)
{
	return bed_ratio_bits;
}

static struct hvm_ops bed_hvm = {
	.name = "SVM", .npt_name = "NPT",
	.vcpu_init = bed_vcpu_init, .vcpu_fini = bed_vcpu_fini,
	.get_state = bed_get_state, .set_state = bed_set_state, .get_cr = bed_get_cr,
	.get_msr = bed_get_msr, .set_msr = bed_set_msr,
	.irq_ready = bed_yes, .inject = bed_inject, .event_pending = bed_no, .request_irq_window = bed_window,
	.request_nmi_window = bed_window,
	.insn_done = bed_nothing, .flush_tlb = bed_nothing, .set_tsc = bed_set_tsc,
	.tsc_ratio_bits = bed_tsc_ratio_bits,
	.npt_format = bed_format,
};

/* These guests have no kernel; where a test wants them to start, they start without one. */
static bool bed_boots;

int kernel_load(unused struct vm *vm, char *why, size_t why_bytes)
{
	if (bed_boots)
		return 0;
	snprintf(why, why_bytes, "no kernel in this bed");
	return -E_NOENT;
}

/* --- a guest and its program ------------------------------------------------------------------ */

/* What the guest's memory must be. */
static u8 *bed_shadow;
/* Pages whose translation the guest's CPU has cached as dirty: stores there set no D bit. */
static u64 bed_tlb[BITMAP_WORDS(BED_PAGES)];
static u64 bed_stores;
static u32 bed_stores_per_step = 3;
static u32 bed_working_set = 200;
/* Instead of stores per step; 0: none. */
static u32 bed_stores_per_s;
/* Do moves compare the copies? */
static bool bed_verifies;

static bool bed_runs(const struct vm *vm)
{
	return vm->state == VM_LIVE && !vm->paused && !vm->want;
}

/* How many guests run that are this one. */
static u32 bed_owners(void)
{
	u32 owners = 0;

	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		owners += bed_runs(vm);
	return owners;
}

static struct vm *bed_running(void)
{
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		if (bed_runs(vm))
			return vm;
	return NULL;
}

/* As the hardware sets it: at any level, when the translation is walked. */
static void bed_set_dirty(struct gmem *gm, u64 page)
{
	const struct npt_format *format = gm->npt.format;
	gpa_t gpa = gmem_page_gpa(gm, page);
	u64 *table = page_ptr(gm->npt.root);

	for (int level = NPT_LEVELS;; level--) {
		u64 *entry = &table[NPT_INDEX(gpa, level)];

		*entry |= format->accessed_bit;
		if (!npt_is_table(format, *entry, level)) {
			*entry |= format->dirty_bit;
			return;
		}
		table = page_ptr(*entry & format->address_mask);
	}
}

/* The guest stores 8 bytes. */
static void bed_store(struct vm *vm, u64 page, u32 offset, u64 value)
{
	struct vcpu *vcpu = vm->vcpus[0];
	static u32 tlb_of;

	/* It flushes before it runs on, when it was asked to; and another guest has another TLB. */
	if (vcpu->requests & VCPU_REQ_FLUSH || tlb_of != vm->id) {
		memset(bed_tlb, 0, sizeof(bed_tlb));
		vcpu->requests &= ~(u32)VCPU_REQ_FLUSH;
		tlb_of = vm->id;
	}
	if (!bitmap_test(bed_tlb, page)) {
		bed_set_dirty(&vm->gmem, page);
		bitmap_set(bed_tlb, page);
	}
	memcpy((u8 *)(uintptr_t)gmem_page(&vm->gmem, page) + offset, &value, sizeof(value));
	memcpy(bed_shadow + page * PAGE_SIZE + offset, &value, sizeof(value));
	bed_stores++;
}

/* How often it stores in this step, if it has all of a CPU. */
static u32 bed_stores_now(void)
{
	static u64 due;

	if (!bed_stores_per_s)
		return bed_stores_per_step;
	due += bed_stores_per_s * BED_STEP_NS;
	if (due < NS_PER_S)
		return 0;
	due -= NS_PER_S;
	return 1;
}

static void bed_guest_program(void)
{
	struct vm *vm = bed_running();
	u32 stores = bed_stores_now();

	for (u32 i = 0; vm && i < stores; i++) {
		u64 r = random_u64();

		if (vm->cap && (r >> 40) % 100 >= vm->cap)
			continue;

		/* Zeros, too: pages come to be zero and cease to be. */
		bed_store(vm, MIN(1000, BED_PAGES / 4) + r % bed_working_set, (u32)(r >> 20) % 512 * 8, r >> 60 ? r : 0);
	}
	if (vm && bed_stores_per_step) {
		u64 value = bed_stores;

		/* The host writes for it, as virtio does. */
		assert_int_equal(gmem_write(&vm->gmem, 4096 * 8, &value, sizeof(value)), 0);
		memcpy(bed_shadow + 4096 * 8, &value, sizeof(value));
	}
}

static bool bed_memory_equal(struct vm *vm)
{
	for (u64 page = 0; page < vm->gmem.pages; page++)
		if (memcmp(gmem_page(&vm->gmem, page), bed_shadow + page * PAGE_SIZE, PAGE_SIZE))
			return false;
	return true;
}

static void bed_fill(struct vm *vm)
{
	for (u64 page = 0; page < 20; page++)
		for (u32 i = 0; i < PAGE_SIZE / 8; i++)
			bed_store(vm, page * 37, i * 8, random_u64());
	for (u64 page = 100; page < 180; page++)
		bed_store(vm, page, 0, random_u64());
}

static const char bed_config_text[] = "name = 'web'\nmemory = 16\nvcpus = 1\nkernel = 'vmlinuz'\n"
				      "uuid = '11111111-2222-3333-4444-555555555555'\n"
				      "vif = ['mac=00:16:3e:00:00:01']\n";

static void bed_ignore_line(unused void *ctx, unused const char *file, unused u32 line, bool warning, const char *text)
{
	if (!warning)
		fprintf(stderr, "bed: %s\n", text);
}

static void bed_config(struct vm_config *config)
{
	struct cfg_report report = { .line = bed_ignore_line };

	assert_int_equal(vm_config_parse(config, "web.cfg", bed_config_text, strlen(bed_config_text), &report), 0);
	vm_config_complete(config);
	config->memory_mib = BED_MIB; /* instead of the 16 above */
}

/* Set where memory comes as zeros (fake_pages_set_lazy), and must not cost anything. */
static bool bed_memory_is_zero;

/* As vm_create, without a kernel. */
static struct vm *bed_create_of(const struct vm_config *config)
{
	struct vm *vm;
	char why[200];
	int error = vm_create_incoming(config, &vm, why, sizeof(why));

	if (error)
		fprintf(stderr, "bed: %s\n", why);
	assert_int_equal(error, 0);
	if (!bed_memory_is_zero)
		for (u64 page = 0; page < vm->gmem.pages; page++)
			gmem_zero_page(&vm->gmem, page);
	vm_publish(vm);
	vm_start(vm);
	return vm;
}

static struct vm *bed_create(void)
{
	struct vm_config config;
	struct vm *vm;

	bed_config(&config);
	vm = bed_create_of(&config);
	memset(bed_shadow, 0, BED_BYTES);
	bed_fill(vm);
	return vm;
}

/* --- the host --------------------------------------------------------------------------------- */

static const struct migrate_config bed_host = {
	.host_name = "alpha",
	.peers = { { "beta", { 10, 0, 0, 2 }, true, true }, { "alpha", { 10, 0, 0, 9 }, true, true } },
	.peer_count = 2,
};

static void bed_cpuid(bool avx2)
{
	fake_cpuid_set(0, 0, (struct cpuid_regs){ 0xd, 0x68747541, 0x444d4163, 0x69746e65 });
	fake_cpuid_set(1, 0, (struct cpuid_regs){ 0x800f11, 0x800, 0x1c000001 | 1 << 19 | 1 << 20, 0x078bfbff });
	fake_cpuid_set(7, 0, (struct cpuid_regs){ 0, avx2 ? 1 << 5 : 0, 0, 0 });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 7, 832, 832, 0 });
	fake_cpuid_set(0xd, 2, (struct cpuid_regs){ 256, 576, 0, 0 });
	fake_cpuid_set(0x80000000, 0, (struct cpuid_regs){ 0x80000008, 0, 0, 0 });
	fake_cpuid_set(0x80000001, 0, (struct cpuid_regs){ 0x800f11, 0, 1, 0x2c100800 });
	fake_cpuid_set(0x80000008, 0, (struct cpuid_regs){ 0x3028, 0, 0, 0 });
}

/* For as long as the program runs, in huge pages: small ones cost a fault each. */
static void *bed_zeros(u64 bytes)
{
	u8 *start = mmap(NULL, bytes + MIB(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(start != MAP_FAILED);
	start = (u8 *)ALIGN_UP((uintptr_t)start, MIB(2));
	(void)madvise(start, bytes, MADV_HUGEPAGE);
	return start;
}

static int bed_set_up(unused void **state)
{
	fake_cpu_reset();
	fake_pipe_reset();
	fake_pages_set_total(GIB(1) / PAGE_SIZE);
	fault_clear_all();
	fake_time_set(1000 * NS_PER_S);
	bed_cpuid(true);
	hvm = &bed_hvm;
	bed_hvm.name = "SVM";
	bed_stores_per_step = 3;
	bed_working_set = 200;
	bed_stores_per_s = 0;
	bed_shadow = bed_shadow ? bed_shadow : bed_zeros(BED_BYTES);
	migrate_init(&bed_host, &fake_network);
	verify_init(tls_digest);
	bed_verifies = true;
	return 0;
}

static void bed_step(void)
{
	migrate_poll();
	assert_true(bed_owners() <= 1);
	bed_guest_program();
	vm_service();
	fake_time_advance(BED_STEP_NS);
}

/* Until every connection is gone and every doubt resolved, as far as time alone does it. */
static void bed_settle(void)
{
	for (u32 i = 0; i < 40; i++) {
		for (u32 j = 0; j < 5; j++)
			bed_step();
		fake_time_advance(NS_PER_S);
	}
}

static int bed_tear_down(unused void **state)
{
	fault_clear_all();
	if (migrate_cancel() == 0)
		bed_step();
	fake_pipe_repair();
	bed_settle();
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
	return 0;
}

static void bed_start(struct vm *vm, bool live)
{
	struct migrate_options options = { .live = live, .verify = bed_verifies };
	char why[200] = "";
	int error = migrate_start(vm, BED_PEER, &options, why, sizeof(why));

	if (error)
		fprintf(stderr, "migrate_start: %s\n", why);
	assert_int_equal(error, 0);
}

static enum migrate_step bed_run(u32 steps)
{
	struct migrate_progress progress;

	for (u32 i = 0; i < steps; i++) {
		bed_step();
		migrate_get_progress(&progress);
		if (progress.step == MIGRATE_DONE || progress.step == MIGRATE_FAILED)
			return progress.step;
	}
	return progress.step;
}

/* A move that must work, from whatever the last one left. */
static struct vm *bed_move(struct vm *vm, bool live)
{
	struct migrate_progress progress;
	enum migrate_step step;

	bed_start(vm, live);
	step = bed_run(200000);
	if (step != MIGRATE_DONE) {
		migrate_get_progress(&progress);
		fprintf(stderr, "step %d: %s\n", step, progress.why);
	}
	assert_int_equal(step, MIGRATE_DONE);
	vm = bed_running();
	assert_non_null(vm);
	assert_ptr_equal(vm, vm_find("web"));
	assert_true(bed_memory_equal(vm));
	migrate_get_progress(&progress);
	assert_int_equal(progress.pages_verified, bed_verifies ? vm->gmem.pages : 0);
	return vm;
}

#endif
