/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One host as a shared object: the unmodified core with fake hardware, loaded once for each host of a test, so each has its own
 * statics. It is reset to how it was loaded: that is a host's crash and reboot. Shared by image.c and test_migrate_faults.c.
 */
#ifndef FAULTS_IMAGE_H
#define FAULTS_IMAGE_H

#include "migrate/beacons.h"
#include "migrate/datagram.h"
#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "migrate/pipe.h"
#include "types.h"

#define IMAGE_MEMORY_BYTES MIB(64)

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
};

/* The only thing that is found by name. */
const struct image_api *image_api(void);

#endif
