/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many guests moved by one command: all of this host's to another one, or spread over its peers. Each goes by a
 * move of its own (migrate.h), some at a time; whoever can't go stays and runs on. One plan at a time; what became
 * of its guests is remembered until the next one. Service CPU.
 */
#ifndef MIGRATE_PLAN_H
#define MIGRATE_PLAN_H

#include "migrate/migrate.h"
#include "types.h"

/* Fewer than can be: whoever is at the console can still move another one. */
#define PLAN_AT_ONCE 3

enum plan_state {
	PLAN_WAITS,
	PLAN_MOVES,
	PLAN_MOVED,
	PLAN_STAYS, /* as why says */
	PLAN_GONE,  /* it ended meanwhile, or somebody else moved it */
};

struct plan_guest {
	enum plan_state state;
	char guest[64], peer[32];  /* peer: MOVES, MOVED */
	u32 move;                  /* the number of its last move; 0: there was none */
	bool paused;               /* MOVED: by its user, there as here */
	u64 total_ns, downtime_ns; /* MOVED */
	char why[480];             /* of all peers that did not take it */
	/* For plan.c. */
	u32 vm_id, tried;          /* tried: a bit for each of the plan's peers */
	u32 peer_index;
	u64 pages, accepted_ns;    /* accepted: when its peer was seen to take it; 0: it did not yet */
};

struct plan_count {
	u32 waits, moves, moved, stays, gone, all;
};

/*
 * host: where all go; NULL: over all peers that guests may go to, each guest to the one with the most free memory
 * that takes it. why says what is wrong.
 */
int must_check plan_start(const char *host, const struct migrate_options *options, char *why, size_t why_bytes);
/* Its moves under way are cancelled, no more are started. -E_NOENT: there is none; -E_BUSY: all are committed already. */
int must_check plan_cancel(void);
/* This one, should it wait. -E_NOENT: it does not. */
int must_check plan_cancel_guest(const struct vm *vm);
/* Some guest waits or moves. */
bool plan_active(void);
/* "migrate --all beta", "evacuate": for messages. */
const char *plan_name(void);
void plan_count(struct plan_count *count);
/* Of the plan under way, or the last one; largest guests first. NULL past the last. */
const struct plan_guest *plan_get(u32 index);
/* True if there is more to do at once. */
bool plan_poll(void);
u64 plan_next_deadline(void);

#endif
