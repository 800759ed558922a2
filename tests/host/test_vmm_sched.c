/* SPDX-License-Identifier: Apache-2.0 */
/* Several guests on one host CPU: nobody waits for somebody who never halts. */
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
#include "vmm/cap.h"
#include "vmm/msr.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define SLEEP_NS NS_PER_MS
#define RFLAGS_IF BIT(9)

static struct vm *busy;
static struct vm *sleeper;
static u64 armed_ns;

static struct vm *make(const char *name)
{
	struct vm_config config;
	struct vm *vm = NULL;
	char why[160];

	fake_vm_config(&config, name, 16);
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vm_start(vm);
	return vm;
}

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000 * NS_PER_S);
	fake_hvm_install();
	armed_ns = 0;
	sleeper = make("sleeper");
	busy = make("busy");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_hvm_set_hook(NULL);
	vm_destroy(busy);
	vm_destroy(sleeper);
	return fake_pages_used() == 0 ? 0 : -1;
}

/* Its local APIC's timer wakes it after SLEEP_NS. */
static void sleep_now(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];

	vcpu->regs.rflags |= RFLAGS_IF;
	fake_guest_wrmsr(vcpu, MSR_APIC_BASE, 0xfee00d00);
	fake_guest_wrmsr(vcpu, 0x80f, 0x1ff);
	fake_guest_wrmsr(vcpu, 0x832, 0x40 | 2 << 17);
	fake_guest_wrmsr(vcpu, MSR_TSC_DEADLINE, vcpu_tsc(vcpu) + SLEEP_NS);
	fake_run();
	assert_int_equal(vcpu->activity, VCPU_HALTED);
}

static void note_timer(struct vcpu *vcpu)
{
	if (vcpu->vm == busy)
		armed_ns = fake_cpu_timer(0);
}

/* The busy one has no timer of its own, and nobody waits: but its CPU must come back for the sleeper. */
static void test_sleeper_ends_the_run(void **state)
{
	u64 start_ns;

	(void)state;
	sleep_now(sleeper);
	start_ns = time_ns();
	fake_hvm_set_hook(note_timer);
	fake_guest_store(busy->vcpus[0], 0x300000, 8, 1);
	assert_true(sched_run_slice());
	assert_in_range(armed_ns, start_ns + SLEEP_NS - NS_PER_US, start_ns + SLEEP_NS + NS_PER_US);
}

static u32 order[4];
static u32 order_count;

static void note_order(struct vcpu *vcpu)
{
	if (order_count < 4)
		order[order_count++] = vcpu->vm->id;
	/* The time that the run takes; then the busy one is sent out by somebody's request. */
	if (vcpu->vm == busy) {
		fake_time_advance(2 * SLEEP_NS);
		vcpu->requests |= VCPU_REQ_EXIT;
	}
}

/* Whose timer came meanwhile runs before who had the CPU. */
static void test_sleeper_is_next(void **state)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };

	(void)state;
	sleep_now(sleeper);
	order_count = 0;
	fake_hvm_set_hook(note_order);
	for (u32 i = 0; i < 3; i++)
		fake_guest_exit(busy->vcpus[0], &nothing);
	assert_true(sched_run_slice());
	assert_true(sched_run_slice());
	assert_int_equal(order[0], busy->id);
	assert_int_equal(order[1], sleeper->id);
	assert_int_equal(fake_guest_events(sleeper->vcpus[0], 0x40), 1);
}

/* Where the hardware could not be switched on, nobody runs; where that is everywhere, it is said. */
static void test_cpus_without(void **state)
{
	struct vm_config config;
	struct vm *vm;
	char why[160];

	(void)state;
	fake_cpu_set_count(3);
	cpu_get(1)->online = false;
	vm = make("third");
	assert_int_equal(vm->vcpus[0]->cpu, 2);
	vm_destroy(vm);
	cpu_get(2)->online = false;
	fake_vm_config(&config, "fourth", 16);
	assert_int_not_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	assert_string_equal(why, "fake works on none of the CPUs that run guests: see dmesg");
	fake_cpu_set_count(1);
}

/* A vCPU that wants to run all the time, in slices that end late by late_ns: what part of the time it gets, in 1/1000. */
static u64 share_of(u32 percent, u64 late_ns)
{
	struct cap cap = { 0 };
	u64 now_ns = 100 * NS_PER_S;
	u64 run_ns = 3600 * NS_PER_S; /* long before it was capped */
	u64 begin_ns = now_ns;
	u64 ran_ns = 0;

	while (now_ns < begin_ns + 100 * NS_PER_S) {
		u64 left_ns;
		u64 until_ns = cap_check(&cap, percent, now_ns, run_ns, &left_ns);

		assert_true((until_ns == 0) == (left_ns != 0));
		assert_true(left_ns <= CAP_PERIOD_NS);
		if (until_ns) {
			assert_true(until_ns > now_ns);
			now_ns = until_ns;
			continue;
		}
		now_ns += left_ns + late_ns;
		run_ns += left_ns + late_ns;
		ran_ns += left_ns + late_ns;
	}
	return ran_ns * 1000 / (now_ns - begin_ns);
}

static void test_cap_share(void **state)
{
	(void)state;
	for (u32 percent = 1; percent < 100; percent++)
		assert_in_range(share_of(percent, 0), percent * 10 - 1, percent * 10 + 1);
	assert_in_range(share_of(20, 300 * NS_PER_US), 195, 205);
	/* So late that the debt is forgiven: more than its share, but bounded. */
	assert_true(share_of(20, 50 * NS_PER_MS) < 600);
}

static u64 entries_until(u64 end_ns)
{
	u64 before = fake_guest_entries(busy->vcpus[0]);

	while (time_ns() < end_ns) {
		cpu_take_pending();
		if (!sched_run_slice())
			fake_time_advance(NS_PER_MS / 10);
	}
	return fake_guest_entries(busy->vcpus[0]) - before;
}

/* Every entry of the busy guest lasts a millisecond. */
static void run_a_while(struct vcpu *vcpu)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };

	if (vcpu->vm != busy)
		return;
	if (!fake_guest_left(vcpu))
		fake_guest_exit(vcpu, &nothing);
	fake_time_advance(NS_PER_MS);
	if (fake_cpu_timer(0) && time_ns() >= fake_cpu_timer(0))
		cpu_self()->pending |= CPU_PENDING_TIMER;
}

/* What a capped guest runs; that the CPU is told when it may again; and that an end of the cap is one. */
static void test_cap(void **state)
{
	u64 capped, after, deadline_ns;

	(void)state;
	fake_hvm_set_hook(run_a_while);
	sched_set_cap(busy, 20);
	entries_until(time_ns() + 100 * NS_PER_MS);
	capped = entries_until(time_ns() + NS_PER_S);
	assert_in_range(capped, 170, 230);
	/* It waits, and its CPU knows until when. */
	while (sched_run_slice())
		;
	deadline_ns = sched_next_deadline();
	assert_true(deadline_ns > time_ns() && deadline_ns <= time_ns() + 60 * NS_PER_MS);
	/* Paused, nobody waits for it; then it goes on. */
	vm_pause(busy, VM_PAUSE_USER);
	assert_true(sched_next_deadline() == 0 || sched_next_deadline() != deadline_ns);
	vm_unpause(busy, VM_PAUSE_USER);
	sched_set_cap(busy, 0);
	assert_true(sched_run_slice());
	after = entries_until(time_ns() + NS_PER_S);
	assert_true(after > 900);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_sleeper_ends_the_run),
		TEST(test_sleeper_is_next),
		TEST(test_cpus_without),
		TEST(test_cap_share),
		TEST(test_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
