/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-overs whose answer was lost: what the peer says of them later, and what the source believes. */
#include "migrate_bed.h"

#include "migrate/owner.h"
#include "migrate/peers.h"
#include "migrate/stream.h"

/* A guest that was handed over, the answer lost, and the link is down: its copy here, in doubt. */
static struct vm *doubtful(void)
{
	struct vm *vm = bed_create();

	bed_stores_per_step = 0;
	assert_int_equal(fault_set("send.running", FAULT_FOREVER), 0);
	bed_start(vm, false);
	for (u32 i = 0; i < 100000 && (bed_running() == NULL || bed_running() == vm); i++)
		bed_step();
	assert_non_null(bed_running());
	fake_pipe.link_down = true;
	for (u32 i = 0; i < 10; i++) {
		bed_step();
		fake_time_advance(3 * NS_PER_S);
	}
	fault_clear_all();
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	return vm;
}

static void test_taken(unused void **state)
{
	u32 id = doubtful()->id;

	fake_pipe_repair();
	bed_settle();
	assert_int_equal(bed_owners(), 1);
	assert_int_not_equal(bed_running()->id, id);
	assert_null(vm_next(vm_next(NULL)));
}

/* The peer takes so many others that it forgets this one: "unknown" is no proof any more. */
static void test_forgotten(unused void **state)
{
	struct vm *vm = doubtful();

	for (u32 i = 0; i < 64; i++) {
		struct handover other = { .epoch = 1, .attempt = random_u64() };

		owner_take(&other);
	}
	fake_pipe_repair();
	bed_settle();
	assert_int_equal(bed_owners(), 1);
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	assert_non_null(strstr(vm->why, "unpause --force"));
}

/* As long as it remembers, the number of others does not matter. */
static void test_not_forgotten(unused void **state)
{
	u32 id = doubtful()->id;

	for (u32 i = 0; i < 63; i++) {
		struct handover other = { .epoch = 1, .attempt = random_u64() };

		owner_take(&other);
	}
	fake_pipe_repair();
	bed_settle();
	assert_int_equal(bed_owners(), 1);
	assert_int_not_equal(bed_running()->id, id);
}

static const struct record_rule query_rules[] = {
	{ RECORD_QUERY, sizeof(struct wire_query), sizeof(struct wire_query) },
	{ RECORD_STATUS, sizeof(struct wire_status), sizeof(struct wire_status) },
	{ 0, 0, 0 },
};
static u8 query_body[128] aligned(8);

/* The test plays the peer: an answer that is neither yes nor no resumes nothing. */
static void test_strange_answer(unused void **state)
{
	struct vm *vm = doubtful();
	u8 record[16 + sizeof(struct wire_status)] aligned(8);
	struct wire_status *status = (struct wire_status *)(record + 16);
	struct stream peer;

	while (fake_pipe_open()) {
		bed_step();
		fake_time_advance(NS_PER_S);
	}
	assert_int_equal(fake_network.listen(MIGRATE_PORT, NULL), 0);
	fake_pipe_repair();
	while (!fake_pipe_open()) {
		bed_step();
		fake_time_advance(NS_PER_S / 4);
	}
	stream_init(&peer, fake_pipe_take(), query_rules, query_body, sizeof(query_body));
	bed_step();
	assert_int_equal(stream_read(&peer), 0);
	memset(status, 0, sizeof(*status));
	status->boot_id = peers_boot_id();
	status->owner = 7;
	stream_send(&peer, record, record_seal(&peer, record, RECORD_STATUS, sizeof(*status)));
	fake_pipe.link_down = true;
	for (u32 i = 0; i < 5; i++)
		bed_step();
	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	peer.pipe->ops->close(peer.pipe, false);
	/* The real one says what is true. */
	migrate_init(&bed_host, &fake_network);
	fake_pipe_repair();
	bed_settle();
	assert_int_equal(bed_owners(), 1);
}

static u8 hello[16 + sizeof(struct wire_hello)];
static size_t hello_have;

static void tap_hello(const void *data, size_t bytes)
{
	bytes = MIN(bytes, sizeof(hello) - hello_have);
	memcpy(hello + hello_have, data, bytes);
	hello_have += bytes;
}

/* Whoever asks, from whatever address: once "unknown" was said, a COMMIT comes too late. */
static void test_unknown_stays_true(unused void **state)
{
	static const u8 beta[4] = { 10, 0, 0, 2 };
	static const u8 anywhere[4] = { 127, 0, 0, 1 };
	struct vm *vm = bed_create();
	u8 record[16 + sizeof(struct wire_query)] aligned(8) = { 0 };
	struct wire_query *query = (struct wire_query *)(record + 16);
	struct wire_hello sent;
	struct stream raw;
	struct pipe *pipe;

	hello_have = 0;
	fake_pipe.tap = tap_hello;
	bed_stores_per_step = 0;
	assert_int_equal(fault_set("send.commit", FAULT_FOREVER), 0);
	bed_start(vm, false);
	bed_run(20000);
	fake_pipe.tap = NULL;
	memcpy(&sent, hello + 16, sizeof(sent));
	query->magic = STREAM_MAGIC;
	query->version = STREAM_VERSION;
	query->handover = sent.handover;
	memcpy(fake_pipe.from_ip, beta, sizeof(beta));
	assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipe), 0);
	stream_init(&raw, pipe, query_rules, query_body, sizeof(query_body));
	stream_send(&raw, record, record_seal(&raw, record, RECORD_QUERY, sizeof(*query)));
	for (u32 i = 0; i < 10; i++)
		migrate_poll();
	assert_int_equal(stream_read(&raw), 0);
	assert_int_equal(((struct wire_status *)raw.body)->owner, WIRE_UNKNOWN);
	pipe->ops->close(pipe, false);
	fault_clear_all();
	assert_int_equal(bed_run(1000), MIGRATE_FAILED);
	assert_ptr_equal(bed_running(), vm);
	memcpy(fake_pipe.from_ip, anywhere, sizeof(anywhere));
	bed_move(vm, true);
}

/* Long names and a long reason: what to type is not what is cut off. */
static void test_says_what_to_type(unused void **state)
{
	struct migrate_peer peer = { .name = "a-host-name-of-31-letters-is-it" };
	struct handover handover = { .epoch = 1 };
	struct vm *vm = bed_create();

	vm_pause(vm, VM_PAUSE_MIGRATE);
	owner_unknown(vm, &peer, &handover, 1, "a-host-name-of-31-letters-is-it does not answer: no progress for 10 s");
	assert_non_null(strstr(vm->why, "'unpause --force' (if it runs nowhere) or 'destroy'"));
	assert_int_equal(owner_force(vm), 0);
	assert_ptr_equal(bed_running(), vm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_taken), TEST(test_forgotten), TEST(test_not_forgotten), TEST(test_strange_answer),
		TEST(test_unknown_stays_true), TEST(test_says_what_to_type),
	};

	return cmocka_run_group_tests_name("migrate_owner", tests, NULL, NULL);
}
