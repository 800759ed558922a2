/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: nobody waits for somebody who never halts; shares, caps, pinning, one CPU and several. */
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
	fake_clear_memory();
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

/* --- shares, with several CPUs ------------------------------------------------------------------- */

#define HOGS 4
static struct vm *hogs[HOGS];
static u32 hog_count;

/* Every entry of a hog's vCPU lasts half a millisecond, and it always goes on. */
static void hog_entry(struct vcpu *vcpu)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };

	if (vcpu->vm == sleeper)
		return;
	if (!fake_guest_left(vcpu))
		fake_guest_exit(vcpu, &nothing);
	fake_time_advance(NS_PER_MS / 2);
	if (fake_cpu_timer(cpu_self()->index) && time_ns() >= fake_cpu_timer(cpu_self()->index))
		cpu_self()->pending |= CPU_PENDING_TIMER;
}

static struct vm *make_hog(const char *name, u32 vcpus, u32 weight, u32 cap, u64 cpus)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };
	struct vm_config config;
	char why[160];
	struct vm *vm;

	fake_vm_config(&config, name, 16);
	config.vcpus = vcpus;
	config.weight = weight;
	config.cap = cap;
	config.cpus = cpus;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vm_start(vm);
	fake_clear_memory();
	for (u32 i = 0; i < vcpus; i++)
		fake_guest_exit(vm->vcpus[i], &nothing);
	hogs[hog_count++] = vm;
	return vm;
}

static int setup_hogs(void **state)
{
	int error = setup(state);

	hog_count = 0;
	vm_pause(busy, VM_PAUSE_USER);
	fake_hvm_set_hook(hog_entry);
	return error;
}

static int teardown_hogs(void **state)
{
	fake_hvm_set_hook(NULL);
	while (hog_count)
		vm_destroy(hogs[--hog_count]);
	fake_cpu_set_self(0);
	fake_cpu_set_count(1);
	return teardown(state);
}

/* Guest CPUs 1 .. count each go on by themselves, the one that is behind first. */
static void run_cpus(u32 count, u64 ns)
{
	u64 begin_ns = time_ns();
	u64 clock_ns[8];

	for (u32 i = 0; i < 8; i++)
		clock_ns[i] = begin_ns;
	for (;;) {
		u32 cpu = 1;

		for (u32 i = 2; i <= count; i++)
			if (clock_ns[i] < clock_ns[cpu])
				cpu = i;
		if (clock_ns[cpu] >= begin_ns + ns)
			break;
		fake_cpu_set_self(cpu);
		fake_time_set(clock_ns[cpu]);
		if (!sched_run_slice())
			fake_time_advance(NS_PER_MS / 4);
		cpu_take_pending();
		clock_ns[cpu] = MAX(time_ns(), clock_ns[cpu] + 1);
	}
	fake_cpu_set_self(0);
	fake_time_set(begin_ns + ns);
}

static u64 ran_ms(const struct vm *vm)
{
	u64 ns = 0;

	for (u32 i = 0; i < vm->vcpu_count; i++)
		ns += vm->vcpus[i]->run_ns;
	return ns / NS_PER_MS;
}

/* Weights 1:2 on one CPU, for ten seconds. */
static void test_weights(void **state)
{
	struct vm *one, *two;

	(void)state;
	fake_cpu_set_count(2);
	one = make_hog("one", 1, 128, 0, 0);
	two = make_hog("two", 1, 256, 0, 0);
	run_cpus(1, 10 * NS_PER_S);
	assert_in_range(ran_ms(one), 3300, 3367);
	assert_in_range(ran_ms(two), 6633, 6700);
}

/* The weight is the guest's: four busy vCPUs get no more than one. On two CPUs that is more than it can use. */
static void test_weight_is_the_guests(void **state)
{
	struct vm *wide, *narrow;

	(void)state;
	fake_cpu_set_count(2);
	wide = make_hog("wide", 4, 256, 0, 0);
	narrow = make_hog("narrow", 1, 256, 0, 0);
	run_cpus(1, 4 * NS_PER_S);
	assert_in_range(ran_ms(narrow), 1900, 2100);
	assert_in_range(ran_ms(wide), 1900, 2100);
}

/* Three on two CPUs: each gets two thirds of one, and none idles. */
static void test_three_on_two(void **state)
{
	(void)state;
	fake_cpu_set_count(3);
	for (u32 i = 0; i < 3; i++)
		make_hog(i ? i == 1 ? "b" : "c" : "a", 1, 256, 0, 0);
	run_cpus(2, 3 * NS_PER_S);
	for (u32 i = 0; i < 3; i++)
		assert_in_range(ran_ms(hogs[i]), 1900, 2100);
}

/* Pinned ones share their CPU; who may run anywhere has the other one for itself. */
static void test_pinned(void **state)
{
	struct vm *a, *b, *c;

	(void)state;
	fake_cpu_set_count(3);
	a = make_hog("a", 1, 256, 0, BIT(1));
	b = make_hog("b", 1, 256, 0, BIT(1));
	c = make_hog("c", 1, 256, 0, 0);
	run_cpus(2, 2 * NS_PER_S);
	assert_in_range(ran_ms(a), 900, 1350);
	assert_in_range(ran_ms(b), 900, 1350);
	assert_in_range(ran_ms(a) + ran_ms(b) + ran_ms(c), 3900, 4100);
	assert_int_equal(a->vcpus[0]->cpu, 1);
	assert_int_equal(b->vcpus[0]->cpu, 1);
	/* A newcomer does not wait until c's time was made good by the two, or the other way round. */
	vm_pause(c, VM_PAUSE_USER);
	run_cpus(2, NS_PER_S);
	vm_unpause(c, VM_PAUSE_USER);
	for (u32 i = 0; i < 3; i++)
		hogs[i]->vcpus[0]->run_ns = 0;
	run_cpus(2, NS_PER_S);
	for (u32 i = 0; i < 3; i++)
		assert_true(ran_ms(hogs[i]) > 400);
}

/* Half a CPU for both of its vCPUs together, whoever else is there. */
static void test_configured_cap(void **state)
{
	struct vm *vm;

	(void)state;
	fake_cpu_set_count(3);
	vm = make_hog("half", 2, 256, 50, 0);
	run_cpus(2, 4 * NS_PER_S);
	assert_in_range(ran_ms(vm), 1800, 2200);
	/* A throttling move takes of it, not of a whole CPU: 10 % of a CPU for each. */
	vm->vcpus[0]->run_ns = vm->vcpus[1]->run_ns = 0;
	sched_set_cap(vm, 10);
	run_cpus(2, 4 * NS_PER_S);
	assert_in_range(ran_ms(vm), 700, 900);
}

/* Nobody waits while a CPU idles: the idle one is told, whichever it is. */
static void test_idle_cpu_is_told(void **state)
{
	struct vm *vm;
	u64 kicks[2];

	(void)state;
	fake_cpu_set_count(3);
	vm = make_hog("a", 1, 256, 0, 0);
	run_cpus(2, 50 * NS_PER_MS);
	vm_pause(vm, VM_PAUSE_USER);
	run_cpus(2, NS_PER_MS);
	for (u32 i = 0; i < 2; i++)
		kicks[i] = fake_cpu_kicks(i + 1);
	vm_unpause(vm, VM_PAUSE_USER);
	assert_int_equal(fake_cpu_kicks(1) + fake_cpu_kicks(2), kicks[0] + kicks[1] + 1);
	/* The one that ran it last. */
	assert_int_equal(fake_cpu_kicks(vm->vcpus[0]->cpu), kicks[vm->vcpus[0]->cpu - 1] + 1);
}

static struct vm *woken;
static bool was_asked_to_leave;

static void wake_inside(struct vcpu *vcpu)
{
	struct vm_exit nothing = { .kind = VM_EXIT_HOST };

	hog_entry(vcpu);
	if (!woken || vcpu->vm == woken)
		return;
	fake_time_advance(5 * NS_PER_MS);
	fake_cpu_set_self(0);
	fake_guest_exit(woken->vcpus[0], &nothing);
	fake_cpu_set_self(1);
	was_asked_to_leave = vcpu->requests & VCPU_REQ_EXIT;
	woken = NULL;
}

/* Who slept interrupts who always runs, and is next. */
static void test_sleeper_interrupts(void **state)
{
	struct vm *hog, *other;

	(void)state;
	fake_cpu_set_count(2);
	other = make_hog("other", 1, 256, 0, 0);
	hog = make_hog("hog", 1, 256, 0, 0);
	vm_pause(other, VM_PAUSE_USER);
	run_cpus(1, NS_PER_S);
	vm_unpause(other, VM_PAUSE_USER);
	vm_pause(other, VM_PAUSE_USER);
	run_cpus(1, NS_PER_MS);
	/* Not paused any more, but nothing wakes it yet. */
	other->paused = 0;
	woken = other;
	was_asked_to_leave = false;
	fake_hvm_set_hook(wake_inside);
	fake_cpu_set_self(1);
	assert_true(sched_run_slice());
	assert_true(was_asked_to_leave);
	assert_int_equal(ran_ms(other), 0);
	fake_hvm_set_hook(hog_entry);
	assert_true(sched_run_slice());
	assert_true(other->vcpus[0]->run_ns > 0);
	(void)hog;
}

static void wake_after_long(struct vcpu *vcpu)
{
	if (woken && vcpu->vm != woken)
		fake_time_advance(20 * NS_PER_S);
	wake_inside(vcpu);
}

/* Who had the CPU to itself for long, in one piece, owes nothing to a newcomer; nor has it anything ahead. */
static void test_newcomer(void **state)
{
	struct vm *old, *fresh;

	(void)state;
	fake_cpu_set_count(2);
	fresh = make_hog("fresh", 1, 256, 0, 0);
	vm_pause(fresh, VM_PAUSE_USER);
	old = make_hog("old", 1, 128, 0, 0);
	run_cpus(1, 10 * NS_PER_MS);
	fresh->paused = 0;
	woken = fresh;
	fake_hvm_set_hook(wake_after_long);
	fake_cpu_set_self(1);
	assert_true(sched_run_slice());
	fake_hvm_set_hook(hog_entry);
	old->vcpus[0]->run_ns = fresh->vcpus[0]->run_ns = 0;
	run_cpus(1, 3 * NS_PER_S);
	assert_in_range(ran_ms(old), 950, 1050);
	assert_in_range(ran_ms(fresh), 1950, 2050);
}

static u32 turns[2];

static void count_turns(struct vcpu *vcpu)
{
	struct vm_exit spin = { .kind = VM_EXIT_PAUSE, .insn_len = 2 };

	if (!fake_guest_left(vcpu))
		fake_guest_exit(vcpu, &spin);
	fake_time_advance(NS_PER_US * 10);
	if (vcpu->index < 2)
		turns[vcpu->index]++;
}

/* Spinning vCPUs of a guest take turns at each exit, not at each slice; alone, one just goes on. */
static void test_spinning_yields(void **state)
{
	struct vm *vm;

	(void)state;
	fake_cpu_set_count(2);
	vm = make_hog("spins", 2, 256, 0, 0);
	fake_hvm_set_hook(count_turns);
	fake_cpu_set_self(1);
	turns[0] = turns[1] = 0;
	for (u32 i = 0; i < 20; i++)
		assert_true(sched_run_slice());
	assert_in_range(turns[0], 9, 25);
	assert_in_range(turns[1], 9, 25);
	assert_true(vm->vcpus[0]->run_ns < 5 * NS_PER_MS);
}

/* A lists of CPUs that this host has not got; and no vCPU more than it may have. */
static void test_refused(void **state)
{
	struct vm_config config;
	struct vm *vm;
	char why[160];

	(void)state;
	fake_cpu_set_count(2);
	fake_vm_config(&config, "lost", 16);
	config.cpus = BIT(0) | BIT(5);
	assert_int_not_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	assert_string_equal(why, "cpus: this host has none of these CPUs for guests: see info");
	config.cpus = 0;
	config.vcpus = 9;
	assert_int_not_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	assert_string_equal(why, "9 vCPUs asked for, 1 to 8 are possible on 2 CPUs");
}

int main(void)
{
#define HOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup_hogs, teardown_hogs)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_sleeper_ends_the_run),
		TEST(test_sleeper_is_next),
		TEST(test_cpus_without),
		TEST(test_cap_share),
		TEST(test_cap),
		HOG_TEST(test_weights),
		HOG_TEST(test_weight_is_the_guests),
		HOG_TEST(test_three_on_two),
		HOG_TEST(test_pinned),
		HOG_TEST(test_configured_cap),
		HOG_TEST(test_idle_cpu_is_told),
		HOG_TEST(test_sleeper_interrupts),
		HOG_TEST(test_newcomer),
		HOG_TEST(test_spinning_yields),
		HOG_TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
