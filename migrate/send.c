/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of a migration, as a state machine that migrate_poll() drives on the service CPU:
 * CONNECT -> HELLO -> ROUNDS -> FINAL -> PREPARED -> COMMIT -> DONE. It never blocks: what has no
 * room in the pipe waits for the next call. Up to the first byte of COMMIT every failure leaves the
 * guest running here (send_end.c). What the peer answers is read in send_answer.c.
 */
#include "migrate/send.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/hello.h"
#include "migrate/peers.h"
#include "migrate/sender.h"
#include "migrate/state.h"
#include "vmm/vm.h"

#define RATE_EVERY_NS (200 * NS_PER_MS)
#define HEADER sizeof(struct record_header)

static struct sender out;

static bool active(void)
{
	return sender_active(&out);
}

void sender_enter(struct sender *s, enum migrate_step step)
{
	s->step = step;
	s->step_ns = time_ns();
	s->moved_ns = s->step_ns;
	s->progress.step = step;
}

int send_start(struct vm *vm, const struct migrate_peer *peer, const struct migrate_options *options, char *why,
	       size_t why_bytes)
{
	if (active())
		return say(-E_BUSY, why, why_bytes,
			   "%s is on its way to %s; one at a time ('migrate --cancel' stops it)",
			   out.vm->config.name, out.peer.name);
	return sender_start(&out, vm, peer, options, why, why_bytes);
}

/* --- the states ------------------------------------------------------------------------------- */

static bool do_connect(struct sender *s)
{
	enum wire_purpose purpose = s->check.only ? WIRE_CHECK : s->live ? WIRE_LIVE : WIRE_OFFLINE;
	size_t bytes;

	if (fault_hold("send.connect") || s->stream.pipe->ops->status(s->stream.pipe))
		return false;
	if (hello_build(&s->stream, s->vm, &s->handover, purpose, s->state, &bytes)) {
		sender_fail(s, false, "its configuration is too long to be sent");
		return false;
	}
	sender_enter(s, MIGRATE_HELLO);
	stream_send(&s->stream, s->state, bytes);
	return true;
}

static void set_all(struct sender *s)
{
	for (u64 page = 0; page < s->vm->gmem.pages; page++)
		bitmap_set(s->bitmap, page);
	page_sender_restart(&s->pages, s->vm->gmem.pages);
}

void sender_begin_round(struct sender *s)
{
	s->round_ns = time_ns();
	s->round_bytes = s->stream.out_bytes;
	s->progress.round++;
}

/* The guest stops here, and its state is taken; from now on every microsecond counts. */
void sender_pause(struct sender *s)
{
	s->pause_ns = time_ns();
	vm_pause(s->vm, VM_PAUSE_MIGRATE);
	s->paused = true;
	s->send_at_ns = 0;
	s->progress.downtime_estimate_ns = s->rounds.estimate_ns;
	sender_enter(s, MIGRATE_FINAL);
	sender_begin_round(s);
	if (s->live)
		page_sender_restart(&s->pages, s->pages.left);
}

void sender_set_delay(struct sender *s, u64 one_way_ns)
{
	s->one_way_ns = one_way_ns;
	s->rounds.fixed_ns = SENDER_FIXED_NS + 4 * one_way_ns;
}

void sender_accepted(struct sender *s, const struct wire_accept *accept)
{
	u64 round_trip = time_ns() - s->step_ns;

	if (memcmp(accept->host, s->peer.name, strlen(s->peer.name) + 1)) {
		sender_fail(s, false, "the host at that address is not %s: see peers in godwit.cfg",
			    s->peer.name);
		return;
	}
	s->boot_id = accept->boot_id;
	sender_set_delay(s, (round_trip - MIN(accept->held_ns, round_trip)) / 2);
	log_debug("%s accepts %s: %lu us there and back, %lu us of work there", s->peer.name, s->vm->config.name,
		  (unsigned long)(2 * s->one_way_ns / NS_PER_US), (unsigned long)(accept->held_ns / NS_PER_US));
	if (s->check.only) {
		send_check_begin(s);
		return;
	}
	if (s->live && vm_dirty_start(s->vm)) {
		sender_fail(s, false,
			    "no memory left to track what it writes; 'migrate' without --live needs none");
		return;
	}
	s->logging = s->live;
	s->collect_ns = time_ns();
	set_all(s);
	if (!s->live) {
		sender_pause(s);
		return;
	}
	sender_enter(s, MIGRATE_ROUNDS);
	sender_begin_round(s);
}

/* By --bandwidth. A live move's pause is as short as the link makes it. */
bool sender_may_send(struct sender *s)
{
	s->send_at_ns = s->live && s->paused ? 0 : limits_send_at(&s->limits, time_ns(), s->stream.out_bytes);
	return s->send_at_ns == 0;
}

static void send_state(struct sender *s)
{
	size_t bytes = state_save(&s->stream, s->vm, s->state);

	/* After the devices are quiet and saved: nothing is written any more. */
	if (s->live)
		page_sender_restart(&s->pages, s->pages.left + vm_dirty_collect(s->vm, s->bitmap));
	sender_drop_page(s);
	s->state_sent = true;
	stream_send(&s->stream, s->state, bytes);
}

static void send_end(struct sender *s)
{
	size_t before = sender_ask_digests(s, s->record);
	struct wire_end *end = (struct wire_end *)(s->record + before + HEADER);

	end->pages = s->pages.pages;
	end->zeros = s->pages.zeros;
	sender_enter(s, MIGRATE_PREPARED);
	s->end_ns = s->step_ns;
	stream_send(&s->stream, s->record,
		    before + record_seal(&s->stream, s->record + before, RECORD_END, sizeof(*end)));
}

static bool do_final(struct sender *s)
{
	enum pages_state state;

	if (!s->state_sent)
		send_state(s);
	if (!stream_pump(&s->stream) || !sender_may_send(s))
		return false;
	state = page_sender_step(&s->pages, &s->stream);
	if (state != PAGES_DONE)
		return state == PAGES_MORE;
	if (fault_hold("send.end"))
		return false;
	send_end(s);
	return true;
}

/* The peer has PREPARED: the guest is handed over with the first byte of this. */
static void do_commit(struct sender *s)
{
	struct wire_commit *commit = (struct wire_commit *)(s->record + HEADER);

	commit->paused_ns = time_ns() - s->pause_ns;
	commit->one_way_ns = s->one_way_ns;
	sender_enter(s, MIGRATE_COMMIT);
	s->commit_bytes = (u32)record_seal(&s->stream, s->record, RECORD_COMMIT, sizeof(*commit));
	stream_send(&s->stream, s->record, s->commit_bytes);
	s->committed = s->stream.out_left < s->commit_bytes;
}

static bool do_wait(struct sender *s)
{
	bool sent = stream_pump(&s->stream);

	if (s->step == MIGRATE_COMMIT)
		s->committed = s->stream.out_left < s->commit_bytes;
	else if (s->prepared && sent && !fault_hold("send.commit"))
		do_commit(s);
	return false;
}

/* --- every call -------------------------------------------------------------------------------- */

/* Did the guest end, or the peer fall silent? */
static void watch(struct sender *s)
{
	struct pipe *pipe = s->stream.pipe;
	u64 mark = s->stream.out_bytes - (pipe ? pipe->ops->unacked(pipe) : 0) + s->stream.in_bytes;
	u64 now = time_ns();

	if (mark != s->moved_mark) {
		s->moved_mark = mark;
		s->moved_ns = now;
	}
	if (!s->committed && (s->vm->state != VM_LIVE || s->vm->want))
		sender_fail(s, false, "%s ended or reset itself meanwhile", s->vm->config.name);
	else if (!s->committed && s->vm->paused & VM_PAUSE_OWNER)
		sender_fail(s, false, "%s is owned by another host: 'list' says what to do", s->vm->config.name);
	else if (!s->committed && !s->check.only && s->limits.cancel && limits_over(&s->limits, s->start_ns, now))
		sender_fail(s, false, "it took longer than the %u s of --max-total",
			    (u32)(s->limits.total_ns / NS_PER_S));
	else if (pipe && now - s->moved_ns >= peers_silence_ns())
		sender_fail(s, false, "%s does not answer: no progress for %u s", s->peer.name,
			    (u32)(peers_silence_ns() / NS_PER_S));
}

static void measure(struct sender *s)
{
	u64 now = time_ns();
	u64 elapsed = now - s->rate_ns;

	if (elapsed < RATE_EVERY_NS)
		return;
	s->progress.bytes_per_s = (s->stream.out_bytes - s->rate_bytes) * 1000 / (elapsed / NS_PER_MS);
	s->rate_ns = now;
	s->rate_bytes = s->stream.out_bytes;
}

static bool advance(struct sender *s)
{
	if (s->step == MIGRATE_CONNECT)
		return do_connect(s);
	if (s->step == MIGRATE_ROUNDS)
		return sender_rounds(s);
	if (s->step == MIGRATE_CHECK)
		return send_check_step(s);
	if (s->step == MIGRATE_FINAL)
		return do_final(s);
	return do_wait(s);
}

bool send_poll(void)
{
	struct sender *s = &out;
	enum migrate_step step;
	u64 moved = s->stream.out_bytes + s->stream.in_bytes;
	bool more = false;

	if (!active())
		return false;
	measure(s);
	sender_read_answers(s);
	if (active())
		watch(s);
	/* Into the next state at once: the pause does not wait for another turn of the service loop. */
	do {
		step = s->step;
		if (active())
			more = advance(s);
	} while (active() && s->step != step);
	if (active() && s->stream.pipe)
		s->stream.pipe->ops->flush(s->stream.pipe);
	/* While bytes move, the next ones are not far. */
	return active() && (more || moved != s->stream.out_bytes + s->stream.in_bytes);
}

/* --- for migrate.c ---------------------------------------------------------------------------- */

int send_cancel(void)
{
	if (!active())
		return -E_NOENT;
	if (out.committed)
		return -E_BUSY;
	sender_fail(&out, false, "canceled");
	return 0;
}

u64 send_next_deadline(void)
{
	u64 next = out.moved_ns + peers_silence_ns();

	if (!active())
		return 0;
	if (out.send_at_ns && (!out.stream.pipe || out.send_at_ns < next))
		next = out.send_at_ns;
	if (out.limits.total_ns && !limits_over(&out.limits, out.start_ns, time_ns()))
		next = MIN(next, out.start_ns + out.limits.total_ns);
	return next;
}

void send_get_progress(struct migrate_progress *progress)
{
	*progress = out.progress;
	if (!active())
		return;
	progress->pages_sent = out.pages.pages;
	progress->pages_zero = out.pages.zeros;
	progress->pages_left = out.pages.left;
	progress->bytes_sent = out.stream.out_bytes;
	progress->total_ns = time_ns() - out.start_ns;
}

bool send_committed(const struct vm *vm)
{
	return active() && out.vm == vm && out.committed;
}

bool send_busy(const struct vm *vm)
{
	return active() && out.vm == vm;
}

const struct vm *send_moving(const struct handover *handover)
{
	return active() && handover_equal(&out.handover, handover) ? out.vm : NULL;
}
