/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a migration ends at the source: the guest freed, running on, or (its hand-over unanswered)
 * paused with the reason. Called by send.c; service CPU.
 */
#include "migrate/sender.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacons.h"
#include "mm/pages.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

void sender_free(struct sender *s)
{
	if (s->bitmap)
		pages_free(s->bitmap_block, s->bitmap_order);
	if (s->state)
		pages_free(s->state_block, s->state_order);
	s->bitmap = NULL;
	s->state = NULL;
}

void sender_hang_up(struct sender *s, bool abort)
{
	if (s->stream.pipe)
		s->stream.pipe->ops->close(s->stream.pipe, abort);
	s->stream.pipe = NULL;
}

static void end(struct sender *s, enum migrate_step step)
{
	u64 now = time_ns();

	s->progress.total_ns = now - s->start_ns;
	s->progress.bytes_sent = s->stream.out_bytes;
	s->progress.pages_sent = s->pages.pages;
	s->progress.pages_zero = s->pages.zeros;
	s->progress.step = step;
	s->step = step;
	if (s->vm->cap)
		sched_set_cap(s->vm, 0);
	s->vm = NULL;
	memset(&s->verify, 0, sizeof(s->verify));
	sender_free(s);
}

void sender_done(struct sender *s)
{
	struct vm *vm = s->vm;

	s->progress.downtime_ns = time_ns() - s->pause_ns;
	s->progress.user_pause = vm->paused & VM_PAUSE_USER;
	log_debug("%s: END %lu us after the pause, PREPARED %lu us, RUNNING %lu us", vm->config.name,
		  (unsigned long)((s->end_ns - s->pause_ns) / NS_PER_US),
		  (unsigned long)((s->step_ns - s->pause_ns) / NS_PER_US),
		  (unsigned long)(s->progress.downtime_ns / NS_PER_US));
	sender_hang_up(s, false);
	if (s->logging)
		vm_dirty_stop(vm);
	end(s, MIGRATE_DONE);
	vm_release(vm);
	vm_destroy(vm);
	beacons_changed();
}

void sender_checked(struct sender *s)
{
	struct vm *vm = s->vm;

	sender_hang_up(s, false);
	if (s->logging)
		vm_dirty_stop(vm);
	end(s, MIGRATE_DONE);
	vm_release(vm);
}

/* Tells the peer why, if a record can begin here; else the broken stream says enough. */
static bool send_abort(struct sender *s, const char *why)
{
	struct pipe *pipe = s->stream.pipe;
	u8 record[RECORD_REASON_BYTES] aligned(8);

	if (!pipe || pipe->ops->status(pipe) || !stream_idle(&s->stream) || s->pages.run_left || s->check.in_record ||
	    pipe->ops->room(pipe) < sizeof(record))
		return false;
	stream_send(&s->stream, record, record_seal_reason(&s->stream, record, RECORD_ABORT, -E_CANCELED, why));
	pipe->ops->flush(pipe);
	return stream_idle(&s->stream);
}

/* Nobody else has it: it runs on. */
static void take_back(struct sender *s)
{
	if (s->logging)
		vm_dirty_stop(s->vm);
	if (s->paused)
		vm_unpause(s->vm, VM_PAUSE_MIGRATE);
	s->logging = false;
	s->paused = false;
}

void sender_fail(struct sender *s, bool peer_gave_up, const char *fmt, ...)
{
	struct vm *vm = s->vm;
	char *why = s->progress.why;
	va_list ap;
	size_t used;

	va_start(ap, fmt);
	str_vformat(why, sizeof(s->progress.why), fmt, ap);
	va_end(ap);
	/* The console says it to whoever asked for the move. */
	log_debug("%s was not %s %s: %s", vm->config.name, s->check.only ? "checked for" : "moved to", s->peer.name,
		  why);
	if (s->committed && !peer_gave_up) {
		if (s->logging)
			vm_dirty_stop(vm);
		owner_unknown(vm, &s->peer, &s->handover, s->boot_id, why);
		used = MIN(strlen(why), sizeof(s->progress.why) - 1);
		str_format(why + used, sizeof(s->progress.why) - used,
			   "; %s stays paused: 'list' says what to do",
			   vm->config.name);
		sender_hang_up(s, true);
	} else {
		take_back(s);
		sender_hang_up(s, !send_abort(s, why));
	}
	end(s, MIGRATE_FAILED);
	vm_release(vm);
}
