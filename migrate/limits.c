/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bandwidth as a bucket of bytes. It holds what may be sent in a fiftieth of a second, so that a sender
 * that could not send for a while does not make up for it. A record is sent whole, also when the
 * bucket is empty before its end: what that was too much is waited for. Called by send.c and
 * send_check.c; service CPU.
 */
#include "migrate/limits.h"

#include "lib/string.h"

#define MEGABYTE 1000000ull
#define BURSTS_PER_S 50
/* Not worth waking up for less. */
#define BURST_MIN 65536ull

void limits_init(struct limits *limits, const struct migrate_options *options, u64 now_ns)
{
	u32 max_downtime_ms = options->max_downtime_ms ? options->max_downtime_ms : DOWNTIME_DEFAULT_MS;

	memset(limits, 0, sizeof(*limits));
	limits->max_downtime_ns = max_downtime_ms * NS_PER_MS;
	limits->total_ns = options->max_total_s * NS_PER_S;
	limits->cancel = options->cancel_on_timeout;
	limits->bytes_per_s = MIN(options->bandwidth_mb_s, MIGRATE_BANDWIDTH_MAX) * MEGABYTE;
	limits->filled_ns = now_ns;
}

static void fill(struct limits *limits, u64 now_ns)
{
	u64 burst = MAX(limits->bytes_per_s / BURSTS_PER_S, BURST_MIN);
	/* A second, and MIGRATE_BANDWIDTH_MAX: no overflow. */
	u64 elapsed_ns = MIN(now_ns - limits->filled_ns, NS_PER_S);
	u64 bytes = elapsed_ns * limits->bytes_per_s / NS_PER_S;

	if (bytes == 0)
		return;
	limits->credit = MIN(limits->credit + (s64)bytes, (s64)burst);
	/* The part of a byte that is left over counts the next time. */
	limits->filled_ns = now_ns - (elapsed_ns - bytes * NS_PER_S / limits->bytes_per_s);
}

u64 limits_send_at(struct limits *limits, u64 now_ns, u64 out_bytes)
{
	u64 missing;

	if (!limits->bytes_per_s)
		return 0;
	fill(limits, now_ns);
	limits->credit -= (s64)(out_bytes - limits->counted);
	limits->counted = out_bytes;
	if (limits->credit > 0)
		return 0;
	missing = (u64)-limits->credit + BURST_MIN;
	return now_ns + missing * NS_PER_MS / MAX(limits->bytes_per_s / 1000, 1);
}

bool limits_over(const struct limits *limits, u64 start_ns, u64 now_ns)
{
	return limits->total_ns && now_ns - start_ns >= limits->total_ns;
}
