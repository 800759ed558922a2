/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that change their code under our eyes, keep their stack nowhere, or ask for what is not theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/cr.h"
#include "vmm/irqchip.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

#define DEVICE 0xc8000000u /* in the PCI window */
#define DEVICE_BYTES 0x1000u
#define PORT 0x2000
#define CODE 0x500000u
#define TABLES 0x600000u
#define LINEAR 0x400000000ull /* where those tables map CODE, and after it the device, read-only */

enum { VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14 };

static struct vm *vm;
static struct vcpu *vcpu;
static u32 accesses;

static void device_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	(void)ctx;
	(void)offset;
	(void)size;
	accesses++;
	if (!write)
		*value = 0;
}

static int setup(void **state)
{
	struct vm_config config;
	char why[160];

	(void)state;
	fake_cpu_reset();
	fake_hvm_install();
	fake_vm_config(&config, "hostile", 16);
	config.on_crash = VM_PRESERVE;
	if (vm_create(&config, &vm, why, sizeof(why)))
		return -1;
	vcpu = vm->vcpus[0];
	if (io_bus_add(&vm->mmio, DEVICE, DEVICE_BYTES, device_io, NULL))
		return -1;
	if (io_bus_add(&vm->pio, PORT, 8, device_io, NULL))
		return -1;
	vm_start(vm);
	accesses = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_hvm_set_hook(NULL);
	vm_destroy(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void put(gpa_t gpa, u64 value, u32 bytes)
{
	assert_int_equal(gmem_write(&vm->gmem, gpa, &value, bytes), 0);
}

static void user_mode(void)
{
	struct cpu_state state;

	vcpu_save(vcpu, &state);
	state.ss.attr |= 3 << 5;
	state.cr0 |= CR0_WP;
	state.cr3 = TABLES;
	assert_int_equal(hvm->set_state(vcpu, &state), 0);
	put(TABLES + 8 * (LINEAR >> 39 & 511), (TABLES + 0x1000) | 7, 8);
	put(TABLES + 0x1000 + 8 * (LINEAR >> 30 & 511), (TABLES + 0x2000) | 7, 8);
	put(TABLES + 0x2000, (TABLES + 0x3000) | 7, 8);
	put(TABLES + 0x3000, CODE | 7, 8);
	put(TABLES + 0x3008, DEVICE | 5, 8);
	vcpu->regs.rip = LINEAR;
}

static void run_exit(const struct vm_exit *exit)
{
	fake_guest_exit(vcpu, exit);
	fake_run();
}

/* The CPU met a load; what we find is port I/O, which nobody checked against the TSS's bitmap. */
static void test_load_becomes_port(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT, .npt.gpa = DEVICE };

	(void)state;
	user_mode();
	put(CODE, 0x6e, 1); /* outsb */
	vcpu->regs.gpr[GPR_RDX] = PORT;
	vcpu->regs.gpr[GPR_RSI] = LINEAR;
	run_exit(&exit);
	assert_int_equal(accesses, 0);
	/* The HLT with which the program ends; the instruction was not taken as done. */
	assert_int_equal(vcpu->regs.rip, LINEAR + 1);
	assert_int_equal(vm->state, VM_LIVE);
}

/* The CPU met a load from a page that this program may only read; what we find is a store. */
static void test_load_becomes_store(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT, .npt.gpa = DEVICE };

	(void)state;
	user_mode();
	put(CODE, 0x0789, 2); /* mov %eax,(%rdi) */
	vcpu->regs.gpr[GPR_RDI] = LINEAR + 0x1000;
	run_exit(&exit);
	assert_int_equal(accesses, 0);
	assert_int_equal(fake_guest_events(vcpu, VECTOR_PF), 1);
	assert_int_equal(fake_guest_error_code(vcpu), PF_PRESENT | PF_WRITE | PF_USER);
	assert_int_equal(fake_guest_cr2(vcpu), LINEAR + 0x1000);
}

/* A byte was allowed; a doubleword reaches ports that were not. */
static void test_port_grows(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_IO };

	(void)state;
	put(CODE, 0x6f, 1); /* outsd */
	exit.io.string = true;
	exit.io.size = 1;
	exit.io.port = PORT;
	vcpu->regs.rip = CODE;
	vcpu->regs.gpr[GPR_RDX] = PORT;
	vcpu->regs.gpr[GPR_RSI] = CODE;
	run_exit(&exit);
	assert_int_equal(accesses, 0);
	exit.io.size = 4;
	exit.io.in = true;
	vcpu->regs.rip = CODE;
	run_exit(&exit);
	assert_int_equal(accesses, 0);
	exit.io.in = false;
	vcpu->regs.rip = CODE;
	run_exit(&exit);
	assert_int_equal(accesses, 1);
}

/* A program's instruction that we don't know is the program's fault, not the guest's end. */
static void test_program_undecodable(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT, .npt.gpa = DEVICE };

	(void)state;
	user_mode();
	put(CODE, 0x076f0f, 3); /* movq (%rdi),%mm0 */
	run_exit(&exit);
	assert_int_equal(vm->state, VM_LIVE);
	assert_int_equal(fake_guest_events(vcpu, VECTOR_UD), 1);
}

static void interrupt_delivery(struct vcpu *v)
{
	fake_hvm_set_hook(NULL);
	hvm->inject(v, (struct vm_event){ .type = EVENT_NMI, .vector = 2 });
}

/* The stack is where no memory is: the instruction at RIP has nothing to do with it. */
static void test_stack_nowhere(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT, .npt.gpa = DEVICE, .npt.write = true };

	(void)state;
	put(CODE, 0x0789, 2);
	vcpu->regs.rip = CODE;
	vcpu->regs.gpr[GPR_RDI] = DEVICE;
	fake_hvm_set_hook(interrupt_delivery);
	run_exit(&exit);
	assert_int_equal(accesses, 0);
	assert_int_equal(vm->state, VM_CRASHED);
	assert_non_null(strstr(vm->why, "needs memory that is not there (0xc8000000)"));
}

/* Where the CPU does not look first, we do. */
static void test_xsetbv_needs_ring_0(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_XSETBV, .insn_len = 3, .xsetbv.value = 3 };
	struct cpu_state s;

	(void)state;
	run_exit(&exit);
	assert_int_equal(vcpu->xcr0, XCR0_X87);
	assert_int_equal(fake_guest_events(vcpu, VECTOR_UD), 1);
	vcpu_save(vcpu, &s);
	s.cr4 |= CR4_OSXSAVE;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	run_exit(&exit);
	assert_int_equal(vcpu->xcr0, 3);
	user_mode();
	exit.xsetbv.value = 1;
	run_exit(&exit);
	assert_int_equal(vcpu->xcr0, 3);
	assert_int_equal(fake_guest_events(vcpu, VECTOR_GP), 1);
}

/* In real mode no error code is pushed; EIP wraps around outside of 64-bit mode. */
static void test_real_mode(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_PRIVILEGED };
	struct cpu_state s;

	(void)state;
	vcpu_save(vcpu, &s);
	s.cr0 &= ~(CR0_PE | CR0_PG);
	s.efer = 0;
	s.cs.attr &= ~(u16)SEGMENT_L;
	s.event.type = EVENT_NONE;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	vcpu_inject_exception(vcpu, VECTOR_GP, true, 0);
	hvm->get_state(vcpu, &s);
	assert_int_equal(s.event.vector, VECTOR_GP);
	assert_int_equal(s.event.has_error_code, 0);
	exit.kind = VM_EXIT_CACHE;
	exit.insn_len = 2;
	vcpu->regs.rip = 0xfffffffe;
	run_exit(&exit);
	assert_int_equal(vcpu->regs.rip, 1); /* after the HLT, too */
}

/* An NMI that is blocked, as its handler runs, does not end a HLT. */
static void test_halt_in_nmi_handler(void **state)
{
	struct cpu_state s;
	u64 entries;

	(void)state;
	fake_run();
	assert_int_equal(vcpu->activity, VCPU_HALTED);
	vcpu_save(vcpu, &s);
	s.nmi_blocked = 1;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	entries = fake_guest_entries(vcpu);
	irqchip_msi(vm, 0xfee00000, 4 << 8);
	fake_run();
	assert_int_equal(fake_guest_entries(vcpu), entries);
	s.nmi_blocked = 0;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	sched_wake(vcpu);
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 2), 1);
}

static bool window_seen, nmi_window_seen;

static void see_window(struct vcpu *v)
{
	window_seen = v->irq_window;
	nmi_window_seen = fake_guest_nmi_window(v);
}

/* The next NMI waits for the end of the handler: a window of its own, and one for interrupts, but not where that would open at once. */
static void test_nmi_waits_for_window(void **state)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };
	struct cpu_state s;

	(void)state;
	fake_run();
	vcpu_save(vcpu, &s);
	s.nmi_blocked = 1;
	s.rflags &= ~BIT(9);
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	vcpu->activity = VCPU_ACTIVE;
	irqchip_msi(vm, 0xfee00000, 4 << 8);
	fake_hvm_set_hook(see_window);
	fake_guest_exit(vcpu, &nothing);
	fake_run();
	assert_true(window_seen);
	assert_true(nmi_window_seen);
	s.rflags |= BIT(9);
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	vcpu->activity = VCPU_ACTIVE;
	fake_guest_exit(vcpu, &nothing);
	fake_run();
	assert_false(window_seen);
	assert_true(nmi_window_seen);
	assert_int_equal(fake_guest_events(vcpu, 2), 0);
	/* It goes in, and the window closes. */
	s.nmi_blocked = 0;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	fake_guest_exit(vcpu, &nothing);
	fake_run();
	assert_false(nmi_window_seen);
	assert_int_equal(fake_guest_events(vcpu, 2), 1);
	fake_hvm_set_hook(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_load_becomes_port),   TEST(test_load_becomes_store),
		TEST(test_port_grows),          TEST(test_program_undecodable),
		TEST(test_stack_nowhere),       TEST(test_xsetbv_needs_ring_0),
		TEST(test_real_mode),           TEST(test_halt_in_nmi_handler),
		TEST(test_nmi_waits_for_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
