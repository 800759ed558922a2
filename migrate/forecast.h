/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a move will be like, from what was measured of the guest and of the link. Pure: numbers in,
 * numbers out; by the same rule that the move itself goes by (rounds.c). Called by send_check.c.
 */
#ifndef MIGRATE_FORECAST_H
#define MIGRATE_FORECAST_H

#include "types.h"

#define FORECAST_POINTS 8

/* How many different pages the guest wrote in how long, from the same moment on; both rise. */
struct dirty_curve {
	u32 count;
	u64 ns[FORECAST_POINTS];
	u64 pages[FORECAST_POINTS];
};

struct forecast_input {
	u64 pages, used_pages;  /* of the guest's memory; of them not zero */
	struct dirty_curve dirty;
	u64 bytes_per_s;        /* the link */
	u64 setup_ns;           /* from the command to ACCEPT */
	u64 scan_ns;            /* to look at all pages for being zero */
	u64 fixed_ns;           /* of the pause, as in rounds.h */
	u64 state_bytes;
	u64 max_downtime_ns;
	u64 total_ns;           /* of --max-total; 0: no limit */
};

enum forecast_end {
	FORECAST_GOOD,     /* the pause is as short as was asked */
	FORECAST_WRITES,   /* it is not: the guest writes too fast */
	FORECAST_LINK,     /* it is not: the link is too slow for that */
	FORECAST_TOTAL,    /* --max-total is over before */
};

struct forecast {
	enum forecast_end end;
	u32 rounds;        /* the pause's included */
	u32 throttle;      /* as in rounds.h, at last */
	u64 total_ns, downtime_ns;
	u64 bytes;
};

void forecast_live(const struct forecast_input *in, struct forecast *out);
void forecast_offline(const struct forecast_input *in, struct forecast *out);

#endif
