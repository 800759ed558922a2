/* SPDX-License-Identifier: Apache-2.0 */
/* What send.c (the states), send_answer.c and send_end.c (how it may end) share. */
#ifndef MIGRATE_SENDER_H
#define MIGRATE_SENDER_H

#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "migrate/page_sender.h"
#include "migrate/rounds.h"
#include "migrate/stream.h"
#include "types.h"

struct sender {
	enum migrate_step step;
	struct vm *vm;              /* while step is CONNECT .. COMMIT */
	struct migrate_peer peer;
	struct handover handover;
	bool live;
	bool logging;               /* the dirty log is on */
	bool paused;                /* we hold VM_PAUSE_MIGRATE */
	bool state_sent;            /* of the final round */
	bool prepared;              /* the peer has all and could run it */
	bool committed;             /* COMMIT's first byte is with the pipe: no way back */
	u32 commit_bytes;

	struct stream stream;
	struct page_sender pages;
	struct rounds rounds;
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

	struct migrate_progress progress;
	u8 record[64] aligned(8);   /* END, COMMIT, ABORT's head */
	u8 body[WIRE_REASON_MAX + STREAM_ALIGN] aligned(8); /* of the peer's answers */
};

static inline bool sender_active(const struct sender *s)
{
	return s->step >= MIGRATE_CONNECT && s->step <= MIGRATE_COMMIT;
}

/* send.c */
void sender_accepted(struct sender *s, const struct wire_accept *accept);

/* send_answer.c */
extern const struct record_rule sender_answer_rules[];
/* All that has come, and whether the connection still stands. */
void sender_read_answers(struct sender *s);

/* send_end.c */
/* The peer runs the guest: it is freed here. */
void sender_done(struct sender *s);
/*
 * It did not work: before COMMIT the guest runs on here; after it, it stays paused until the peer
 * says what became of it (unless the peer itself gave it up).
 */
void sender_fail(struct sender *s, bool peer_gave_up, const char *fmt, ...) printf_like(3, 4);
/* Gives the buffers back. */
void sender_free(struct sender *s);

#endif
