/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to find out what a guest writes. One is chosen at boot, for all guests; the dirty log of a
 * guest's memory (gmem_log.c) works by it.
 *
 *	d-bits  the CPU sets a bit in the entry of each page that it writes to: they are looked for
 *	pml     besides, it lists these pages, for each vCPU: nothing has to be looked for. The vendor's
 *		backend switches the listing on and off as gmem_log_listed() says, at each flush of a
 *		vCPU's translations, and empties the list by gmem_log_page() when it is full, at each
 *		flush and when the vCPU stops running
 *	none    the CPU does neither: a guest can be moved only while it does not run
 */
#ifndef MM_DIRTY_H
#define MM_DIRTY_H

#include "types.h"

struct gmem;

struct dirty_method {
	const char *name;  /* in godwit.cfg */
	const char *label; /* for people */
	bool listed;
	/* Moves what was written into bitmap; returns how many bits that set. NULL: nothing finds it. */
	u64 (*collect)(struct gmem *gm, u64 *bitmap);
};

extern const struct dirty_method dirty_d_bits, dirty_pml, dirty_none;
/* The one that new guests get; D bits, until boot/main.c or a test says otherwise. */
extern const struct dirty_method *dirty_method;

/* The best that the CPU has, or the one of this name ("auto": no wish); NULL if the CPU has not got it. */
const struct dirty_method *dirty_choose(const char *name, bool has_d_bits, bool has_list);

#endif
