/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a move may take: bytes a second, time in all, and how it ends when that is over. Pure: times and
 * counts in, decisions out. Used by send.c and send_check.c; service CPU.
 */
#ifndef MIGRATE_LIMITS_H
#define MIGRATE_LIMITS_H

#include "migrate/migrate.h"
#include "types.h"

#define DOWNTIME_DEFAULT_MS 50

struct limits {
	u64 max_downtime_ns;
	u64 total_ns;      /* 0: no limit */
	bool cancel;       /* at a limit the guest stays; else it is paused for the rest */
	u64 bytes_per_s;   /* 0: no limit */
	/* A bucket of bytes that may be sent, which fills by bytes_per_s. */
	s64 credit;        /* below 0: more was sent than there was */
	u64 filled_ns;     /* when it was filled last */
	u64 counted;       /* bytes sent until then */
};

void limits_init(struct limits *limits, const struct migrate_options *options, u64 now_ns);
/* May more be sent, after out_bytes in all? 0: yes, else when. */
u64 limits_send_at(struct limits *limits, u64 now_ns, u64 out_bytes);
/* Is the time over that it may take in all, having begun at start_ns? */
bool limits_over(const struct limits *limits, u64 start_ns, u64 now_ns);

#endif
