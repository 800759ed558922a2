/* SPDX-License-Identifier: Apache-2.0 */
/* A guest starts its other vCPUs: INIT and SIPI by its local APICs, on a machine of several CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/sched.h"
#include "vmm/startup.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define VCPUS 3
#define ICR 0x830
#define ICR_INIT 0x4500
#define ICR_SIPI 0x4600
#define ICR_OTHERS (3 << 18)
#define RFLAGS_IF BIT(9)

static struct vm *vm;

static int setup(void **state)
{
	struct vm_config config;
	char why[160];

	(void)state;
	fake_cpu_reset();
	fake_time_set(1000 * NS_PER_S);
	fake_hvm_install();
	fake_vm_config(&config, "many", 16);
	config.vcpus = VCPUS;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vm_start(vm);
	for (u32 i = 0; i < VCPUS; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		assert_int_equal(vcpu->activity, i ? VCPU_WAIT_SIPI : VCPU_ACTIVE);
	}
	fake_guest_wrmsr(vm->vcpus[0], MSR_APIC_BASE, 0xfee00d00);
	fake_run();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_hvm_set_hook(NULL);
	vm_destroy(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void send(u64 dest, u32 icr)
{
	fake_guest_wrmsr(vm->vcpus[0], ICR, dest << 32 | icr);
	fake_run();
}

static struct cpu_state state_of(u32 index)
{
	struct cpu_state s;

	vcpu_save(vm->vcpus[index], &s);
	return s;
}

static u64 entries_of(u32 index)
{
	return fake_guest_entries(vm->vcpus[index]);
}

/* Nobody runs before it was started, and only who was meant. */
static void test_start(void **state)
{
	struct cpu_state s;

	(void)state;
	assert_int_equal(entries_of(1), 0);
	send(1, ICR_INIT);
	assert_int_equal(vm->vcpus[1]->activity, VCPU_WAIT_SIPI);
	assert_int_equal(entries_of(1), 0);
	send(1, ICR_SIPI | 0x9a);
	assert_int_equal(entries_of(1), 1);
	assert_int_equal(entries_of(2), 0);
	s = state_of(1);
	assert_int_equal(s.cs.selector, 0x9a00);
	assert_int_equal(s.cs.base, 0x9a000);
	assert_int_equal(s.rip, 1); /* the fake's HLT */
	assert_int_equal(s.cr0, CR0_ET | CR0_CD | CR0_NW);
	/* It runs: another SIPI is nothing to it. */
	send(1, ICR_SIPI | 0x55);
	assert_int_equal(state_of(1).cs.selector, 0x9a00);
}

static void test_start_all(void **state)
{
	(void)state;
	send(0, ICR_OTHERS | ICR_INIT);
	send(0, ICR_OTHERS | ICR_SIPI | 0x10);
	send(0, ICR_OTHERS | ICR_SIPI | 0x11);
	for (u32 i = 1; i < VCPUS; i++) {
		assert_int_equal(entries_of(i), 1);
		assert_int_equal(state_of(i).cs.base, 0x10000);
	}
}

/* What INIT makes of a vCPU that ran: SDM 3 table 10-1. */
static void test_init_of_a_running_one(void **state)
{
	struct vcpu *vcpu = vm->vcpus[1];
	struct cpu_state s;

	(void)state;
	send(1, ICR_INIT);
	send(1, ICR_SIPI | 0x20);
	fake_guest_wrmsr(vcpu, 0xc0000082, 0x1234000);
	fake_guest_wrmsr(vcpu, MSR_APIC_BASE, 0xfee00c00);
	fake_guest_wrmsr(vcpu, 0x80f, 0x1ff);
	fake_run();
	vcpu->xcr0 = 7;
	vcpu->regs.gpr[GPR_RBX] = 77;
	hvm->set_cr(vcpu, 0, CR0_PE | CR0_ET);
	hvm->set_cr(vcpu, 3, 0x5000);
	send(1, ICR_INIT);
	s = state_of(1);
	assert_int_equal(vcpu->activity, VCPU_WAIT_SIPI);
	assert_int_equal(s.cr0, CR0_ET);
	assert_int_equal(s.cr3, 0);
	assert_int_equal(s.gpr[GPR_RBX], 0);
	assert_int_equal(s.lstar, 0x1234000);
	assert_int_equal(s.xcr0, 7);
	assert_int_equal(s.rip, 0xfff0);
	/* Its APIC stays in x2APIC mode, but is software-disabled. */
	send(1, ICR_SIPI | 0x21);
	fake_guest_rdmsr(vcpu, 0x80f);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0xff);
}

/* Both come before its CPU has looked; and a second SIPI changes nothing. */
static void test_both_at_once(void **state)
{
	struct vcpu *vcpu = vm->vcpus[2];

	(void)state;
	startup_init(vcpu);
	startup_sipi(vcpu, 0x30);
	startup_sipi(vcpu, 0x31);
	fake_run();
	assert_int_equal(entries_of(2), 1);
	assert_int_equal(state_of(2).cs.base, 0x30000);
	/* An INIT after them wins over a SIPI before it. */
	startup_init(vcpu);
	startup_sipi(vcpu, 0x32);
	startup_init(vcpu);
	fake_run();
	assert_int_equal(vcpu->activity, VCPU_WAIT_SIPI);
	assert_int_equal(entries_of(2), 1);
}

/* A guest that is frozen for a move takes along what was on its way. */
static void test_on_its_way_when_frozen(void **state)
{
	struct vcpu *vcpu = vm->vcpus[1];

	(void)state;
	vm_pause(vm, VM_PAUSE_USER);
	startup_init(vcpu);
	startup_sipi(vcpu, 0x40);
	vm_pause(vm, VM_PAUSE_MIGRATE);
	assert_int_equal(vcpu->activity, VCPU_ACTIVE);
	assert_int_equal(state_of(1).cs.base, 0x40000);
	assert_int_equal(vcpu->startup, 0);
	vm_unpause(vm, VM_PAUSE_MIGRATE);
	vm_unpause(vm, VM_PAUSE_USER);
	fake_run();
	assert_int_equal(entries_of(1), 1);
}

/* A restart of the guest: the others wait again, whatever was on its way. */
static void test_reset(void **state)
{
	(void)state;
	send(0, ICR_OTHERS | ICR_INIT);
	send(0, ICR_OTHERS | ICR_SIPI | 0x10);
	startup_init(vm->vcpus[2]);
	startup_sipi(vm->vcpus[2], 0x77);
	vm_want(vm, VM_WANT_REBOOT);
	fake_run();
	assert_int_equal(vm->state, VM_LIVE);
	for (u32 i = 1; i < VCPUS; i++) {
		assert_int_equal(vm->vcpus[i]->activity, VCPU_WAIT_SIPI);
		assert_int_equal(vm->vcpus[i]->startup, 0);
		assert_int_equal(entries_of(i), 0);
	}
}

/* An interrupt for a vCPU on another CPU: its CPU is told, and it comes in. */
static void test_ipi(void **state)
{
	struct vcpu *vcpu = vm->vcpus[1];

	(void)state;
	send(1, ICR_INIT);
	send(1, ICR_SIPI | 0x20);
	fake_guest_wrmsr(vcpu, 0x80f, 0x1ff); /* still xAPIC: the MSR faults */
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 13), 1);
	fake_guest_wrmsr(vcpu, MSR_APIC_BASE, 0xfee00c00);
	fake_guest_wrmsr(vcpu, 0x80f, 0x1ff);
	vcpu->regs.rflags |= RFLAGS_IF;
	fake_run();
	send(1, 0x45);
	assert_int_equal(fake_guest_events(vcpu, 0x45), 1);
	assert_int_equal(fake_guest_events(vm->vcpus[0], 0x45), 0);
	/* To all: the sender's own too, but it has its interrupts off. */
	send(0, 2 << 18 | 0x56);
	assert_int_equal(fake_guest_events(vcpu, 0x56), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_start),
		TEST(test_start_all),
		TEST(test_init_of_a_running_one),
		TEST(test_both_at_once),
		TEST(test_on_its_way_when_frozen),
		TEST(test_reset),
		TEST(test_ipi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
