/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source. A true move of a small guest is recorded at the start; an input says which of its records
 * come, in which order, and what is changed in them. The checksums and numbers are made right again, unless
 * the input says otherwise: else nothing would come further than those. Afterwards nothing may be left.
 */
#include "fuzz.h"

#define BED_MIB 4 /* rounds look at all of it */

#include "migrate_bed.h"

#include "recorded_move.h"

static void forget_guests(void)
{
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
}

void fuzz_start(void)
{
	struct vm_config config;
	struct vm *vm;

	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	bed_set_up(NULL);
	bed_stores_per_step = 0;
	bed_config(&config);
	vm = bed_create_of(&config);
	bed_store(vm, 7, 0, 7);
	bed_store(vm, 8, 8, 8);
	fake_pipe.tap = tap;
	bed_start(vm, false);
	assert_int_equal(bed_run(20000), MIGRATE_DONE);
	fake_pipe.tap = NULL;
	bed_settle();
	forget_guests();
	split();
	assert_int_equal(fake_pages_used(), 0);
}

/* --- what comes ------------------------------------------------------------------------------- */

static struct pipe *pipe_end;
static u32 sequence;
static u8 copy[STREAM_MAX] aligned(8);

static void put(const u8 *data, size_t bytes)
{
	for (u32 i = 0; i < 100 && bytes && pipe_end->ops->status(pipe_end) == 0; i++) {
		size_t n = pipe_end->ops->put(pipe_end, data, bytes);
		const void *answer;

		data += n;
		bytes -= n;
		bed_step();
		n = pipe_end->ops->peek(pipe_end, &answer);
		pipe_end->ops->consume(pipe_end, n);
	}
}

static void seal(u8 *record, u32 bytes)
{
	struct record_header *h = (struct record_header *)record;

	h->sequence = sequence++;
	h->crc = 0;
	h->crc = crc32c(0, record, h->type == RECORD_PAGE && bytes >= 24 ? 24 : bytes);
}

/* Some bytes of it become others; or all of a word; or its length, with what that needs. */
static void change(struct fuzz *in, u8 *record, u32 *bytes)
{
	struct record_header *h = (struct record_header *)record;
	u8 how = (u8)fuzz_take(in, 1);
	u32 at = (u32)fuzz_take(in, 2) % *bytes;
	size_t n;
	const u8 *data;

	if (how < 16) {
		h->length = (u32)fuzz_take(in, 2);
		*bytes = MIN((u32)(sizeof(*h) + ALIGN_UP(h->length, 8)), (u32)KIB(64) + 32);
		return;
	}
	data = fuzz_bytes(in, how % 9, &n);
	memcpy(record + at, data, MIN(n, *bytes - at));
}

/* As the source waits: until the peer has compared all digests and says so. */
static void let_it_answer(void)
{
	for (u32 i = 0; i < 100 && pipe_end->ops->status(pipe_end) == 0; i++) {
		const void *answer;

		bed_step();
		pipe_end->ops->consume(pipe_end, pipe_end->ops->peek(pipe_end, &answer));
	}
}

static void send_record(struct fuzz *in, u32 r, u8 changes)
{
	u32 bytes = records[r].bytes;

	memset(copy, 0, KIB(64) + 32);
	memcpy(copy, recorded + records[r].at, bytes);
	/* Another attempt every time: else it would be known as a repetition. */
	if (r == 0)
		((struct wire_hello *)(copy + 16))->handover.attempt = random_u64();
	for (u32 i = 0; i < changes % 4; i++)
		change(in, copy, &bytes);
	if (changes < 0xf0)
		seal(copy, bytes);
	put(copy, bytes);
	if (records[r].type == RECORD_END)
		let_it_answer();
}

/*
 * A byte that says which record, one that says how it is changed; 0: the next one as it is. What is not said
 * comes as recorded: an empty input is a whole move.
 */
static void send_all(struct fuzz *in)
{
	u32 next = 0;

	for (u32 i = 0; i < 2 * record_count && next < record_count; i++) {
		u8 which = (u8)fuzz_take(in, 1);

		if (which < 192) {
			send_record(in, next++, which ? (u8)fuzz_take(in, 1) : 0);
		} else if (which < 208) {
			next++;
		} else if (which < 224) {
			send_record(in, (u32)fuzz_take(in, 1) % record_count, (u8)fuzz_take(in, 1));
		} else if (which < 240) {
			size_t n;
			const u8 *data = fuzz_bytes(in, fuzz_take(in, 1), &n);

			put(data, n);
		} else {
			fake_time_advance(fuzz_take(in, 4));
			bed_step();
		}
	}
}

void fuzz_one(struct fuzz *in)
{
	fake_random_seed(1);
	fake_time_set(1000 * NS_PER_S);
	fake_pipe_reset();
	migrate_init(&bed_host, &fake_network);
	sequence = 0;
	assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipe_end), 0);
	send_all(in);
	for (u32 i = 0; i < 4; i++)
		bed_step();
	if (vm_next(NULL))
		fuzz_reached();
	pipe_end->ops->close(pipe_end, false);
	for (u32 i = 0; i < 4; i++)
		bed_step();
	forget_guests();
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
}
