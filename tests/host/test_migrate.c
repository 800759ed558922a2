/* SPDX-License-Identifier: Apache-2.0 */
/* Whole moves: live, offline, to and fro, in pieces; what arrives is what left; what fails leaves nothing. */
#include "migrate_bed.h"

static void test_live(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();
	u64 stores = bed_stores;

	vm = bed_move(vm, true);
	assert_true(bed_stores > stores + 10);
	migrate_get_progress(&progress);
	assert_true(progress.round >= 2);
	assert_true(progress.downtime_ns > 0 && progress.downtime_ns < 50 * NS_PER_MS);
	assert_true(progress.total_ns > progress.downtime_ns);
	assert_true(progress.pages_zero > BED_PAGES / 2);
	assert_true(progress.bytes_sent < 4 * MIB(1));
	assert_string_equal(progress.guest, "web");
	assert_string_equal(progress.peer, "alpha");
}

static void test_offline(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	bed_move(vm, false);
	migrate_get_progress(&progress);
	assert_int_equal(progress.round, 1);
}

static void test_to_and_fro(unused void **state)
{
	struct vm *vm = bed_create();

	for (u32 i = 0; i < 6; i++) {
		fake_pipe.put_max = (u32)(random_u64() % 5000) + 1;
		fake_pipe.peek_max = (u32)(random_u64() % 3000) + 1;
		fake_pipe.delay_ns = random_u64() % NS_PER_MS;
		vm = bed_move(vm, i % 3 != 2);
		assert_int_equal(vm->epoch, i + 1);
	}
}

/* Without a network. */
static void test_localhost(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	u64 used = fake_pages_used();
	char why[200];

	for (u32 i = 0; i < 4; i++) {
		options.live = i % 2;
		assert_int_equal(migrate_start(vm, "localhost", &options, why, sizeof(why)), 0);
		assert_int_equal(bed_run(200000), MIGRATE_DONE);
		vm = bed_running();
		assert_true(bed_memory_equal(vm));
		bed_settle();
	}
	assert_int_equal(fake_pipe_bytes(), 0);
	assert_int_equal(fake_pages_used(), used);
	/* Given up half-way. */
	assert_int_equal(migrate_start(vm, "alpha", &options, why, sizeof(why)), 0);
	bed_run(5);
	assert_int_equal(migrate_cancel(), 0);
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
}

/* What the dirty log is for: without the flush after it, stores are lost, and this bed sees that. */
static void test_no_flush_loses_stores(unused void **state)
{
	struct vm *vm = bed_create();

	bed_stores_per_step = 20;
	bed_verifies = false;
	assert_int_equal(fault_set("skip-dirty-kick", FAULT_FOREVER), 0);
	bed_start(vm, true);
	assert_int_equal(bed_run(200000), MIGRATE_DONE);
	vm = bed_running();
	assert_non_null(vm);
	assert_false(bed_memory_equal(vm));
}

static void test_registers_and_console(unused void **state)
{
	struct vm *vm = bed_create();
	struct bed_cpu *cpu = vm->vcpus[0]->vendor;
	char text[64] = "";
	size_t left;
	u64 pos;

	cpu->state.star = 0x1234567800000000ull;
	vm->vcpus[0]->regs.rip = 0x7777;
	vm->vcpus[0]->regs.gpr[GPR_RSI] = 42;
	vm->vcpus[0]->activity = VCPU_HALTED;
	spin_lock(&vm->lock);
	ring_push(&vm->console, "login: ", 7);
	vm->console_seen = vm->console.head;
	ring_push(&vm->console, "not seen", 8);
	ring_put(&vm->input, "typed", 5);
	spin_unlock(&vm->lock);
	vm = bed_move(vm, true);
	cpu = vm->vcpus[0]->vendor;
	assert_int_equal(cpu->state.star, 0x1234567800000000ull);
	assert_int_equal(vm->vcpus[0]->regs.rip, 0x7777);
	assert_int_equal(vm->vcpus[0]->regs.gpr[GPR_RSI], 42);
	assert_int_equal(vm->vcpus[0]->activity, VCPU_HALTED);
	pos = vm->console_seen;
	assert_int_equal(ring_peek(&vm->console, &pos, text, sizeof(text)), 8);
	assert_string_equal(text, "not seen");
	pos = 0;
	assert_int_equal(ring_peek(&vm->console, &pos, text, sizeof(text)), 15);
	assert_memory_equal(text, "login: not seen", 15);
	/* The UART may have taken the first one already. */
	left = ring_get(&vm->input, text, sizeof(text));
	assert_true(left >= 4);
	assert_memory_equal(text, &"typed"[5 - left], left);
}

/* Clocks never go back, and are right: the guest's lead over the host's stays what it was. */
static void test_time(unused void **state)
{
	struct vm *vm = bed_create();
	u64 lead, tsc_lead, later;

	fake_pipe.delay_ns = 300 * NS_PER_US;
	fake_time_advance(5 * NS_PER_S);
	lead = vm_time_ns(vm) - time_ns();
	tsc_lead = vm_tsc(vm) - tsc_read();
	vm = bed_move(vm, true);
	later = vm_time_ns(vm) - time_ns() - lead;
	assert_true(later < NS_PER_MS || -later < NS_PER_MS);
	later = vm_tsc(vm) - tsc_read() - tsc_lead;
	assert_true(later < NS_PER_MS || -later < NS_PER_MS);
}

/* A guest from a host with half or twice the TSC frequency keeps its own where the CPU scales, move after move. */
static void test_other_tsc(unused void **state)
{
	struct vm *vm = bed_create();
	const struct bed_cpu *cpu;
	u64 khz = tsc_khz();
	u64 before;

	bed_ratio_bits = 48;
	assert_true(vm_tsc_set_khz(vm, (u32)khz * 2));
	vm_time_load(vm, vm_time_ns(vm), 1000);
	fake_time_advance(NS_PER_S);
	assert_in_range(vm_tsc(vm), 1000 + khz * 2000 - 10, 1000 + khz * 2000 + 10);
	before = vm_tsc(vm);
	vm = bed_move(vm, true);
	assert_int_equal(vm->tsc_khz, khz * 2);
	cpu = vm->vcpus[0]->vendor;
	assert_int_equal(cpu->tsc_ratio, BIT(49));
	assert_int_equal(cpu->tsc_offset, vm->tsc_offset);
	assert_true(vm_tsc(vm) > before);
	before = vm_tsc(vm);
	fake_time_advance(NS_PER_S);
	assert_in_range(vm_tsc(vm) - before, khz * 2000 - 10, khz * 2000 + 10);
	assert_in_range(vm_tsc_to_ns(vm, khz * 2000), NS_PER_S - 1, NS_PER_S);

	/* On to a CPU that does not scale: it goes as that host's, but what it was is not forgotten. */
	before = vm_tsc(vm);
	bed_ratio_bits = 0;
	vm->tsc_ratio = 0;
	vm_time_load(vm, vm_time_ns(vm), before);
	vm = bed_move(vm, true);
	assert_int_equal(((struct bed_cpu *)vm->vcpus[0]->vendor)->tsc_ratio, 0);
	assert_int_equal(vm->tsc_khz, khz * 2);
	assert_int_equal(vm_tsc_khz(vm), khz);
	assert_true(vm_tsc(vm) > before);
	bed_ratio_bits = 32;
	before = vm_tsc(vm);
	vm = bed_move(vm, false);
	assert_int_equal(((struct bed_cpu *)vm->vcpus[0]->vendor)->tsc_ratio, BIT(33));
	assert_true(vm_tsc(vm) > before);
	bed_ratio_bits = 0;
}

/* As good as the same: nothing to scale. */
static void test_nearly_same_tsc(unused void **state)
{
	struct vm *vm = bed_create();
	u32 khz = (u32)tsc_khz();

	bed_ratio_bits = 48;
	assert_false(vm_tsc_set_khz(vm, khz + khz / 10000));
	assert_true(vm_tsc_set_khz(vm, khz + khz / 1000));
	assert_true(vm_tsc_set_khz(vm, khz - khz / 1000));
	/* More than a CPU's ratio holds. */
	assert_false(vm_tsc_set_khz(vm, 256 * khz));
	assert_false(vm_tsc_set_khz(vm, khz));
	bed_ratio_bits = 0;
}

static void test_paused_by_user(unused void **state)
{
	struct vm *vm = bed_create();

	vm_pause(vm, VM_PAUSE_USER);
	bed_start(vm, true);
	assert_int_equal(bed_run(200000), MIGRATE_DONE);
	assert_int_equal(bed_owners(), 0);
	vm = vm_find("web");
	assert_int_equal(vm->paused, VM_PAUSE_USER);
	assert_true(bed_memory_equal(vm));
	vm_unpause(vm, VM_PAUSE_USER);
	assert_int_equal(bed_owners(), 1);
}

/* Writes faster than the link: ends all the same. */
static void test_does_not_converge(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	bed_stores_per_step = 400;
	bed_working_set = 2500;
	fake_pipe.ring_bytes = 16384;
	bed_move(vm, true);
	migrate_get_progress(&progress);
	assert_true(progress.round <= 30);
}

static void test_ends_meanwhile(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	bed_start(vm, true);
	bed_run(10);
	vm_want(vm, VM_WANT_SHUTDOWN);
	assert_int_equal(bed_run(1000), MIGRATE_FAILED);
	migrate_get_progress(&progress);
	assert_non_null(strstr(progress.why, "ended or reset itself"));
	bed_settle();
	assert_null(vm_next(NULL));
}

/* --- cancel ----------------------------------------------------------------------------------- */

static void test_cancel_everywhere(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();
	u32 seen = 0;

	bed_move(vm, true);
	vm = bed_running();
	for (u32 steps = 0;; steps++) {
		int error;

		fake_pipe.put_max = 3000;
		bed_start(vm, steps % 2);
		for (u32 i = 0; i < steps; i++)
			bed_step();
		migrate_get_progress(&progress);
		if (progress.step == MIGRATE_DONE)
			break;
		seen |= 1u << progress.step;
		error = migrate_cancel();
		if (progress.step == MIGRATE_COMMIT) {
			assert_int_equal(error, -E_BUSY);
			break;
		}
		assert_int_equal(error, 0);
		assert_int_equal(bed_owners(), 1);
		assert_ptr_equal(bed_running(), vm);
		migrate_get_progress(&progress);
		assert_int_equal(progress.step, MIGRATE_FAILED);
		assert_string_equal(progress.why, "canceled");
		bed_settle();
		assert_ptr_equal(bed_running(), vm);
		assert_true(bed_memory_equal(vm));
		assert_int_equal(fake_pipe_open(), 0);
		steps += steps / 8;
	}
	assert_true(seen & 1u << MIGRATE_CONNECT);
	assert_true(seen & 1u << MIGRATE_HELLO);
	assert_true(seen & 1u << MIGRATE_ROUNDS);
	assert_true(seen & 1u << MIGRATE_FINAL);
	assert_int_equal(migrate_cancel() == 0, 0);
}

static void hold_and_cancel(struct vm *vm, const char *point, enum migrate_step expected)
{
	struct migrate_progress progress;

	assert_int_equal(fault_set(point, FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(3000);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, expected);
	assert_int_equal(migrate_cancel(), 0);
	fault_clear_all();
	assert_ptr_equal(bed_running(), vm);
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
	assert_true(bed_memory_equal(vm));
	assert_int_equal(fake_pipe_open(), 0);
}

static void test_cancel_while_held(unused void **state)
{
	struct vm *vm = bed_create();

	hold_and_cancel(vm, "send.connect", MIGRATE_CONNECT);
	hold_and_cancel(vm, "recv.hello", MIGRATE_HELLO);
	hold_and_cancel(vm, "send.rounds", MIGRATE_ROUNDS);
	hold_and_cancel(vm, "recv.memory", MIGRATE_ROUNDS);
	hold_and_cancel(vm, "send.final", MIGRATE_ROUNDS);
	hold_and_cancel(vm, "send.end", MIGRATE_FINAL);
	hold_and_cancel(vm, "send.commit", MIGRATE_PREPARED);
	bed_move(vm, true);
}

static void test_silent_peer(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	assert_int_equal(fault_set("recv.memory", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(3000);
	fake_time_advance(11 * NS_PER_S);
	assert_int_equal(bed_run(10), MIGRATE_FAILED);
	migrate_get_progress(&progress);
	assert_non_null(strstr(progress.why, "no progress"));
	assert_ptr_equal(bed_running(), vm);
}

/* --- in doubt --------------------------------------------------------------------------------- */

/* COMMIT went out, the link broke before RUNNING came back. */
static struct vm *bring_into_doubt(bool arrives)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	/* The peer reads COMMIT or not; the source never reads an answer. */
	assert_int_equal(fault_set("send.running", FAULT_FOREVER), 0);
	if (!arrives)
		assert_int_equal(fault_set("recv.commit", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(3000);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_COMMIT);
	fake_pipe.link_down = true;
	fake_pipe.cut_after = 0;
	fake_pipe_restart_count();
	fake_time_advance(11 * NS_PER_S);
	fault_clear("send.running");
	return vm;
}

static void test_doubt_peer_has_it(unused void **state)
{
	struct migrate_progress progress;
	struct vm *old = bring_into_doubt(true);
	u32 id = old->id;

	assert_int_equal(bed_owners(), 1);
	bed_run(3);
	/* The old one is paused, the new one runs. */
	for (u32 i = 0; i < 1000; i++)
		bed_step();
	migrate_get_progress(&progress);
	assert_int_equal(bed_owners(), 1);
	assert_true(bed_running()->id != id);
	fake_pipe_repair();
	bed_settle();
	assert_ptr_equal(vm_next(NULL), bed_running());
	assert_null(vm_next(bed_running()));
	assert_true(bed_memory_equal(bed_running()));
}

static void test_doubt_peer_has_it_not(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bring_into_doubt(false);

	bed_run(3);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_FAILED);
	assert_int_equal(bed_owners(), 0);
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	assert_non_null(strstr(vm->why, "unpause --force"));
	assert_int_equal(migrate_cancel(), -E_NOENT);
	/* Asked on a new connection, the peer first lets go of what it had prepared. */
	fake_pipe_repair();
	bed_settle();
	fault_clear_all();
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
	assert_true(bed_memory_equal(vm));
	bed_move(vm, true);
}

static void test_doubt_forced(unused void **state)
{
	struct vm *vm = bring_into_doubt(false);
	u64 epoch = vm->epoch;

	bed_run(3);
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	assert_int_equal(migrate_force_owner(vm), 0);
	assert_int_equal(migrate_force_owner(vm), -E_NOENT);
	assert_true(vm->epoch > epoch);
	assert_ptr_equal(bed_running(), vm);
	fault_clear_all();
	fake_pipe_repair();
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
}

static void test_doubt_destroyed(unused void **state)
{
	struct vm *vm = bring_into_doubt(false);

	bed_run(3);
	vm_destroy(vm);
	fault_clear_all();
	fake_pipe_repair();
	bed_settle();
	assert_null(vm_next(NULL));
}

static void test_doubt_peer_restarted(unused void **state)
{
	struct vm *vm = bring_into_doubt(false);

	bed_run(3);
	fault_clear_all();
	bed_settle();
	/* Another boot id, and nothing known. */
	fake_pipe_reset();
	migrate_init(&bed_host, &fake_network);
	bed_settle();
	assert_int_equal(bed_owners(), 0);
	assert_non_null(strstr(vm->why, "started anew"));
	assert_int_equal(migrate_force_owner(vm), 0);
	assert_ptr_equal(bed_running(), vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_live, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_offline, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_to_and_fro, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_localhost, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_no_flush_loses_stores, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_registers_and_console, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_time, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_other_tsc, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_nearly_same_tsc, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_paused_by_user, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_does_not_converge, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_ends_meanwhile, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cancel_everywhere, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_cancel_while_held, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_silent_peer, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_doubt_peer_has_it, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_doubt_peer_has_it_not, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_doubt_forced, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_doubt_destroyed, bed_set_up, bed_tear_down),
		cmocka_unit_test_setup_teardown(test_doubt_peer_restarted, bed_set_up, bed_tear_down),
	};

	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
