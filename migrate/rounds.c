/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stop rule of live migration: another round, or pause the guest and finish. Called by send.c
 * after each round (service CPU); knows neither guests nor pipes.
 */
#include "migrate/rounds.h"

#include "lib/string.h"

/* A shorter round says more about latency than about the link. */
#define RATE_BYTES_MIN KIB(256)
/* Until something was measured: 100 Mb/s, rather a round too many than a pause too long. */
#define RATE_GUESS 12500000ull
#define FEW_PAGES 16
/* A quarter of a megabyte: what a guest writes all the time, as even an idle one does, does not get less if it is slowed. */
#define HOT_PAGES 64

void rounds_init(struct rounds *r, u64 max_downtime_ns, u64 fixed_ns, u64 state_bytes, u64 pages)
{
	memset(r, 0, sizeof(*r));
	r->max_downtime_ns = max_downtime_ns;
	r->fixed_ns = fixed_ns;
	r->state_bytes = state_bytes;
	r->before = pages;
	r->estimate_ns = fixed_ns;
}

u64 rounds_scale(u64 a, u64 b, u64 c)
{
	u64 product;

	if (c == 0)
		return a ? ~0ull : 0;
	if (!__builtin_mul_overflow(a, b, &product))
		return product / c;
	if (__builtin_mul_overflow(a / c, b, &product))
		return ~0ull;
	return product;
}

static void measure(struct rounds *r, const struct round_result *result)
{
	r->dirty_pages_per_s = rounds_scale(result->dirty_pages, NS_PER_S, MAX(result->dirty_ns, 1));
	if (result->bytes >= RATE_BYTES_MIN && result->send_ns) {
		u64 rate = MAX(rounds_scale(result->bytes, NS_PER_S, result->send_ns), 1);

		/* What was true in the last round weighs more than what was true long ago. */
		r->bytes_per_s = r->bytes_per_s ? r->bytes_per_s / 4 + rate / 4 * 3 + 1 : rate;
	}
}

static u64 estimate(const struct rounds *r, u64 dirty_pages)
{
	u64 rate = r->bytes_per_s ? r->bytes_per_s : RATE_GUESS;
	u64 bytes = dirty_pages * ROUNDS_PAGE_BYTES + r->state_bytes;
	u64 copy_ns = rounds_scale(bytes, NS_PER_S, rate);

	return copy_ns > ~0ull - r->fixed_ns ? ~0ull : copy_ns + r->fixed_ns;
}

/* Would the pause be as short as was asked if the guest wrote less? */
static bool fewer_would_do(const struct rounds *r)
{
	return estimate(r, 0) <= r->max_downtime_ns;
}

enum round_next rounds_after(struct rounds *r, const struct round_result *result)
{
	u64 before = r->before;
	bool halved = result->dirty_pages <= before / 2;

	r->round++;
	r->before = result->dirty_pages;
	measure(r, result);
	r->estimate_ns = estimate(r, result->dirty_pages);

	if (r->estimate_ns <= r->max_downtime_ns) {
		/* Short enough; a round that is shorter than the pause it saves costs nobody anything. */
		if (halved && result->dirty_pages > FEW_PAGES && r->polished < ROUNDS_POLISH_MAX &&
		    r->round + 1 < ROUNDS_MAX) {
			r->polished++;
			return ROUND_AGAIN;
		}
		return ROUND_FINAL;
	}
	r->written = fewer_would_do(r);
	/* What is left costs next to nothing: the rest of the pause does not get shorter by copying. */
	if (result->dirty_pages <= FEW_PAGES)
		return ROUND_FINAL_FORCED;
	/* The guest writes as fast as the link carries: what is left does not shrink (by a tenth). */
	if (result->dirty_pages >= before - before / 10)
		r->stalled++;
	else
		r->stalled = 0;
	if (r->round + 1 >= ROUNDS_MAX)
		return ROUND_FINAL_FORCED;
	/* Or nearly as fast: it takes many rounds that shrink so little. */
	if (result->dirty_pages >= before - before / 4)
		r->slow++;
	else
		r->slow = 0;
	if (r->slow >= ROUNDS_THROTTLE_AFTER && r->written && result->dirty_pages > HOT_PAGES &&
	    r->throttle < ROUNDS_THROTTLE_MAX) {
		r->throttle += ROUNDS_THROTTLE_STEP;
		r->slow = 0;
		r->stalled = 0;
	}
	return r->stalled >= ROUNDS_STALLED_MAX ? ROUND_FINAL_FORCED : ROUND_AGAIN;
}
