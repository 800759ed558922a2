/* SPDX-License-Identifier: Apache-2.0 */
/* An entry looks at one word only: whatever it must see comes with a bit in it (vmm/vcpu.c's head). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/irqchip.h"
#include "vmm/msr.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define RFLAGS_IF BIT(9)
#define MSI_ADDRESS 0xfee00000
#define VECTOR 0x50
#define VECTOR_HIGH 0x80
#define ENTRIES_MAX 16
enum { X2APIC_TPR = 0x808, X2APIC_EOI = 0x80b, X2APIC_SVR = 0x80f };

static struct vm *vm;
static struct vcpu *vcpu;

/*
 * Of each entry, as the guest ran: what was still to be attended to, how often VECTOR had come. And
 * what happens in the guest's n-th one.
 */
static u32 requests[ENTRIES_MAX];
static u32 arrived[ENTRIES_MAX];
static u32 entries;
static u32 happens_at;
static void (*happens)(void);

static void watch(struct vcpu *v)
{
	assert_ptr_equal(fake_fpu_owner(v->cpu), v->xsave);
	if (entries < ENTRIES_MAX) {
		requests[entries] = v->requests;
		arrived[entries] = fake_guest_events(v, VECTOR);
	}
	if (entries++ == happens_at && happens)
		happens();
}

/* The guest runs on this CPU. */
static void begin(u32 cpu)
{
	struct vm_config config;
	char why[160];

	fake_cpu_reset();
	fake_cpu_set_count(cpu + 1);
	fake_time_set(1000 * NS_PER_S);
	fake_hvm_install();
	fake_vm_config(&config, "web", 16);
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vcpu = vm->vcpus[0];
	vm_start(vm);
	fake_cpu_set_self(cpu);
	vcpu->regs.rflags |= RFLAGS_IF;
	fake_guest_wrmsr(vcpu, MSR_APIC_BASE, 0xfee00d00);
	fake_guest_wrmsr(vcpu, X2APIC_SVR, 0x1ff);
	fake_run();
	assert_int_equal(fake_guest_left(vcpu), 0);
	entries = 0;
	happens = NULL;
	fake_hvm_set_hook(watch);
}

static int setup(void **state)
{
	(void)state;
	begin(0);
	return 0;
}

/* On a CPU that has no service loop to return to. */
static int setup_cpu_1(void **state)
{
	(void)state;
	begin(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_hvm_set_hook(NULL);
	fake_cpu_set_self(0);
	vm_destroy(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void cpuids(u32 count)
{
	for (u32 i = 0; i < count; i++)
		fake_guest_cpuid(vcpu, 0, 0);
}

static void interrupt(void)
{
	irqchip_msi(vm, MSI_ADDRESS, VECTOR);
}

static void interrupt_high(void)
{
	irqchip_msi(vm, MSI_ADDRESS, VECTOR_HIGH);
}

/* --- */

static void test_quiet(void **state)
{
	(void)state;
	cpuids(4);
	fake_run();
	assert_true(entries >= 4);
	for (u32 i = 1; i < 4; i++)
		assert_int_equal(requests[i], 0);
}

/* Another CPU's interrupt: seen at the next entry, which an IPI makes come soon. */
static void interrupt_from_cpu_0(void)
{
	u64 kicks = fake_cpu_kicks(1);

	fake_cpu_set_self(0);
	interrupt();
	fake_cpu_set_self(1);
	assert_int_equal(fake_cpu_kicks(1), kicks + 1);
	assert_int_equal(vcpu->requests, VCPU_REQ_LOOK);
	assert_int_equal(fake_guest_events(vcpu, VECTOR), 0);
}

static void test_interrupt(void **state)
{
	(void)state;
	happens = interrupt_from_cpu_0;
	happens_at = 2;
	cpuids(5);
	assert_true(sched_run_slice());
	assert_int_equal(arrived[2], 0);
	assert_int_equal(arrived[3], 1);
}

/* It waits for IF: every entry looks, until it is in. */
static void interrupt_blocked(void)
{
	vcpu->regs.rflags &= ~(u64)RFLAGS_IF;
	interrupt();
}

static void interrupts_on(void)
{
	assert_int_equal(fake_guest_events(vcpu, VECTOR), 0);
	vcpu->regs.rflags |= RFLAGS_IF;
}

static void test_interrupt_waits(void **state)
{
	(void)state;
	happens = interrupt_blocked;
	happens_at = 0;
	cpuids(3);
	assert_true(sched_run_slice());
	assert_int_equal(fake_guest_left(vcpu), 0);
	assert_int_equal(requests[1], VCPU_REQ_LOOK);
	assert_int_equal(requests[2], VCPU_REQ_LOOK);
	entries = 0;
	happens = interrupts_on;
	cpuids(4);
	assert_true(sched_run_slice());
	assert_int_equal(arrived[1], 1);
	assert_int_equal(requests[3], 0);
}

/* What TPR, CR8 or an interrupt in service holds back is let through by their going down. */
static void test_tpr(void **state)
{
	(void)state;
	fake_guest_wrmsr(vcpu, X2APIC_TPR, 0xf0);
	cpuids(3);
	fake_guest_wrmsr(vcpu, X2APIC_TPR, 0);
	cpuids(1);
	happens = interrupt;
	happens_at = 1;
	assert_true(sched_run_slice());
	assert_int_equal(requests[3], 0);
	assert_int_equal(arrived[4], 0);
	assert_int_equal(arrived[5], 1);
}

static void test_cr8(void **state)
{
	(void)state;
	fake_guest_write_cr(vcpu, 8, 0xf);
	cpuids(3);
	fake_guest_write_cr(vcpu, 8, 0);
	cpuids(1);
	happens = interrupt;
	happens_at = 1;
	assert_true(sched_run_slice());
	assert_int_equal(arrived[4], 0);
	assert_int_equal(arrived[5], 1);
}

static void test_eoi(void **state)
{
	(void)state;
	happens = interrupt_high;
	happens_at = 0;
	cpuids(2);
	assert_true(sched_run_slice());
	assert_int_equal(fake_guest_events(vcpu, VECTOR_HIGH), 1);
	entries = 0;
	happens = interrupt;
	cpuids(3);
	fake_guest_wrmsr(vcpu, X2APIC_EOI, 0);
	cpuids(1);
	assert_true(sched_run_slice());
	assert_int_equal(requests[2], 0);
	assert_int_equal(arrived[3], 0);
	assert_int_equal(arrived[4], 1);
}

/* An interrupt that waits while software has the APIC off. */
static void test_svr(void **state)
{
	(void)state;
	happens = interrupt;
	happens_at = 0;
	fake_guest_wrmsr(vcpu, X2APIC_SVR, 0xff);
	cpuids(3);
	fake_guest_wrmsr(vcpu, X2APIC_SVR, 0x1ff);
	cpuids(1);
	assert_true(sched_run_slice());
	assert_int_equal(arrived[4], 0);
	assert_int_equal(arrived[5], 1);
}

/* A guest that has ended, or is paused, executes nothing more. */
static void test_end(void **state)
{
	struct vm_exit fault = { .kind = VM_EXIT_TRIPLE_FAULT };

	(void)state;
	cpuids(2);
	fake_guest_exit(vcpu, &fault);
	cpuids(1);
	assert_true(sched_run_slice());
	assert_int_equal(fake_guest_left(vcpu), 1);
	assert_int_equal(entries, 3);
}

/* As vm_pause(), but for the waiting. */
static void pause_from_cpu_0(void)
{
	fake_cpu_set_self(0);
	atomic_or(&vm->paused, VM_PAUSE_USER);
	vcpu_kick(vcpu);
	fake_cpu_set_self(1);
}

static void test_pause(void **state)
{
	(void)state;
	happens = pause_from_cpu_0;
	happens_at = 1;
	cpuids(5);
	assert_true(sched_run_slice());
	assert_int_equal(entries, 2);
	assert_false(vcpu->running);
	vm_unpause(vm, VM_PAUSE_USER);
	assert_true(sched_run_slice());
	assert_int_equal(fake_guest_left(vcpu), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_CPU_1(name) cmocka_unit_test_setup_teardown(name, setup_cpu_1, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_quiet),
		TEST(test_interrupt_waits),
		TEST(test_tpr),
		TEST(test_cr8),
		TEST(test_eoi),
		TEST(test_svr),
		TEST_CPU_1(test_interrupt),
		TEST_CPU_1(test_end),
		TEST_CPU_1(test_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
