/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes over a connection from another host, record by record, and how a connection ends.
 * Whatever breaks before COMMIT drops the arriving guest and all that it took. Called by receive.c;
 * service CPU.
 */
#include "migrate/session.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/fault.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/arrival.h"
#include "migrate/beacons.h"
#include "migrate/hello.h"
#include "migrate/owner.h"
#include "migrate/peers.h"
#include "migrate/send.h"
#include "mm/pages.h"
#include "vmm/files.h"
#include "vmm/vm.h"

#define HEADER sizeof(struct record_header)

static struct hello hello; /* the one being looked at: too large for the stack */

const struct record_rule session_first_rules[] = {
	{ RECORD_HELLO, 16, STREAM_HELLO_MAX - HEADER },
	{ RECORD_QUERY, sizeof(struct wire_query), sizeof(struct wire_query) },
	{ 0, 0, 0 },
};

static const struct record_rule check_rules[] = {
	{ RECORD_PROBE, sizeof(struct wire_probe), sizeof(struct wire_probe) + STREAM_PROBE_MAX },
	{ RECORD_ABORT, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ 0, 0, 0 },
};

static const struct record_rule memory_rules[] = {
	{ RECORD_PAGE, sizeof(struct wire_page) + PAGE_SIZE, sizeof(struct wire_page) + STREAM_PAGES_MAX * PAGE_SIZE },
	{ RECORD_ZERO, sizeof(struct wire_zero), sizeof(struct wire_zero) },
	{ RECORD_TIME, sizeof(struct wire_time), sizeof(struct wire_time) },
	{ RECORD_VCPU, sizeof(struct wire_vcpu), KIB(64) },
	{ RECORD_DEVICE, sizeof(struct wire_device), KIB(256) },
	{ RECORD_CONSOLE, sizeof(struct wire_console), KIB(128) },
	{ RECORD_VERIFY, sizeof(struct wire_verify), sizeof(struct wire_verify) },
	{ RECORD_END, sizeof(struct wire_end), sizeof(struct wire_end) },
	{ RECORD_ABORT, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ 0, 0, 0 },
};

static const struct record_rule verifying_rules[] = {
	{ RECORD_ABORT, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ 0, 0, 0 },
};

static const struct record_rule prepared_rules[] = {
	{ RECORD_COMMIT, sizeof(struct wire_commit), sizeof(struct wire_commit) },
	{ RECORD_ABORT, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ 0, 0, 0 },
};

/* --- ends ------------------------------------------------------------------------------------- */

static void drop_arrival(struct session *s)
{
	if (s->arrival)
		arrival_drop(s->arrival);
	s->arrival = NULL;
}

const char *session_guest(const struct session *s)
{
	return s->arrival ? arrival_name(s->arrival) : NULL;
}

void session_hang_up(struct session *s, bool abort)
{
	drop_arrival(s);
	s->stream.pipe->ops->close(s->stream.pipe, abort);
	pages_free(s->body_block, pages_order(SESSION_BODY_BYTES));
	memset(s, 0, sizeof(*s));
}

static void answer(struct session *s, u16 type, u32 body_bytes)
{
	stream_send(&s->stream, s->record, record_seal(&s->stream, s->record, type, body_bytes));
}

void session_turn_down(struct session *s, u16 type, int error, const char *why)
{
	log_warn("migration from %s: %s%s%s%s", s->peer.name, s->arrival ? arrival_name(s->arrival) : "",
		 s->arrival ? ": " : "", type == RECORD_REFUSE ? "refused: " : "", why);
	drop_arrival(s);
	s->state = SESSION_LINGER;
	s->linger_ns = time_ns();
	/* An answer still in the way would be PREPARED or digests: the connection's end says what ABORT would. */
	if (!stream_idle(&s->stream))
		return;
	stream_send(&s->stream, s->record, record_seal_reason(&s->stream, s->record, type, error, why));
}

/* --- records ---------------------------------------------------------------------------------- */

/* The guest that was just made here comes. */
static void arrives(struct session *s)
{
	u32 bytes;
	void *area = arrival_area(s->arrival, &bytes);

	s->state = SESSION_MEMORY;
	s->stream.rules = memory_rules;
	s->stream.body = area;
	s->stream.body_bytes = bytes;
	log_info("%s is arriving from %s", arrival_name(s->arrival), s->peer.name);
	/* Its memory is not free any more. */
	beacons_changed();
}

/* It could be made: that was the question, and nothing of it stays. */
static void only_checked(struct session *s)
{
	log_info("%s would fit here, says the check that %s asked for", arrival_name(s->arrival), s->peer.name);
	drop_arrival(s);
	s->state = SESSION_CHECK;
	s->stream.rules = check_rules;
}

/*
 * Its memory is taken when it begins, so those that come at once can't count on the same. (A copy of this very guest,
 * of a try that broke perhaps, is not to be seen as the one that this host sends to itself.)
 */
static int have_place(char *why, size_t why_bytes)
{
	const struct arrival *same = arrival_find(hello.config.uuid);

	if (same)
		return say(-E_BUSY, why, why_bytes, "%s is busy: %s is arriving there", peers_host_name(),
			   arrival_name(same));
	if (!arrival_possible())
		return say(-E_BUSY, why, why_bytes, "%s is busy: %u guests are arriving there", peers_host_name(),
			   MIGRATE_IN_MAX);
	return 0;
}

static void first_hello(struct session *s)
{
	struct wire_accept *accept = (struct wire_accept *)(s->record + HEADER);
	const struct handover *handover = &hello.fixed.handover;
	char why[STREAM_TEXT_MAX + 1];
	int error;

	s->hello_ns = time_ns();
	error = hello_parse(&hello, s->stream.body, s->stream.header.length, why, sizeof(why));
	if (!error)
		error = have_place(why, sizeof(why));
	if (!error && owner_taken(handover)) {
		str_copy(why, sizeof(why), "this very hand-over was taken before: the stream is a repetition");
		error = -E_PROTO;
	}
	if (!error)
		error = hello_check(&hello, &s->peer, send_moving(handover), why, sizeof(why));
	if (!error)
		error = arrival_begin(&hello, &s->arrival, why, sizeof(why));
	if (error) {
		session_turn_down(s, error == -E_PROTO ? RECORD_ABORT : RECORD_REFUSE, error, why);
		return;
	}
	if (hello.fixed.purpose == WIRE_CHECK)
		only_checked(s);
	else
		arrives(s);
	memset(accept, 0, sizeof(*accept));
	str_copy(accept->host, sizeof(accept->host), peers_host_name());
	accept->boot_id = peers_boot_id();
	accept->held_ns = time_ns() - s->hello_ns;
	answer(s, RECORD_ACCEPT, sizeof(*accept));
}

/* What became of a hand-over whose answer was lost? Once said to be unknown, it never comes true. */
static void first_query(struct session *s)
{
	const struct wire_query *query = (const struct wire_query *)s->stream.body;
	struct wire_status *status = (struct wire_status *)(s->record + HEADER);
	struct session *arriving;

	if (query->magic != STREAM_MAGIC || query->version != STREAM_VERSION) {
		session_turn_down(s, RECORD_ABORT, -E_PROTO, "this is no question of this version");
		return;
	}
	/* From whatever address it is asked: the answer must stay true. */
	arriving = receive_session(&query->handover);
	if (arriving)
		session_turn_down(arriving, RECORD_ABORT, -E_CLOSED, "the source asks on a new connection");
	memset(status, 0, sizeof(*status));
	status->boot_id = peers_boot_id();
	status->owner = owner_taken(&query->handover) ? WIRE_TAKEN : WIRE_UNKNOWN;
	if (status->owner == WIRE_TAKEN)
		owner_announce(query->handover.uuid);
	s->state = SESSION_LINGER;
	s->linger_ns = time_ns();
	answer(s, RECORD_STATUS, sizeof(*status));
}

static void prepare(struct session *s)
{
	char why[STREAM_TEXT_MAX + 1];
	const struct wire_end *end = (const struct wire_end *)s->stream.body;
	int error = arrival_prepare(s->arrival, end, why, sizeof(why));

	if (error) {
		session_turn_down(s, RECORD_ABORT, error, why);
		return;
	}
	s->verifying = true;
	s->stream.rules = verifying_rules;
	session_verify(s);
}

void session_verify(struct session *s)
{
	u32 bytes;

	if (!stream_idle(&s->stream) || fault_hold("recv.verify"))
		return;
	bytes = arrival_digests(s->arrival, (struct wire_verified *)(s->record + HEADER));
	if (bytes) {
		answer(s, RECORD_VERIFIED, bytes);
		return;
	}
	s->verifying = false;
	s->state = SESSION_PREPARED;
	s->stream.rules = prepared_rules;
	answer(s, RECORD_PREPARED, 0);
}

/* It runs on without these; who looks after it should know before it restarts or tells the time. */
static void warn_of_host(const struct vm *vm)
{
	const char *files[] = { vm->config.kernel, vm->config.ramdisk };
	u64 khz = tsc_khz();

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i][0] && !files_find(files[i]))
			log_warn("%s can't restart here: there is no file %s on this host", vm->config.name, files[i]);
	if (vm->tsc_ratio)
		log_info("%s: its TSC keeps %u.%03u MHz, this host's has %lu.%03lu", vm->config.name,
			 vm->tsc_khz / 1000, vm->tsc_khz % 1000, (unsigned long)(khz / 1000),
			 (unsigned long)(khz % 1000));
	else if (tsc_khz_differ(vm->tsc_khz, khz))
		log_warn("%s: its TSC had %u.%03u MHz and has %lu.%03lu MHz here, as this CPU can't scale it: only its "
			 "paravirtual clock stays right", vm->config.name, vm->tsc_khz / 1000, vm->tsc_khz % 1000,
			 (unsigned long)(khz / 1000), (unsigned long)(khz % 1000));
}

static void commit(struct session *s)
{
	struct wire_running *running = (struct wire_running *)(s->record + HEADER);
	const struct wire_commit *body = (const struct wire_commit *)s->stream.body;
	u64 begin = time_ns();
	const struct vm *vm;

	/* The body is in the area that arrival_commit gives back. */
	vm = arrival_commit(s->arrival, &(struct wire_commit){ body->paused_ns, body->one_way_ns }, begin - s->hello_ns);
	s->arrival = NULL;
	s->state = SESSION_RUNNING;
	running->load_ns = time_ns() - begin;
	answer(s, RECORD_RUNNING, sizeof(*running));
	log_info("%s has arrived from %s and %s here", vm->config.name, s->peer.name,
		 vm->paused ? "is paused" : "runs");
	warn_of_host(vm);
}

static void aborted(struct session *s)
{
	char text[STREAM_TEXT_MAX + 1];

	stream_reason(&s->stream, text, sizeof(text));
	if (s->arrival)
		log_info("%s does not come from %s: %s", arrival_name(s->arrival), s->peer.name, text);
	session_hang_up(s, false);
}

static void memory_record(struct session *s)
{
	char why[STREAM_TEXT_MAX + 1];
	const void *body = s->stream.body;
	u32 length = s->stream.header.length;
	u16 type = s->stream.header.type;
	int error;

	if (type == RECORD_PAGE) {
		error = arrival_pages(s->arrival, body, length, why, sizeof(why));
	} else if (type == RECORD_ZERO) {
		error = arrival_zeros(s->arrival, body, why, sizeof(why));
	} else if (type == RECORD_VERIFY) {
		error = arrival_verify(s->arrival, body, why, sizeof(why));
	} else {
		error = arrival_state(s->arrival, type, body, length, why, sizeof(why));
		stream_keep(&s->stream);
	}
	if (error)
		session_turn_down(s, RECORD_ABORT, error, why);
}

void session_record(struct session *s)
{
	u16 type = s->stream.header.type;

	if (type == RECORD_HELLO)
		first_hello(s);
	else if (type == RECORD_QUERY)
		first_query(s);
	else if (type == RECORD_ABORT)
		aborted(s);
	else if (type == RECORD_END)
		prepare(s);
	else if (type == RECORD_COMMIT)
		commit(s);
	else if (type != RECORD_PROBE)
		memory_record(s);
	else if (s->stream.header.length % STREAM_ALIGN)
		session_turn_down(s, RECORD_ABORT, -E_PROTO, "a PROBE record has a part of a word");
}
