/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rounds of a live move at the source: pages are sent while the guest runs, until the rest is small
 * enough, or until a limit says that it has been long enough. Called by send.c; service CPU.
 */
#include "migrate/sender.h"

#include "arch/x86_64/cpu.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

/* HELLO's round trip may have met a busy moment; a round that has drained took one at least, too. */
static void better_delay(struct sender *s, const struct round_result *result)
{
	if (result->bytes > 2 * SENDER_DRAINED_BYTES && result->send_ns / 2 < s->one_way_ns)
		sender_set_delay(s, result->send_ns / 2);
}

/* What the rounds say of it. (The fault point: bench compares speeds.) */
static void throttle(struct sender *s)
{
	if (s->rounds.throttle == s->progress.throttled || fault_hold("send.full-speed"))
		return;
	s->progress.throttled = s->rounds.throttle;
	sched_set_cap(s->vm, 100 - s->rounds.throttle);
	log_debug("%s writes as fast as the link carries: its vCPUs get %u %% of a CPU", s->vm->config.name,
		  s->vm->cap);
}

/* Going on would not help. */
static void pause_too_long(struct sender *s)
{
	u64 estimate_ms = s->rounds.estimate_ns / NS_PER_MS;
	u64 asked_ms = s->limits.max_downtime_ns / NS_PER_MS;

	if (!s->limits.cancel) {
		s->progress.forced = s->rounds.written ? "it wrote too fast" : "the link is too slow";
		sender_pause(s);
	} else if (s->rounds.written) {
		sender_fail(s, false,
			    "it writes too fast: the pause would take about %lu ms, not the %lu of --max-downtime",
			    (unsigned long)estimate_ms, (unsigned long)asked_ms);
	} else {
		sender_fail(s, false,
			    "the pause would take about %lu ms, not the %lu of --max-downtime, whatever is copied",
			    (unsigned long)estimate_ms, (unsigned long)asked_ms);
	}
}

/* All of the round is in the pipe, and the pipe has drained: what was written meanwhile? */
static void end_round(struct sender *s)
{
	struct round_result result = {
		.bytes = s->stream.out_bytes - s->round_bytes,
		.send_ns = time_ns() - s->round_ns,
	};
	enum round_next next;
	u64 now;

	result.dirty_pages = vm_dirty_collect(s->vm, s->bitmap);
	now = time_ns();
	better_delay(s, &result);
	result.dirty_ns = now - s->collect_ns;
	s->collect_ns = now;
	page_sender_restart(&s->pages, result.dirty_pages);
	next = rounds_after(&s->rounds, &result);
	throttle(s);
	log_debug("round %u: %lu KB in %lu us, then %lu pages dirty, estimate %lu us", s->progress.round,
		  (unsigned long)(result.bytes / 1000), (unsigned long)(result.send_ns / NS_PER_US),
		  (unsigned long)result.dirty_pages, (unsigned long)(s->rounds.estimate_ns / NS_PER_US));
	s->progress.downtime_estimate_ns = s->rounds.estimate_ns;
	s->progress.dirty_pages_per_s = s->rounds.dirty_pages_per_s;
	if (next == ROUND_AGAIN || fault_hold("send.final"))
		sender_begin_round(s);
	else if (next == ROUND_FINAL_FORCED)
		pause_too_long(s);
	else
		sender_pause(s);
}

bool sender_rounds(struct sender *s)
{
	enum pages_state state;

	if (limits_over(&s->limits, s->start_ns, time_ns())) {
		/* (To cancel it is what watch() in send.c does.) */
		if (!page_sender_finish(&s->pages, &s->stream))
			return false;
		s->progress.forced = "--max-total was over";
		sender_pause(s);
		return true;
	}
	if (fault_hold("send.rounds") || !sender_may_send(s))
		return false;
	state = page_sender_step(&s->pages, &s->stream);
	if (state != PAGES_DONE)
		return state == PAGES_MORE;
	if (s->stream.pipe->ops->unacked(s->stream.pipe) > SENDER_DRAINED_BYTES)
		return false;
	end_round(s);
	return true;
}
