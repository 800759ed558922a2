/* SPDX-License-Identifier: Apache-2.0 */
/* What send.c (the states), send_start.c, send_rounds.c, send_check.c, send_answer.c and send_end.c share. */
#ifndef MIGRATE_SENDER_H
#define MIGRATE_SENDER_H

#include "migrate/limits.h"
#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "migrate/page_sender.h"
#include "migrate/rounds.h"
#include "migrate/stream.h"
#include "migrate/verify.h"
#include "types.h"

enum check_phase {
	CHECK_LINK,   /* bytes for nothing are sent */
	CHECK_MEMORY, /* pages are looked at; from here on there is no connection any more */
	CHECK_WRITES, /* the dirty log is on */
};

/* Of the pause: saving and loading the state, starting the vCPUs; the round trips come on top. */
#define SENDER_FIXED_NS (3 * NS_PER_MS)
/* So little underway is as good as nothing: the peer may delay its last acknowledgement. */
#define SENDER_DRAINED_BYTES KIB(32)
static_assert(WIRE_VERIFIED_MAX >= WIRE_REASON_MAX + STREAM_ALIGN, "the longest answer");

struct sender {
	enum migrate_step step;
	struct vm *vm;              /* while step is CONNECT .. COMMIT */
	struct migrate_peer peer;
	struct handover handover;
	bool live;
	bool wants_verify;
	bool logging;               /* the dirty log is on */
	bool paused;                /* we hold VM_PAUSE_MIGRATE */
	bool state_sent;            /* of the final round */
	bool prepared;              /* the peer has all and could run it */
	bool committed;             /* COMMIT's first byte is with the pipe: no way back */
	u32 commit_bytes;

	struct stream stream;
	struct page_sender pages;
	struct rounds rounds;
	struct limits limits;
	struct {
		bool only;          /* nothing is moved */
		enum check_phase phase;
		bool in_record;     /* the bytes of a PROBE are due */
		u64 begin_ns;       /* of the phase */
		u64 cursor;         /* page */
		u64 written;        /* different pages, up to now */
		struct forecast_input in;
	} check;
	struct verify verify;
	u64 boot_id;                /* the peer's */
	u64 one_way_ns;

	hpa_t bitmap_block, state_block;
	unsigned int bitmap_order, state_order;
	u64 *bitmap;
	u8 *state;                  /* HELLO, later the records of the state */
	u32 state_bytes;            /* what there is of it */

	u64 start_ns, step_ns, pause_ns, end_ns;
	u64 round_ns, collect_ns;   /* when the round began, when the dirty log was emptied */
	u64 round_bytes;            /* stream.out_bytes then */
	u64 moved_ns, moved_mark;   /* when anything last moved, and how far things were */
	u64 rate_ns, rate_bytes;    /* for the progress line's rate */
	u64 send_at_ns;             /* --bandwidth lets nothing more go before; 0: it does */

	struct migrate_progress progress;
	u8 record[128] aligned(8);  /* VERIFY with END, COMMIT, ABORT's head */
	u8 body[WIRE_VERIFIED_MAX] aligned(8); /* of the peer's answers */
};

static inline bool sender_active(const struct sender *s)
{
	return (s->step >= MIGRATE_CONNECT && s->step <= MIGRATE_COMMIT) || s->step == MIGRATE_CHECK;
}

/* send_start.c */
int must_check sender_start(struct sender *s, struct vm *vm, const struct migrate_peer *peer,
			    const struct migrate_options *options, char *why, size_t why_bytes);

/* send.c */
void sender_enter(struct sender *s, enum migrate_step step);
void sender_set_delay(struct sender *s, u64 one_way_ns);
void sender_begin_round(struct sender *s);
/* The guest stops here, and its state is taken; from now on every microsecond counts. */
void sender_pause(struct sender *s);
/* By --bandwidth. A live move's pause is as short as the link makes it. */
bool sender_may_send(struct sender *s);
void sender_accepted(struct sender *s, const struct wire_accept *accept);

/* send_rounds.c */
/* In MIGRATE_ROUNDS; true if there is more to do at once. */
bool sender_rounds(struct sender *s);

/* send_check.c */
/* The peer has ACCEPTed: the guest would fit. */
void send_check_begin(struct sender *s);
/* In MIGRATE_CHECK; true if there is more to do at once. */
bool send_check_step(struct sender *s);

/* send_answer.c */
extern const struct record_rule sender_answer_rules[];
/* All that has come, and whether the connection still stands. */
void sender_read_answers(struct sender *s);

/* send_verify.c */
/* Before END, if memory is to be verified: the VERIFY record; returns its length, or 0. */
size_t sender_ask_digests(struct sender *s, void *record);
/* A VERIFIED record has come, where it may. */
void sender_digests(struct sender *s);
/* All of its memory is the same there, or that was not asked for. */
bool sender_verified(const struct sender *s);
/* The negative control of --verify (fault point drop-dirty-page): the highest page that is due is not sent. */
void sender_drop_page(struct sender *s);

/* send_end.c */
/* The peer runs the guest: it is freed here. */
void sender_done(struct sender *s);
/*
 * It did not work: before COMMIT the guest runs on here; after it, it stays paused until the peer
 * says what became of it (unless the peer itself gave it up).
 */
void sender_fail(struct sender *s, bool peer_gave_up, const char *fmt, ...) printf_like(3, 4);
/* All was measured: the guest is as it was. */
void sender_checked(struct sender *s);
void sender_hang_up(struct sender *s, bool abort);
/* Gives the buffers back. */
void sender_free(struct sender *s);

#endif
