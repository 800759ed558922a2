/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's balloon, as the console sees it: how much memory the guest is to do without, and what it says of
 * its memory. devices/virtio_balloon.c implements it. Service CPU, vm->lock not held.
 */
#ifndef VMM_BALLOON_H
#define VMM_BALLOON_H

#include "types.h"

struct vm;

/* The guest's word for what is in the balloon and for what comes after told_ns. In bytes; ~0: not said. */
struct balloon_info {
	bool driver;          /* the guest's driver is there */
	u64 balloon_bytes;    /* in the balloon now, as the guest says */
	u64 given_back_bytes; /* the host has them */
	u64 reported_bytes;   /* in all, as free, since its driver came up */
	bool waits;           /* the guest wants memory back, and there is no room */
	u64 told_ns;          /* time_ns of what follows; 0: it has said nothing yet */
	u64 total_bytes, free_bytes, available_bytes, cache_bytes;
	u64 major_faults;     /* since its start */
};

void balloon_info(struct vm *vm, struct balloon_info *info);
/* Asks the guest to say it anew. */
void balloon_ask(struct vm *vm);
/* vm->config.balloon_mib has changed: the guest is told. */
void balloon_changed(struct vm *vm);

#endif
