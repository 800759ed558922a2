/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate --check, after the peer has said that the guest would fit: how fast is the link (bytes that the
 * peer throws away), how much memory is there to send, what does the guest write? Then the connection has
 * long been closed, the guest runs on as before, and the forecast is made. Called by send.c; service CPU.
 */
#include "migrate/sender.h"

#include "arch/x86_64/cpu.h"
#include "lib/bitmap.h"
#include "lib/string.h"
#include "migrate/state.h"
#include "vmm/vm.h"

#define HEADER sizeof(struct record_header)
/* So much of the link is enough; whichever comes first. */
#define LINK_NS NS_PER_S
#define LINK_BYTES MIB(64)
#define STEP_BYTES KIB(128) /* of one call */
#define STEP_PAGES 128

static const u64 sample_ns[] = {
	10 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS, 200 * NS_PER_MS, 400 * NS_PER_MS, 800 * NS_PER_MS,
	1500 * NS_PER_MS, 3 * NS_PER_S,
};
static_assert(ARRAY_SIZE(sample_ns) <= FORECAST_POINTS, "a point of the curve each");

static void enter_phase(struct sender *s, enum check_phase phase)
{
	s->check.phase = phase;
	s->check.begin_ns = time_ns();
	s->send_at_ns = 0;
}

void send_check_begin(struct sender *s)
{
	struct forecast_input *in = &s->check.in;

	in->pages = s->vm->gmem.pages;
	in->setup_ns = time_ns() - s->start_ns;
	in->fixed_ns = s->rounds.fixed_ns;
	in->state_bytes = s->rounds.state_bytes;
	in->max_downtime_ns = s->limits.max_downtime_ns;
	in->total_ns = s->limits.total_ns;
	s->round_bytes = s->stream.out_bytes;
	sender_enter(s, MIGRATE_CHECK);
	enter_phase(s, CHECK_LINK);
}

/* The link is known: the peer is not needed any more. */
static void end_link(struct sender *s)
{
	u64 bytes = s->stream.out_bytes - s->round_bytes;
	u64 elapsed_ns = time_ns() - s->check.begin_ns;

	s->check.in.bytes_per_s = MAX(rounds_scale(bytes, NS_PER_S, MAX(elapsed_ns, 1)), 1);
	sender_hang_up(s, false);
	enter_phase(s, CHECK_MEMORY);
}

/* What is sent is what HELLO left in the buffer: it means nothing, and is no memory of the guest. */
static bool do_link(struct sender *s)
{
	u64 end = s->stream.out_bytes + STEP_BYTES;
	u32 bytes = (u32)ALIGN_DOWN(MIN(s->state_bytes, STREAM_PROBE_MAX), STREAM_ALIGN);

	while (stream_pump(&s->stream)) {
		if (s->check.in_record) {
			s->check.in_record = false;
			stream_send(&s->stream, s->state, bytes);
			continue;
		}
		if (time_ns() - s->check.begin_ns >= LINK_NS || s->stream.out_bytes - s->round_bytes >= LINK_BYTES) {
			if (s->stream.pipe->ops->unacked(s->stream.pipe) > SENDER_DRAINED_BYTES)
				return false;
			end_link(s);
			return true;
		}
		if (s->stream.out_bytes >= end)
			return true;
		if (!sender_may_send(s))
			return false;
		s->check.in_record = true;
		stream_send(&s->stream, s->record, record_seal_probe(&s->stream, s->record, bytes));
	}
	return false;
}

/* The way in which the sender of pages looks at them, and as fast. */
static bool do_memory(struct sender *s)
{
	const struct gmem *gmem = &s->vm->gmem;
	u64 begin_ns = time_ns();
	u64 end = MIN(s->check.cursor + STEP_PAGES, gmem->pages);

	for (; s->check.cursor < end; s->check.cursor++)
		s->check.in.used_pages += !gmem_page_is_zero(gmem, s->check.cursor);
	s->check.in.scan_ns += time_ns() - begin_ns;
	if (end < gmem->pages)
		return true;
	memset(s->bitmap, 0, BITMAP_WORDS(gmem->pages) * sizeof(u64));
	if (s->live && vm_dirty_start(s->vm)) {
		sender_fail(s, false, "no memory left to track what it writes");
		return false;
	}
	s->logging = s->live;
	enter_phase(s, CHECK_WRITES);
	return true;
}

static void finish(struct sender *s)
{
	struct migrate_forecast *result = &s->progress.forecast;

	result->measured = s->check.in;
	if (s->live)
		forecast_live(&s->check.in, &result->live);
	forecast_offline(&s->check.in, &result->offline);
	sender_checked(s);
}

/* The bits stay set: each time, only pages that were not written before count. */
static bool do_writes(struct sender *s)
{
	struct dirty_curve *curve = &s->check.in.dirty;
	u64 now = time_ns();

	if (!s->live || curve->count == ARRAY_SIZE(sample_ns)) {
		finish(s);
		return false;
	}
	s->send_at_ns = s->check.begin_ns + sample_ns[curve->count];
	if (now < s->send_at_ns)
		return false;
	s->check.written += vm_dirty_collect(s->vm, s->bitmap);
	curve->ns[curve->count] = now - s->check.begin_ns;
	curve->pages[curve->count] = s->check.written;
	curve->count++;
	return true;
}

bool send_check_step(struct sender *s)
{
	switch (s->check.phase) {
	case CHECK_LINK:
		return do_link(s);
	case CHECK_MEMORY:
		return do_memory(s);
	case CHECK_WRITES:
		return do_writes(s);
	}
	return false;
}
