/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to stop copying a running guest's memory and pause it. Pure: numbers in, a decision out, so
 * that the host tests can try every case.
 */
#ifndef MIGRATE_ROUNDS_H
#define MIGRATE_ROUNDS_H

#include "types.h"

#define ROUNDS_MAX 30        /* in all, the last one included */
#define ROUNDS_STALLED_MAX 3 /* rounds in a row that left about as much as they sent */
#define ROUNDS_POLISH_MAX 8  /* rounds beyond "good enough" while each still halves what is left */
/*
 * So many rounds in a row that left more than three quarters of what was left before: the guest's vCPUs lose
 * a further step of their time, so that it writes less, until they have lost the most that they may.
 */
#define ROUNDS_THROTTLE_AFTER 2
#define ROUNDS_THROTTLE_STEP 20 /* per cent */
#define ROUNDS_THROTTLE_MAX 80
#define ROUNDS_PAGE_BYTES 4120 /* a page on the wire: its bytes and the record's header */

enum round_next {
	ROUND_AGAIN,
	ROUND_FINAL,        /* the pause will be as short as was asked */
	ROUND_FINAL_FORCED, /* it will not, but going on would not help */
};

/* What one round was. */
struct round_result {
	u64 bytes;          /* put into the pipe in it */
	u64 send_ns;        /* how long that took, until the pipe had (nearly) drained */
	u64 dirty_pages;    /* written meanwhile: left for the next round */
	u64 dirty_ns;       /* since the dirty log was collected before */
};

struct rounds {
	u64 max_downtime_ns;
	u64 fixed_ns;       /* of the pause: round trips, saving, loading */
	u64 state_bytes;    /* of the records that follow the last page */
	u32 round;          /* how many there were */
	u32 stalled, slow;
	u32 polished;
	u32 throttle;       /* per cent of its time that the guest is to be kept from running */
	u64 before;         /* dirty pages after the previous round */
	u64 bytes_per_s;    /* the link, as measured; 0: not yet */
	u64 dirty_pages_per_s;
	u64 estimate_ns;    /* of the downtime if it were paused now */
	bool written;       /* ROUND_FINAL_FORCED: because of what the guest writes, not of the link's delay alone */
};

/* a * b / c without overflow for what is measured here; the largest value where it would. */
u64 rounds_scale(u64 a, u64 b, u64 c);
void rounds_init(struct rounds *r, u64 max_downtime_ns, u64 fixed_ns, u64 state_bytes, u64 pages);
enum round_next rounds_after(struct rounds *r, const struct round_result *result);

#endif
