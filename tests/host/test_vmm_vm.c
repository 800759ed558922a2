/* SPDX-License-Identifier: Apache-2.0 */
/* Guests as a whole, on the fake CPU: their lives, their exits, the dirty log, memory given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "mm/pages.h"
#include "vmm/board.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/pvclock.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define MEMORY_MIB 16
#define NOWHERE 0xd0000000u /* in the PCI window, no BAR there */

static struct vm *vm;
static struct vcpu *vcpu;
static char why[160];
static char told[4096];

static void listen(struct vm *guest, const char *what)
{
	size_t used = strlen(told);

	snprintf(told + used, sizeof(told) - used, "%s: %s\n", guest->config.name, what);
}

static struct vm *make(const char *name)
{
	struct vm_config config;
	struct vm *made = NULL;

	fake_vm_config(&config, name, MEMORY_MIB);
	assert_int_equal(vm_create(&config, &made, why, sizeof(why)), 0);
	return made;
}

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000 * NS_PER_S);
	fake_hvm_install();
	fault_clear_all();
	vm_set_listener(listen);
	told[0] = '\0';
	assert_int_equal(fake_pages_used(), 0);
	vm = make("web");
	vcpu = vm->vcpus[0];
	vm_start(vm);
	return 0;
}

/* Whatever the test has done: every page comes back. */
static int teardown(void **state)
{
	struct vm *next;

	(void)state;
	fake_hvm_set_hook(NULL);
	for (struct vm *guest = vm_next(NULL); guest; guest = next) {
		next = vm_next(guest);
		vm_destroy(guest);
	}
	return fake_pages_used() == 0 ? 0 : -1;
}

static u64 peek(gpa_t gpa, u32 bytes)
{
	u64 value = 0;

	assert_int_equal(gmem_read(&vm->gmem, gpa, &value, bytes), 0);
	return value;
}

/* --- lives ------------------------------------------------------------------------------------ */

static void test_lifecycle(void **state)
{
	(void)state;
	assert_ptr_equal(vm_find("web"), vm);
	assert_int_equal(vm->state, VM_LIVE);
	fake_guest_store(vcpu, 0x100000, 8, 0x1122334455667788);
	fake_run();
	assert_int_equal(peek(0x100000, 8), 0x1122334455667788);
	assert_int_equal(vcpu->activity, VCPU_HALTED);
	assert_int_equal(fake_guest_left(vcpu), 0);
}

static void test_create_gives_back(void **state)
{
	struct vm_config config;
	struct vm *other;
	u64 before = fake_pages_used();

	(void)state;
	/* Every allocation on the way fails once. */
	for (u64 calls = 0; calls < 100; calls++) {
		int error;

		fake_vm_config(&config, "other", MEMORY_MIB);
		fake_pages_fail_after(calls);
		error = vm_create(&config, &other, why, sizeof(why));
		fake_pages_fail_after(~0ull);
		if (!error) {
			assert_true(calls > 10);
			vm_destroy(other);
			assert_int_equal(fake_pages_used(), before);
			return;
		}
		assert_int_equal(fake_pages_used(), before);
		assert_true(why[0]);
	}
	fail_msg("it never succeeded");
}

static void test_refusals(void **state)
{
	struct vm_config config;
	struct vm *other;

	(void)state;
	fake_vm_config(&config, "web", MEMORY_MIB);
	assert_int_not_equal(vm_create(&config, &other, why, sizeof(why)), 0);
	fake_vm_config(&config, "big", 1 << 20);
	assert_int_equal(vm_create(&config, &other, why, sizeof(why)), -E_NOMEM);
	assert_non_null(strstr(why, "1048576 MiB"));
	fake_vm_config(&config, "many", MEMORY_MIB);
	config.vcpus = 99;
	assert_int_equal(vm_create(&config, &other, why, sizeof(why)), -E_RANGE);
	fake_vm_config(&config, "nokernel", MEMORY_MIB);
	strcpy(config.kernel, "bzImage");
	assert_int_equal(vm_create(&config, &other, why, sizeof(why)), -E_NOENT);
	assert_non_null(strstr(why, "bzImage"));
	fake_vm_config(&config, "noinitrd", MEMORY_MIB);
	strcpy(config.ramdisk, "nothing.img");
	assert_int_equal(vm_create(&config, &other, why, sizeof(why)), -E_NOENT);
	assert_non_null(strstr(why, "nothing.img"));
	fake_vm_config(&config, "wrong", MEMORY_MIB);
	strcpy(config.kernel, "initrd.img");
	assert_int_equal(vm_create(&config, &other, why, sizeof(why)), -E_INVAL);
	assert_non_null(strstr(why, "initrd.img is no bzImage"));
}

static void test_poweroff(void **state)
{
	(void)state;
	fake_guest_out(vcpu, BOARD_PM1_CNT_PORT, 2, BOARD_S5_SLEEP_TYPE << 10 | BIT(13));
	fake_guest_store(vcpu, 0x100000, 1, 1); /* never comes */
	fake_run();
	assert_null(vm_find("web"));
	assert_string_equal(told, "web: switched itself off\nweb: destroyed\n");
	vm = NULL;
}

static void test_preserve(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_UNKNOWN };

	(void)state;
	exit.raw.code = 0x123;
	vm->config.on_crash = VM_PRESERVE;
	fake_guest_exit(vcpu, &exit);
	fake_run();
	assert_ptr_equal(vm_find("web"), vm);
	assert_int_equal(vm->state, VM_CRASHED);
	assert_non_null(strstr(vm->why, "0x123"));
	assert_non_null(strstr(told, "web: crashed: "));
}

static void test_held(void **state)
{
	(void)state;
	vm_hold(vm);
	vm_fail(vm, "reason %u", 1);
	vm_fail(vm, "reason %u", 2);
	fake_run();
	assert_int_equal(vm->state, VM_CRASHED);
	assert_string_equal(vm->why, "reason 1");
	vm_release(vm);
	fake_run();
	assert_null(vm_find("web"));
}

static void restart(void)
{
	struct vm_exit exit = { .kind = VM_EXIT_TRIPLE_FAULT };

	fake_guest_store(vcpu, 0x300000, 8, 77);
	fake_guest_exit(vcpu, &exit);
	fake_run();
}

static void test_restart(void **state)
{
	u64 pages = fake_pages_used();
	u32 id = vm->id;

	(void)state;
	vcpu->regs.gpr[GPR_RBX] = 99;
	restart();
	assert_ptr_equal(vm_find("web"), vm);
	assert_int_equal(vm->id, id);
	assert_int_equal(vm->state, VM_LIVE);
	assert_int_equal(peek(0x300000, 8), 0);
	assert_int_equal(vcpu->regs.gpr[GPR_RSI], 0x7000);
	assert_int_equal(vcpu->regs.gpr[GPR_RBX], 0);
	assert_int_equal(fake_pages_used(), pages);
	fake_guest_store(vcpu, 0x300000, 8, 78);
	fake_run();
	assert_int_equal(peek(0x300000, 8), 78);
}

/* A guest that ends as soon as it starts: not for ever. Slow ones may go on. */
static void test_restart_loop(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_TRIPLE_FAULT };

	(void)state;
	for (u32 i = 0; i < 30; i++) {
		fake_time_advance(2 * NS_PER_S);
		fake_guest_exit(vcpu, &exit);
		fake_run();
		assert_ptr_equal(vm_find("web"), vm);
	}
	for (u32 i = 0; vm_find("web"); i++) {
		assert_true(i < 30);
		fake_guest_exit(vcpu, &exit);
		fake_run();
	}
	assert_non_null(strstr(told, "web: restarts again and again: no more\n"));
}

static void test_restart_without_kernel(void **state)
{
	(void)state;
	strcpy(vm->config.kernel, "gone");
	restart();
	assert_null(vm_find("web"));
	assert_non_null(strstr(told, "can't restart: there is no file gone on this host"));
}

/* Its vCPU is gone and there is no memory for a new one: that guest ends, nothing else. */
static void test_restart_without_memory(void **state)
{
	(void)state;
	assert_int_equal(fault_set("fake.vcpu_init", 1), 0);
	restart();
	assert_null(vm_find("web"));
	assert_non_null(strstr(told, "can't restart: its vCPUs could not be reset: no memory"));
}

/* Nothing runs before its memory is cleared, which takes turns of the service loop; the kernel is there at once. */
static void test_starts_when_cleared(void **state)
{
	u32 turns = 0;

	(void)state;
	for (u32 again = 0; again < 2; again++) {
		fake_guest_store(vcpu, 0x300000, 8, 5);
		assert_int_equal(vm->paused, VM_PAUSE_CLEAR);
		assert_int_equal(vm->state, VM_LIVE);
		while (sched_run_slice())
			;
		assert_true(vm->gmem.uncleared > 4 && vm->gmem.uncleared < MIB(MEMORY_MIB) / LARGE_SIZE);
		for (turns = 0; vm_service(); turns++) {
			assert_int_equal(vm->paused, VM_PAUSE_CLEAR);
			assert_int_equal(peek(0x300000, 8), 0);
		}
		assert_true(turns >= 4);
		assert_int_equal(vm->paused, 0);
		fake_run();
		assert_int_equal(peek(0x300000, 8), 5);
		/* Another pause bit stays. */
		vm->want = VM_WANT_REBOOT;
		(void)vm_service();
	}
	vm_pause(vm, VM_PAUSE_USER);
	fake_clear_memory();
	assert_int_equal(vm->paused, VM_PAUSE_USER);
}

static void test_pause(void **state)
{
	u64 time;

	(void)state;
	vm_pause(vm, VM_PAUSE_USER);
	fake_guest_store(vcpu, 0x100000, 8, 5);
	fake_run();
	assert_int_equal(peek(0x100000, 8), 0);
	vm_pause(vm, VM_PAUSE_MIGRATE);
	time = vm_time_ns(vm);
	fake_time_advance(NS_PER_S);
	assert_int_equal(vm_time_ns(vm), time);
	assert_true(vm->devices->paused);
	vm_unpause(vm, VM_PAUSE_USER);
	fake_run();
	assert_int_equal(peek(0x100000, 8), 0);
	vm_unpause(vm, VM_PAUSE_MIGRATE);
	assert_false(vm->devices->paused);
	assert_int_equal(vm_time_ns(vm), time + NS_PER_S);
	fake_run();
	assert_int_equal(peek(0x100000, 8), 5);
}

/* --- exits ------------------------------------------------------------------------------------ */

static void test_nobody_there(void **state)
{
	(void)state;
	fake_guest_store(vcpu, NOWHERE, 4, 5);
	fake_guest_load(vcpu, NOWHERE, 4);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0xffffffff);
	fake_guest_load(vcpu, GIB(64), 8);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), ~0ull);
	fake_guest_in(vcpu, 0x1234, 2);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0xffff);
	assert_int_equal(vm->state, VM_LIVE);
}

static void test_mmio(void **state)
{
	(void)state;
	fake_guest_load(vcpu, BOARD_LAPIC_BASE + 0x30, 4); /* version */
	fake_run();
	assert_int_equal(fake_guest_result(vcpu) & 0xff, 0x14);
	fake_guest_store(vcpu, BOARD_LAPIC_BASE + 0x80, 4, 0x50); /* TPR, as CR8 shows it */
	fake_run();
	assert_int_equal(hvm->get_cr(vcpu, 8), 5);
}

/* Memory that it gave back comes again, zeroed, at its next access; of what its CPU has cached nothing is left. */
static void test_given_back(void **state)
{
	u64 used = fake_pages_used();
	gpa_t gpa = 3 * LARGE_SIZE + 0x1008;

	(void)state;
	fake_guest_store(vcpu, gpa, 8, 0x1122);
	fake_run();
	assert_true(gmem_give_back(&vm->gmem, 3));
	assert_int_equal(peek(gpa, 8), 0);
	vm_doorbell(vm);
	fake_run();
	assert_int_equal(fake_pages_used(), used - GMEM_CHUNK_PAGES);
	fake_guest_load(vcpu, gpa, 8);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0);
	assert_int_equal(fake_pages_used(), used);
	fake_guest_store(vcpu, gpa, 8, 0x3344);
	fake_run();
	assert_int_equal(peek(gpa, 8), 0x3344);
	/* Not gone yet when it is used again. */
	assert_true(gmem_give_back(&vm->gmem, 3));
	fake_guest_store(vcpu, gpa + 8, 8, 0x5566);
	vm_flush_tlbs(vm);
	fake_run();
	assert_int_equal(peek(gpa, 8), 0);
	assert_int_equal(peek(gpa + 8, 8), 0x5566);
	assert_int_equal(fake_pages_used(), used);
	/* An interrupt's frame on such memory is no reason to end. */
	assert_true(gmem_give_back(&vm->gmem, 3));
	vm_doorbell(vm);
	fake_run();
	fake_guest_store(vcpu, gpa, 2, 1);
	vcpu_inject_exception(vcpu, 14, false, 0);
	fake_run();
	assert_int_equal(vm->state, VM_LIVE);
	assert_int_equal(peek(gpa, 2), 1);
}

static void test_given_back_and_no_room(void **state)
{
	(void)state;
	vm->config.on_crash = VM_PRESERVE;
	assert_true(gmem_give_back(&vm->gmem, 3));
	vm_doorbell(vm);
	fake_run();
	fake_guest_store(vcpu, 3 * LARGE_SIZE, 8, 1);
	fake_pages_fail_after(0);
	fake_run();
	fake_pages_fail_after(~0ull);
	assert_int_equal(vm->state, VM_CRASHED);
	assert_non_null(strstr(vm->why, "it uses memory that it gave back (0x600000), and this host has none left"));
}

/* It starts anew with all of its memory, as it uses it. */
static void test_restart_after_giving_back(void **state)
{
	u64 used = fake_pages_used();

	(void)state;
	assert_true(gmem_give_back(&vm->gmem, 3));
	vm_doorbell(vm);
	fake_run();
	vm_want(vm, VM_WANT_REBOOT);
	fake_run();
	assert_int_equal(vm->state, VM_LIVE);
	assert_int_equal(fake_pages_used(), used - GMEM_CHUNK_PAGES);
	fake_guest_store(vm->vcpus[0], 3 * LARGE_SIZE, 8, 1);
	fake_run();
	assert_int_equal(peek(3 * LARGE_SIZE, 8), 1);
	assert_int_equal(fake_pages_used(), used);
}

static void test_undecodable(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT };

	(void)state;
	vm->config.on_crash = VM_PRESERVE;
	exit.npt.gpa = NOWHERE;
	memcpy(exit.npt.insn, (const u8[]){ 0x0f, 0x11, 0x07 }, 3);
	exit.npt.insn_bytes = 3;
	fake_guest_exit(vcpu, &exit);
	fake_run();
	assert_int_equal(vm->state, VM_CRASHED);
	assert_non_null(strstr(vm->why, "0f 11 07"));
}

static void test_faults(void **state)
{
	(void)state;
	fake_guest_rdmsr(vcpu, 0xdead);
	fake_run();
	fake_guest_wrmsr(vcpu, 0xdead, 1);
	fake_run();
	fake_guest_write_cr(vcpu, 4, CR4_LA57 | CR4_PAE);
	fake_run();
	fake_guest_write_cr(vcpu, 0, CR0_PG);
	fake_run();
	fake_guest_write_cr(vcpu, 8, 16);
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 13), 5);
	assert_int_equal(vm->state, VM_LIVE);
}

static void test_msrs(void **state)
{
	(void)state;
	fake_guest_wrmsr(vcpu, MSR_PAT, 0x0007010600070106);
	fake_guest_rdmsr(vcpu, MSR_PAT);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0x0007010600070106);
	fake_guest_wrmsr(vcpu, MSR_PAT, 0x02);
	fake_run();
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 13), 1);
	fake_guest_wrmsr(vcpu, MSR_TSC, 1000);
	fake_guest_rdmsr(vcpu, MSR_TSC);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 1000);
	fake_time_advance(500);
	fake_guest_rdmsr(vcpu, MSR_TSC);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 1500);
	fake_guest_wrmsr(vcpu, MSR_TSC_ADJUST, 0);
	fake_guest_rdmsr(vcpu, MSR_TSC);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), vm_tsc(vm));
}

static void test_msr_move(void **state)
{
	struct msr_value values[MSR_VALUES_MAX];
	struct vm *other = make("other");
	u32 count;

	(void)state;
	fake_guest_wrmsr(vcpu, 0x204, 0xe0000000);
	fake_guest_wrmsr(vcpu, MSR_KVM_SYSTEM_TIME, 0x400000 | 1);
	fake_run();
	count = msr_save(vcpu, values);
	assert_int_equal(msr_check(values, count, why, sizeof(why)), 0);
	msr_load(other->vcpus[0], values, count);
	vm_start(other);
	fake_guest_rdmsr(other->vcpus[0], 0x204);
	fake_run();
	assert_int_equal(fake_guest_result(other->vcpus[0]), 0xe0000000);
	assert_int_equal(other->vcpus[0]->pvclock_msr, 0x400001);
	values[3].index = MSR_EFER;
	assert_int_equal(msr_check(values, count, why, sizeof(why)), -E_INVAL);
	assert_non_null(strstr(why, "0xc0000080"));
}

static void test_pvclock(void **state)
{
	struct pvclock_time page;
	struct pvclock_wall wall;
	u64 tsc, ns;

	(void)state;
	fake_guest_wrmsr(vcpu, MSR_KVM_SYSTEM_TIME, 0x400000 | 1);
	fake_guest_wrmsr(vcpu, MSR_KVM_WALL_CLOCK, 0x401000);
	fake_run();
	assert_int_equal(gmem_read(&vm->gmem, 0x400000, &page, sizeof(page)), 0);
	assert_int_equal(gmem_read(&vm->gmem, 0x401000, &wall, sizeof(wall)), 0);
	assert_int_equal(page.version, 2);
	assert_int_equal(page.flags, PVCLOCK_TSC_STABLE);
	fake_time_advance(1234567890123ull);
	/* As the guest computes it. */
	tsc = vcpu_tsc(vcpu) - page.tsc_timestamp;
	tsc = page.tsc_shift < 0 ? tsc >> -page.tsc_shift : tsc << page.tsc_shift;
	ns = page.system_time_ns + (u64)((unsigned __int128)tsc * page.tsc_to_system_mul >> 32);
	assert_in_range(ns, vm_time_ns(vm) - 1000, vm_time_ns(vm) + 1000);
	assert_int_equal((wall.seconds * NS_PER_S + wall.nanoseconds + vm_time_ns(vm)) / NS_PER_S,
			 wall_time_ns() / NS_PER_S);
	pvclock_refresh(vcpu);
	assert_int_equal(peek(0x400000, 4), 4);
	/* Outside of memory: ignored. */
	fake_guest_wrmsr(vcpu, MSR_KVM_SYSTEM_TIME, GIB(100) | 1);
	fake_run();
	assert_int_equal(vm->state, VM_LIVE);
}

static void test_timer_wakes(void **state)
{
	(void)state;
	vcpu->regs.rflags |= BIT(9);
	fake_guest_wrmsr(vcpu, MSR_APIC_BASE, 0xfee00d00); /* x2APIC */
	fake_guest_wrmsr(vcpu, 0x80f, 0x1ff);
	fake_guest_wrmsr(vcpu, 0x832, 0x40 | 2 << 17); /* TSC deadline */
	fake_guest_wrmsr(vcpu, MSR_TSC_DEADLINE, vcpu_tsc(vcpu) + 1000000);
	fake_run();
	assert_int_equal(vcpu->activity, VCPU_HALTED);
	assert_in_range(sched_next_deadline(), time_ns() + 999000, time_ns() + 1001000);
	fake_time_advance(1000001);
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 0x40), 1);
	assert_int_equal(sched_next_deadline(), 0);
}

/* --- the dirty log ---------------------------------------------------------------------------- */

/*
 * The CPU has the page cached as dirty; the collection clears D; the guest stores again. Without
 * the flush nobody would know.
 */
static u64 store_after_collect(void)
{
	u64 *bitmap = calloc(BITMAP_WORDS(vm->gmem.pages), sizeof(u64));
	u64 found;

	assert_int_equal(vm_dirty_start(vm), 0);
	fake_guest_store(vcpu, 0x300000, 8, 1);
	fake_run();
	assert_int_equal(vm_dirty_collect(vm, bitmap), 1);
	assert_true(bitmap_test(bitmap, 0x300));
	memset(bitmap, 0, BITMAP_WORDS(vm->gmem.pages) * sizeof(u64));
	fake_guest_store(vcpu, 0x300000, 8, 2);
	fake_run();
	found = vm_dirty_collect(vm, bitmap);
	vm_dirty_stop(vm);
	free(bitmap);
	return found;
}

static void test_dirty(void **state)
{
	(void)state;
	assert_int_equal(store_after_collect(), 1);
}

static void test_dirty_without_flush(void **state)
{
	(void)state;
	assert_int_equal(fault_set("skip-dirty-kick", FAULT_FOREVER), 0);
	assert_int_equal(store_after_collect(), 0);
	fault_clear_all();
}

/* Another CPU asks for a flush while the vCPU is in the guest: it gets an IPI. */
static u64 kicks_seen;

static void hook_kick(struct vcpu *v)
{
	fake_hvm_set_hook(NULL);
	assert_int_equal(v->in_guest, 1);
	fake_cpu_set_self(0);
	vcpu_kick(v);
	kicks_seen = fake_cpu_kicks(1);
	fake_cpu_set_self(1);
}

static void test_kick_in_guest(void **state)
{
	u64 before;

	(void)state;
	fake_cpu_set_count(2);
	fake_hvm_set_hook(hook_kick);
	fake_guest_store(vcpu, 0x300000, 8, 1);
	fake_cpu_set_self(1);
	before = fake_cpu_kicks(1);
	fake_run();
	fake_cpu_set_self(0);
	assert_int_equal(kicks_seen, before + 1);
	assert_int_equal(peek(0x300000, 8), 1);
	assert_int_equal(vcpu->in_guest, 0);
}

/* --- several ---------------------------------------------------------------------------------- */

static void test_several(void **state)
{
	struct vm *others[3];

	(void)state;
	for (u32 i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "g%u", i);
		others[i] = make(name);
		vm_start(others[i]);
		fake_guest_store(others[i]->vcpus[0], 0x400000, 4, i + 1);
	}
	fake_run();
	for (u32 i = 0; i < 3; i++) {
		u32 value = 0;

		assert_int_equal(gmem_read(&others[i]->gmem, 0x400000, &value, 4), 0);
		assert_int_equal(value, i + 1);
		vm_destroy(others[i]);
	}
	assert_ptr_equal(vm_next(NULL), vm);
	assert_null(vm_next(vm));
}

static void test_arrival(void **state)
{
	struct vm_config config;
	struct cpu_state state_there;
	struct vm *arrived;

	(void)state;
	fake_vm_config(&config, "arrived", MEMORY_MIB);
	assert_int_equal(vm_create_incoming(&config, &arrived, why, sizeof(why)), 0);
	assert_null(vm_find("arrived"));
	vcpu_save(vcpu, &state_there);
	assert_int_equal(cpu_state_check(&state_there), 0);
	assert_int_equal(vcpu_load(arrived->vcpus[0], &state_there), 0);
	vm_time_load(arrived, 5 * NS_PER_S, 777);
	assert_int_equal(vm_time_ns(arrived), 5 * NS_PER_S);
	assert_int_equal(vm_tsc(arrived), 777);
	vm_publish(arrived);
	assert_ptr_equal(vm_find("arrived"), arrived);
	vm_start(arrived);
	fake_time_advance(10);
	assert_int_equal(vm_tsc(arrived), 787);
	fake_guest_store(arrived->vcpus[0], 0x1000, 4, 9);
	fake_run();
	assert_int_equal(fake_guest_left(arrived->vcpus[0]), 0);
}

/* Of each field that the CPU looks at: a wrong value is found before it gets there. */
static void test_state_check(void **state)
{
	struct cpu_state good, bad;

	(void)state;
	vcpu_save(vcpu, &good);
	assert_int_equal(cpu_state_check(&good), 0);
#define BAD(change) do { bad = good; bad.change; assert_int_equal(cpu_state_check(&bad), -E_INVAL); } while (0)
	BAD(cr0 |= BIT(32));
	BAD(cr0 = CR0_PG);
	BAD(cr0 |= CR0_NW);
	BAD(cr4 |= CR4_LA57);
	BAD(cr4 &= ~CR4_PAE);
	BAD(cr3 = BIT(60));
	BAD(efer |= EFER_SVME);
	BAD(efer &= ~EFER_LMA);
	BAD(rflags = 0);
	BAD(rflags |= BIT(17));
	BAD(rip = BIT(50));
	BAD(lstar = BIT(62));
	BAD(pat = 2);
	BAD(dr7 = BIT(40));
	BAD(xcr0 = 0);
	BAD(xss = 1);
	BAD(cr8 = 16);
	BAD(fs.base = BIT(55));
	BAD(cs.attr |= SEGMENT_DB);
	BAD(cs.attr |= 0xf000);
	BAD(gdtr.limit = 0x10000);
	BAD(event.type = 9);
	BAD(event.has_error_code = 2);
	BAD(interrupt_shadow = 2);
	BAD(reserved[5] = 1);
	BAD(debugctl = 0x40);
	BAD(spec_ctrl = 1);
#undef BAD
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_lifecycle),   TEST(test_create_gives_back),
		TEST(test_refusals),    TEST(test_poweroff),
		TEST(test_preserve),    TEST(test_held),
		TEST(test_restart),     TEST(test_restart_without_kernel), TEST(test_restart_without_memory),
		TEST(test_restart_loop), TEST(test_starts_when_cleared),
		TEST(test_pause),       TEST(test_nobody_there),
		TEST(test_mmio),        TEST(test_undecodable),
		TEST(test_given_back),  TEST(test_given_back_and_no_room), TEST(test_restart_after_giving_back),
		TEST(test_faults),      TEST(test_msrs),
		TEST(test_msr_move),    TEST(test_pvclock),
		TEST(test_timer_wakes), TEST(test_dirty),
		TEST(test_dirty_without_flush), TEST(test_kick_in_guest),
		TEST(test_several),     TEST(test_arrival),
		TEST(test_state_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
