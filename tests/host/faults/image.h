/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One host as a shared object: the unmodified core with fake hardware, loaded once for each host of a test, so each has its own
 * statics. It is reset to how it was loaded: that is a host's crash and reboot. Shared by image.c and the tests that load it
 * (program.h).
 */
#ifndef FAULTS_IMAGE_H
#define FAULTS_IMAGE_H

#include "migrate/beacons.h"
#include "migrate/datagram.h"
#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "migrate/pipe.h"
#include "migrate/plan.h"
#include "types.h"

#define IMAGE_MEMORY_BYTES MIB(128)

struct image_state {
	u32 copies;              /* of the guest, arriving ones not counted */
	bool runs;
	enum owner_state owner;  /* of the only copy */
	u64 epoch, attempt;
	u64 counter;             /* the guest's own */
	bool arriving, moving;
	u64 pages_used;
	const char *why;
};

/* One guest of several. */
struct image_guest {
	bool here, runs, moving;
	u64 counter;
	const char *why;
};

struct image_api {
	/* Switches it on, with this memory for its pages. */
	void (*boot)(const struct migrate_config *config, const struct pipe_maker *pipes,
		     const struct datagram_ops *datagrams, const struct beacon_auth *auth, u64 seed, void *memory);
	void (*set_time)(u64 ns);
	/* One turn of the service loop, and one of the guest if it runs: it counts one further. */
	void (*turn)(void);
	void (*create)(void);
	int (*migrate)(const char *peer, bool live);
	int (*cancel)(void);
	int (*force)(void);
	void (*destroy)(void);
	/* Stays at a fault point (lib/fault.h); NULL: at none. */
	void (*hold)(const char *point);
	void (*look)(struct image_state *state);

	/* --- several guests: test_migrate_fleet.c --- */
	/* Runs it; false: there is no room. */
	bool (*create_of)(const char *config);
	int (*start)(const char *guest, const char *peer, const struct migrate_options *options, char *why, size_t why_bytes);
	int (*cancel_guest)(const char *guest);
	void (*guest)(const char *name, struct image_guest *guest);
	/* How many arrive. */
	u32 (*arrivals)(void);
	/* Of the guest's last move from here; false: it had none, or it is forgotten. */
	bool (*progress)(const char *guest, struct migrate_progress *progress);
	int (*plan)(const char *host, const struct migrate_options *options, char *why, size_t why_bytes);
	int (*plan_cancel)(void);
	bool (*plan_active)(void);
	const struct plan_guest *(*plan_guest)(const char *guest);
	/* As it believes. */
	bool (*free_pages)(const u8 ip[4], u64 *pages);
	void (*destroy_all)(void);
};

/* The only thing that is found by name. */
const struct image_api *image_api(void);

#endif
