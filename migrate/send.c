/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of migrations, each a state machine that migrate_poll() drives on the service CPU:
 * CONNECT -> HELLO -> ROUNDS -> FINAL -> PREPARED -> COMMIT -> DONE. It never blocks: what has no
 * room in the pipe waits for the next call. Up to the first byte of COMMIT every failure leaves the
 * guest running here (send_end.c). What the peer answers is read in send_answer.c. Several go on at once: each
 * has its turn in each call, and one that waits for its peer costs the others nothing.
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

/* More than can be under way at once: how the last ones ended is remembered. */
#define SENDERS_MAX (2 * MIGRATE_OUT_MAX)

static struct sender senders[SENDERS_MAX];
static u32 last_id;  /* of a move, ever */
static u32 first;    /* whose turn it is to be first */

/* The next one that is under way; NULL: none is any more. */
static struct sender *next_active(struct sender *s)
{
	for (s = s ? s + 1 : senders; s < senders + SENDERS_MAX; s++)
		if (sender_active(s))
			return s;
	return NULL;
}

static struct sender *sender_of(const struct vm *vm)
{
	for (struct sender *s = next_active(NULL); s; s = next_active(s))
		if (s->vm == vm)
			return s;
	return NULL;
}

u32 send_count(void)
{
	u32 count = 0;

	for (struct sender *s = next_active(NULL); s; s = next_active(s))
		count++;
	return count;
}

/* Never used, or ended longest ago. */
static struct sender *free_sender(void)
{
	struct sender *found = NULL;

	for (u32 i = 0; i < SENDERS_MAX; i++)
		if (!sender_active(&senders[i]) && (!found || senders[i].progress.id < found->progress.id))
			found = &senders[i];
	return found;
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
	struct sender *s = sender_of(vm);
	int error;

	if (s)
		return say(-E_BUSY, why, why_bytes, "%s is on its way to %s already ('migrate --cancel %s' stops it)",
			   vm->config.name, s->peer.name, vm->config.name);
	if (send_count() == MIGRATE_OUT_MAX)
		return say(-E_BUSY, why, why_bytes, "%u guests are on their way, no more can be at once", MIGRATE_OUT_MAX);
	s = free_sender();
	error = sender_start(s, vm, peer, options, why, why_bytes);
	/* (What did not even start is no move to be remembered.) */
	s->progress.id = error ? 0 : ++last_id;
	return error;
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
		s->progress.peers_fault = true;
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
	else if (pipe && now - s->moved_ns >= peers_silence_ns()) {
		s->progress.peers_fault = true;
		sender_fail(s, false, "%s does not answer: no progress for %u s", s->peer.name,
			    (u32)(peers_silence_ns() / NS_PER_S));
	}
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

/* True if there is more to do at once. */
static bool turn(struct sender *s)
{
	enum migrate_step step;
	u64 moved = s->stream.out_bytes + s->stream.in_bytes;
	bool more = false;

	measure(s);
	sender_read_answers(s);
	if (sender_active(s))
		watch(s);
	/* Into the next state at once: the pause does not wait for another turn of the service loop. */
	do {
		step = s->step;
		if (sender_active(s))
			more = advance(s);
	} while (sender_active(s) && s->step != step);
	if (sender_active(s) && s->stream.pipe)
		s->stream.pipe->ops->flush(s->stream.pipe);
	/* While bytes move, the next ones are not far. */
	return sender_active(s) && (more || moved != s->stream.out_bytes + s->stream.in_bytes);
}

bool send_poll(void)
{
	bool more = false;

	/* Each is the first now and then: it finds the network's buffers empty. */
	first = (first + 1) % SENDERS_MAX;
	for (u32 i = 0; i < SENDERS_MAX; i++) {
		struct sender *s = &senders[(first + i) % SENDERS_MAX];

		if (sender_active(s))
			more |= turn(s);
	}
	return more;
}

/* --- for migrate.c ---------------------------------------------------------------------------- */

static int cancel(struct sender *s)
{
	if (s->committed)
		return -E_BUSY;
	sender_fail(s, false, "canceled");
	return 0;
}

int send_cancel(const struct vm *vm)
{
	struct sender *s = sender_of(vm);

	return s ? cancel(s) : -E_NOENT;
}

int send_cancel_all(void)
{
	int result = -E_NOENT;

	for (struct sender *s = next_active(NULL); s; s = next_active(s)) {
		int error = cancel(s);

		if (result)
			result = error;
	}
	return result;
}

static u64 deadline_of(const struct sender *s)
{
	u64 next = s->moved_ns + peers_silence_ns();

	if (s->send_at_ns && (!s->stream.pipe || s->send_at_ns < next))
		next = s->send_at_ns;
	if (s->limits.total_ns && !limits_over(&s->limits, s->start_ns, time_ns()))
		next = MIN(next, s->start_ns + s->limits.total_ns);
	return next;
}

u64 send_next_deadline(void)
{
	u64 next = 0;

	for (struct sender *s = next_active(NULL); s; s = next_active(s))
		next = deadline_sooner(next, deadline_of(s));
	return next;
}

static void progress_of(const struct sender *s, struct migrate_progress *progress)
{
	*progress = s->progress;
	if (!sender_active(s))
		return;
	progress->pages_sent = s->pages.pages;
	progress->pages_zero = s->pages.zeros;
	progress->pages_left = s->pages.left;
	progress->bytes_sent = s->stream.out_bytes;
	progress->total_ns = time_ns() - s->start_ns;
}

bool send_get_progress(u32 id, struct migrate_progress *progress)
{
	memset(progress, 0, sizeof(*progress));
	for (u32 i = 0; id && i < SENDERS_MAX; i++)
		if (senders[i].progress.id == id) {
			progress_of(&senders[i], progress);
			return true;
		}
	return false;
}

u32 send_last_id(void)
{
	return last_id;
}

u32 send_next_id(u32 after)
{
	u32 next = 0;

	for (struct sender *s = next_active(NULL); s; s = next_active(s))
		if (s->progress.id > after && (!next || s->progress.id < next))
			next = s->progress.id;
	return next;
}

bool send_committed(const struct vm *vm)
{
	const struct sender *s = sender_of(vm);

	return s && s->committed;
}

bool send_busy(const struct vm *vm)
{
	return sender_of(vm) != NULL;
}

const struct vm *send_moving(const struct handover *handover)
{
	for (struct sender *s = next_active(NULL); s; s = next_active(s))
		if (handover_equal(&s->handover, handover))
			return s->vm;
	return NULL;
}
