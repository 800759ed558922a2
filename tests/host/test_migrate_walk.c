/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the real state machines through every transition of the model: one test for each T(name) of tests/model/handover.pml, by
 * name. A transition that the model has and nobody walks does not compile, and neither does one that is walked but is not in
 * the model. The states looked at are the real ones, so the two .c files that keep them to themselves are part of this one.
 */
#include "migrate_bed.h"

#include "migrate/owner.c"
#include "migrate/receive.c"

static const u8 beta_ip[4] = { 10, 0, 0, 2 };

/* --- where things stand ----------------------------------------------------------------------- */

static enum migrate_step step_now(void)
{
	struct migrate_progress progress;

	migrate_get_progress(&progress);
	return progress.step;
}

static bool failed_with(const char *why)
{
	struct migrate_progress progress;

	migrate_get_progress(&progress);
	return progress.step == MIGRATE_FAILED && strstr(progress.why, why);
}

static void steps(u32 count)
{
	while (count--)
		bed_step();
}

/* The one connection that came in, if it is in that state. */
static struct session *session_in(enum session_state state)
{
	for (u32 i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i].state == state)
			return &sessions[i];
	return NULL;
}

static bool no_session(void)
{
	for (u32 i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i].state != SESSION_FREE)
			return false;
	return true;
}

/* --- ways there ------------------------------------------------------------------------------- */

/* A move that stops at a fault point, with the source at that step. */
static struct vm *held_at(const char *point, enum migrate_step step)
{
	struct vm *vm = bed_create();

	bed_stores_per_step = 0;
	assert_int_equal(fault_set(point, FAULT_FOREVER), 0);
	bed_start(vm, true);
	for (u32 i = 0; i < 5000 && (step_now() != step || i < 4000); i++)
		bed_step();
	assert_int_equal(step_now(), step);
	return vm;
}

static const struct {
	const char *point;
	enum migrate_step step;
	enum session_state session;
} holds[] = {
	{ "send.connect", MIGRATE_CONNECT, SESSION_FIRST }, { "recv.hello", MIGRATE_HELLO, SESSION_FIRST },
	{ "send.rounds", MIGRATE_ROUNDS, SESSION_MEMORY }, { "send.end", MIGRATE_FINAL, SESSION_MEMORY },
	{ "send.commit", MIGRATE_PREPARED, SESSION_PREPARED }, { "recv.commit", MIGRATE_COMMIT, SESSION_PREPARED },
};

static struct vm *held_before(enum migrate_step step, struct session **session)
{
	const u32 i = (u32)step - MIGRATE_CONNECT;
	struct vm *vm;

	assert_int_equal(holds[i].step, step);
	vm = held_at(holds[i].point, step);
	*session = session_in(holds[i].session);
	assert_non_null(*session);
	return vm;
}

static void runs_on(struct vm *vm)
{
	fault_clear_all();
	steps(5);
	assert_int_equal(step_now(), MIGRATE_FAILED);
	assert_ptr_equal(bed_running(), vm);
	assert_int_equal(owner_state(vm), OWNER_RUNS);
}

/* The peer gives up in this state of the source's: the guest runs on. */
static void abort_in(enum migrate_step step)
{
	struct session *session;
	struct vm *vm = held_before(step, &session);

	session_turn_down(session, RECORD_ABORT, -E_PROTO, "walked");
	runs_on(vm);
	assert_true(failed_with("gave up: walked"));
}

static void broke_in(enum migrate_step step)
{
	struct session *session;
	struct vm *vm = held_before(step, &session);

	session_hang_up(session, true);
	runs_on(vm);
}

/* What the source of a move puts into the pipe up to a fault point; its guest is gone then. */
static u8 recorded[MIB(2)];
static size_t recorded_bytes;

static void record(const void *data, size_t bytes)
{
	assert_true(recorded_bytes + bytes <= sizeof(recorded));
	memcpy(recorded + recorded_bytes, data, bytes);
	recorded_bytes += bytes;
}

static struct handover record_until(const char *point, enum migrate_step step)
{
	recorded_bytes = 0;
	fake_pipe.tap = record;
	held_at(point, step);
	fake_pipe.tap = NULL;
	assert_int_equal(migrate_cancel(), 0);
	fault_clear_all();
	bed_settle();
	vm_destroy(vm_next(NULL));
	assert_true(no_session());
	return ((struct wire_hello *)(recorded + 16))->handover;
}

static struct pipe *raw_connect(void)
{
	struct pipe *pipe;

	assert_int_equal(fake_network.connect(beta_ip, MIGRATE_PORT, &pipe), 0);
	return pipe;
}

/* The recording once more: the peer is led to that state, and nobody is at the other end but this test. */
static struct pipe *led_to(enum session_state state)
{
	struct pipe *pipe;
	size_t at = 0;

	if (state == SESSION_MEMORY)
		record_until("send.rounds", MIGRATE_ROUNDS);
	else
		record_until("send.commit", MIGRATE_PREPARED);
	pipe = raw_connect();
	for (u32 i = 0; i < 10000 && (at < recorded_bytes || !session_in(state)); i++) {
		at += pipe->ops->put(pipe, recorded + at, recorded_bytes - at);
		bed_step();
	}
	assert_non_null(session_in(state));
	return pipe;
}

static void garbage_in(enum session_state state)
{
	struct pipe *pipe = led_to(state);
	u8 garbage[64] = { 0xff, 0xff };

	pipe->ops->put(pipe, garbage, sizeof(garbage));
	steps(3);
	assert_non_null(session_in(SESSION_LINGER));
	assert_null(vm_next_any(NULL));
	pipe->ops->close(pipe, false);
}

static void hang_up_in(enum session_state state)
{
	struct pipe *pipe = led_to(state);

	pipe->ops->close(pipe, true);
	steps(3);
	assert_true(no_session());
	assert_null(vm_next_any(NULL));
}

/* A doubt whose peer has (taken) or has not read COMMIT; no question yet. */
static struct vm *doubt(bool was_taken)
{
	struct vm *vm;

	if (was_taken) {
		vm = held_at("send.running", MIGRATE_COMMIT);
		session_hang_up(session_in(SESSION_RUNNING), true);
		fake_pipe.link_down = true;
		fake_time_advance(11 * NS_PER_S);
	} else {
		vm = held_at("recv.commit", MIGRATE_COMMIT);
		session_hang_up(session_in(SESSION_PREPARED), true);
		fake_pipe.link_down = true;
	}
	bed_step();
	fault_clear_all();
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
	assert_null(question.doubt);
	return vm;
}

static void ask_now(void)
{
	fake_pipe_repair();
	fake_time_advance(3 * NS_PER_S);
	owner_poll();
	assert_non_null(question.doubt);
}

static struct stream raw;
static u8 raw_body[128] aligned(8), raw_record[128] aligned(8);

static u32 raw_query(const struct handover *handover)
{
	static const struct record_rule rules[] = {
		{ RECORD_STATUS, sizeof(struct wire_status), sizeof(struct wire_status) }, { 0, 0, 0 },
	};
	struct wire_query *query = (struct wire_query *)(raw_record + 16);
	struct pipe *pipe = raw_connect();

	memset(query, 0, sizeof(*query));
	query->magic = STREAM_MAGIC;
	query->version = STREAM_VERSION;
	query->handover = *handover;
	stream_init(&raw, pipe, rules, raw_body, sizeof(raw_body));
	stream_send(&raw, raw_record, record_seal(&raw, raw_record, RECORD_QUERY, sizeof(*query)));
	for (u32 i = 0; i < 5; i++)
		receive_poll();
	assert_int_equal(stream_read(&raw), 0);
	pipe->ops->close(pipe, false);
	return ((struct wire_status *)raw_body)->owner;
}

static void hear(const struct vm *vm, u64 epoch, u64 attempt)
{
	static const struct migrate_peer beta = { "beta", { 10, 0, 0, 2 }, true, true };
	static struct beacon beacon;

	beacon.header.guest_count = 1;
	beacon.guests[0] = (struct beacon_guest){ .epoch = epoch, .attempt = attempt, .state = BEACON_RUNS };
	memcpy(beacon.guests[0].uuid, vm->config.uuid, 16);
	owner_heard(&beta, &beacon);
}

/* --- source ----------------------------------------------------------------------------------- */

static void walk_source_idle_start(unused void **state)
{
	bed_start(bed_create(), true);
	assert_int_equal(step_now(), MIGRATE_CONNECT);
}

static void walk_source_connect_open(unused void **state)
{
	held_at("recv.hello", MIGRATE_HELLO);
}

static void walk_source_hello_accept(unused void **state)
{
	held_at("send.rounds", MIGRATE_ROUNDS);
}

static void walk_source_rounds_done(unused void **state)
{
	held_at("send.end", MIGRATE_FINAL);
}

static void walk_source_final_end(unused void **state)
{
	held_at("send.commit", MIGRATE_PREPARED);
}

static void walk_source_prepared_prepared(unused void **state)
{
	held_at("recv.commit", MIGRATE_COMMIT);
}

static void walk_source_commit_running(unused void **state)
{
	u32 id = held_at("recv.commit", MIGRATE_COMMIT)->id;

	fault_clear_all();
	assert_int_equal(bed_run(1000), MIGRATE_DONE);
	assert_null(vm_by_id(id));
	assert_non_null(bed_running());
}

static void walk_source_hello_refuse(unused void **state)
{
	struct vm *vm = bed_create();

	memcpy(fake_pipe.from_ip, beta_ip, 4);
	bed_start(vm, true);
	assert_int_equal(bed_run(1000), MIGRATE_FAILED);
	assert_true(failed_with("refused: "));
	assert_ptr_equal(bed_running(), vm);
}

static void walk_source_cancel(unused void **state)
{
	for (enum migrate_step step = MIGRATE_CONNECT; step <= MIGRATE_PREPARED; step++) {
		struct session *session;
		struct vm *vm = held_before(step, &session);

		assert_int_equal(migrate_cancel(), 0);
		runs_on(vm);
		bed_settle();
		vm_destroy(vm);
		assert_true(no_session());
	}
}

static void walk_source_commit_broke(unused void **state)
{
	struct vm *vm = doubt(false);

	assert_int_equal(vm->paused, VM_PAUSE_OWNER);
	assert_true(failed_with("stays paused"));
}

#define SOURCE(name, step) \
	static void walk_source_##name##_abort(unused void **state) { abort_in(step); }
SOURCE(connect, MIGRATE_CONNECT)
SOURCE(hello, MIGRATE_HELLO)
SOURCE(rounds, MIGRATE_ROUNDS)
SOURCE(final, MIGRATE_FINAL)
SOURCE(prepared, MIGRATE_PREPARED)
SOURCE(commit, MIGRATE_COMMIT)
#undef SOURCE
#define SOURCE(name, step) \
	static void walk_source_##name##_broke(unused void **state) { broke_in(step); }
SOURCE(connect, MIGRATE_CONNECT)
SOURCE(hello, MIGRATE_HELLO)
SOURCE(rounds, MIGRATE_ROUNDS)
SOURCE(final, MIGRATE_FINAL)
SOURCE(prepared, MIGRATE_PREPARED)
#undef SOURCE

/* --- peer ------------------------------------------------------------------------------------- */

static void walk_session_first_accept(unused void **state)
{
	struct session *session;

	held_before(MIGRATE_ROUNDS, &session);
	assert_int_equal(session->state, SESSION_MEMORY);
}

static void walk_session_first_refuse(unused void **state)
{
	struct vm *vm = bed_create();

	memcpy(fake_pipe.from_ip, beta_ip, 4);
	bed_start(vm, true);
	for (u32 i = 0; i < 100 && !session_in(SESSION_LINGER); i++)
		bed_step();
	assert_non_null(session_in(SESSION_LINGER));
}

static void walk_session_first_abort(unused void **state)
{
	struct pipe *pipe = raw_connect();

	stream_init(&raw, pipe, session_first_rules, raw_body, sizeof(raw_body));
	stream_send(&raw, raw_record, record_seal_reason(&raw, raw_record, RECORD_ABORT, -E_CANCELED, "walked"));
	bed_step();
	assert_non_null(session_in(SESSION_LINGER));
	pipe->ops->close(pipe, false);
}

static void walk_session_first_turn_down(unused void **state)
{
	struct pipe *pipe = raw_connect();

	assert_non_null(session_in(SESSION_FIRST));
	fake_time_advance(peers_silence_ns());
	bed_step();
	assert_non_null(session_in(SESSION_LINGER));
	pipe->ops->close(pipe, false);
}

static void walk_session_first_broke(unused void **state)
{
	struct pipe *pipe = raw_connect();

	assert_non_null(session_in(SESSION_FIRST));
	pipe->ops->close(pipe, false);
	bed_step();
	assert_true(no_session());
}

static void walk_session_memory_end(unused void **state)
{
	struct session *session;

	held_before(MIGRATE_PREPARED, &session);
	assert_int_equal(session->state, SESSION_PREPARED);
}

static void walk_session_prepared_commit(unused void **state)
{
	held_at("send.running", MIGRATE_COMMIT);
	assert_non_null(session_in(SESSION_RUNNING));
	assert_non_null(bed_running());
}

static void session_abort_in(enum migrate_step step)
{
	struct session *session;
	struct vm *vm = held_before(step, &session);

	assert_int_equal(migrate_cancel(), 0);
	bed_step();
	assert_true(no_session());
	assert_ptr_equal(vm_next_any(NULL), vm);
	assert_null(vm_next_any(vm));
}

static void walk_session_memory_abort(unused void **state)
{
	session_abort_in(MIGRATE_ROUNDS);
}

static void walk_session_prepared_abort(unused void **state)
{
	session_abort_in(MIGRATE_PREPARED);
}

static void walk_session_memory_turn_down(unused void **state)
{
	garbage_in(SESSION_MEMORY);
}

static void walk_session_prepared_turn_down(unused void **state)
{
	garbage_in(SESSION_PREPARED);
}

static void walk_session_memory_broke(unused void **state)
{
	hang_up_in(SESSION_MEMORY);
}

static void walk_session_prepared_broke(unused void **state)
{
	hang_up_in(SESSION_PREPARED);
}

static void walk_session_running_end(unused void **state)
{
	held_at("send.running", MIGRATE_COMMIT);
	fault_clear_all();
	assert_int_equal(bed_run(1000), MIGRATE_DONE);
	steps(2);
	assert_true(no_session());
}

static void walk_session_linger_end(unused void **state)
{
	struct pipe *pipe = raw_connect();

	session_turn_down(session_in(SESSION_FIRST), RECORD_ABORT, -E_PROTO, "walked");
	steps(2);
	assert_non_null(session_in(SESSION_LINGER));
	fake_time_advance(LINGER_NS);
	bed_step();
	assert_true(no_session());
	pipe->ops->close(pipe, false);
}

static void walk_session_query_drops_arrival(unused void **state)
{
	struct handover handover = record_until("send.commit", MIGRATE_PREPARED);
	struct pipe *pipe = led_to(SESSION_PREPARED);

	handover = ((struct wire_hello *)(recorded + 16))->handover;
	assert_int_equal(raw_query(&handover), WIRE_UNKNOWN);
	assert_null(session_in(SESSION_PREPARED));
	assert_null(vm_next_any(NULL));
	pipe->ops->close(pipe, false);
}

static void walk_session_query_unknown(unused void **state)
{
	struct handover handover = { .epoch = 1, .attempt = 1 };

	assert_int_equal(raw_query(&handover), WIRE_UNKNOWN);
}

static void walk_session_query_taken(unused void **state)
{
	struct handover handover;

	recorded_bytes = 0;
	fake_pipe.tap = record;
	bed_move(bed_create(), true);
	fake_pipe.tap = NULL;
	handover = ((struct wire_hello *)(recorded + 16))->handover;
	assert_int_equal(raw_query(&handover), WIRE_TAKEN);
	handover.attempt ^= 2;
	assert_int_equal(raw_query(&handover), WIRE_UNKNOWN);
}

/* --- doubts ----------------------------------------------------------------------------------- */

static void walk_doubt_ask(unused void **state)
{
	doubt(false);
	ask_now();
}

static void walk_doubt_question_lost(unused void **state)
{
	struct vm *vm = doubt(false);

	/* No way there at all; then one that swallows it. */
	fake_time_advance(3 * NS_PER_S);
	owner_poll();
	assert_null(question.doubt);
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
	fake_pipe.cut_after = 0;
	fake_pipe.notice_ns = NS_PER_S;
	fake_pipe.link_down = false;
	fake_time_advance(3 * NS_PER_S);
	owner_poll();
	assert_non_null(question.doubt);
	owner_poll();
	fake_time_advance(2 * NS_PER_S);
	owner_poll();
	assert_null(question.doubt);
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
}

/* The peer has answered, and the answer does not come through. */
static void walk_doubt_answer_lost(unused void **state)
{
	struct vm *vm = doubt(false);

	ask_now();
	owner_poll();
	fake_pipe.delay_ns = 100 * NS_PER_S;
	receive_poll();
	assert_non_null(session_in(SESSION_LINGER));
	fake_time_advance(ANSWER_WITHIN_NS);
	owner_poll();
	assert_null(question.doubt);
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
	fake_pipe.delay_ns = 0;
}

static void walk_doubt_taken(unused void **state)
{
	u32 id = doubt(true)->id;

	ask_now();
	steps(5);
	assert_null(vm_by_id(id));
	assert_non_null(bed_running());
}

static void walk_doubt_unknown(unused void **state)
{
	struct vm *vm = doubt(false);

	ask_now();
	steps(5);
	assert_int_equal(owner_state(vm), OWNER_RUNS);
	assert_ptr_equal(bed_running(), vm);
}

static void walk_doubt_unknown_other_boot(unused void **state)
{
	struct vm *vm = doubt(false);

	peers_renew_boot_id();
	ask_now();
	steps(5);
	assert_int_equal(owner_state(vm), OWNER_DOUBT);
	assert_null(question.doubt);
	assert_int_equal(doubt_of(vm)->ask_ns, 0);
	assert_non_null(strstr(vm->why, "'unpause --force'"));
}

/* --- beacons and the operator ----------------------------------------------------------------- */

static void walk_beacon_doubt_taken(unused void **state)
{
	struct vm *vm = doubt(false);
	u32 id = vm->id;

	hear(vm, 1, doubt_of(vm)->handover.attempt);
	assert_null(vm_by_id(id));
}

static void walk_beacon_higher(unused void **state)
{
	struct vm *vm = bed_create();

	hear(vm, 1, 1);
	assert_int_equal(owner_state(vm), OWNER_YIELDED);
}

static void walk_beacon_equal(unused void **state)
{
	struct vm *vm = bed_create();

	hear(vm, 0, 0);
	assert_int_equal(owner_state(vm), OWNER_YIELDED);
}

static void walk_operator_force(unused void **state)
{
	struct vm *vm = doubt(false);

	assert_int_equal(owner_force(vm), 0);
	assert_int_equal(owner_state(vm), OWNER_RUNS);
	assert_int_equal(vm->epoch >> EPOCH_FORCE_SHIFT, 1);
	hear(vm, 99, 1);
	assert_int_equal(owner_state(vm), OWNER_RUNS);
	hear(vm, 2ull << EPOCH_FORCE_SHIFT, 1);
	assert_int_equal(owner_state(vm), OWNER_YIELDED);
	assert_int_equal(owner_force(vm), 0);
	assert_int_equal(vm->epoch >> EPOCH_FORCE_SHIFT, 3);
}

static void walk_operator_destroy(unused void **state)
{
	struct vm *vm = doubt(false);

	vm_destroy(vm);
	fake_pipe_repair();
	bed_settle();
	assert_null(question.doubt);
	assert_int_equal(owner_next_deadline(), 0);
}

#define TRANSITION(name) cmocka_unit_test_setup_teardown(walk_##name, bed_set_up, bed_tear_down),

int main(void)
{
	const struct CMUnitTest tests[] = {
#include "transitions.h"
	};

	return cmocka_run_group_tests_name("migrate_walk", tests, NULL, NULL);
}
