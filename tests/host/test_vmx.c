/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VT-x backend on fabricated VMCSs: what exits are made of, events, state, where a VMCS is current,
 * invalidations, the page-modification log. The instructions of VT-x are replaced by functions that
 * play the CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/hvm/event.c"
#include "arch/x86_64/hvm/state.c"
#include "arch/x86_64/npt_ept.c"
#include "arch/x86_64/vmx/apic.c"
#include "arch/x86_64/vmx/error.c"
#include "arch/x86_64/vmx/event.c"
#include "arch/x86_64/vmx/exit.c"
#include "arch/x86_64/vmx/run.c"
#include "arch/x86_64/vmx/state.c"
#include "arch/x86_64/vmx/vmcs.c"
#include "arch/x86_64/vmx/vmx.c"

#include "fake/fake_cpu.h"
#include "fake/fake_pages.h"

/* --- the CPU ------------------------------------------------------------------------------------ */

#define FIELDS 0x7000
#define VMCS_COUNT 2

/* The contents of a VMCS that was ever made current; active: on which CPU, CPUS_MAX: none. */
static struct fake_vmcs {
	hpa_t hpa;
	u64 field[FIELDS];
	u32 active;
	bool launched;
} vmcss[VMCS_COUNT];
static u32 vmcs_count;
static struct fake_vmcs *current[2];
static bool vmx_is_on[2];
static u64 cr4[2];

/* What the CPU finds and does at the next entry. */
static struct {
	u64 reason, qualification, gpa, length, event, event_error, idt_event, idt_error;
	u64 rip;
	enum vmx_result result;
	u64 entries;
	u64 event_in, event_error_in;
	u64 cr2, dr6;
	u64 written;      /* VMWRITEs since the last entry... */
	u64 written_in;   /* ...before it */
	u64 invept, invvpid, invept_context, invvpid_context;
} cpu;

static u32 self(void)
{
	return cpu_self()->index;
}

static struct fake_vmcs *now(void)
{
	assert_non_null(current[self()]);
	return current[self()];
}

u64 vmcs_read(u64 field)
{
	assert_true(field < FIELDS);
	return now()->field[field];
}

void vmcs_write(u64 field, u64 value)
{
	assert_true(field < FIELDS);
	assert_false(field >= 0x2400 && field < 0x2800);
	assert_false(field >= 0x4400 && field < 0x4800);
	assert_false(field >= 0x6400 && field < 0x6800);
	cpu.written++;
	now()->field[field] = value;
}

enum vmx_result vmx_load(hpa_t hpa)
{
	struct fake_vmcs *vmcs = NULL;

	assert_true(vmx_is_on[self()]);
	assert_int_equal(*(u32 *)page_ptr(hpa), 0x77);
	for (u32 i = 0; i < vmcs_count; i++)
		if (vmcss[i].hpa == hpa)
			vmcs = &vmcss[i];
	if (!vmcs) {
		assert_true(vmcs_count < VMCS_COUNT);
		vmcs = &vmcss[vmcs_count++];
		vmcs->hpa = hpa;
		vmcs->active = CPUS_MAX;
		/* Nobody says what is in a new one. */
		for (u32 i = 0; i < FIELDS; i++)
			vmcs->field[i] = 0x5a5a5a5a5a5a5a5aull;
	}
	assert_true(vmcs->active == CPUS_MAX || vmcs->active == self());
	vmcs->active = self();
	current[self()] = vmcs;
	return VMX_OK;
}

enum vmx_result vmx_clear(hpa_t hpa)
{
	assert_int_equal(now()->hpa, hpa);
	now()->active = CPUS_MAX;
	now()->launched = false;
	current[self()] = NULL;
	return VMX_OK;
}

const u8 vmx_exited[1];

enum vmx_result vmx_enter(u64 *gpr, u64 *host_rsp, bool launched)
{
	struct fake_vmcs *vmcs = now();

	assert_non_null(gpr);
	assert_int_equal(*host_rsp, 0);
	assert_int_equal(launched, vmcs->launched);
	cpu.entries++;
	cpu.written_in = cpu.written;
	cpu.written = 0;
	cpu.event_in = vmcs->field[VMCS_ENTRY_EVENT];
	cpu.event_error_in = vmcs->field[VMCS_ENTRY_ERROR_CODE];
	if (cpu.result) {
		vmcs->field[VMCS_INSTRUCTION_ERROR] = 7;
		return cpu.result;
	}
	/* 27.8: a failed entry changes neither the launch state nor the event. */
	if (!(cpu.reason & EXIT_ENTRY_FAILED)) {
		vmcs->launched = true;
		vmcs->field[VMCS_ENTRY_EVENT] &= ~(u64)INFO_VALID;
	}
	vmcs->field[VMCS_EXIT_REASON] = cpu.reason;
	vmcs->field[VMCS_EXIT_QUALIFICATION] = cpu.qualification;
	vmcs->field[VMCS_GUEST_PHYSICAL] = cpu.gpa;
	vmcs->field[VMCS_EXIT_INSN_BYTES] = cpu.length;
	vmcs->field[VMCS_EXIT_EVENT] = cpu.event;
	vmcs->field[VMCS_EXIT_EVENT_ERROR] = cpu.event_error;
	vmcs->field[VMCS_IDT_EVENT] = cpu.idt_event;
	vmcs->field[VMCS_IDT_EVENT_ERROR] = cpu.idt_error;
	if (cpu.rip)
		vmcs->field[VMCS_GUEST_RIP] = cpu.rip;
	cpu.rip = 0;
	cpu.idt_event = 0;
	return VMX_OK;
}

enum vmx_result vmx_on(hpa_t region)
{
	assert_int_equal(*(u32 *)page_ptr(region), 0x77);
	assert_true(cr4[self()] & CR4_VMXE);
	assert_false(vmx_is_on[self()]);
	vmx_is_on[self()] = true;
	return VMX_OK;
}

void vmx_off(void)
{
	assert_true(vmx_is_on[self()]);
	vmx_is_on[self()] = false;
}

enum vmx_result vmx_invept(u64 type, const struct vmx_invalidation *what)
{
	assert_int_equal(what->address, 0);
	cpu.invept = type;
	cpu.invept_context = what->context;
	return VMX_OK;
}

enum vmx_result vmx_invvpid(u64 type, const struct vmx_invalidation *what)
{
	cpu.invvpid = type;
	cpu.invvpid_context = what->context;
	return VMX_OK;
}

u64 vmx_cr_read(u8 cr)
{
	switch (cr) {
	case 0:
		return CR0_PE | CR0_PG | CR0_NE | CR0_WP;
	case 2:
		return cpu.cr2;
	case 3:
		return 0x1000;
	default:
		return cr4[self()];
	}
}

void vmx_cr_write(u8 cr, u64 value)
{
	if (cr == 2)
		cpu.cr2 = value;
	else
		cr4[self()] = value;
}

u64 vmx_dr6_read(void)
{
	return cpu.dr6;
}

void vmx_dr6_write(u64 value)
{
	cpu.dr6 = value;
}

u64 vmx_idt_base(void)
{
	return 0x2000;
}

static u64 debug_registers[4];
static u64 served, served_nmis;

void vmx_serve_nmi(void)
{
	served_nmis++;
}

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

/* --- the machine -------------------------------------------------------------------------------- */

static struct vm vm;
static struct vcpu vcpu;
static struct cpuid_policy policy;
static u8 xsave_area[4096] aligned(64);
static u32 apic_page[PAGE_SIZE / 4] aligned(4096);
/* What the local APIC says. */
static struct irqchip_view apic_view;

void irqchip_view(unused const struct vcpu *of, struct irqchip_view *view)
{
	*view = apic_view;
}

#define EPT_CAPS (EPT_CAP_4_LEVELS | EPT_CAP_WRITE_BACK | EPT_CAP_PAGES_2M | EPT_CAP_PAGES_1G | EPT_CAP_AD_BITS | \
		  EPT_CAP_INVEPT | EPT_CAP_INVVPID)
#define ALLOW_ALL 0xffffffff00000000ull

/* As newer CPUs have it: "true" controls, in which little must be 1. */
static void machine(void)
{
	fake_cpu_reset();
	fake_cpu_set_count(2);
	fake_cpuid_set(0, 0, (struct cpuid_regs){ .eax = 0x16 });
	fake_cpuid_set(1, 0, (struct cpuid_regs){ .eax = 0x50654, .ecx = CPUID_1_ECX_VMX });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ .eax = 7 });
	fake_cpuid_set(0x80000001u, 0, (struct cpuid_regs){ .edx = CPUID_81_EDX_RDTSCP });
	fake_cpuid_set(0x80000008u, 0, (struct cpuid_regs){ .eax = 0x302e });
	fake_msr_set(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
	fake_msr_set(MSR_VMX_BASIC, BASIC_TRUE_CONTROLS | 0x77);
	fake_msr_set(MSR_VMX_PRIMARY, ALLOW_ALL | 0x0401e172);
	fake_msr_set(MSR_VMX_TRUE_PIN, ALLOW_ALL | 0x16);
	fake_msr_set(MSR_VMX_TRUE_PRIMARY, ALLOW_ALL | 0x04006172);
	fake_msr_set(MSR_VMX_TRUE_EXIT, ALLOW_ALL | 0x36dfb);
	fake_msr_set(MSR_VMX_TRUE_ENTRY, ALLOW_ALL | 0x11fb);
	fake_msr_set(MSR_VMX_SECONDARY, ALLOW_ALL);
	fake_msr_set(MSR_VMX_MISC, 5);
	fake_msr_set(MSR_VMX_EPT_VPID, EPT_CAPS);
	fake_msr_set(MSR_VMX_CR0_FIXED0, CR0_PE | CR0_PG | CR0_NE);
	fake_msr_set(MSR_VMX_CR0_FIXED1, ~0u);
	fake_msr_set(MSR_VMX_CR4_FIXED0, CR4_VMXE);
	fake_msr_set(MSR_VMX_CR4_FIXED1, ~0u);
	fake_msr_set(MSR_EFER, EFER_LME | EFER_LMA);
	fake_msr_set(MSR_PAT, 0x0007040600070406ull);
	fake_msr_set(MSR_STAR, 0);
	fake_msr_set(MSR_LSTAR, 0);
	fake_msr_set(MSR_SFMASK, 0);
	fake_msr_set(MSR_KERNEL_GS_BASE, 0);
	fake_msr_set(MSR_TSC_AUX, 0);
	memset(cr4, 0, sizeof(cr4));
	memset(vmx_is_on, 0, sizeof(vmx_is_on));
	memset(current, 0, sizeof(current));
	memset(vmcss, 0, sizeof(vmcss));
	vmcs_count = 0;
}

static int setup(void **state)
{
	(void)state;
	assert_int_equal(fake_pages_used(), 0);
	machine();
	assert_null(vmx_ops.missing());
	vmx_ops.apic_assist(true);
	apic_view = (struct irqchip_view){ .requested = 0 };
	memset(apic_page, 0, sizeof(apic_page));
	for (u32 i = 2; i-- > 0;) {
		fake_cpu_set_self(i);
		assert_int_equal(vmx_ops.cpu_on(cpu_self()), 0);
	}
	memset(&cpu, 0, sizeof(cpu));
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&policy, 0, sizeof(policy));
	/* CR4.PAE and PSE exist. */
	policy.count = 1;
	policy.entries[0] = (struct cpuid_entry){ .leaf = 1, .edx = BIT(6) | BIT(3) | BIT(7) };
	vm.cpuid = &policy;
	assert_int_equal(gmem_init(&vm.gmem, LARGE_SIZE, vmx_ops.npt_format()), 0);
	vcpu.vm = &vm;
	vcpu.xsave = xsave_area;
	vcpu.apic_page = apic_page;
	vcpu.xcr0 = 1;
	return vmx_ops.vcpu_init(&vcpu);
}

static int teardown(void **state)
{
	(void)state;
	fake_cpu_set_self(vcpu.cpu);
	vmx_ops.vcpu_leave(&vcpu);
	vmx_ops.vcpu_fini(&vcpu);
	gmem_fini(&vm.gmem);
	dirty_method = &dirty_d_bits;
	for (u32 i = 0; i < 2; i++) {
		fake_cpu_set_self(i);
		vmx_ops.cpu_off(cpu_self());
		assert_int_equal(cr4[i], 0);
	}
	return fake_pages_used() == 0 ? 0 : -1;
}

static struct vmx_vcpu *vv(void)
{
	return vmx_of(&vcpu);
}

static struct vm_exit run(u64 reason, u64 qualification)
{
	struct vm_exit exit;

	memset(&exit, 0x5a, sizeof(exit));
	cpu.reason = reason;
	cpu.qualification = qualification;
	vmx_ops.vcpu_run(&vcpu, &exit);
	return exit;
}

static void run_on(u32 index)
{
	fake_cpu_set_self(index);
	vcpu.cpu = index;
	cpu.invept = 0;
	cpu.invvpid = 0;
	run(EXIT_CPUID, 0);
}

/* --- what the machine has ----------------------------------------------------------------------- */

static void assert_missing(const char *word)
{
	const char *why = vmx_ops.missing();

	assert_non_null(why);
	assert_non_null(strstr(why, word));
}

static void secondary_without(u32 bit)
{
	machine();
	fake_msr_set(MSR_VMX_SECONDARY, ALLOW_ALL & ~((u64)bit << 32));
}

static void test_missing(void **state)
{
	(void)state;
	machine();
	assert_null(vmx_ops.missing());
	fake_cpuid_set(1, 0, (struct cpuid_regs){ 0 });
	assert_missing("no VT-x");
	machine();
	fake_msr_set(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK);
	assert_missing("disabled by the firmware: switch on");
	secondary_without(SECONDARY_EPT);
	assert_missing("no extended page tables (EPT)");
	secondary_without(SECONDARY_UNRESTRICTED);
	assert_missing("no unrestricted guest");
	secondary_without(SECONDARY_VPID);
	assert_missing("VPID");
	machine();
	fake_msr_set(MSR_VMX_EPT_VPID, EPT_CAPS & ~EPT_CAP_PAGES_2M);
	assert_missing("2 MiB pages");
	machine();
	fake_msr_set(MSR_VMX_EPT_VPID, EPT_CAPS & ~BIT(26));
	assert_missing("INVEPT");
	machine();
	fake_msr_set(MSR_VMX_TRUE_PIN, ALLOW_ALL & ~((u64)PIN_PREEMPTION_TIMER << 32));
	assert_missing("pin-based");
	machine();
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 0 });
	assert_missing("XSAVE");
	/* Without the "true" registers CR3 accesses must exit: no such CPU has unrestricted guests. */
	machine();
	fake_msr_set(MSR_VMX_BASIC, 0x77);
	fake_msr_set(MSR_VMX_PIN, ALLOW_ALL | 0x16);
	assert_missing("primary");
	fake_cpu_reset();
	assert_missing("no VT-x");
}

static void test_controls(void **state)
{
	(void)state;
	machine();
	secondary_without(SECONDARY_INVPCID | SECONDARY_PML);
	fake_msr_set(MSR_VMX_EPT_VPID, EPT_CAPS & ~EPT_CAP_PAGES_1G);
	assert_null(vmx_ops.missing());
	assert_int_equal(vmx_features.pin, 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER);
	assert_false(vmx_features.secondary & SECONDARY_INVPCID);
	assert_true(vmx_features.secondary & SECONDARY_RDTSCP);
	assert_false(vmx_features.primary & (PRIMARY_CR3_LOAD | PRIMARY_CR3_STORE));
	assert_int_equal(vmx_features.timer_ticks, ns_to_tsc(TICK_NS) >> 5);
	assert_false(vmx_ops.has_dirty_list());
	assert_true(vmx_ops.npt_format()->dirty_bit);
	assert_false(vmx_ops.npt_format()->pages_1g);
	/* No A/D bits, no PML. */
	machine();
	fake_msr_set(MSR_VMX_EPT_VPID, EPT_CAPS & ~EPT_CAP_AD_BITS);
	assert_null(vmx_ops.missing());
	assert_false(vmx_ops.has_dirty_list());
	assert_false(vmx_ops.npt_format()->dirty_bit);
}

/* Not locked: we switch it on, and lock it (SDM 3 24.7). */
static void test_cpu_on(void **state)
{
	(void)state;
	machine();
	fake_msr_set(MSR_FEATURE_CONTROL, 0);
	assert_null(vmx_ops.missing());
	fake_pages_fail_after(0);
	assert_int_equal(vmx_ops.cpu_on(cpu_self()), -E_NOMEM);
	fake_pages_fail_after(~0ull);
	assert_int_equal(vmx_ops.cpu_on(cpu_self()), 0);
	assert_int_equal(msr_read(MSR_FEATURE_CONTROL), FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
	assert_int_equal(cpu.invept, INVALIDATE_ALL);
	assert_int_equal(cpu.invvpid, INVALIDATE_ALL);
	vmx_ops.cpu_off(cpu_self());
	assert_int_equal(fake_pages_used(), 0);
	fake_msr_set(MSR_VMX_CR4_FIXED0, CR4_VMXE | BIT(60));
	assert_int_equal(vmx_ops.cpu_on(cpu_self()), -E_NOSYS);
	assert_int_equal(fake_pages_used(), 0);
}

static bool map_exits(bool x2apic, u32 msr, bool write)
{
	const u8 *map = page_ptr(vmx_msr_bitmap(x2apic));
	u32 base = (msr >= 0xc0000000u ? 1024 : 0) + (write ? 2048 : 0);

	return map[base + (msr & 0x1fff) / 8] >> (msr % 8) & 1;
}

static bool msr_exits(u32 msr, bool write)
{
	return map_exits(false, msr, write);
}

static u32 map_open(bool x2apic)
{
	u32 open = 0;

	for (u32 i = 0; i < MSR_BITMAP_BYTES; i++)
		for (u32 bit = 0; bit < 8; bit++)
			open += !(((const u8 *)page_ptr(vmx_msr_bitmap(x2apic)))[i] >> bit & 1);
	return open;
}

static void test_maps(void **state)
{
	static const u32 pass[] = { 0x174, 0x175, 0x176, 0xc0000081u, 0xc0000082u, 0xc0000084u, 0xc0000100u, 0xc0000101u,
				    0xc0000102u };
	static const u32 exits[] = { 0x10, 0x1b, 0x277, 0x1d9, 0x6e0, 0x800, 0x1fff, 0xc0000080u, 0xc0000083u, 0xc0000103u };

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(pass); i++)
		assert_true(!msr_exits(pass[i], false) && !msr_exits(pass[i], true));
	for (u32 i = 0; i < ARRAY_SIZE(exits); i++)
		assert_true(msr_exits(exits[i], false) && msr_exits(exits[i], true));
	assert_int_equal(map_open(false), 2 * ARRAY_SIZE(pass));
	for (u32 i = 0; i < 2 * IO_BITMAP_BYTES; i++)
		assert_int_equal(((const u8 *)page_ptr(vmx_io_bitmaps()))[i], 0xff);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_IO_BITMAPS], vmx_io_bitmaps());
	assert_int_equal(now()->field[VMCS_IO_BITMAPS + 2], vmx_io_bitmaps() + 4096);
}

/* What a guest in x2APIC mode may besides: 39 reads and 2 writes, and none that would reach the host's APIC. */
static void test_x2apic_map(void **state)
{
	static const u32 computed[] = { 0x800, 0x80b, 0x80e, 0x82f, 0x830, 0x831, 0x839, 0x83f, 0x840, 0x8ff };

	(void)state;
	for (u32 msr = 0x810; msr <= 0x828; msr++)
		assert_true(!map_exits(true, msr, false) && map_exits(true, msr, true));
	for (u32 i = 0; i < ARRAY_SIZE(computed); i++)
		assert_true(map_exits(true, computed[i], false));
	for (u32 msr = 0x800; msr < 0x900; msr++)
		assert_int_equal(map_exits(true, msr, true), msr != 0x808 && msr != 0x80b);
	assert_int_equal(map_open(true) - map_open(false), 41);
	assert_false(map_exits(true, MSR_LSTAR, true));
}

/* --- exits -------------------------------------------------------------------------------------- */

static void test_exit_simple(void **state)
{
	static const struct {
		u64 reason;
		enum vm_exit_kind kind;
		bool has_length;
	} all[] = {
		{ EXIT_EXTERNAL_INTERRUPT, VM_EXIT_HOST, false },  { EXIT_PREEMPTION_TIMER, VM_EXIT_HOST, false },
		{ EXIT_INTERRUPT_WINDOW, VM_EXIT_IRQ_WINDOW, false }, { EXIT_TRIPLE_FAULT, VM_EXIT_TRIPLE_FAULT, false },
		{ EXIT_CPUID, VM_EXIT_CPUID, true },               { EXIT_HLT, VM_EXIT_HLT, true },
		{ EXIT_PAUSE, VM_EXIT_PAUSE, true },               { EXIT_INVD, VM_EXIT_CACHE, true },
		{ EXIT_WBINVD, VM_EXIT_CACHE, true },              { EXIT_VMCALL, VM_EXIT_HYPERCALL, true },
		{ EXIT_RDPMC, VM_EXIT_PRIVILEGED, false },         { EXIT_VMXON, VM_EXIT_UNDEFINED, false },
		{ EXIT_INVVPID, VM_EXIT_UNDEFINED, false },        { EXIT_MWAIT, VM_EXIT_UNDEFINED, false },
		{ EXIT_TASK_SWITCH, VM_EXIT_UNKNOWN, false },      { 5, VM_EXIT_UNKNOWN, false },
		{ 60, VM_EXIT_UNKNOWN, false },                    { 1000, VM_EXIT_UNKNOWN, false },
	};

	(void)state;
	cpu.length = 3;
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		struct vm_exit exit = run(all[i].reason, 7);

		assert_int_equal(exit.kind, all[i].kind);
		assert_int_equal(exit.insn_len, all[i].has_length ? 3 : 0);
		if (exit.kind == VM_EXIT_UNKNOWN) {
			assert_int_equal(exit.raw.code, all[i].reason);
			assert_int_equal(exit.raw.info1, 7);
		}
	}
	cpu.length = 16; /* no CPU says that */
	assert_int_equal(run(EXIT_CPUID, 0).insn_len, 0);
}

static void test_exit_host(void **state)
{
	(void)state;
	served = served_nmis = 0;
	run(EXIT_EXTERNAL_INTERRUPT, 0);
	assert_int_equal(served, 1);
	run(EXIT_CPUID, 0);
	assert_int_equal(served, 2);
	cpu.event = INFO_VALID | INFO_NMI << 8 | 2;
	assert_int_equal(run(EXIT_EXCEPTION_NMI, 0).kind, VM_EXIT_HOST);
	assert_int_equal(served_nmis, 1);
}

static void test_exit_io(void **state)
{
	struct vm_exit exit;

	(void)state;
	cpu.rip = 0x1000;
	cpu.length = 1;
	exit = run(EXIT_IO, 0x3f8ull << 16 | IO_IN);
	assert_int_equal(exit.kind, VM_EXIT_IO);
	assert_int_equal(exit.io.port, 0x3f8);
	assert_int_equal(exit.io.size, 1);
	assert_true(exit.io.in && !exit.io.string);
	assert_int_equal(exit.io.next_rip, 0x1001);
	exit = run(EXIT_IO, 0xffffull << 16 | 3 | IO_STRING | IO_REP);
	assert_int_equal(exit.io.port, 0xffff);
	assert_int_equal(exit.io.size, 4);
	assert_true(!exit.io.in && exit.io.string && exit.io.rep);
	assert_int_equal(run(EXIT_IO, 2).kind, VM_EXIT_UNKNOWN);
}

static void test_exit_msr(void **state)
{
	struct vm_exit exit;

	(void)state;
	vcpu.regs.gpr[GPR_RCX] = 0xfffffffec0000080ull;
	vcpu.regs.gpr[GPR_RDX] = 0xaaaaaaaa12345678ull;
	vcpu.regs.gpr[GPR_RAX] = 0xbbbbbbbb9abcdef0ull;
	exit = run(EXIT_WRMSR, 0);
	assert_int_equal(exit.kind, VM_EXIT_MSR_WRITE);
	assert_int_equal(exit.msr.index, 0xc0000080u);
	assert_int_equal(exit.msr.value, 0x123456789abcdef0ull);
	assert_int_equal(run(EXIT_RDMSR, 0).kind, VM_EXIT_MSR_READ);
}

static void test_exit_npt(void **state)
{
	struct vm_exit exit;

	(void)state;
	cpu.gpa = 0xfee00080;
	exit = run(EXIT_EPT_VIOLATION, EPT_WRITE | EPT_LINEAR_VALID | EPT_FINAL);
	assert_int_equal(exit.kind, VM_EXIT_NPT);
	assert_int_equal(exit.npt.gpa, 0xfee00080);
	assert_true(exit.npt.write && !exit.npt.fetch && !exit.npt.table_walk);
	assert_int_equal(exit.npt.insn_bytes, 0);
	/* A and D bits on: a walk of the guest's tables reads and writes (29.3.3.2). */
	exit = run(EXIT_EPT_VIOLATION, 1 | EPT_WRITE | EPT_LINEAR_VALID);
	assert_true(exit.npt.table_walk && exit.npt.write);
	exit = run(EXIT_EPT_VIOLATION, EPT_FETCH | EPT_LINEAR_VALID | EPT_FINAL);
	assert_true(exit.npt.fetch && !exit.npt.table_walk);
	/* Loading PDPTEs has no linear address. */
	assert_false(run(EXIT_EPT_VIOLATION, 1).npt.table_walk);
	exit = run(EXIT_EPT_MISCONFIGURATION, 0);
	assert_int_equal(exit.kind, VM_EXIT_UNKNOWN);
	assert_int_equal(exit.raw.info1, 0xfee00080);
}

static void test_exit_cr(void **state)
{
	struct vm_exit exit;

	(void)state;
	vcpu.regs.gpr[GPR_R9] = BIT(63) | 0x20;
	run(EXIT_CPUID, 0);
	now()->field[VMCS_GUEST_RIGHTS + 2 * VMCS_CS] = 0xa09b;
	exit = run(EXIT_CR, 4 | GPR_R9 << 8);
	assert_int_equal(exit.kind, VM_EXIT_CR_WRITE);
	assert_int_equal(exit.cr.cr, 4);
	assert_int_equal(exit.cr.value, BIT(63) | 0x20);
	now()->field[VMCS_GUEST_RIGHTS + 2 * VMCS_CS] = 0xc09b;
	assert_int_equal(run(EXIT_CR, 4 | GPR_R9 << 8).cr.value, 0x20);
	assert_int_equal(run(EXIT_CR, 8 | GPR_R9 << 8).cr.cr, 8);
	now()->field[VMCS_GUEST_RSP] = 0x1234;
	assert_int_equal(run(EXIT_CR, 0 | GPR_RSP << 8).cr.value, 0x1234);
	assert_int_equal(run(EXIT_CR, 3 | GPR_R9 << 8).kind, VM_EXIT_UNKNOWN);
	assert_int_equal(run(EXIT_CR, 0 | 3 << 4).kind, VM_EXIT_UNKNOWN); /* LMSW */
}

static void test_exit_debug(void **state)
{
	struct vm_exit exit;
	struct cpu_state s;

	(void)state;
	run(EXIT_CPUID, 0);
	now()->field[VMCS_GUEST_DR7] = 0x2400; /* GD */
	now()->field[VMCS_INTERRUPTIBILITY] = BLOCKED_BY_MOV_SS;
	cpu.event = INFO_VALID | INFO_EXCEPTION << 8 | VECTOR_DB;
	exit = run(EXIT_EXCEPTION_NMI, DR6_BS | 2);
	assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
	assert_int_equal(exit.exception.vector, VECTOR_DB);
	assert_false(exit.exception.has_error_code);
	vmx_ops.get_state(&vcpu, &s);
	assert_int_equal(s.dr6, 0xffff4ff2);
	assert_int_equal(s.dr7, 0x400);
	assert_false(s.interrupt_shadow);
	cpu.event = INFO_VALID | INFO_EXCEPTION << 8 | INFO_HAS_ERROR | VECTOR_AC;
	exit = run(EXIT_EXCEPTION_NMI, 0);
	assert_true(exit.exception.has_error_code);
	cpu.event = INFO_VALID | INFO_EXCEPTION << 8 | 13;
	assert_int_equal(run(EXIT_EXCEPTION_NMI, 0).kind, VM_EXIT_UNKNOWN);
	/* The first touch of a debug register gives them to the guest. */
	assert_true(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_MOV_DR);
	assert_int_equal(run(EXIT_DR, 0).kind, VM_EXIT_HOST);
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_MOV_DR);
	/* No breakpoint was set by the next exit: back. */
	run(EXIT_CPUID, 0);
	assert_true(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_MOV_DR);
}

static void test_entry_failed(void **state)
{
	struct vm_exit exit;

	(void)state;
	exit = run(EXIT_ENTRY_FAILED | EXIT_BAD_GUEST_STATE, 4);
	assert_int_equal(exit.kind, VM_EXIT_ENTRY_FAILED);
	assert_false(vv()->launched);
	assert_non_null(strstr(vmx_entry_failure(EXIT_BAD_GUEST_STATE, 4), "link pointer"));
	assert_non_null(strstr(vmx_entry_failure(EXIT_BAD_MSR_LOAD, 1), "MSR loading"));
	cpu.result = VMX_FAIL_VALID;
	vcpu.regs.rip = 0x1234;
	exit = run(EXIT_CPUID, 0);
	assert_int_equal(exit.kind, VM_EXIT_ENTRY_FAILED);
	assert_int_equal(exit.raw.code, 7);
	assert_int_equal(vcpu.regs.rip, 0x1234);
	assert_non_null(strstr(vmx_instruction_error(7), "invalid control field"));
	assert_non_null(strstr(vmx_instruction_error(14), "without a name"));
	assert_non_null(strstr(vmx_instruction_error(~0ull), "without a name"));
	cpu.result = VMX_OK;
	assert_int_equal(run(EXIT_CPUID, 0).kind, VM_EXIT_CPUID);
	assert_true(vv()->launched);
}

/* --- events ------------------------------------------------------------------------------------- */

static const struct vm_event gp = { .type = EVENT_EXCEPTION, .vector = 13, .has_error_code = 1, .error_code = 0x18 };
static const struct vm_event pf = { .type = EVENT_EXCEPTION, .vector = 14, .has_error_code = 1, .error_code = 2 };
static const struct vm_event irq = { .type = EVENT_IRQ, .vector = 0x51 };

static struct cpu_state long_mode(void)
{
	struct cpu_state s;

	vmx_ops.get_state(&vcpu, &s);
	s.cr0 = CR0_PE | CR0_PG | CR0_ET;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA | EFER_NXE;
	s.cs.attr = 0xa9b;
	return s;
}

static void enter_long_mode(void)
{
	struct cpu_state s = long_mode();

	assert_int_equal(vmx_ops.set_state(&vcpu, &s), 0);
	run(EXIT_CPUID, 0);
}

static void assert_event(u8 type, u8 vector)
{
	assert_int_equal(vv()->event.type, type);
	assert_int_equal(vv()->event.vector, vector);
}

static void test_inject(void **state)
{
	(void)state;
	enter_long_mode();
	assert_false(vmx_ops.irq_ready(&vcpu)); /* IF is 0 */
	vcpu.regs.rflags |= RFLAGS_IF;
	assert_true(vmx_ops.irq_ready(&vcpu));
	vmx_ops.inject(&vcpu, irq);
	assert_true(vmx_ops.event_pending(&vcpu));
	assert_false(vmx_ops.irq_ready(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000051u);
	assert_false(vmx_ops.event_pending(&vcpu));
	run(EXIT_CPUID, 0);
	assert_false(cpu.event_in & INFO_VALID);
	vmx_ops.inject(&vcpu, gp);
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000b0du);
	assert_int_equal(cpu.event_error_in, 0x18);
	vmx_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_EXCEPTION, .vector = 6 });
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000306u);
	now()->field[VMCS_INTERRUPTIBILITY] = BLOCKED_BY_STI;
	run(EXIT_CPUID, 0);
	assert_false(vmx_ops.irq_ready(&vcpu));
	vmx_ops.insn_done(&vcpu);
	assert_true(vmx_ops.irq_ready(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_INTERRUPTIBILITY], 0);
}

/* In real mode no exception has an error code (27.2.1.3). */
static void test_inject_real_mode(void **state)
{
	(void)state;
	vmx_ops.inject(&vcpu, gp);
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x8000030du);
}

/* An exit in the middle of a delivery. */
static void test_interrupted_delivery(void **state)
{
	static const struct {
		u32 info;
		u8 type, vector;
	} all[] = {
		{ 0x80000051u, EVENT_IRQ, 0x51 },
		{ 0x80000202u, EVENT_NMI, 2 },
		{ 0x80000b0eu, EVENT_EXCEPTION, 14 },
		{ 0x80000603u, EVENT_NONE, 3 },    /* INT3: executed again */
		{ 0x80000501u, EVENT_NONE, 1 },    /* INT1 */
		{ 0x80000480u, EVENT_NONE, 0x80 }, /* INT 80h */
		{ 0x00000b0eu, EVENT_NONE, 0 },    /* not valid */
	};

	(void)state;
	enter_long_mode();
	cpu.idt_error = 5;
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		vmx_set_event(vv(), (struct vm_event){ 0 });
		cpu.idt_event = all[i].info;
		run(EXIT_EPT_VIOLATION, 0);
		assert_event(all[i].type, all[i].vector);
	}
	vmx_set_event(vv(), (struct vm_event){ 0 });
	cpu.idt_event = 0x80000b0eu;
	run(EXIT_EPT_VIOLATION, 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000b0eu);
	assert_int_equal(cpu.event_error_in, 5);
}

static void test_double_fault(void **state)
{
	(void)state;
	vmx_ops.inject(&vcpu, pf);
	vmx_ops.inject(&vcpu, gp);
	assert_event(EVENT_EXCEPTION, VECTOR_DF);
	vv()->event = irq;
	vmx_ops.inject(&vcpu, gp);
	assert_event(EVENT_IRQ, 0x51);
	vv()->event = (struct vm_event){ 0 };
}

static void test_irq_window(void **state)
{
	(void)state;
	vmx_ops.request_irq_window(&vcpu, true);
	assert_int_equal(run(EXIT_INTERRUPT_WINDOW, 0).kind, VM_EXIT_IRQ_WINDOW);
	assert_true(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_INTERRUPT_WINDOW);
	vmx_ops.request_irq_window(&vcpu, false);
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_INTERRUPT_WINDOW);
}

static bool nmi_blocked(void)
{
	struct cpu_state s;

	vmx_ops.get_state(&vcpu, &s);
	return s.nmi_blocked;
}

static void test_nmi(void **state)
{
	(void)state;
	run(EXIT_CPUID, 0);
	now()->field[VMCS_INTERRUPTIBILITY] = BLOCKED_BY_MOV_SS;
	run(EXIT_CPUID, 0);
	vmx_ops.inject(&vcpu, (struct vm_event){ .type = EVENT_NMI, .vector = 2 });
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000202u);
	assert_int_equal(now()->field[VMCS_INTERRUPTIBILITY], 0);
	/* The CPU has blocked them; another one comes. */
	now()->field[VMCS_INTERRUPTIBILITY] = BLOCKED_BY_NMI;
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
	assert_true(nmi_blocked());
	vmx_ops.request_nmi_window(&vcpu, true);
	run(EXIT_CPUID, 0);
	assert_true(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
	/* The IRET's end. */
	now()->field[VMCS_INTERRUPTIBILITY] = 0;
	assert_int_equal(run(EXIT_NMI_WINDOW, 0).kind, VM_EXIT_HOST);
	assert_false(nmi_blocked());
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
	/* An IRET that faults had unblocked them too early. */
	run(EXIT_EPT_VIOLATION, QUALIFICATION_UNBLOCKED_NMI);
	assert_true(nmi_blocked());
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_INTERRUPTIBILITY], BLOCKED_BY_NMI);
	/* An NMI whose delivery was interrupted goes in again: not blocked by itself. */
	cpu.idt_event = 0x80000202u;
	run(EXIT_EPT_VIOLATION, 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.event_in, 0x80000202u);
	assert_int_equal(now()->field[VMCS_INTERRUPTIBILITY], 0);
}

static void test_single_step(void **state)
{
	struct cpu_state s;

	(void)state;
	vcpu.regs.rflags |= RFLAGS_TF;
	vmx_ops.insn_done(&vcpu);
	assert_event(EVENT_EXCEPTION, VECTOR_DB);
	vmx_ops.get_state(&vcpu, &s);
	assert_true(s.dr6 & DR6_BS);
	/* In a shadow the CPU wants the trap to be pending (27.3.1.5). */
	s.event = (struct vm_event){ 0 };
	s.interrupt_shadow = 1;
	s.rflags = RFLAGS_FIXED | RFLAGS_TF;
	assert_int_equal(vmx_ops.set_state(&vcpu, &s), 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_INTERRUPTIBILITY], BLOCKED_BY_MOV_SS);
	assert_int_equal(now()->field[VMCS_PENDING_DEBUG], PENDING_DEBUG_BS);
}

/* --- state -------------------------------------------------------------------------------------- */

static void test_reset_state(void **state)
{
	struct cpu_state s;

	(void)state;
	vmx_ops.get_state(&vcpu, &s);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.gpr[GPR_RDX], 0x50654);
	assert_int_equal(s.cs.selector, 0xf000);
	assert_int_equal(s.cs.base, 0xffff0000);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.dr7, 0x400);
	run(EXIT_CPUID, 0);
	/* The caches stay on and NE is set, whatever the guest sees. */
	assert_int_equal(now()->field[VMCS_GUEST_CR0], CR0_NE | CR0_ET);
	assert_int_equal(now()->field[VMCS_CR0_SHADOW], 0x60000010);
	assert_int_equal(now()->field[VMCS_CR0_MASK], CR0_NE | CR0_CD | CR0_NW);
	assert_int_equal(now()->field[VMCS_GUEST_CR4], CR4_VMXE | CR4_MCE);
	assert_int_equal(now()->field[VMCS_CR4_SHADOW], 0);
	assert_false(now()->field[VMCS_ENTRY_CONTROLS] & ENTRY_CTL_IA32E);
	assert_int_equal(now()->field[VMCS_GUEST_RIGHTS + 2 * VMCS_CS], 0x9b);
	assert_int_equal(now()->field[VMCS_GUEST_RIP], 0xfff0);
	assert_int_equal(now()->field[VMCS_VPID], 1);
	assert_int_equal(now()->field[VMCS_EPTP], vm.gmem.npt.root | 6 | 3 << 3 | 1 << 6);
	vmx_ops.get_state(&vcpu, &s);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.cr4, 0);
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
	in.ds.attr = 0;     /* unusable */
	in.ds.limit = 0;
	in.fs.base = 0x7fff00000000ull;
	in.kernel_gs_base = 0xffff888000000000ull;
	in.lstar = 0xffffffff81e00000ull;
	in.cstar = 0xffffffff81e00040ull;
	in.star = 0x0023001000000000ull;
	in.sfmask = 0x47700;
	in.sysenter_eip = 0xffffffff81e01000ull;
	in.gdtr.base = 0xfffffe0000001000ull;
	in.tsc_aux = 5;
	in.event = pf;
	in.interrupt_shadow = 1;
	in.nmi_blocked = 1;
	assert_int_equal(vmx_ops.set_state(&vcpu, &in), 0);
	vmx_ops.get_state(&vcpu, &out);
	assert_memory_equal(&in, &out, sizeof(in));
	/* Into the VMCS and the CPU, and back. */
	run(EXIT_EXTERNAL_INTERRUPT, 0);
	assert_int_equal(cpu.event_in, 0x80000b0eu);
	assert_int_equal(debug_registers[3], 4);
	assert_int_equal(cpu.cr2, 0xdead);
	assert_int_equal(msr_read(MSR_LSTAR), in.lstar);
	assert_int_equal(msr_read(MSR_TSC_AUX), 5);
	assert_true(now()->field[VMCS_ENTRY_CONTROLS] & ENTRY_CTL_IA32E);
	assert_int_equal(now()->field[VMCS_GUEST_RIGHTS + 2 * VMCS_DS], RIGHTS_UNUSABLE);
	in.event = (struct vm_event){ 0 };
	vmx_ops.get_state(&vcpu, &out);
	assert_memory_equal(&in, &out, sizeof(in));
	msr_write(MSR_KERNEL_GS_BASE, 0x1000);
	vmx_ops.vcpu_leave(&vcpu);
	in.kernel_gs_base = 0x1000;
	msr_write(MSR_KERNEL_GS_BASE, 0x2000); /* another vCPU's */
	vmx_ops.get_state(&vcpu, &out);
	assert_memory_equal(&in, &out, sizeof(in));
}

#define REFUSED(change)                                                    \
	do {                                                               \
		struct cpu_state s = long_mode();                          \
		change;                                                    \
		assert_int_equal(vmx_ops.set_state(&vcpu, &s), -E_INVAL);  \
	} while (0)

static void test_state_refused(void **state)
{
	(void)state;
	REFUSED(s.cr0 |= BIT(32));
	REFUSED(s.cr0 &= ~CR0_PG); /* LMA without paging */
	REFUSED(s.cr8 = 16);
	REFUSED(s.efer |= BIT(20));
	REFUSED(s.gs.base = BIT(47));
	REFUSED(s.pat = 2);
	REFUSED(s.xcr0 = 9);
	REFUSED(s.xss = 1);
	REFUSED(s.debugctl = 4);
	REFUSED((s.event = (struct vm_event){ .type = EVENT_SOFT_INT, .vector = 0x80 }));
}

static void test_msrs(void **state)
{
	u64 value = 0;

	(void)state;
	run(EXIT_CPUID, 0);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_LSTAR, 0xffff800000000000ull), 0);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_TSC_AUX, 7), 0);
	assert_int_equal(vmx_ops.get_msr(&vcpu, MSR_LSTAR, &value), 0);
	assert_int_equal(value, 0xffff800000000000ull);
	run(EXIT_CPUID, 0);
	assert_int_equal(msr_read(MSR_LSTAR), 0xffff800000000000ull);
	assert_int_equal(msr_read(MSR_TSC_AUX), 7);
	/* The guest writes it itself. */
	msr_write(MSR_LSTAR, 0x1000);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_TSC_AUX, 8), 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(msr_read(MSR_LSTAR), 0x1000);
	now()->field[VMCS_GUEST_SYSENTER_CS] = 0x10;
	now()->field[VMCS_GUEST_BASE + 2 * VMCS_GS] = 0x3000;
	assert_int_equal(vmx_ops.get_msr(&vcpu, MSR_GS_BASE, &value), 0);
	assert_int_equal(value, 0x3000);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_LSTAR, BIT(60)), -E_INVAL);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_STAR, BIT(60)), 0);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_PAT, 0x0007010600070106ull), 0);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_PAT, 3), -E_INVAL);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_CSTAR, 0x1000), 0);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_EFER, EFER_LME | EFER_LMA), 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_GUEST_PAT], 0x0007010600070106ull);
	assert_int_equal(now()->field[VMCS_GUEST_SYSENTER_CS], 0x10);
	assert_int_equal(now()->field[VMCS_GUEST_EFER], EFER_LME); /* LMA is not written */
	vmx_ops.set_cr(&vcpu, 0, CR0_PE | CR0_PG);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_GUEST_EFER], EFER_LME | EFER_LMA);
	assert_true(now()->field[VMCS_ENTRY_CONTROLS] & ENTRY_CTL_IA32E);
	vmx_ops.set_cr(&vcpu, 0, CR0_PE);
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_ENTRY_CONTROLS] & ENTRY_CTL_IA32E);
	assert_int_equal(vmx_ops.get_msr(&vcpu, 0x10, &value), -E_NOENT);
	assert_int_equal(vmx_ops.set_msr(&vcpu, 0x48, 1), -E_NOENT);
}

/* What the guest may change without an exit, and what it sees of the rest. */
static void test_control_registers(void **state)
{
	(void)state;
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_CR4_MASK] & (CR4_PAE | CR4_PSE));
	assert_true(now()->field[VMCS_CR4_MASK] & CR4_VMXE && now()->field[VMCS_CR4_MASK] & CR4_SMEP);
	now()->field[VMCS_GUEST_CR4] |= CR4_PAE;
	assert_int_equal(vmx_ops.get_cr(&vcpu, 4), CR4_PAE);
	run(EXIT_CPUID, 0);
	vmx_ops.set_cr(&vcpu, 4, CR4_PAE | CR4_MCE);
	run(EXIT_CPUID, 0);
	assert_int_equal(vmx_ops.get_cr(&vcpu, 4), CR4_PAE | CR4_MCE);
	vmx_ops.set_cr(&vcpu, 8, 9);
	assert_int_equal(apic_page[0x80 / 4], 0x90);
	/* TPR's low half is MMIO's alone. */
	apic_page[0x80 / 4] = 0x95;
	vmx_ops.set_cr(&vcpu, 8, 9);
	assert_int_equal(apic_page[0x80 / 4], 0x95);
	assert_int_equal(vmx_ops.get_cr(&vcpu, 8), 9);
	vmx_ops.set_cr(&vcpu, 2, 0x77);
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.cr2, 0x77);
	cpu.cr2 = 0x88;
	assert_int_equal(vmx_ops.get_cr(&vcpu, 2), 0x88);
}

/* PAE paging: the PDPTEs go with CR3. One that the CPU would refuse is not there. */
static void test_pdptes(void **state)
{
	static const u64 pdptes[4] = { 0x1001, 0x2001 | BIT(1), 0x3000, 0x4001 };
	struct cpu_state s;

	(void)state;
	assert_int_equal(gmem_write(&vm.gmem, 0x5020, pdptes, sizeof(pdptes)), 0);
	vmx_ops.get_state(&vcpu, &s);
	s.cr0 = CR0_PE | CR0_PG | CR0_ET;
	s.cr3 = 0x5020;
	s.cr4 = CR4_PAE;
	assert_int_equal(vmx_ops.set_state(&vcpu, &s), 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_GUEST_PDPTE], 0x1001);
	assert_int_equal(now()->field[VMCS_GUEST_PDPTE + 2], 0);
	assert_int_equal(now()->field[VMCS_GUEST_PDPTE + 4], 0);
	assert_int_equal(now()->field[VMCS_GUEST_PDPTE + 6], 0x4001);
}

/* --- TLB, CPUs, the usual way -------------------------------------------------------------------- */

static void test_usual_entry(void **state)
{
	(void)state;
	run(EXIT_CPUID, 0);
	run(EXIT_CPUID, 0);
	vcpu.regs.rip += 2;
	run(EXIT_CPUID, 0);
	assert_int_equal(cpu.written_in, 1); /* RIP */
	assert_int_equal(cpu.entries, 3);
	assert_int_equal(now()->field[VMCS_GUEST_RIP], 0xfff2);
	assert_int_equal(vv()->attention, 0);
	assert_int_equal(vv()->valid, 0);
}

static void test_flush(void **state)
{
	(void)state;
	run_on(0);
	assert_int_equal(cpu.invept, INVALIDATE_SINGLE);
	assert_int_equal(cpu.invept_context, now()->field[VMCS_EPTP]);
	run_on(0);
	assert_int_equal(cpu.invept, 0);
	vmx_ops.flush_tlb(&vcpu);
	run_on(0);
	assert_int_equal(cpu.invept, INVALIDATE_SINGLE);
	assert_int_equal(cpu.invvpid, 0);
	/* The guest's own translations only. */
	vmx_ops.set_cr(&vcpu, 4, CR4_PAE);
	run_on(0);
	assert_int_equal(cpu.invept, 0);
	assert_int_equal(cpu.invvpid, INVALIDATE_SINGLE);
	assert_int_equal(cpu.invvpid_context, 1);
	assert_int_equal(vmx_ops.set_msr(&vcpu, MSR_EFER, EFER_NXE), 0);
	run_on(0);
	assert_int_equal(cpu.invvpid, INVALIDATE_SINGLE);
}

/* To another CPU and back: the VMCS is never active on two, and no old translation is used. */
static void test_cpus(void **state)
{
	(void)state;
	run_on(0);
	msr_write(MSR_STAR, 5);
	vmx_ops.vcpu_leave(&vcpu);
	assert_int_equal(vmcss[0].active, CPUS_MAX);
	run_on(1);
	assert_int_equal(cpu.invept, INVALIDATE_SINGLE);
	assert_int_equal(msr_read(MSR_STAR), 5);
	vmx_ops.vcpu_leave(&vcpu);
	vmx_ops.vcpu_leave(&vcpu); /* again is nothing */
	run_on(1);
	assert_int_equal(cpu.invept, 0);
	vmx_ops.vcpu_leave(&vcpu);
	run_on(0);
	assert_int_equal(cpu.invept, INVALIDATE_SINGLE);
}

/* Another vCPU runs on the same CPU: what nothing switches is exchanged, and the predictor is told. */
static void test_two_vcpus(void **state)
{
	struct vcpu other = { .vm = &vm, .index = 1, .xsave = xsave_area, .apic_page = apic_page, .xcr0 = 1 };
	struct vm_exit exited;

	(void)state;
	fake_msr_set(MSR_PRED_CMD, 0);
	vmx_features.ibpb = true;
	assert_int_equal(vmx_ops.vcpu_init(&other), 0);
	run_on(0);
	msr_write(MSR_STAR, 5);
	msr_write(MSR_PRED_CMD, 0);
	vmx_ops.vcpu_leave(&vcpu);
	vmx_ops.vcpu_run(&other, &exited);
	assert_int_equal(msr_read(MSR_STAR), 0);
	assert_int_equal(msr_read(MSR_PRED_CMD), PRED_CMD_IBPB);
	assert_int_equal(now()->field[VMCS_VPID], 2);
	vmx_ops.vcpu_leave(&other);
	run_on(0);
	assert_int_equal(msr_read(MSR_STAR), 5);
	vmx_ops.vcpu_fini(&other);
	vmx_features.ibpb = false;
}

static void test_tsc_offset(void **state)
{
	(void)state;
	vmx_ops.set_tsc(&vcpu, 12345, 0);
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_TSC_OFFSET], 12345);
	assert_false(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_TSC_SCALING);
}

static void test_tsc_scaling(void **state)
{
	(void)state;
	assert_int_equal(vmx_ops.tsc_ratio_bits(), 48);
	vmx_ops.set_tsc(&vcpu, 5, BIT(49));
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_TSC_OFFSET], 5);
	assert_int_equal(now()->field[VMCS_TSC_MULTIPLIER], BIT(49));
	assert_true(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_TSC_SCALING);
	vmx_ops.set_tsc(&vcpu, 5, 0);
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_TSC_SCALING);
	/* A CPU without it: the field does not exist there. */
	fake_msr_set(MSR_VMX_SECONDARY, ALLOW_ALL & ~((u64)SECONDARY_TSC_SCALING << 32));
	assert_null(vmx_ops.missing());
	assert_int_equal(vmx_ops.tsc_ratio_bits(), 0);
}

/* INVPCID is an instruction for those who see it in CPUID. */
static void test_invpcid(void **state)
{
	struct vcpu other = { .vm = &vm, .index = 1, .xsave = xsave_area, .apic_page = apic_page, .xcr0 = 1 };
	struct vm_exit exited;

	(void)state;
	run(EXIT_CPUID, 0);
	assert_true(vmx_features.secondary & SECONDARY_INVPCID);
	assert_false(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_INVPCID);
	vmx_ops.vcpu_leave(&vcpu);
	policy.entries[policy.count++] = (struct cpuid_entry){ .leaf = 7, .ebx = BIT(10) };
	assert_int_equal(vmx_ops.vcpu_init(&other), 0);
	vmx_ops.vcpu_run(&other, &exited);
	assert_true(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_INVPCID);
	vmx_ops.vcpu_leave(&other);
	vmx_ops.vcpu_fini(&other);
}

/* --- the local APIC --------------------------------------------------------------------------------- */

static u32 apicv_controls(void)
{
	return (u32)now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_APICV;
}

/* A guest in x2APIC mode is given its interrupts by the CPU, which is told anew what there is whenever it changes. */
static void test_apicv(void **state)
{
	(void)state;
	apic_view = (struct irqchip_view){ .requested = 0x31, .tpr_threshold = 3 };
	assert_false(vmx_ops.apic_sync(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(apicv_controls(), 0);
	assert_int_equal(now()->field[VMCS_TPR_THRESHOLD], 3);
	assert_int_equal(now()->field[VMCS_VIRTUAL_APIC], page_hpa(apic_page));
	assert_false(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_CR8_LOAD);

	apic_view = (struct irqchip_view){ .x2apic = true, .requested = 0x31, .in_service = 0x20, .level = { 1, 2, 3, 4 } };
	assert_true(vmx_ops.apic_sync(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(apicv_controls(), SECONDARY_APICV);
	assert_int_equal(now()->field[VMCS_INTERRUPT_STATUS], 0x2031);
	assert_int_equal(now()->field[VMCS_MSR_BITMAP], vmx_msr_bitmap(true));
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(now()->field[VMCS_EOI_EXITS + 2 * i], i + 1);
	/* What the CPU made of it stays, until something changes. */
	now()->field[VMCS_INTERRUPT_STATUS] = 0x31;
	run(EXIT_CPUID, 0);
	assert_int_equal(now()->field[VMCS_INTERRUPT_STATUS], 0x31);

	/* Switched off by software, or reset: back to what every CPU can do. */
	apic_view = (struct irqchip_view){ .requested = 0 };
	assert_false(vmx_ops.apic_sync(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(apicv_controls(), 0);
	assert_int_equal(now()->field[VMCS_MSR_BITMAP], vmx_msr_bitmap(false));
	assert_int_equal(now()->field[VMCS_TPR_THRESHOLD], 0);
}

static void test_apic_exits(void **state)
{
	struct vm_exit exit;

	(void)state;
	exit = run(EXIT_VIRTUAL_EOI, 0x41);
	assert_int_equal(exit.kind, VM_EXIT_EOI);
	assert_int_equal(exit.eoi.vector, 0x41);
	vcpu.requests = 0;
	exit = run(EXIT_TPR_BELOW_THRESHOLD, 0);
	assert_int_equal(exit.kind, VM_EXIT_IRQ_WINDOW);
	assert_int_equal(vcpu.requests, VCPU_REQ_LOOK);
}

/* Forbidden (apicv = 'off'), or not there at all. */
static void test_apic_not_assisted(void **state)
{
	struct vcpu other = { .vm = &vm, .index = 1, .apic_page = apic_page };
	struct vm_exit exited;

	(void)state;
	apic_view = (struct irqchip_view){ .x2apic = true, .requested = 0x31, .tpr_threshold = 3 };
	vmx_ops.apic_assist(false);
	assert_string_equal(vmx_ops.apic_label(), "emulated");
	assert_int_equal(vmx_ops.vcpu_init(&other), 0);
	assert_false(vmx_ops.apic_sync(&other));
	vmx_ops.vcpu_run(&other, &exited);
	assert_true(now()->field[VMCS_PRIMARY_CONTROLS] & PRIMARY_CR8_LOAD);
	assert_int_equal(apicv_controls(), 0);
	vmx_ops.vcpu_leave(&other);
	vmx_ops.vcpu_fini(&other);

	vmx_ops.apic_assist(true);
	vmx_features.apicv = false;
	assert_string_equal(vmx_ops.apic_label(), "emulated, with a TPR shadow");
	assert_false(vmx_ops.apic_sync(&vcpu));
	run(EXIT_CPUID, 0);
	assert_int_equal(apicv_controls(), 0);
	assert_int_equal(now()->field[VMCS_TPR_THRESHOLD], 3);
}

/* --- the page-modification log -------------------------------------------------------------------- */

static u64 bitmap[LARGE_SIZE / PAGE_SIZE / 64];

/* The CPU sets D and lists the page. */
static void guest_store(gpa_t gpa)
{
	u64 index = now()->field[VMCS_PML_INDEX];
	hpa_t table = vm.gmem.npt.root;
	u64 *entry = NULL;

	assert_true(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_PML);
	for (u32 level = 4; level > 0; level--) {
		entry = (u64 *)page_ptr(table) + (gpa >> (12 + 9 * (level - 1)) & 511);
		*entry |= EPTE_ACCESSED;
		table = *entry & EPTE_ADDRESS;
	}
	if (*entry & EPTE_DIRTY)
		return;
	*entry |= EPTE_DIRTY;
	vv()->pml[index] = gpa & ~(PAGE_SIZE - 1);
	now()->field[VMCS_PML_INDEX] = (index - 1) & 0xffff;
}

static void flushed_run(void)
{
	vmx_ops.flush_tlb(&vcpu);
	run(EXIT_CPUID, 0);
}

static void test_pml(void **state)
{
	struct vm_exit exit;

	(void)state;
	vm.gmem.dirty = &dirty_pml;
	run(EXIT_CPUID, 0);
	assert_false(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_PML);
	assert_int_equal(gmem_log_start(&vm.gmem), 0);
	flushed_run();
	assert_true(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_PML);
	gmem_log_clear(&vm.gmem);
	flushed_run();
	guest_store(3 * PAGE_SIZE + 5);
	guest_store(3 * PAGE_SIZE + 8);
	guest_store(100 * PAGE_SIZE);
	/* Not emptied yet; at the next flush it is. */
	assert_int_equal(gmem_log_collect(&vm.gmem, bitmap), 0);
	flushed_run();
	assert_int_equal(now()->field[VMCS_PML_INDEX], PML_ENTRIES - 1);
	assert_int_equal(gmem_log_collect(&vm.gmem, bitmap), 2);
	assert_int_equal(bitmap[0], BIT(3));
	assert_int_equal(bitmap[1], BIT(36));
	flushed_run();
	/* Its D bit was cleared, so it is listed again. */
	memset(bitmap, 0, sizeof(bitmap));
	guest_store(3 * PAGE_SIZE);
	vmx_ops.vcpu_leave(&vcpu);
	assert_int_equal(gmem_log_collect(&vm.gmem, bitmap), 1);
	/* Full: all of it, and an exit that is counted. */
	flushed_run();
	memset(bitmap, 0, sizeof(bitmap));
	for (u32 i = 0; i < 512; i++)
		guest_store(i * PAGE_SIZE);
	assert_int_equal(now()->field[VMCS_PML_INDEX], 0xffff);
	exit = run(EXIT_PML_FULL, 0);
	assert_int_equal(exit.kind, VM_EXIT_DIRTY_LOG);
	assert_int_equal(gmem_log_collect(&vm.gmem, bitmap), 512);
	gmem_log_stop(&vm.gmem);
	flushed_run();
	assert_false(now()->field[VMCS_SECONDARY_CONTROLS] & SECONDARY_PML);
	npt_reap(&vm.gmem.npt);
	memset(bitmap, 0, sizeof(bitmap));
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_controls),
		cmocka_unit_test(test_cpu_on),
		EACH(test_maps),
		EACH(test_x2apic_map),
		EACH(test_exit_simple),
		EACH(test_exit_host),
		EACH(test_exit_io),
		EACH(test_exit_msr),
		EACH(test_exit_npt),
		EACH(test_exit_cr),
		EACH(test_exit_debug),
		EACH(test_entry_failed),
		EACH(test_inject),
		EACH(test_inject_real_mode),
		EACH(test_interrupted_delivery),
		EACH(test_double_fault),
		EACH(test_irq_window),
		EACH(test_nmi),
		EACH(test_single_step),
		EACH(test_reset_state),
		EACH(test_state_round_trip),
		EACH(test_state_refused),
		EACH(test_msrs),
		EACH(test_control_registers),
		EACH(test_pdptes),
		EACH(test_usual_entry),
		EACH(test_flush),
		EACH(test_cpus),
		EACH(test_two_vcpus),
		EACH(test_tsc_offset),
		EACH(test_tsc_scaling),
		EACH(test_invpcid),
		EACH(test_apicv),
		EACH(test_apic_exits),
		EACH(test_apic_not_assisted),
		EACH(test_pml),
	};

	return cmocka_run_group_tests_name("vmx", tests, NULL, NULL);
}
