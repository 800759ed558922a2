/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rounds as they would go: each takes what its pages take on the link, and leaves what the guest writes
 * in that time. Between the measured points of what it writes goes a straight line, and on from the last
 * one, too. Called by send_check.c; service CPU.
 */
#include "migrate/forecast.h"

#include "lib/string.h"
#include "migrate/rounds.h"

/* How many different pages it writes in ns, slowed down by throttle per cent. */
static u64 written_in(const struct forecast_input *in, u64 ns, u32 throttle)
{
	const struct dirty_curve *curve = &in->dirty;
	u64 ns0 = 0, pages0 = 0, pages;

	ns = rounds_scale(ns, 100 - throttle, 100);
	for (u32 i = 0; i < curve->count; i++) {
		u64 ns1 = curve->ns[i], pages1 = curve->pages[i];

		if (ns <= ns1 || i + 1 == curve->count) {
			pages = pages0 + rounds_scale(pages1 - pages0, ns - ns0, MAX(ns1 - ns0, 1));
			return MIN(pages, in->pages);
		}
		ns0 = ns1;
		pages0 = pages1;
	}
	return 0;
}

static u64 copy_ns(const struct forecast_input *in, u64 bytes)
{
	return rounds_scale(bytes, NS_PER_S, MAX(in->bytes_per_s, 1));
}

/* The time is over in a round that began at out->total_ns with so many pages to send. */
static void cut_short(const struct forecast_input *in, struct forecast *out, u64 pages, u64 round_ns)
{
	u64 left_ns = in->total_ns - MIN(out->total_ns, in->total_ns);
	u64 sent = rounds_scale(pages, left_ns, MAX(round_ns, 1));
	u64 rest = MIN(pages - MIN(sent, pages) + written_in(in, left_ns, out->throttle), in->pages);

	out->end = FORECAST_TOTAL;
	out->bytes += sent * ROUNDS_PAGE_BYTES;
	out->total_ns += left_ns;
	out->downtime_ns = copy_ns(in, rest * ROUNDS_PAGE_BYTES + in->state_bytes) + in->fixed_ns;
	out->bytes += rest * ROUNDS_PAGE_BYTES;
}

void forecast_live(const struct forecast_input *in, struct forecast *out)
{
	enum round_next next = ROUND_AGAIN;
	u64 left = in->used_pages;
	struct rounds rounds;

	memset(out, 0, sizeof(*out));
	rounds_init(&rounds, in->max_downtime_ns, in->fixed_ns, in->state_bytes, in->pages);
	out->total_ns = in->setup_ns;
	while (next == ROUND_AGAIN) {
		struct round_result result = { .bytes = left * ROUNDS_PAGE_BYTES };

		/* All pages are looked at in the first one; each waits until the pipe has drained. */
		result.send_ns = copy_ns(in, result.bytes) + (out->rounds ? 0 : in->scan_ns) + in->fixed_ns / 4;
		result.dirty_ns = result.send_ns;
		result.dirty_pages = written_in(in, result.send_ns, rounds.throttle);
		out->rounds++;
		if (in->total_ns && result.send_ns > in->total_ns - MIN(out->total_ns, in->total_ns)) {
			cut_short(in, out, left, result.send_ns);
			break;
		}
		out->total_ns += result.send_ns;
		out->bytes += result.bytes;
		next = rounds_after(&rounds, &result);
		out->throttle = rounds.throttle;
		left = result.dirty_pages;
	}
	if (out->end != FORECAST_TOTAL) {
		out->end = next == ROUND_FINAL ? FORECAST_GOOD : rounds.written ? FORECAST_WRITES : FORECAST_LINK;
		out->downtime_ns = rounds.estimate_ns;
		out->bytes += left * ROUNDS_PAGE_BYTES;
	}
	out->rounds++;
	out->total_ns += out->downtime_ns;
	out->bytes += in->state_bytes;
}

void forecast_offline(const struct forecast_input *in, struct forecast *out)
{
	memset(out, 0, sizeof(*out));
	out->rounds = 1;
	out->bytes = in->used_pages * ROUNDS_PAGE_BYTES + in->state_bytes;
	out->downtime_ns = copy_ns(in, out->bytes) + in->scan_ns + in->fixed_ns;
	out->total_ns = in->setup_ns + out->downtime_ns;
}
