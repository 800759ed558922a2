/* SPDX-License-Identifier: Apache-2.0 */
/* What receive.c (connections) and receive_record.c (what comes over them) share. Service CPU. */
#ifndef MIGRATE_SESSION_H
#define MIGRATE_SESSION_H

#include "migrate/migrate.h"
#include "migrate/stream.h"
#include "types.h"

struct arrival;

#define SESSION_BODY_BYTES STREAM_HELLO_MAX

enum session_state {
	SESSION_FREE,
	SESSION_FIRST,    /* HELLO or QUERY is due */
	SESSION_CHECK,    /* it would fit; the source measures the link */
	SESSION_MEMORY,   /* the guest comes */
	SESSION_PREPARED, /* COMMIT is due */
	SESSION_RUNNING,  /* the guest is ours; the source reads that and hangs up */
	SESSION_LINGER,   /* it was told why not */
};

static_assert(RECORD_VERIFIED_BYTES >= RECORD_REASON_BYTES, "the longest answer");

struct session {
	enum session_state state;
	struct migrate_peer peer;
	struct stream stream;
	struct arrival *arrival; /* the guest that comes over it; NULL: none does (any more) */
	hpa_t body_block;
	bool verifying; /* MEMORY: all has come, digests of it are on their way */
	u64 hello_ns, moved_ns, moved_mark, linger_ns;
	u8 record[RECORD_VERIFIED_BYTES] aligned(8);
};

/* receive_record.c */
extern const struct record_rule session_first_rules[];
/* A record is whole. */
void session_record(struct session *s);
/* While verifying, in each call: the next digests, or PREPARED. */
void session_verify(struct session *s);
/* REFUSE or ABORT with the reason; what still comes is thrown away until the peer hangs up. */
void session_turn_down(struct session *s, u16 type, int error, const char *why);
/* Closes the connection; the guest that was arriving over it is freed. */
void session_hang_up(struct session *s, bool abort);
/* Of the guest that is arriving over this connection, for messages; NULL: none is. */
const char *session_guest(const struct session *s);

/* receive.c */
/* Over which the guest of this very try arrives; NULL: over none. */
struct session *receive_session(const struct handover *handover);

#endif
