/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a migration begins at the source: can it be tried at all, and what it needs. Called by send.c;
 * service CPU.
 */
#include "migrate/sender.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/peers.h"
#include "migrate/state.h"
#include "mm/pages.h"
#include "vmm/vm.h"

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
	p->check = s->check.only;
	p->pages_total = vm->gmem.pages;
	p->memory_bytes = vm->gmem.pages * PAGE_SIZE;
}

int sender_start(struct sender *s, struct vm *vm, const struct migrate_peer *peer,
		 const struct migrate_options *options, char *why, size_t why_bytes)
{
	struct pipe *pipe;
	int error;

	if (vm->state != VM_LIVE || vm->want)
		return say(-E_INVAL, why, why_bytes, "%s does not run", vm->config.name);
	if (vm->paused & VM_PAUSE_OWNER)
		return say(-E_BUSY, why, why_bytes, "%s is in doubt: %s", vm->config.name, vm->why);
	if (options->live && !options->check && !vm->gmem.dirty->collect)
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
	/* A check asks for both, if this host can do both. */
	s->check.only = options->check;
	s->wants_verify = options->verify;
	s->live = options->check ? vm->gmem.dirty->collect != NULL : options->live;
	memcpy(s->handover.uuid, vm->config.uuid, sizeof(s->handover.uuid));
	s->handover.epoch = vm->epoch + 1;
	s->handover.attempt = random_u64() | 1;
	stream_init(&s->stream, pipe, sender_answer_rules, s->body, sizeof(s->body));
	s->start_ns = time_ns();
	limits_init(&s->limits, options, s->start_ns);
	rounds_init(&s->rounds, s->limits.max_downtime_ns, SENDER_FIXED_NS, state_bytes_max(vm), vm->gmem.pages);
	page_sender_init(&s->pages, &vm->gmem, s->bitmap);
	s->rate_ns = s->start_ns;
	first_progress(s, vm);
	vm_hold(vm);
	sender_enter(s, MIGRATE_CONNECT);
	return 0;
}
