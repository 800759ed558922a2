/* SPDX-License-Identifier: Apache-2.0 */
/* What the peer answers, at the source. Called by send.c; service CPU. */
#include "migrate/sender.h"

#include "errors.h"
#include "lib/fault.h"

const struct record_rule sender_answer_rules[] = {
	{ RECORD_ACCEPT, sizeof(struct wire_accept), sizeof(struct wire_accept) },
	{ RECORD_REFUSE, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ RECORD_VERIFIED, sizeof(struct wire_verified), WIRE_VERIFIED_MAX },
	{ RECORD_PREPARED, 0, 0 },
	{ RECORD_RUNNING, sizeof(struct wire_running), sizeof(struct wire_running) },
	{ RECORD_ABORT, sizeof(struct wire_reason), WIRE_REASON_MAX },
	{ 0, 0, 0 },
};

static void answer_reason(struct sender *s, bool refused)
{
	char text[STREAM_TEXT_MAX + 1];

	stream_reason(&s->stream, text, sizeof(text));
	s->progress.refused = refused;
	s->progress.busy = refused && ((const struct wire_reason *)s->body)->error == E_BUSY;
	s->progress.peers_fault = true;
	if (refused)
		sender_fail(s, true, "%s%s", s->check.only ? "" : "refused: ", text);
	else
		sender_fail(s, true, "%s gave up: %s", s->peer.name, text);
}

static void broke_protocol(struct sender *s, const char *what, const char *how)
{
	s->progress.peers_fault = true;
	sender_fail(s, false, "%s broke the protocol: %s%s", s->peer.name, what, how);
}

/* END is sent, and the peer has not yet said that it has all. */
static bool preparing(const struct sender *s)
{
	return s->step == MIGRATE_PREPARED && stream_idle(&s->stream) && !s->prepared;
}

/* One record of the peer; each is good in one state only. */
static void answer(struct sender *s)
{
	u16 type = s->stream.header.type;

	if (type == RECORD_ABORT || (type == RECORD_REFUSE && s->step == MIGRATE_HELLO))
		answer_reason(s, type == RECORD_REFUSE);
	else if (type == RECORD_ACCEPT && s->step == MIGRATE_HELLO && stream_idle(&s->stream))
		sender_accepted(s, (const struct wire_accept *)s->body);
	else if (type == RECORD_VERIFIED && preparing(s) && s->verify.on)
		sender_digests(s);
	else if (type == RECORD_PREPARED && preparing(s) && sender_verified(s))
		s->prepared = true;
	else if (type == RECORD_RUNNING && s->step == MIGRATE_COMMIT && stream_idle(&s->stream))
		sender_done(s);
	else
		broke_protocol(s, record_name(type), " came too early or too late");
}

static void connection_broke(struct sender *s, int status)
{
	const char *why = s->stream.pipe->why;

	s->progress.peers_fault = true;
	if (why)
		sender_fail(s, false, "no connection to %s: %s", s->peer.name, why);
	else if (s->step == MIGRATE_CONNECT)
		sender_fail(s, false, "no connection to %s (%s): is it up, and is this host among its peers?",
			    s->peer.name,
			    error_name(status));
	else if (s->step == MIGRATE_HELLO)
		sender_fail(s, false,
			    "%s hung up at once (%s): is this host among the peers in its godwit.cfg?",
			    s->peer.name, error_name(status));
	else
		sender_fail(s, false, "the connection to %s broke: %s", s->peer.name, error_name(status));
}

void sender_read_answers(struct sender *s)
{
	while (sender_active(s) && s->stream.pipe && !(s->step == MIGRATE_COMMIT && fault_hold("send.running"))) {
		int error = stream_read(&s->stream);
		int status;

		if (error == 0) {
			answer(s);
			/* That one took a while: the others have their turn. */
			if (s->stream.header.type == RECORD_VERIFIED)
				return;
			continue;
		}
		if (error != -E_AGAIN) {
			broke_protocol(s, s->stream.why, "");
			return;
		}
		status = s->stream.pipe->ops->status(s->stream.pipe);
		if (status && !(status == -E_AGAIN && s->step == MIGRATE_CONNECT))
			connection_broke(s, status);
		return;
	}
}
