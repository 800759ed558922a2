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
#include "mm/pages.h"
#include "vmm/vm.h"

#define DOWNTIME_DEFAULT_MS 50
/* Saving and loading the state, starting the vCPUs; the round trips come on top. */
#define FIXED_NS (3 * NS_PER_MS)
/* So little underway is as good as nothing: the peer may delay its last acknowledgement. */
#define DRAINED_BYTES KIB(32)
#define RATE_EVERY_NS (200 * NS_PER_MS)
#define HEADER sizeof(struct record_header)

static struct sender out;

static bool active(void)
{
	return sender_active(&out);
}

static void enter(struct sender *s, enum migrate_step step)
{
	s->step = step;
	s->step_ns = time_ns();
	s->moved_ns = s->step_ns;
	s->progress.step = step;
}

/* --- start ------------------------------------------------------------------------------------ */

static int take_buffers(struct sender *s, const struct vm *vm)
{
	u32 state_bytes = MAX(state_bytes_max(vm), (u32)STREAM_HELLO_MAX);

	s->bitmap_order = pages_order(BITMAP_WORDS(vm->gmem.pages) * sizeof(u64));
	s->state_order = pages_order(state_bytes);
	s->bitmap_block = pages_alloc(s->bitmap_order);
	if (s->bitmap_block == HPA_NONE)
		return -E_NOMEM;
	s->bitmap = page_ptr(s->bitmap_block);
	s->state_block = pages_alloc(s->state_order);
	if (s->state_block == HPA_NONE) {
		sender_free(s);
		return -E_NOMEM;
	}
	s->state = page_ptr(s->state_block);
	s->state_bytes = state_bytes;
	return 0;
}

static void first_progress(struct sender *s, const struct vm *vm)
{
	struct migrate_progress *p = &s->progress;

	str_copy(p->guest, sizeof(p->guest), vm->config.name);
	str_copy(p->peer, sizeof(p->peer), s->peer.name);
	p->live = s->live;
	p->pages_total = vm->gmem.pages;
	p->memory_bytes = vm->gmem.pages * PAGE_SIZE;
}

int send_start(struct vm *vm, const struct migrate_peer *peer, const struct migrate_options *options, char *why,
	       size_t why_bytes)
{
	struct sender *s = &out;
	u32 max_downtime_ms = options->max_downtime_ms ? options->max_downtime_ms : DOWNTIME_DEFAULT_MS;
	struct pipe *pipe;
	int error;

	if (active())
		return say(-E_BUSY, why, why_bytes,
			   "%s is on its way to %s; one at a time ('migrate --cancel' stops it)",
			   out.vm->config.name, out.peer.name);
	if (vm->state != VM_LIVE || vm->want)
		return say(-E_INVAL, why, why_bytes, "%s does not run", vm->config.name);
	if (vm->paused & VM_PAUSE_OWNER)
		return say(-E_BUSY, why, why_bytes, "%s is in doubt: %s", vm->config.name, vm->why);
	if (options->live && !vm->gmem.dirty->collect)
		return say(-E_NOSYS, why, why_bytes,
			   "nothing on this host tells which memory %s writes to while it runs (see 'info'): move it "
			   "offline, by 'migrate %s %s'", vm->config.name, vm->config.name, peer->name);
	if (vm->gmem.logging)
		return say(-E_BUSY, why, why_bytes, "what %s writes is logged already ('dirty stop %s')",
			   vm->config.name, vm->config.name);
	memset(s, 0, sizeof(*s));
	if (take_buffers(s, vm))
		return say(-E_NOMEM, why, why_bytes, "no memory left for the migration's own tables");
	error = peers_connect(peer, &pipe);
	if (error) {
		sender_free(s);
		return say(-E_IO, why, why_bytes, "no way to %s (%s): see 'net'", peer->name, error_name(error));
	}
	s->vm = vm;
	s->peer = *peer;
	s->live = options->live;
	vm->epoch++;
	memcpy(s->handover.uuid, vm->config.uuid, sizeof(s->handover.uuid));
	s->handover.epoch = vm->epoch;
	s->handover.attempt = random_u64();
	stream_init(&s->stream, pipe, sender_answer_rules, s->body, sizeof(s->body));
	rounds_init(&s->rounds, max_downtime_ms * NS_PER_MS, FIXED_NS, state_bytes_max(vm), vm->gmem.pages);
	page_sender_init(&s->pages, &vm->gmem, s->bitmap);
	s->start_ns = time_ns();
	s->rate_ns = s->start_ns;
	first_progress(s, vm);
	vm_hold(vm);
	enter(s, MIGRATE_CONNECT);
	return 0;
}

/* --- the states ------------------------------------------------------------------------------- */

static bool do_connect(struct sender *s)
{
	size_t bytes;

	if (fault_hold("send.connect") || s->stream.pipe->ops->status(s->stream.pipe))
		return false;
	if (hello_build(&s->stream, s->vm, &s->handover, s->live, s->state, &bytes)) {
		sender_fail(s, false, "its configuration is too long to be sent");
		return false;
	}
	enter(s, MIGRATE_HELLO);
	stream_send(&s->stream, s->state, bytes);
	return true;
}

static void set_all(struct sender *s)
{
	for (u64 page = 0; page < s->vm->gmem.pages; page++)
		bitmap_set(s->bitmap, page);
	page_sender_restart(&s->pages, s->vm->gmem.pages);
}

static void begin_round(struct sender *s)
{
	s->round_ns = time_ns();
	s->round_bytes = s->stream.out_bytes;
	s->progress.round++;
}

/* The guest stops here, and its state is taken; from now on every microsecond counts. */
static void pause_guest(struct sender *s)
{
	s->pause_ns = time_ns();
	vm_pause(s->vm, VM_PAUSE_MIGRATE);
	s->paused = true;
	s->progress.downtime_estimate_ns = s->rounds.estimate_ns;
	enter(s, MIGRATE_FINAL);
	begin_round(s);
	if (s->live)
		page_sender_restart(&s->pages, s->pages.left);
}

static void set_delay(struct sender *s, u64 one_way_ns)
{
	s->one_way_ns = one_way_ns;
	s->rounds.fixed_ns = FIXED_NS + 4 * one_way_ns;
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
	set_delay(s, (round_trip - MIN(accept->held_ns, round_trip)) / 2);
	log_debug("%s accepts %s: %lu us there and back, %lu us of work there", s->peer.name, s->vm->config.name,
		  (unsigned long)(2 * s->one_way_ns / NS_PER_US), (unsigned long)(accept->held_ns / NS_PER_US));
	if (s->live && vm_dirty_start(s->vm)) {
		sender_fail(s, false,
			    "no memory left to track what it writes; 'migrate' without --live needs none");
		return;
	}
	s->logging = s->live;
	s->collect_ns = time_ns();
	set_all(s);
	if (!s->live) {
		pause_guest(s);
		return;
	}
	enter(s, MIGRATE_ROUNDS);
	begin_round(s);
}

/* HELLO's round trip may have met a busy moment; a round that has drained took one at least, too. */
static void better_delay(struct sender *s, const struct round_result *result)
{
	if (result->bytes > 2 * DRAINED_BYTES && result->send_ns / 2 < s->one_way_ns)
		set_delay(s, result->send_ns / 2);
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
	log_debug("round %u: %lu KB in %lu us, then %lu pages dirty, estimate %lu us", s->progress.round,
		  (unsigned long)(result.bytes / 1000), (unsigned long)(result.send_ns / NS_PER_US),
		  (unsigned long)result.dirty_pages, (unsigned long)(s->rounds.estimate_ns / NS_PER_US));
	s->progress.downtime_estimate_ns = s->rounds.estimate_ns;
	s->progress.dirty_pages_per_s = s->rounds.dirty_pages_per_s;
	if (next == ROUND_AGAIN || fault_hold("send.final"))
		begin_round(s);
	else
		pause_guest(s);
}

static bool do_rounds(struct sender *s)
{
	enum pages_state state;

	if (fault_hold("send.rounds"))
		return false;
	state = page_sender_step(&s->pages, &s->stream);
	if (state != PAGES_DONE)
		return state == PAGES_MORE;
	if (s->stream.pipe->ops->unacked(s->stream.pipe) > DRAINED_BYTES)
		return false;
	end_round(s);
	return true;
}

static void send_state(struct sender *s)
{
	size_t bytes = state_save(&s->stream, s->vm, s->state);

	/* After the devices are quiet and saved: nothing is written any more. */
	if (s->live)
		page_sender_restart(&s->pages, s->pages.left + vm_dirty_collect(s->vm, s->bitmap));
	s->state_sent = true;
	stream_send(&s->stream, s->state, bytes);
}

static bool do_final(struct sender *s)
{
	struct wire_end *end = (struct wire_end *)(s->record + HEADER);
	enum pages_state state;

	if (!s->state_sent)
		send_state(s);
	if (!stream_pump(&s->stream))
		return false;
	state = page_sender_step(&s->pages, &s->stream);
	if (state != PAGES_DONE)
		return state == PAGES_MORE;
	if (fault_hold("send.end"))
		return false;
	end->pages = s->pages.pages;
	end->zeros = s->pages.zeros;
	enter(s, MIGRATE_PREPARED);
	s->end_ns = s->step_ns;
	stream_send(&s->stream, s->record, record_seal(&s->stream, s->record, RECORD_END, sizeof(*end)));
	return true;
}

/* The peer has PREPARED: the guest is handed over with the first byte of this. */
static void do_commit(struct sender *s)
{
	struct wire_commit *commit = (struct wire_commit *)(s->record + HEADER);

	commit->paused_ns = time_ns() - s->pause_ns;
	commit->one_way_ns = s->one_way_ns;
	enter(s, MIGRATE_COMMIT);
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
	u64 mark = s->stream.out_bytes - pipe->ops->unacked(pipe) + s->stream.in_bytes;
	u64 now = time_ns();

	if (mark != s->moved_mark) {
		s->moved_mark = mark;
		s->moved_ns = now;
	}
	if (!s->committed && (s->vm->state != VM_LIVE || s->vm->want))
		sender_fail(s, false, "%s ended or reset itself meanwhile", s->vm->config.name);
	else if (now - s->moved_ns >= peers_silence_ns())
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
		return do_rounds(s);
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
	if (active())
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
	return active() ? out.moved_ns + peers_silence_ns() : 0;
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

bool send_busy(const struct vm *vm)
{
	return active() && out.vm == vm;
}

const struct vm *send_moving(const struct handover *handover)
{
	return active() && handover_equal(&out.handover, handover) ? out.vm : NULL;
}
