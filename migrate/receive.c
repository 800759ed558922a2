/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections from other hosts, as the state machine at the head of docs/migration-stream.md:
 * FIRST -> (HELLO) MEMORY or CHECK -> (END) PREPARED -> (COMMIT) RUNNING, or -> LINGER after a refusal or an
 * abort. Whatever breaks before COMMIT drops the arriving guest and all that it took. Nothing of the
 * wire is believed. Driven by migrate_poll() on the service CPU.
 */
#include "migrate/receive.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/fault.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/arrival.h"
#include "migrate/peers.h"
#include "migrate/session.h"
#include "mm/pages.h"

#define SESSIONS_MAX (MIGRATE_IN_MAX + 2) /* guests that arrive; and who asks, or is told why not */
#define UNPROVED_MAX 2            /* of an address */
#define CHECK_NS (30 * NS_PER_S)  /* a check measures the link for a second */
#define LINGER_NS (3 * NS_PER_S)  /* to let the peer read why */
#define STEP_BYTES KIB(256)       /* of one call */

static struct session sessions[SESSIONS_MAX];

/* --- every call ------------------------------------------------------------------------------- */

/* True if bytes of pages, or that mean nothing, were there. */
static bool bulk(struct session *s)
{
	const void *data;
	size_t bytes = stream_bulk(&s->stream, &data, STEP_BYTES);

	if (bytes == 0)
		return false;
	if (s->state == SESSION_MEMORY)
		arrival_bytes(s->arrival, data, bytes);
	else
		memcpy(s->stream.body, data, MIN(bytes, s->stream.body_bytes)); /* a PROBE: as much work, for nothing */
	stream_bulk_done(&s->stream, bytes);
	return true;
}

static bool held(const struct session *s)
{
	/* (The digests are many, and an ABORT must not wait behind them.) */
	if (!stream_idle(&s->stream) && !s->verifying)
		return true;
	return (s->state == SESSION_FIRST && fault_hold("recv.hello")) ||
	       (s->state == SESSION_MEMORY && fault_hold("recv.memory")) ||
	       (s->state == SESSION_PREPARED && fault_hold("recv.commit"));
}

/* True if there is more to do at once. */
static bool read_records(struct session *s)
{
	u64 end = s->stream.in_bytes + STEP_BYTES;
	int error, status;

	while (s->state >= SESSION_FIRST && s->state <= SESSION_PREPARED && !held(s)) {
		if (s->stream.in_bytes >= end)
			return true;
		if (s->stream.bulk_left && bulk(s))
			continue;
		error = s->stream.bulk_left ? -E_AGAIN : stream_read(&s->stream);
		if (error == 0) {
			session_record(s);
			continue;
		}
		status = s->stream.pipe->ops->status(s->stream.pipe);
		if (error != -E_AGAIN) {
			session_turn_down(s, RECORD_ABORT, error, s->stream.why);
		} else if (status && status != -E_AGAIN) {
			if (session_guest(s))
				log_warn("%s does not come from %s: the connection broke (%s)", session_guest(s),
					 s->peer.name, error_name(status));
			session_hang_up(s, true);
		}
		return false;
	}
	return false;
}

/* RUNNING and LINGER: until the peer has read it and hung up. */
static void wait_for_end(struct session *s)
{
	struct pipe *pipe = s->stream.pipe;
	const void *data;
	size_t bytes;

	for (u64 budget = STEP_BYTES; budget && (bytes = pipe->ops->peek(pipe, &data)); budget -= bytes) {
		bytes = MIN(bytes, budget);
		pipe->ops->consume(pipe, bytes);
		s->stream.in_bytes += bytes;
	}
	if (pipe->ops->status(pipe))
		session_hang_up(s, false);
	else if (s->state == SESSION_LINGER && time_ns() - s->linger_ns >= LINGER_NS)
		session_hang_up(s, false);
}

static void watch_silence(struct session *s)
{
	struct pipe *pipe = s->stream.pipe;
	u64 mark = s->stream.in_bytes + s->stream.out_bytes - pipe->ops->unacked(pipe);
	u64 now = time_ns();
	char why[48];

	if (s->state == SESSION_CHECK && now - s->hello_ns >= CHECK_NS)
		session_turn_down(s, RECORD_ABORT, -E_TIMEOUT, "no check takes so long");
	if (mark != s->moved_mark) {
		s->moved_mark = mark;
		s->moved_ns = now;
		return;
	}
	if (now - s->moved_ns < peers_silence_ns())
		return;
	str_format(why, sizeof(why), "no progress for %u s", (u32)(peers_silence_ns() / NS_PER_S));
	if (s->state == SESSION_FIRST || s->state == SESSION_MEMORY || s->state == SESSION_PREPARED) {
		session_turn_down(s, RECORD_ABORT, -E_TIMEOUT, why);
		s->moved_ns = now;
	} else {
		session_hang_up(s, true);
	}
}

static bool session_poll(struct session *s)
{
	struct pipe *pipe = s->stream.pipe;
	u64 moved = s->stream.in_bytes + s->stream.out_bytes;
	bool more = false;

	stream_pump(&s->stream);
	if (s->state <= SESSION_PREPARED)
		more = read_records(s);
	if (s->state == SESSION_MEMORY && s->verifying)
		session_verify(s);
	if (s->state == SESSION_RUNNING || s->state == SESSION_LINGER)
		wait_for_end(s);
	if (s->state != SESSION_FREE)
		watch_silence(s);
	if (s->state == SESSION_FREE)
		return false;
	pipe->ops->flush(pipe);
	return more || moved != s->stream.in_bytes + s->stream.out_bytes;
}

bool receive_poll(void)
{
	bool more = false;

	for (u32 i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i].state != SESSION_FREE && session_poll(&sessions[i]))
			more = true;
	return more;
}

struct session *receive_session(const struct handover *handover)
{
	for (u32 i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i].arrival && arrival_is(sessions[i].arrival, handover))
			return &sessions[i];
	return NULL;
}

bool receive_get_arrival(u32 index, struct migrate_arrival *arrival)
{
	for (u32 i = 0; i < SESSIONS_MAX; i++) {
		if (!sessions[i].arrival || index--)
			continue;
		arrival_describe(sessions[i].arrival, arrival);
		str_copy(arrival->peer, sizeof(arrival->peer), sessions[i].peer.name);
		return true;
	}
	return false;
}

u64 receive_next_deadline(void)
{
	u64 next = 0;

	for (u32 i = 0; i < SESSIONS_MAX; i++) {
		const struct session *s = &sessions[i];
		u64 due = s->state == SESSION_LINGER ? s->linger_ns + LINGER_NS : s->moved_ns + peers_silence_ns();

		if (s->state != SESSION_FREE && (next == 0 || due < next))
			next = due;
	}
	return next;
}

/* --- new connections -------------------------------------------------------------------------- */

/* Connections from there that have not shown yet what they are for: whoever has that address gets no more than his share. */
static u32 unproved(const struct migrate_peer *peer)
{
	u32 count = 0;

	for (u32 i = 0; i < SESSIONS_MAX; i++)
		count += sessions[i].state == SESSION_FIRST && !memcmp(sessions[i].peer.ip, peer->ip, sizeof(peer->ip));
	return count;
}

static bool accept_pipe(struct pipe *pipe, const u8 ip[4])
{
	struct migrate_peer peer;
	struct session *s = NULL;

	if (peers_allowed(ip, &peer)) {
		log_warn("migration: a connection from %u.%u.%u.%u, which is no peer in godwit.cfg: closed",
			 ip[0], ip[1], ip[2], ip[3]);
		return false;
	}
	if (!peer.in || peers_missing(&peer)) {
		log_warn("migration: a connection from %s: closed: %s", peer.name,
			 peer.in ? peers_missing(&peer) : "godwit.cfg's peers let no guests in from there");
		return false;
	}
	for (u32 i = 0; i < SESSIONS_MAX && !s; i++)
		if (sessions[i].state == SESSION_FREE)
			s = &sessions[i];
	if (s && unproved(&peer) >= UNPROVED_MAX)
		s = NULL;
	if (!s) {
		log_warn("migration: a connection from %s, but as many as can be are open: closed", peer.name);
		return false;
	}
	memset(s, 0, sizeof(*s));
	s->body_block = pages_alloc(pages_order(SESSION_BODY_BYTES));
	if (s->body_block == HPA_NONE) {
		log_warn("migration: a connection from %s, but no memory is left for it: closed", peer.name);
		return false;
	}
	if (peers_secure(&peer, &pipe)) {
		pages_free(s->body_block, pages_order(SESSION_BODY_BYTES));
		memset(s, 0, sizeof(*s));
		return false;
	}
	s->state = SESSION_FIRST;
	s->peer = peer;
	s->moved_ns = time_ns();
	stream_init(&s->stream, pipe, session_first_rules, page_ptr(s->body_block), SESSION_BODY_BYTES);
	return true;
}

int receive_init(void)
{
	return peers_listen(accept_pipe);
}
