/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile peer: what comes back to the real sender of a guest, record by record. Before COMMIT the guest must go on
 * here whatever comes; after it, it runs here, is in doubt, or is gone; and nothing leaks.
 */
#include "fuzz.h"

#define BED_MIB 4 /* rounds look at all of it */

#include "migrate_bed.h"

#include "migrate/owner.h"
#include "migrate/stream.h"

static u8 body[1024] aligned(8);
static const struct record_rule rules[] = { { 0, 0, 0 } };

void fuzz_start(void)
{
	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	bed_set_up(NULL);
	bed_stores_per_step = 1;
}

/* All that the source has sent goes nowhere. */
static void drain(struct pipe *pipe)
{
	const void *data;
	size_t n;

	while ((n = pipe->ops->peek(pipe, &data)) != 0)
		pipe->ops->consume(pipe, n);
}

/* The answer that is due comes first in line: else nobody would guess it. */
static u32 answer(struct fuzz *in, u16 *type, u8 *record, enum migrate_step step)
{
	static const u16 types[] = { RECORD_ACCEPT, RECORD_PREPARED, RECORD_RUNNING, RECORD_STATUS, RECORD_REFUSE,
				     RECORD_ABORT, RECORD_VERIFIED, 999 };
	u8 which = (u8)fuzz_take(in, 1);
	u32 bytes;

	*type = which < 128 ? (step <= MIGRATE_HELLO ? RECORD_ACCEPT : step <= MIGRATE_PREPARED ? RECORD_PREPARED : RECORD_RUNNING)
			    : types[which % ARRAY_SIZE(types)];
	bytes = *type == RECORD_ACCEPT ? sizeof(struct wire_accept) : *type == RECORD_RUNNING ? 8 : *type == RECORD_PREPARED ? 0 :
		*type == RECORD_STATUS ? sizeof(struct wire_status) : 16;
	memset(record, 0, 512);
	memcpy(record + 16, "alpha", 6);
	if (which & 8)
		bytes = (u32)fuzz_take(in, 1);
	if (which & 16 || *type == RECORD_RUNNING || *type == RECORD_STATUS) {
		size_t n;
		const u8 *data = fuzz_bytes(in, bytes, &n);

		memcpy(record + 16, data, n);
	}
	return bytes;
}

/* The connections of the sender, and of its questions later: the newest is the one that is answered. */
static struct pipe *pipes[16];
static u32 pipe_count;
static struct stream peer;

static void take_connections(void)
{
	struct pipe *pipe = fake_pipe_take();

	if (!pipe)
		return;
	assert_true(pipe_count < ARRAY_SIZE(pipes));
	pipes[pipe_count++] = pipe;
	stream_init(&peer, pipe, rules, body, sizeof(body));
	/* The other questions may come now; not for ever. */
	fake_pipe.link_down = pipe_count == ARRAY_SIZE(pipes) || fake_pipe.link_down;
}

static void steps(u32 count)
{
	for (u32 i = 0; i < count; i++) {
		take_connections();
		for (u32 j = 0; j < pipe_count; j++)
			drain(pipes[j]);
		bed_step();
	}
}

static void say(struct fuzz *in, u8 what)
{
	u8 record[512] aligned(8);
	struct migrate_progress progress;
	u16 type;
	u32 bytes;
	size_t size;

	migrate_get_progress(&progress);
	bytes = answer(in, &type, record, progress.step);
	size = record_seal(&peer, record, type, bytes);
	if (what < 16)
		record[fuzz_take(in, 1) % size] ^= (u8)fuzz_take(in, 1);
	peer.pipe->ops->put(peer.pipe, record, size);
}

static void play(struct fuzz *in)
{
	for (u32 i = 0; i < 60 && in->left; i++) {
		u8 what = (u8)fuzz_take(in, 1);
		size_t size;

		if (what < 160) {
			say(in, what);
		} else if (what < 168) {
			const u8 *data = fuzz_bytes(in, 64, &size);

			peer.pipe->ops->put(peer.pipe, data, size);
		} else if (what < 176) {
			fake_time_advance(fuzz_take(in, 4));
		} else if (what < 180) {
			if (migrate_cancel() == 0)
				bed_step();
		}
		steps(8);
	}
}

static void hang_up(void)
{
	fake_pipe.link_down = true;
	take_connections();
	fake_pipe.link_down = true;
	for (; pipe_count; pipe_count--)
		pipes[pipe_count - 1]->ops->close(pipes[pipe_count - 1], false);
}

void fuzz_one(struct fuzz *in)
{
	struct migrate_progress progress;
	struct vm_config config;
	struct vm *vm;
	u8 what;

	fake_random_seed(1);
	fake_time_set(1000 * NS_PER_S);
	fake_pipe_reset();
	migrate_init(&bed_host, &fake_network);
	/* Nobody listens: the input is the peer. */
	fake_pipe_reset();
	bed_config(&config);
	vm = bed_create_of(&config);
	what = (u8)fuzz_take(in, 1);
	bed_verifies = (what & 6) == 6;
	bed_start(vm, what & 1);
	steps(1);
	play(in);
	migrate_get_progress(&progress);
	if (progress.step == MIGRATE_DONE)
		fuzz_reached();
	else if (progress.step < MIGRATE_COMMIT)
		assert_ptr_equal(vm_find("web"), vm);
	hang_up();
	bed_settle();
	if (vm_find("web"))
		vm_destroy(vm_find("web"));
	bed_settle();
	assert_null(vm_next_any(NULL));
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
}
