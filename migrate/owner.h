/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a guest when the link broke in the last handshake. The source keeps the guest paused
 * and asks the peer until it knows; the peer remembers what it took. Service CPU.
 */
#ifndef MIGRATE_OWNER_H
#define MIGRATE_OWNER_H

#include "lib/string.h"
#include "migrate/migrate.h"
#include "migrate/stream.h"
#include "types.h"

struct beacon;
struct vm;

/* What this host has of a guest; the names of docs/ownership.md and of tests/model/handover.pml. */
enum owner_state { OWNER_RUNS, OWNER_DOUBT, OWNER_YIELDED };

static inline bool handover_equal(const struct handover *a, const struct handover *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* --- source --- */
/* COMMIT went out and no answer came: vm (paused by VM_PAUSE_MIGRATE) stays paused, by VM_PAUSE_OWNER. */
void owner_unknown(struct vm *vm, const struct migrate_peer *peer, const struct handover *handover, u64 boot_id,
		   const char *what);
/* The operator decides that it is this host's. -E_NOENT: nobody doubts that. */
int must_check owner_force(struct vm *vm);
enum owner_state owner_state(const struct vm *vm);
/* Asks where it is time to; true if there is more to do at once. */
bool owner_poll(void);
u64 owner_next_deadline(void);

/* --- peer --- */
void owner_take(const struct handover *handover);
bool owner_taken(const struct handover *handover);
/* The link is back: switches may have missed where the guest went. Nothing if it is not here (any more). */
void owner_announce(const u8 uuid[16]);

/* --- beacons --- */
/* Authentic, fresh and new: what peer says of its guests. */
void owner_heard(const struct migrate_peer *peer, const struct beacon *beacon);
/* A peer is heard again: every guest that runs here is announced, as switches may have stale addresses. */
void owner_link_is_back(void);

#endif
