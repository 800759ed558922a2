/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beacons: what this host says, which of those that come count, and what they do to guests that run, are in doubt, or yielded.
 * The test plays the peer, beta.
 */
#include "migrate_bed.h"

#include "fake/fake_beacon.h"
#include "migrate/beacon.h"
#include "migrate/beacons.h"
#include "migrate/owner.h"
#include "migrate/peers.h"

static const u8 beta_ip[4] = { 10, 0, 0, 2 };
static const u8 own_uuid[16] = { 0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55 };

/* What alpha told beta last, how often, and all guests since said_reset(). */
static struct beacon said;
static u32 said_count, said_guests;
static u32 introduced, met; /* by alpha to beta, and the other way round */
static bool known;          /* beta's introduction came */
/* What beta would say next. */
static struct beacon next;
static u8 wire[DATAGRAM_BYTES_MAX];
static u32 wire_bytes;

static void sent(const u8 ip[4], const void *data, size_t bytes)
{
	u32 body = fake_beacon_auth.open(NULL, data, (u32)bytes);

	if (memcmp(ip, beta_ip, 4))
		return;
	if (bytes == 5 && !memcmp(data, "alpha", 5)) {
		introduced++;
		return;
	}
	assert_true(body);
	assert_int_equal(beacon_parse(data, body, &said), 0);
	assert_string_equal(said.header.host, "alpha");
	said_count++;
	said_guests += said.header.guest_count;
}

static void turn(u64 ns)
{
	fake_time_advance(ns);
	bed_step();
}

static void seal(void)
{
	memcpy(wire, &next, beacon_bytes(&next));
	wire_bytes = fake_beacon_auth.seal(NULL, wire, beacon_bytes(&next));
}

static void hear(void)
{
	fake_datagram_hear(beta_ip, wire, wire_bytes);
	bed_step();
}

/* One guest, in answer to what alpha said last. */
static void say_guest(u64 epoch, u64 attempt, enum beacon_state state)
{
	next.header.stamp++;
	next.header.echo_instance = said.header.instance;
	next.header.echo_stamp = said.header.stamp;
	next.header.guest_count = 1;
	next.guests[0] = (struct beacon_guest){ .epoch = epoch, .attempt = attempt, .state = state };
	memcpy(next.guests[0].uuid, own_uuid, 16);
	seal();
}

static void beta_says(u64 epoch, u64 attempt, enum beacon_state state)
{
	turn(2 * NS_PER_S);
	say_guest(epoch, attempt, state);
	hear();
}

static int set_up(void **state)
{
	bed_set_up(state);
	bed_stores_per_step = 0;
	memset(&next, 0, sizeof(next));
	next.header = (struct beacon_header){ .magic = BEACON_MAGIC, .version = BEACON_VERSION, .instance = 77, .stamp = 1000 };
	strcpy(next.header.host, "beta");
	said_count = 0;
	said_guests = 0;
	fake_datagram_sent = sent;
	beacons_init(&fake_datagrams, &fake_beacon_auth);
	bed_step();
	return 0;
}

static int tear_down(void **state)
{
	fake_datagram_sent = NULL;
	beacons_init(&fake_datagrams, NULL);
	return bed_tear_down(state);
}

/* Hosts that have to meet first. */

static u32 sealed_if_known(const char *to, u8 *datagram, u32 bytes)
{
	return known ? fake_beacon_auth.seal(to, datagram, bytes) : 0;
}

static u32 introduce(u8 *datagram, u32 bytes_max)
{
	assert_true(bytes_max >= 1000);
	memcpy(datagram, "alpha", 5);
	return 5;
}

static bool meet(const char *from, const u8 *datagram, u32 bytes)
{
	assert_string_equal(from, "beta");
	if (bytes != 4 || memcmp(datagram, "beta", 4))
		return false;
	met++;
	known = true;
	return true;
}

static void test_introductions(unused void **state)
{
	struct beacon_auth auth = { sealed_if_known, fake_beacon_auth.open, introduce, meet };
	static const u8 stranger_ip[4] = { 10, 0, 0, 77 };
	u32 before;

	known = false;
	introduced = met = said_count = 0;
	beacons_init(&fake_datagrams, &auth);
	bed_step();
	turn(2 * NS_PER_S);
	/* Told who alpha is again and again, and nothing else, until it has said who it is. */
	assert_int_equal(introduced, 2);
	assert_int_equal(said_count, 0);
	fake_datagram_hear(stranger_ip, "beta", 4);
	bed_step();
	assert_int_equal(met, 0);
	fake_datagram_hear(beta_ip, "beta", 4);
	bed_step();
	assert_int_equal(met, 1);
	turn(2 * NS_PER_S);
	assert_int_equal(introduced, 3);
	assert_true(said_count > 0);
	/* From when a beacon of beta's counts it knows alpha: enough of that; until it has been silent for long. */
	for (int i = 0; i < 3; i++)
		beta_says(1, 1, BEACON_RUNS);
	before = introduced;
	turn(2 * NS_PER_S);
	assert_int_equal(introduced, before);
	assert_true(beacons_heard_ns(beta_ip));
	turn(peers_silence_ns());
	turn(2 * NS_PER_S);
	assert_true(introduced > before);
	beacons_init(&fake_datagrams, &fake_beacon_auth);
}

/* --- what is said ----------------------------------------------------------------------------- */

static void test_says_what_it_has(unused void **state)
{
	struct vm *vm;

	assert_int_equal(said_count, 1);
	assert_int_equal(said.header.guest_count, 0);
	vm = bed_create();
	vm->epoch = 5;
	vm->attempt = 9;
	turn(2 * NS_PER_S);
	assert_int_equal(said_count, 2);
	assert_int_equal(said.header.guest_count, 1);
	assert_memory_equal(said.guests[0].uuid, own_uuid, 16);
	assert_int_equal(said.guests[0].epoch, 5);
	assert_int_equal(said.guests[0].attempt, 9);
	assert_int_equal(said.guests[0].state, BEACON_RUNS);
	assert_int_equal(said.header.free_pages, pages_free_count());
	vm_pause(vm, VM_PAUSE_USER);
	turn(2 * NS_PER_S);
	assert_int_equal(said.guests[0].state, BEACON_PAUSED);
	/* Not more often than that, unless something changed. */
	turn(NS_PER_S);
	assert_int_equal(said_count, 3);
	beacons_changed();
	bed_step();
	assert_int_equal(said_count, 4);
}

static void test_says_all_of_many(unused void **state)
{
	struct vm_config config;

	bed_config(&config);
	fake_pages_set_total(GIB(2) / PAGE_SIZE);
	for (u32 i = 0; i < VMS_MAX; i++) {
		config.uuid[0] = (u8)i;
		config.vif[0].mac[5] = (u8)i;
		snprintf(config.name, sizeof(config.name), "guest%u", i);
		bed_create_of(&config);
	}
	said_count = 0;
	said_guests = 0;
	fake_time_advance(2 * NS_PER_S);
	migrate_poll();
	assert_int_equal(said_count, 2);
	assert_int_equal(said_guests, VMS_MAX);
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
}

static void test_off_without_proof(unused void **state)
{
	struct vm *vm = bed_create();

	turn(2 * NS_PER_S);
	say_guest(9, 0, BEACON_RUNS);
	beacons_init(&fake_datagrams, NULL);
	said_count = 0;
	for (u32 i = 0; i < 5; i++)
		turn(2 * NS_PER_S);
	hear();
	assert_int_equal(said_count, 0);
	assert_ptr_equal(bed_running(), vm);
	assert_int_equal(beacons_next_deadline(), 0);
}

/* The epoch rises with each move, live, offline, to localhost; not with a try that came to nothing. */
static void test_epoch_of_moves(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];
	u64 attempt;

	vm = bed_move(vm, true);
	assert_int_equal(vm->epoch, 1);
	attempt = vm->attempt;
	assert_true(attempt != 0);
	bed_start(vm, true);
	assert_int_equal(migrate_cancel(), 0);
	bed_settle();
	assert_int_equal(vm->epoch, 1);
	vm = bed_move(vm, false);
	assert_int_equal(vm->epoch, 2);
	assert_true(vm->attempt != attempt);
	assert_int_equal(migrate_start(vm, "localhost", &options, why, sizeof(why)), 0);
	assert_int_equal(bed_run(200000), MIGRATE_DONE);
	assert_int_equal(bed_running()->epoch, 3);
}

/* --- guests ----------------------------------------------------------------------------------- */

static void test_higher_epoch_pauses(unused void **state)
{
	struct vm *vm = bed_create();

	vm->epoch = 3;
	beta_says(2, 1, BEACON_RUNS);
	beta_says(3, 1, BEACON_YIELDED);
	assert_ptr_equal(bed_running(), vm);
	beta_says(4, 1, BEACON_RUNS);
	assert_null(bed_running());
	assert_int_equal(owner_state(vm), OWNER_YIELDED);
	assert_non_null(strstr(vm->why, "'destroy'"));
	assert_non_null(strstr(vm->why, "'unpause --force'"));
	assert_non_null(strstr(vm->why, "beta has it too, at epoch 4, higher than epoch 3 here"));
	bed_step();
	assert_int_equal(said.guests[0].state, BEACON_YIELDED);
	/* The operator decides otherwise: higher than all that was heard. */
	beta_says(7, 1, BEACON_RUNS);
	assert_int_equal(migrate_force_owner(vm), 0);
	assert_ptr_equal(bed_running(), vm);
	assert_int_equal(vm->epoch, (1ull << 32) + 8);
	beta_says(100, 1, BEACON_RUNS);
	assert_ptr_equal(bed_running(), vm);
}

static void test_equal_epochs_pause(unused void **state)
{
	struct vm *vm = bed_create();

	beta_says(0, 0, BEACON_RUNS);
	assert_null(bed_running());
	assert_non_null(strstr(vm->why, "the same as"));
	assert_int_equal(migrate_force_owner(vm), 0);
	beta_says(0, 0, BEACON_YIELDED);
	assert_ptr_equal(bed_running(), vm);
}

static void test_other_guests_do_not_matter(unused void **state)
{
	struct vm *vm = bed_create();

	turn(2 * NS_PER_S);
	say_guest(9, 0, BEACON_RUNS);
	next.guests[0].uuid[3] ^= 1;
	seal();
	hear();
	assert_ptr_equal(bed_running(), vm);
}

/* In the middle of a move: before COMMIT the move ends and the guest yields. */
static void test_higher_epoch_ends_a_move(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	assert_int_equal(fault_set("send.commit", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(5000);
	beta_says(4, 1, BEACON_RUNS);
	fault_clear_all();
	for (u32 i = 0; i < 20; i++)
		bed_step();
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_FAILED);
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	assert_null(vm_next(vm_next(NULL)));
}

static struct vm *doubtful(void)
{
	static const struct migrate_peer beta = { "beta", { 10, 0, 0, 2 }, true, true };
	struct handover handover = { .epoch = 6, .attempt = 99 };
	struct vm *vm = bed_create();

	vm->epoch = 5;
	fake_pipe.link_down = true;
	vm_pause(vm, VM_PAUSE_MIGRATE);
	owner_unknown(vm, &beta, &handover, 1, "the link broke");
	bed_step();
	assert_int_equal(said.guests[0].state, BEACON_DOUBT);
	return vm;
}

static void test_doubt_ends_by_beacon(unused void **state)
{
	doubtful();
	beta_says(6, 98, BEACON_RUNS);
	assert_non_null(vm_next(NULL));
	beta_says(6, 99, BEACON_PAUSED);
	assert_null(vm_next(NULL));
}

/* It was moved on, or somebody forced another copy: said, but not believed. */
static void test_doubt_and_a_higher_epoch(unused void **state)
{
	struct vm *vm = doubtful();

	beta_says(7, 98, BEACON_RUNS);
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
	assert_non_null(strstr(vm->why, "beta has it at the higher epoch 7: 'destroy'"));
	assert_int_equal(migrate_force_owner(vm), 0);
	assert_int_equal(vm->epoch, (1ull << 32) + 8);
}

/* The peer speaks: the question does not wait for its time. */
static void test_beacon_makes_it_ask(unused void **state)
{
	struct vm *vm = doubtful();
	u64 before = owner_next_deadline();

	turn(2 * NS_PER_S);
	bed_step();
	assert_true(owner_next_deadline() != before);
	say_guest(1, 1, BEACON_RUNS);
	fake_datagram_hear(beta_ip, wire, wire_bytes);
	beacons_poll();
	assert_true(owner_next_deadline() <= time_ns());
	vm_destroy(vm);
}

static u32 announced;

static void announce(unused struct device *dev)
{
	announced++;
}

/* A beacon that did not come: the announcement of a guest that arrived meanwhile may not have come either. */
static void test_link_that_is_back(unused void **state)
{
	static const struct device_ops ops = { .name = "nic", .type = 99, .announce = announce };
	struct vm *vm = bed_create();
	struct device nic = { 0 };

	device_add(vm, &nic, &ops, 0);
	vm->epoch = 3;
	announced = 0;
	for (int i = 0; i < 3; i++)
		beta_says(1, 1, BEACON_RUNS);
	assert_int_equal(announced, 0);
	turn(2 * NS_PER_S);
	beta_says(1, 1, BEACON_RUNS);
	assert_int_equal(announced, 1);
	beta_says(1, 1, BEACON_RUNS);
	assert_int_equal(announced, 1);
	vm_pause(vm, VM_PAUSE_USER);
	turn(2 * NS_PER_S);
	beta_says(1, 1, BEACON_RUNS);
	assert_int_equal(announced, 1);
	vm_destroy(vm);
}

/* --- what does not count ---------------------------------------------------------------------- */

static void expect_nothing(const struct vm *vm)
{
	hear();
	assert_ptr_equal(bed_running(), vm);
}

static void test_replayed(unused void **state)
{
	struct vm *vm = bed_create();
	u8 old[DATAGRAM_BYTES_MAX];
	u32 old_bytes;

	vm->epoch = 5;
	beta_says(9, 1, BEACON_RUNS);
	assert_null(bed_running());
	memcpy(old, wire, sizeof(old));
	old_bytes = wire_bytes;
	/* The other copy is destroyed, this one goes on. */
	assert_int_equal(migrate_force_owner(vm), 0);
	vm->epoch = 5;
	memcpy(wire, old, sizeof(old));
	wire_bytes = old_bytes;
	expect_nothing(vm);
	/* Beta starts anew, and the old one is played again. */
	next.header.instance = 78;
	next.header.stamp = 1;
	beta_says(4, 1, BEACON_RUNS);
	assert_int_equal(beacons_heard_ns(beta_ip), time_ns() - BED_STEP_NS);
	memcpy(wire, old, sizeof(old));
	wire_bytes = old_bytes;
	expect_nothing(vm);
	/* So does alpha: nothing that was said to it before counts. */
	say_guest(9, 1, BEACON_RUNS);
	beacons_init(&fake_datagrams, &fake_beacon_auth);
	expect_nothing(vm);
}

static void test_stale(unused void **state)
{
	struct vm *vm = bed_create();

	turn(2 * NS_PER_S);
	say_guest(9, 1, BEACON_RUNS);
	turn(11 * NS_PER_S);
	expect_nothing(vm);
	/* Nor in answer to something that was never said. */
	say_guest(9, 1, BEACON_RUNS);
	next.header.echo_stamp += 1000 * NS_PER_S;
	seal();
	expect_nothing(vm);
	/* The first words can't be an answer, but get one. */
	turn(2 * NS_PER_S);
	assert_int_equal(said.header.echo_instance, 77);
	assert_int_equal(said.header.echo_stamp, next.header.stamp);
}

static void test_foreign(unused void **state)
{
	static const u8 stranger[4] = { 10, 0, 0, 66 };
	struct vm *vm = bed_create();

	turn(2 * NS_PER_S);
	say_guest(9, 1, BEACON_RUNS);
	fake_datagram_hear(stranger, wire, wire_bytes);
	bed_step();
	assert_ptr_equal(bed_running(), vm);
	/* From beta's address, with another name; our own, sent back. */
	strcpy(next.header.host, "gamma");
	seal();
	expect_nothing(vm);
	strcpy(next.header.host, "beta");
	next.header.instance = said.header.instance;
	seal();
	expect_nothing(vm);
	/* Without the key. */
	next.header.instance = 77;
	seal();
	wire[wire_bytes - 1] ^= 1;
	expect_nothing(vm);
	wire[wire_bytes - 1] ^= 1;
	hear();
	assert_null(bed_running());
}

/* Every length, every bit: none of them counts, whether the proof is good (a peer gone mad) or not. */
static void test_truncated_and_garbage(unused void **state)
{
	struct vm *vm = bed_create();
	struct beacon parsed;
	u32 body;

	turn(2 * NS_PER_S);
	say_guest(9, 1, BEACON_RUNS);
	body = beacon_bytes(&next);
	for (u32 bytes = 0; bytes < wire_bytes; bytes++) {
		fake_datagram_hear(beta_ip, wire, bytes);
		bed_step();
	}
	assert_ptr_equal(bed_running(), vm);
	for (u32 bit = 0; bit < wire_bytes * 8; bit++) {
		wire[bit / 8] ^= (u8)(1 << bit % 8);
		fake_datagram_hear(beta_ip, wire, wire_bytes);
		migrate_poll();
		wire[bit / 8] ^= (u8)(1 << bit % 8);
	}
	assert_ptr_equal(bed_running(), vm);
	for (u32 bytes = 0; bytes <= sizeof(next); bytes++)
		assert_int_equal(beacon_parse(&next, bytes, &parsed) == 0, bytes == body);
	for (u32 i = 0; i < 200000; i++) {
		struct beacon bad = next;
		u32 bytes = body;
		u8 *at = (u8 *)&bad;

		for (u32 n = (u32)random_u64() % 4; n < 4; n++)
			at[random_u64() % body] = (u8)random_u64();
		if (!beacon_parse(&bad, bytes, &parsed)) {
			assert_true(parsed.header.guest_count <= BEACON_GUESTS_MAX);
			assert_true(strlen(parsed.header.host) < sizeof(parsed.header.host));
		}
	}
}

/* More than fit into the queue: the rest is lost, and nothing else. */
static void test_flood(unused void **state)
{
	struct vm *vm = bed_create();

	turn(2 * NS_PER_S);
	memset(wire, 0x5a, sizeof(wire));
	for (u32 i = 0; i < 1000; i++)
		fake_datagram_hear(beta_ip, wire, sizeof(wire));
	bed_step();
	beta_says(1, 1, BEACON_RUNS);
	assert_null(bed_running());
	assert_int_equal(owner_state(vm), OWNER_YIELDED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_says_what_it_has), TEST(test_says_all_of_many), TEST(test_off_without_proof),
		TEST(test_epoch_of_moves),
		TEST(test_higher_epoch_pauses), TEST(test_equal_epochs_pause), TEST(test_other_guests_do_not_matter),
		TEST(test_higher_epoch_ends_a_move), TEST(test_doubt_ends_by_beacon), TEST(test_doubt_and_a_higher_epoch),
		TEST(test_beacon_makes_it_ask), TEST(test_link_that_is_back), TEST(test_introductions), TEST(test_replayed), TEST(test_stale), TEST(test_foreign),
		TEST(test_truncated_and_garbage), TEST(test_flood),
	};

	return cmocka_run_group_tests_name("migrate_beacon", tests, NULL, NULL);
}
