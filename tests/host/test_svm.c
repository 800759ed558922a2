/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SVM backend on fabricated VMCBs: what exits are made of, events, state, ASIDs and clean bits.
 * The world switch itself is replaced by a function that plays the CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/hvm/event.c"
#include "arch/x86_64/hvm/state.c"
#include "arch/x86_64/npt_amd.c"
#include "arch/x86_64/svm/event.c"
#include "arch/x86_64/svm/exit.c"
#include "arch/x86_64/svm/insn.c"
#include "arch/x86_64/svm/run.c"
#include "arch/x86_64/svm/state.c"
#include "arch/x86_64/svm/svm.c"
#include "arch/x86_64/svm/vmcb.c"

#include "fake/fake_cpu.h"
#include "fake/fake_pages.h"

enum { CPUID_ALL = CPUID_NPT | CPUID_NRIPS | CPUID_FLUSH_BY_ASID | CPUID_DECODE_ASSISTS };

static struct vm vm;
static struct cpuid_policy policy;
static struct vcpu vcpu;
static u8 xsave_area[4096] aligned(64);

/* What the CPU finds and does at the next VMRUN. */
static struct {
	struct vmcb_control entered;
	u64 entered_rflags;
	u64 code, info_1, info_2, int_info;
	u64 rip, rflags, dr6; /* to be in the VMCB, unless 0 */
	u64 entries;
} cpu;

void svm_enter(u64 *gpr, hpa_t vmcb_hpa, hpa_t host_vmcb)
{
	struct vmcb *vmcb = page_ptr(vmcb_hpa);

	(void)gpr;
	assert_true(host_vmcb);
	cpu.entered = vmcb->control;
	cpu.entered_rflags = vmcb->state.rflags;
	cpu.entries++;
	if (cpu.rip)
		vmcb->state.rip = cpu.rip;
	if (cpu.rflags)
		vmcb->state.rflags = cpu.rflags;
	vmcb->state.dr6 |= cpu.dr6;
	vmcb->control.exit_code = cpu.code;
	vmcb->control.exit_info_1 = cpu.info_1;
	vmcb->control.exit_info_2 = cpu.info_2;
	vmcb->control.exit_int_info = cpu.int_info;
	cpu.int_info = cpu.rip = cpu.rflags = cpu.dr6 = 0;
}

void svm_vmsave(hpa_t vmcb)
{
	assert_true(vmcb);
}

static u64 debug_registers[4];
static u64 served;

void hvm_dr_load(const u64 dr[4])
{
	memcpy(debug_registers, dr, sizeof(debug_registers));
}

void hvm_dr_save(u64 dr[4])
{
	memcpy(dr, debug_registers, sizeof(debug_registers));
}

void hvm_serve_interrupts(void)
{
	served++;
}

static u32 invpcid; /* CPUID's bit */

static void machine(u32 svm_edx, u32 asids)
{
	fake_cpu_reset();
	fake_cpu_set_count(2);
	fake_cpuid_set(0x80000000u, 0, (struct cpuid_regs){ .eax = 0x8000001f });
	fake_cpuid_set(0x80000001u, 0,
		       (struct cpuid_regs){ .ecx = CPUID_81_ECX_SVM, .edx = CPUID_81_EDX_RDTSCP | CPUID_81_EDX_PAGES_1G });
	fake_cpuid_set(CPUID_SVM_LEAF, 0, (struct cpuid_regs){ .eax = 1, .ebx = asids, .edx = svm_edx });
	fake_cpuid_set(7, 0, (struct cpuid_regs){ .ebx = invpcid });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ .eax = 7 });
	fake_msr_set(MSR_VM_CR, 0);
	fake_msr_set(MSR_EFER, EFER_LME | EFER_LMA);
	fake_msr_set(MSR_VM_HSAVE_PA, 0);
	fake_msr_set(MSR_TSC_AUX, 0);
	if (svm_edx & CPUID_TSC_RATIO)
		fake_msr_set(MSR_TSC_RATIO, 0);
}

static void cpu_begin(u32 index)
{
	fake_cpu_set_self(index);
	assert_int_equal(svm_ops.cpu_on(cpu_self()), 0);
}

static int begin(u32 svm_edx, u32 asids)
{
	assert_int_equal(fake_pages_used(), 0);
	machine(svm_edx, asids);
	assert_null(svm_ops.missing());
	cpu_begin(1);
	cpu_begin(0);
	memset(&cpu, 0, sizeof(cpu));
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&policy, 0, sizeof(policy));
	vm.cpuid = &policy;
	assert_int_equal(gmem_init(&vm.gmem, LARGE_SIZE, svm_ops.npt_format()), 0);
	vcpu.vm = &vm;
	vcpu.xsave = xsave_area;
	vcpu.xcr0 = 1;
	return svm_ops.vcpu_init(&vcpu);
}

static int setup_qemu(void **state)
{
	(void)state;
	return begin(CPUID_NPT, 16);
}

static int setup_all(void **state)
{
	(void)state;
	return begin(CPUID_ALL, 4);
}

static int teardown(void **state)
{
	(void)state;
	svm_ops.vcpu_fini(&vcpu);
	gmem_fini(&vm.gmem);
	for (u32 i = 0; i < 2; i++) {
		fake_cpu_set_self(i);
		svm_ops.cpu_off(cpu_self());
	}
	return fake_pages_used() == 0 ? 0 : -1;
}

static struct vmcb *vmcb(void)
{
	return svm_of(&vcpu)->vmcb;
}

static struct vm_exit run(u64 code, u64 info_1, u64 info_2)
{
	struct vm_exit exit;

	memset(&exit, 0x5a, sizeof(exit));
	cpu.code = code;
	cpu.info_1 = info_1;
	cpu.info_2 = info_2;
	svm_ops.vcpu_run(&vcpu, &exit);
	return exit;
}

/* --- what the machine has ---------------------------------------------------------------------- */

static void assert_missing(const char *word)
{
	const char *why = svm_ops.missing();

	assert_non_null(why);
	assert_non_null(strstr(why, word));
}

static void test_missing(void **state)
{
	(void)state;
	machine(CPUID_NPT, 16);
	assert_null(svm_ops.missing());
	fake_cpuid_set(0x80000001u, 0, (struct cpuid_regs){ 0 });
	assert_missing("no SVM");
	machine(CPUID_NPT, 16);
	fake_cpuid_set(0x80000000u, 0, (struct cpuid_regs){ .eax = 0x80000008u });
	assert_missing("no SVM");
	machine(CPUID_NPT, 16);
	fake_msr_set(MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK);
	assert_missing("disabled by the firmware: switch on");
	machine(CPUID_NPT | CPUID_SVM_LOCK, 16);
	fake_msr_set(MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK);
	assert_missing("locked with a key");
	machine(0, 16);
	assert_missing("no nested paging");
	machine(CPUID_NPT, 1);
	assert_missing("ASIDs");
	machine(CPUID_NPT, 16);
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 0 });
	assert_missing("XSAVE");
	fake_cpu_reset();
	assert_missing("no SVM");
}

/* Disabled, but not locked: we may switch it on. */
static void test_cpu_on_clears_svmdis(void **state)
{
	u64 value = 0;

	(void)state;
	machine(CPUID_NPT, 16);
	fake_msr_set(MSR_VM_CR, VM_CR_SVMDIS);
	assert_null(svm_ops.missing());
	cpu_begin(0);
	assert_int_equal(msr_read_safe(MSR_VM_CR, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(msr_read(MSR_EFER), EFER_LME | EFER_LMA | EFER_SVME);
	assert_int_equal(msr_read(MSR_VM_HSAVE_PA), cpu_self()->hsave);
	svm_ops.cpu_off(cpu_self());
	assert_int_equal(msr_read(MSR_EFER), EFER_LME | EFER_LMA);
	assert_int_equal(fake_pages_used(), 0);
}

static void test_cpu_on_no_memory(void **state)
{
	(void)state;
	machine(CPUID_NPT, 16);
	assert_null(svm_ops.missing());
	for (u64 calls = 0; calls < 2; calls++) {
		fake_pages_fail_after(calls);
		assert_int_equal(svm_ops.cpu_on(cpu_self()), -E_NOMEM);
		assert_int_equal(fake_pages_used(), 0);
	}
	fake_pages_fail_after(~0ull);
}

static bool msr_exits(u32 msr, bool write)
{
	const u8 *map = page_ptr(vmcb()->control.msrpm_hpa);
	u32 base = msr >= 0xc0010000u ? 0x1000 : msr >= 0xc0000000u ? 0x800 : 0;
	u32 bit = (msr & 0xffff) * 2 + write;

	return map[base + bit / 8] >> (bit % 8) & 1;
}

static void test_maps(void **state)
{
	static const u32 pass[] = { 0x174, 0x175, 0x176, 0xc0000081u, 0xc0000082u, 0xc0000083u,
				    0xc0000084u, 0xc0000100u, 0xc0000101u, 0xc0000102u };
	static const u32 exits[] = { 0x10, 0x1b, 0x277, 0x1d9, 0x6e0, 0x800, 0x1fff, 0xc0000080u, 0xc0000103u,
				     0xc0010114u, 0xc0010117u, 0xc0011fffu };
	const u8 *io = page_ptr(vmcb()->control.iopm_hpa);
	u32 open = 0;

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(pass); i++) {
		assert_false(msr_exits(pass[i], false));
		assert_false(msr_exits(pass[i], true));
	}
	for (u32 i = 0; i < ARRAY_SIZE(exits); i++) {
		assert_true(msr_exits(exits[i], false));
		assert_true(msr_exits(exits[i], true));
	}
	for (u32 i = 0; i < 8192; i++)
		for (u32 bit = 0; bit < 8; bit++)
			open += !(((const u8 *)page_ptr(svm_msrpm()))[i] >> bit & 1);
	assert_int_equal(open, 2 * ARRAY_SIZE(pass));
	for (u32 i = 0; i < 65536 / 8 + 1; i++)
		assert_int_equal(io[i], 0xff);
}

/* --- exits ------------------------------------------------------------------------------------- */

static void test_exit_simple(void **state)
{
	static const struct {
		u64 code;
		enum vm_exit_kind kind;
		u8 len;
	} all[] = {
		{ EXIT_NMI, VM_EXIT_HOST, 0 },           { EXIT_VINTR, VM_EXIT_IRQ_WINDOW, 0 },
		{ EXIT_CPUID, VM_EXIT_CPUID, 2 },        { EXIT_HLT, VM_EXIT_HLT, 1 },
		{ EXIT_PAUSE, VM_EXIT_PAUSE, 2 },        { EXIT_INVD, VM_EXIT_CACHE, 2 },
		{ EXIT_WBINVD, VM_EXIT_CACHE, 0 },       { EXIT_VMMCALL, VM_EXIT_HYPERCALL, 3 },
		{ EXIT_RDPMC, VM_EXIT_PRIVILEGED, 0 },   { EXIT_SHUTDOWN, VM_EXIT_TRIPLE_FAULT, 0 },
		{ EXIT_VMRUN, VM_EXIT_UNDEFINED, 0 },    { EXIT_SKINIT, VM_EXIT_UNDEFINED, 0 },
		{ EXIT_MWAIT, VM_EXIT_UNDEFINED, 0 },    { EXIT_RSM, VM_EXIT_UNDEFINED, 0 },
		{ EXIT_INVLPGA, VM_EXIT_UNDEFINED, 0 },  { 0x7d, VM_EXIT_UNKNOWN, 0 },
		{ 0x401, VM_EXIT_UNKNOWN, 0 },           { 0x10, VM_EXIT_UNKNOWN, 0 },
		{ EXIT_EXCEPTION + 13, VM_EXIT_UNKNOWN, 0 }, { 0x123456789ull, VM_EXIT_UNKNOWN, 0 },
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		struct vm_exit exit = run(all[i].code, 7, 8);

		assert_int_equal(exit.kind, all[i].kind);
		assert_int_equal(exit.insn_len, all[i].len);
		if (exit.kind == VM_EXIT_UNKNOWN) {
			assert_int_equal(exit.raw.code, all[i].code);
			assert_int_equal(exit.raw.info1, 7);
			assert_int_equal(exit.raw.info2, 8);
		}
	}
}

static void test_exit_nrips(void **state)
{
	struct vm_exit exit;

	(void)state;
	vcpu.regs.rip = 0x1000;
	vmcb()->control.next_rip = 0x1003; /* CPUID with a prefix */
	exit = run(EXIT_CPUID, 0, 0);
	assert_int_equal(exit.insn_len, 3);
	vmcb()->control.next_rip = 0x900;
	exit = run(EXIT_CPUID, 0, 0);
	assert_int_equal(exit.insn_len, 0);
}

static void test_exit_io(void **state)
{
	struct vm_exit exit;

	(void)state;
	vcpu.regs.rip = 0x1000;
	exit = run(EXIT_IOIO, 0x3f8ull << 16 | 1 << 4 | 1, 0x1001);
	assert_int_equal(exit.kind, VM_EXIT_IO);
	assert_int_equal(exit.io.port, 0x3f8);
	assert_int_equal(exit.io.size, 1);
	assert_true(exit.io.in);
	assert_false(exit.io.string);
	assert_int_equal(exit.io.next_rip, 0x1001);
	exit = run(EXIT_IOIO, 0xffffull << 16 | 1 << 6 | IOIO_STRING | IOIO_REP, 0x1003);
	assert_int_equal(exit.io.port, 0xffff);
	assert_int_equal(exit.io.size, 4);
	assert_true(!exit.io.in && exit.io.string && exit.io.rep);
	exit = run(EXIT_IOIO, 0x80ull << 16, 0x1001);
	assert_int_equal(exit.kind, VM_EXIT_UNKNOWN);
}

static void test_exit_msr(void **state)
{
	struct vm_exit exit;

	(void)state;
	vcpu.regs.gpr[GPR_RCX] = 0xfffffffec0000080ull;
	vcpu.regs.gpr[GPR_RDX] = 0xaaaaaaaa12345678ull;
	vcpu.regs.gpr[GPR_RAX] = 0xbbbbbbbb9abcdef0ull;
	exit = run(EXIT_MSR, 1, 0);
	assert_int_equal(exit.kind, VM_EXIT_MSR_WRITE);
	assert_int_equal(exit.msr.index, 0xc0000080u);
	assert_int_equal(exit.msr.value, 0x123456789abcdef0ull);
	assert_int_equal(run(EXIT_MSR, 0, 0).kind, VM_EXIT_MSR_READ);
}

static void test_exit_npt(void **state)
{
	struct vm_exit exit;

	(void)state;
	exit = run(EXIT_NPF, BIT(32) | NPF_WRITE | 4, 0xfee00080);
	assert_int_equal(exit.kind, VM_EXIT_NPT);
	assert_int_equal(exit.npt.gpa, 0xfee00080);
	assert_true(exit.npt.write && !exit.npt.fetch && !exit.npt.table_walk);
	assert_int_equal(exit.npt.insn_bytes, 0);
	exit = run(EXIT_NPF, NPF_TABLE_WALK | NPF_FETCH, BIT(40));
	assert_true(exit.npt.fetch && exit.npt.table_walk && !exit.npt.write);
	assert_int_equal(run(EXIT_NPF, NPF_RESERVED, 0).kind, VM_EXIT_UNKNOWN);
}

static void test_exit_npt_bytes(void **state)
{
	struct vm_exit exit;

	(void)state;
	vmcb()->control.insn_count = 15;
	vmcb()->control.insn[14] = 0x90;
	exit = run(EXIT_NPF, 0, 0);
	assert_int_equal(exit.npt.insn_bytes, 15);
	assert_int_equal(exit.npt.insn[14], 0x90);
	vmcb()->control.insn_count = 255; /* no CPU says that */
	assert_int_equal(run(EXIT_NPF, 0, 0).npt.insn_bytes, 0);
}

/* Puts code at 0x1000 with flat, unpaged 32-bit segments. */
static void guest_code(const void *code, u32 bytes)
{
	assert_int_equal(gmem_write(&vm.gmem, 0x1000, code, bytes), 0);
	vmcb()->state.cs.base = 0;
	vmcb()->state.cs.limit = ~0u;
	vcpu.regs.rip = 0x1000;
}

static void test_exit_cr_decode(void **state)
{
	static const u8 to_cr4[] = { 0x0f, 0x22, 0xe3 };             /* mov cr4, rbx */
	static const u8 to_cr8[] = { 0xf0, 0x0f, 0x22, 0xc1 };       /* lock mov cr0, ecx: CR8 */
	static const u8 rex_cr8[] = { 0x66, 0x45, 0x0f, 0x22, 0xc1 }; /* mov cr8, r9 */
	static const u8 other[] = { 0x0f, 0x22, 0xdb };              /* mov cr3, rbx */
	struct vm_exit exit;

	(void)state;
	vcpu.regs.gpr[GPR_RBX] = 0xffffffff000006f0ull;
	vcpu.regs.gpr[GPR_RCX] = 5;
	vcpu.regs.gpr[GPR_R9] = 6;
	guest_code(to_cr4, sizeof(to_cr4));
	exit = run(EXIT_CR_WRITE + 4, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_CR_WRITE);
	assert_int_equal(exit.cr.cr, 4);
	assert_int_equal(exit.cr.value, 0x6f0);
	assert_int_equal(exit.insn_len, 0);
	guest_code(to_cr8, sizeof(to_cr8));
	exit = run(EXIT_CR_WRITE + 8, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_CR_WRITE);
	assert_int_equal(exit.cr.value, 5);
	vmcb()->state.cs.attr |= SEGMENT_L;
	guest_code(rex_cr8, sizeof(rex_cr8));
	exit = run(EXIT_CR_WRITE + 8, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_CR_WRITE);
	assert_int_equal(exit.cr.value, 6);
	guest_code(other, sizeof(other));
	assert_int_equal(run(EXIT_CR_WRITE + 4, 0, 0).kind, VM_EXIT_UNKNOWN);
	/* At the very end of memory: the bytes that are there are enough, or it is tried again. */
	assert_int_equal(gmem_write(&vm.gmem, LARGE_SIZE - 3, to_cr4, 3), 0);
	vcpu.regs.rip = LARGE_SIZE - 3;
	assert_int_equal(run(EXIT_CR_WRITE + 4, 0, 0).kind, VM_EXIT_CR_WRITE);
	vcpu.regs.rip = LARGE_SIZE - 1;
	assert_int_equal(run(EXIT_CR_WRITE + 4, 0, 0).kind, VM_EXIT_HOST);
	vcpu.regs.rip = LARGE_SIZE;
	assert_int_equal(run(EXIT_CR_WRITE + 4, 0, 0).kind, VM_EXIT_HOST);
}

static void test_exit_cr_assists(void **state)
{
	struct vm_exit exit;

	(void)state;
	vmcb()->state.cs.attr |= SEGMENT_L;
	vcpu.regs.gpr[GPR_R15] = BIT(63) | 0x20;
	exit = run(EXIT_CR_WRITE + 4, CR_IS_MOV | GPR_R15, 0);
	assert_int_equal(exit.kind, VM_EXIT_CR_WRITE);
	assert_int_equal(exit.cr.value, BIT(63) | 0x20);
}

static void test_exit_debug(void **state)
{
	struct vm_exit exit;

	(void)state;
	exit = run(EXIT_EXCEPTION + VECTOR_DB, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
	assert_int_equal(exit.exception.vector, VECTOR_DB);
	assert_false(exit.exception.has_error_code);
	exit = run(EXIT_EXCEPTION + VECTOR_AC, 0, 0);
	assert_true(exit.exception.has_error_code);
	assert_int_equal(exit.exception.error_code, 0);
	/* The first touch of a debug register gives them to the guest. */
	assert_int_equal(vmcb()->control.intercept_dr, INTERCEPT_DR_ALL);
	assert_int_equal(run(0x33, 0, 0).kind, VM_EXIT_HOST);
	assert_int_equal(vmcb()->control.intercept_dr, 0);
	assert_false(vmcb()->control.clean & CLEAN_I);
	/* No breakpoint was set by the next exit: back. */
	assert_int_equal(run(EXIT_CPUID, 0, 0).kind, VM_EXIT_CPUID);
	assert_int_equal(vmcb()->control.intercept_dr, INTERCEPT_DR_ALL);
}

static void test_entry_failed(void **state)
{
	struct vm_exit exit;
	struct cpu_state after;

	(void)state;
	vcpu.regs.gpr[GPR_RAX] = 0x1111;
	vcpu.regs.rip = 0x2222;
	exit = run(0xffffffffu, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_ENTRY_FAILED);
	exit = run(~0ull, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_ENTRY_FAILED);
	/* The guest's registers are as they were; of the save area nothing is kept. */
	svm_ops.get_state(&vcpu, &after);
	assert_int_equal(after.gpr[GPR_RAX], 0x1111);
	assert_int_equal(after.rip, 0x2222);
	assert_int_equal(after.cr0, 0x60000010);
}

/* --- events ------------------------------------------------------------------------------------ */

static const struct vm_event gp = { .type = EVENT_EXCEPTION, .vector = 13, .has_error_code = 1, .error_code = 0x18 };
static const struct vm_event pf = { .type = EVENT_EXCEPTION, .vector = 14, .has_error_code = 1, .error_code = 2 };
static const struct vm_event irq = { .type = EVENT_IRQ, .vector = 0x51 };

static void assert_event(u8 type, u8 vector)
{
	assert_int_equal(svm_of(&vcpu)->event.type, type);
	assert_int_equal(svm_of(&vcpu)->event.vector, vector);
}

static void test_inject(void **state)
{
	(void)state;
	assert_false(svm_ops.irq_ready(&vcpu)); /* IF is 0 */
	vcpu.regs.rflags |= RFLAGS_IF;
	vmcb()->state.rflags |= RFLAGS_IF;
	assert_true(svm_ops.irq_ready(&vcpu));
	svm_ops.inject(&vcpu, irq);
	assert_true(svm_ops.event_pending(&vcpu));
	assert_false(svm_ops.irq_ready(&vcpu));
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.event_inj, 0x80000051ull);
	assert_false(svm_ops.event_pending(&vcpu));
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.event_inj, 0);
	svm_ops.inject(&vcpu, gp);
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.event_inj, 0x1880000b0dull);
	vmcb()->control.shadow = 1;
	assert_false(svm_ops.irq_ready(&vcpu));
	svm_ops.insn_done(&vcpu);
	assert_true(svm_ops.irq_ready(&vcpu));
}

/* An exit in the middle of a delivery. */
static void test_interrupted_delivery(void **state)
{
	static const struct {
		u64 info;
		u8 type, vector;
	} all[] = {
		{ 0x80000051ull, EVENT_IRQ, 0x51 },
		{ 0x80000351ull, EVENT_IRQ, 0x51 },       /* QEMU, delivered by V_IRQ */
		{ 0x80000202ull, EVENT_NMI, 2 },
		{ 0x80000b0eull | 5ull << 32, EVENT_EXCEPTION, 14 },
		{ 0x80000303ull, EVENT_NONE, 3 },         /* INT3: executed again */
		{ 0x80000480ull, EVENT_NONE, 0x80 },      /* INT 80h: executed again */
		{ 0x00000b0eull, EVENT_NONE, 0 },         /* not valid */
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		svm_set_event(svm_of(&vcpu), (struct vm_event){ 0 });
		cpu.int_info = all[i].info;
		run(EXIT_NPF, 0, 0xc0000000);
		assert_event(all[i].type, all[i].vector);
	}
	svm_set_event(svm_of(&vcpu), (struct vm_event){ 0 });
	cpu.int_info = 0x80000b0eull | 5ull << 32;
	run(EXIT_NPF, 0, 0xc0000000);
	assert_int_equal(svm_of(&vcpu)->event.error_code, 5);
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.event_inj, 0x80000b0eull | 5ull << 32);
	/* An INT3 that we injected has no instruction at RIP to execute again. */
	svm_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_EXCEPTION, .vector = VECTOR_BP });
	cpu.int_info = 0x80000303ull;
	run(EXIT_NPF, 0, 0xc0000000);
	assert_event(EVENT_EXCEPTION, VECTOR_BP);
}

static void test_double_fault(void **state)
{
	struct vm_event *event = &svm_of(&vcpu)->event;

	(void)state;
	svm_ops.inject(&vcpu, pf);
	svm_ops.inject(&vcpu, gp);
	assert_event(EVENT_EXCEPTION, VECTOR_DF);
	assert_int_equal(event->has_error_code, 1);
	assert_int_equal(event->error_code, 0);
	svm_ops.inject(&vcpu, gp);
	assert_event(EVENT_EXCEPTION, VECTOR_DF);
	*event = gp;
	svm_ops.inject(&vcpu, pf); /* contributory, then #PF: one after the other */
	assert_event(EVENT_EXCEPTION, 14);
	*event = irq;
	svm_ops.inject(&vcpu, gp);
	assert_event(EVENT_IRQ, 0x51);
	*event = (struct vm_event){ 0 };
}

static void test_irq_window(void **state)
{
	(void)state;
	svm_ops.request_irq_window(&vcpu, true);
	run(EXIT_VINTR, 0, 0);
	assert_int_equal(cpu.entered.vintr, VINTR_MASKING | VINTR_IRQ | VINTR_IGNORE_TPR | 0xf0000);
	assert_true(cpu.entered.intercept_misc1 & INTERCEPT_VINTR);
	assert_false(cpu.entered.clean & (CLEAN_TPR | CLEAN_I));
	svm_ops.request_irq_window(&vcpu, false);
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.vintr, VINTR_MASKING);
	assert_false(cpu.entered.intercept_misc1 & INTERCEPT_VINTR);
}

static void test_nmi(void **state)
{
	struct cpu_state s;

	(void)state;
	svm_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_NMI, .vector = 2 });
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.event_inj, 0x80000202ull);
	assert_true(cpu.entered.intercept_misc1 & INTERCEPT_IRET);
	svm_ops.get_state(&vcpu, &s);
	assert_true(s.nmi_blocked);
	vmcb()->state.rip = 0x5000;
	vcpu.regs.rip = 0x5000;
	run(EXIT_IRET, 0, 0);
	svm_ops.get_state(&vcpu, &s);
	assert_true(s.nmi_blocked); /* that IRET was not executed yet */
	run(EXIT_NMI, 0, 0);
	assert_false(cpu.entered.intercept_misc1 & INTERCEPT_IRET);
	svm_ops.get_state(&vcpu, &s);
	assert_true(s.nmi_blocked);
	vcpu.regs.rip = 0x6000;
	run(EXIT_CPUID, 0, 0);
	svm_ops.get_state(&vcpu, &s);
	assert_false(s.nmi_blocked);
}

/* At an NMI handler's IRET, with another NMI waiting. */
static void begin_waiting_at_iret(void)
{
	svm_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_NMI, .vector = 2 });
	run(EXIT_CPUID, 0, 0);
	svm_ops.request_nmi_window(&vcpu, true);
	vcpu.regs.rip = 0x5000;
	run(EXIT_IRET, 0, 0);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
}

static bool nmi_blocked(void)
{
	struct cpu_state s;

	svm_ops.get_state(&vcpu, &s);
	return s.nmi_blocked;
}

/* The IRET is stepped over, and what it has popped stays. */
static void test_nmi_window(void **state)
{
	(void)state;
	begin_waiting_at_iret();
	/* A host's interrupt comes first. */
	assert_int_equal(run(EXIT_INTR, 0, 0).kind, VM_EXIT_HOST);
	assert_true(cpu.entered_rflags & RFLAGS_TF);
	assert_int_equal(cpu.entered.intercept_exceptions, ~0u);
	assert_false(cpu.entered.clean & (CLEAN_I | CLEAN_DRX));
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	assert_true(nmi_blocked());
	cpu.rip = 0x6000;
	cpu.rflags = 0x46;
	cpu.dr6 = DR6_BS;
	assert_int_equal(run(EXIT_EXCEPTION + VECTOR_DB, 0, 0).kind, VM_EXIT_HOST);
	assert_true(cpu.entered_rflags & RFLAGS_TF);
	assert_false(nmi_blocked());
	assert_int_equal(vcpu.regs.rflags, 0x46);
	assert_false(vmcb()->state.dr6 & DR6_BS);
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.intercept_exceptions, INTERCEPT_EXCEPTIONS);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
}

/* What the IRET raises is raised as if nobody had stepped; a breakpoint on its stack is the guest's. */
static void test_nmi_window_iret_raises(void **state)
{
	struct vm_exit exit;

	(void)state;
	vmcb()->state.dr6 |= DR6_BS;
	begin_waiting_at_iret();
	assert_int_equal(run(EXIT_EXCEPTION + VECTOR_PF, 0, 0x7000).kind, VM_EXIT_HOST);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	svm_ops.request_nmi_window(&vcpu, true);
	run(EXIT_CPUID, 0, 0);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
	assert_int_equal(cpu.entered.intercept_exceptions, INTERCEPT_EXCEPTIONS);
	assert_true(nmi_blocked());
	run(EXIT_IRET, 0, 0);
	cpu.rip = 0x6000;
	cpu.dr6 = DR6_BS | 2;
	exit = run(EXIT_EXCEPTION + VECTOR_DB, 0, 0);
	assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
	assert_int_equal(exit.exception.vector, VECTOR_DB);
	assert_false(nmi_blocked());
	assert_int_equal(vmcb()->state.dr6 & (DR6_BS | DR6_BREAKPOINTS), DR6_BS | 2); /* BS was the guest's before */
}

/* Not when nobody waits, when the guest steps itself, when the IRET ends a task, and when an event goes in first. */
static void test_nmi_window_not_stepped(void **state)
{
	(void)state;
	begin_waiting_at_iret();
	vcpu.regs.rflags |= RFLAGS_NT;
	run(EXIT_CPUID, 0, 0);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_TF;
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.intercept_exceptions, INTERCEPT_EXCEPTIONS);
	assert_true(vcpu.regs.rflags & RFLAGS_TF);
	vcpu.regs.rflags = RFLAGS_FIXED;
	svm_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_EXCEPTION, .vector = VECTOR_DB });
	run(EXIT_INTR, 0, 0);
	assert_true(cpu.entered.event_inj & INJ_VALID);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
	svm_ops.request_nmi_window(&vcpu, false);
	run(EXIT_CPUID, 0, 0);
	assert_false(cpu.entered_rflags & RFLAGS_TF);
}

static void test_single_step(void **state)
{
	(void)state;
	vcpu.regs.rflags |= RFLAGS_TF;
	svm_ops.insn_done(&vcpu);
	assert_event(EVENT_EXCEPTION, VECTOR_DB);
	assert_true(vmcb()->state.dr6 & BIT(14));
}

/* INVPCID is an instruction for those who see it in CPUID; where the CPU has none there is nothing to intercept. */
static void test_invpcid(void **state)
{
	struct vm_exit exit;

	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.intercept_misc3, 0);
	assert_int_equal(teardown(state), 0);
	invpcid = CPUID_7_EBX_INVPCID;
	assert_int_equal(begin(CPUID_ALL, 4), 0);
	exit = run(EXIT_INVPCID, 0, 0);
	assert_int_equal(cpu.entered.intercept_misc3, INTERCEPT_INVPCID);
	assert_int_equal(exit.kind, VM_EXIT_UNDEFINED);
	assert_int_equal(teardown(state), 0);
	assert_int_equal(begin(CPUID_ALL, 4), 0);
	policy.entries[policy.count++] = (struct cpuid_entry){ .leaf = 7, .ebx = CPUID_7_EBX_INVPCID };
	run(EXIT_CPUID, 0, 0);
	assert_int_equal(cpu.entered.intercept_misc3, 0);
	invpcid = 0;
}

/* --- state ------------------------------------------------------------------------------------- */

static struct cpu_state long_mode(void)
{
	struct cpu_state s;

	svm_ops.get_state(&vcpu, &s);
	s.cr0 = CR0_PE | CR0_PG | CR0_ET;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA | EFER_NXE;
	s.cs.attr = 0xa9b;
	return s;
}

static void test_reset_state(void **state)
{
	struct cpu_state s;

	(void)state;
	svm_ops.get_state(&vcpu, &s);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.cs.selector, 0xf000);
	assert_int_equal(s.cs.base, 0xffff0000);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.pat, 0x0007040600070406ull);
	assert_int_equal(s.dr7, 0x400);
	assert_int_equal(s.xcr0, 1);
	assert_int_equal(svm_ops.set_state(&vcpu, &s), 0);
	assert_int_equal(vmcb()->state.efer, EFER_SVME);
}

static void test_state_round_trip(void **state)
{
	struct cpu_state in = long_mode();
	struct cpu_state out;

	(void)state;
	for (u32 i = 0; i < GPR_COUNT; i++)
		in.gpr[i] = 0x100 + i;
	in.rip = 0xffffffff81000000ull;
	in.rflags = 0x246;
	in.cr2 = 0xdead;
	in.cr3 = 0x1234000;
	in.cr8 = 9;
	in.xcr0 = 7;
	in.dr[0] = 1;
	in.dr[3] = 4;
	in.dr7 = 0x401;
	in.ss.attr = 0xcf3; /* DPL 3 */
	in.fs.base = 0x7fff00000000ull;
	in.kernel_gs_base = 0xffff888000000000ull;
	in.lstar = 0xffffffff81e00000ull;
	in.star = 0x0023001000000000ull;
	in.sfmask = 0x47700;
	in.sysenter_eip = 0xffffffff81e01000ull;
	in.gdtr.base = 0xfffffe0000001000ull;
	in.tsc_aux = 5;
	in.event = pf;
	in.interrupt_shadow = 1;
	in.nmi_blocked = 1;
	assert_int_equal(svm_ops.set_state(&vcpu, &in), 0);
	assert_int_equal(vmcb()->state.cpl, 3);
	assert_int_equal(vmcb()->control.clean, 0);
	svm_ops.get_state(&vcpu, &out);
	assert_memory_equal(&in, &out, sizeof(in));
	/* The CPU keeps CPL apart from SS. */
	vmcb()->state.cpl = 0;
	svm_ops.get_state(&vcpu, &out);
	assert_int_equal(SEGMENT_DPL(out.ss.attr), 0);
	run(EXIT_INTR, 0, 0);
	assert_int_equal(debug_registers[3], 4);
}

#define REFUSED(change)                                                    \
	do {                                                               \
		struct cpu_state s = long_mode();                          \
		change;                                                    \
		assert_int_equal(svm_ops.set_state(&vcpu, &s), -E_INVAL);  \
	} while (0)

static void test_state_refused(void **state)
{
	struct cpu_state good = long_mode();

	(void)state;
	assert_int_equal(svm_ops.set_state(&vcpu, &good), 0);
	REFUSED(s.cr0 |= BIT(32));
	REFUSED(s.cr0 |= CR0_NW);
	REFUSED(s.cr0 &= ~CR0_PE);
	REFUSED(s.cr0 &= ~CR0_PG); /* LMA without paging */
	REFUSED(s.cr4 &= ~CR4_PAE);
	REFUSED(s.cr4 |= BIT(40));
	REFUSED(s.cr3 |= BIT(52));
	REFUSED(s.cr8 = 16);
	REFUSED(s.efer &= ~(u64)EFER_LMA);
	REFUSED(s.efer |= EFER_SVME);
	REFUSED(s.efer |= BIT(20));
	REFUSED(s.cs.attr |= SEGMENT_DB);
	REFUSED(s.dr6 |= BIT(32));
	REFUSED(s.dr7 |= BIT(32));
	REFUSED(s.gs.base = BIT(47));
	REFUSED(s.lstar = BIT(62));
	REFUSED(s.tr.base = BIT(62));
	REFUSED(s.pat = 2);
	REFUSED(s.xcr0 = 0);
	REFUSED(s.xcr0 = 9);
	REFUSED(s.xss = 1);
	REFUSED(s.spec_ctrl = 1);
	REFUSED(s.debugctl = 4);
	REFUSED(s.tsc_aux = BIT(32));
	REFUSED((s.event = (struct vm_event){ .type = EVENT_EXCEPTION, .vector = 32 }));
	REFUSED((s.event = (struct vm_event){ .type = EVENT_EXCEPTION, .vector = 2 }));
	REFUSED((s.event = (struct vm_event){ .type = EVENT_SOFT_INT, .vector = 0x80 }));
	REFUSED((s.event = (struct vm_event){ .type = 77 }));
	REFUSED((s.event = (struct vm_event){ .type = EVENT_IRQ, .has_error_code = 1 }));
}

static void test_msrs(void **state)
{
	u64 value = 0;

	(void)state;
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_LSTAR, 0xffff800000000000ull), 0);
	assert_int_equal(svm_ops.get_msr(&vcpu, MSR_LSTAR, &value), 0);
	assert_int_equal(value, 0xffff800000000000ull);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_LSTAR, BIT(60)), -E_INVAL);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_STAR, BIT(60)), 0);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_PAT, 0x0007010600070106ull), 0);
	assert_int_equal(vmcb()->state.g_pat, 0x0007010600070106ull);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_PAT, 3), -E_INVAL);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_EFER, EFER_LME | EFER_LMA), 0);
	assert_int_equal(vmcb()->state.efer, EFER_LME | EFER_SVME); /* LMA is not written */
	assert_int_equal(svm_ops.get_msr(&vcpu, MSR_EFER, &value), 0);
	assert_int_equal(value, EFER_LME);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_EFER, EFER_SVME), -E_INVAL);
	svm_ops.set_cr(&vcpu, 0, CR0_PE | CR0_PG);
	assert_int_equal(vmcb()->state.efer, EFER_LME | EFER_LMA | EFER_SVME);
	svm_ops.set_cr(&vcpu, 0, CR0_PE);
	assert_int_equal(vmcb()->state.efer, EFER_LME | EFER_SVME);
	assert_int_equal(svm_ops.get_msr(&vcpu, 0x10, &value), -E_NOENT);
	assert_int_equal(svm_ops.set_msr(&vcpu, 0x48, 1), -E_NOENT);
}

/* --- TLB, ASIDs, clean bits, CPUs ---------------------------------------------------------------- */

static void enter_on(u32 index)
{
	fake_cpu_set_self(index);
	vcpu.cpu = index;
	run(EXIT_CPUID, 0, 0);
}

/* Without FlushByAsid: a flush is a new ASID, and all is flushed when they are used up. */
static void test_asid_generations(void **state)
{
	(void)state;
	enter_on(0);
	assert_int_equal(cpu.entered.asid, 1);
	assert_int_equal(cpu.entered.tlb_control, TLB_FLUSH_ALL);
	assert_int_equal(cpu.entered.clean, 0);
	enter_on(0);
	assert_int_equal(cpu.entered.asid, 1);
	assert_int_equal(cpu.entered.tlb_control, TLB_KEEP);
	assert_int_equal(cpu.entered.clean, CLEAN_ALL);
	for (u32 asid = 2; asid < 16; asid++) {
		svm_ops.flush_tlb(&vcpu);
		enter_on(0);
		assert_int_equal(cpu.entered.asid, asid);
		assert_int_equal(cpu.entered.tlb_control, TLB_KEEP);
		assert_int_equal(cpu.entered.clean, CLEAN_ALL & ~CLEAN_ASID);
	}
	svm_ops.flush_tlb(&vcpu);
	enter_on(0);
	assert_int_equal(cpu.entered.asid, 1);
	assert_int_equal(cpu.entered.tlb_control, TLB_FLUSH_ALL);
}

static void test_asid_flush_by_asid(void **state)
{
	(void)state;
	enter_on(0);
	for (u32 i = 0; i < 10; i++) {
		svm_ops.flush_tlb(&vcpu);
		enter_on(0);
		assert_int_equal(cpu.entered.asid, 1);
		assert_int_equal(cpu.entered.tlb_control, TLB_FLUSH_GUEST);
		enter_on(0);
		assert_int_equal(cpu.entered.tlb_control, TLB_KEEP);
	}
}

/* To another CPU and back: nothing that was cached anywhere may be used again. */
static void test_asid_cpus(void **state)
{
	(void)state;
	enter_on(0);
	enter_on(1);
	assert_int_equal(cpu.entered.asid, 1);
	assert_int_equal(cpu.entered.tlb_control, TLB_FLUSH_ALL);
	assert_int_equal(cpu.entered.clean, 0);
	enter_on(0);
	assert_int_equal(cpu.entered.asid, 2);
	assert_int_equal(cpu.entered.tlb_control, TLB_KEEP);
	assert_int_equal(cpu.entered.clean, 0);
}

static void test_clean_bits(void **state)
{
	(void)state;
	enter_on(0);
	svm_ops.set_cr(&vcpu, 4, CR4_PAE);
	enter_on(0);
	assert_false(cpu.entered.clean & CLEAN_CRX);
	svm_ops.set_cr(&vcpu, 8, 3);
	enter_on(0);
	assert_int_equal(cpu.entered.clean, CLEAN_ALL & ~CLEAN_TPR);
	assert_int_equal(cpu.entered.vintr & VINTR_TPR, 3);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_PAT, 0), 0);
	enter_on(0);
	assert_int_equal(cpu.entered.clean, CLEAN_ALL & ~CLEAN_NP);
	svm_ops.set_tsc(&vcpu, 12345, 0);
	enter_on(0);
	assert_int_equal(cpu.entered.clean, CLEAN_ALL & ~CLEAN_I);
	assert_int_equal(cpu.entered.tsc_offset, 12345);
}

/* The ratio is of the vCPU that runs; no CPU that has not got it sees its MSR. */
static void test_tsc_ratio(void **state)
{
	(void)state;
	enter_on(0);
	if (!svm_features.tsc_ratio) {
		assert_int_equal(svm_ops.tsc_ratio_bits(), 0);
		return;
	}
	assert_int_equal(svm_ops.tsc_ratio_bits(), 32);
	assert_int_equal(msr_read(MSR_TSC_RATIO), BIT(32));
	svm_ops.set_tsc(&vcpu, 7, BIT(33));
	enter_on(0);
	assert_int_equal(msr_read(MSR_TSC_RATIO), BIT(33));
	assert_int_equal(cpu.entered.tsc_offset, 7);
	enter_on(1);
	assert_int_equal(msr_read(MSR_TSC_RATIO), BIT(33));
	svm_ops.set_tsc(&vcpu, 7, 0);
	enter_on(1);
	assert_int_equal(msr_read(MSR_TSC_RATIO), BIT(32));
}

static void test_tsc_aux(void **state)
{
	(void)state;
	enter_on(0);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_TSC_AUX, 77), 0);
	enter_on(0);
	assert_int_equal(msr_read(MSR_TSC_AUX), 77);
	assert_int_equal(svm_ops.set_msr(&vcpu, MSR_TSC_AUX, BIT(32)), -E_INVAL);
}

/* Whoever ran here before has left nothing in the branch predictor. */
static void test_ibpb(void **state)
{
	struct vcpu other = { .vm = &vm, .xsave = xsave_area, .xcr0 = 1 };
	struct vm_exit exited;

	(void)state;
	fake_msr_set(MSR_PRED_CMD, 0);
	svm_features.ibpb = true;
	assert_int_equal(svm_ops.vcpu_init(&other), 0);
	enter_on(0);
	assert_int_equal(msr_read(MSR_PRED_CMD), PRED_CMD_IBPB);
	fake_msr_set(MSR_PRED_CMD, 0);
	svm_ops.flush_tlb(&vcpu);
	enter_on(0);
	assert_int_equal(msr_read(MSR_PRED_CMD), 0);
	svm_ops.vcpu_run(&other, &exited);
	assert_int_equal(msr_read(MSR_PRED_CMD), PRED_CMD_IBPB);
	svm_ops.vcpu_fini(&other);
}

#define QEMU(f) cmocka_unit_test_setup_teardown(f, setup_qemu, teardown)
#define ALL(f) cmocka_unit_test_setup_teardown(f, setup_all, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_cpu_on_clears_svmdis),
		cmocka_unit_test(test_cpu_on_no_memory),
		QEMU(test_maps),
		QEMU(test_exit_simple),
		ALL(test_exit_nrips),
		QEMU(test_exit_io),
		QEMU(test_exit_msr),
		QEMU(test_exit_npt),
		ALL(test_exit_npt_bytes),
		QEMU(test_exit_cr_decode),
		ALL(test_exit_cr_assists),
		QEMU(test_exit_debug),
		QEMU(test_entry_failed),
		QEMU(test_inject),
		QEMU(test_interrupted_delivery),
		QEMU(test_double_fault),
		QEMU(test_irq_window),
		QEMU(test_nmi),
		QEMU(test_nmi_window),
		QEMU(test_nmi_window_iret_raises),
		QEMU(test_nmi_window_not_stepped),
		QEMU(test_single_step),
		QEMU(test_invpcid),
		QEMU(test_reset_state),
		QEMU(test_state_round_trip),
		QEMU(test_state_refused),
		QEMU(test_msrs),
		QEMU(test_asid_generations),
		ALL(test_asid_flush_by_asid),
		QEMU(test_asid_cpus),
		QEMU(test_clean_bits),
		QEMU(test_tsc_aux),
		QEMU(test_tsc_ratio),
		ALL(test_tsc_ratio),
		QEMU(test_ibpb),
	};

	return cmocka_run_group_tests_name("svm", tests, NULL, NULL);
}
