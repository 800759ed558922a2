/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source that lies: a real stream is recorded, and comes again with records lost, doubled,
 * exchanged, cut short or changed (with their checksums made right again). Each time the host is
 * as it was before, or runs a guest that it found to be valid. And a peer that lies to the source.
 */
#include "migrate_bed.h"

#include "recorded_move.h"

/* A move whose source's half is kept; then the guest is destroyed. */
static void record_verified_move(bool live, bool verified)
{
	struct vm *vm = bed_create();

	recorded_bytes = 0;
	bed_verifies = verified;
	fake_pipe.tap = tap;
	bed_move(vm, live);
	fake_pipe.tap = NULL;
	bed_settle();
	vm_destroy(bed_running());
	bed_stores_per_step = 0;
	split();
	assert_int_equal(records[record_count - 1].type, RECORD_COMMIT);
	assert_int_equal(fake_pages_used(), 0);
}

static void record_move(bool live)
{
	record_verified_move(live, false);
}

static struct stream raw;
static u8 raw_body[2048] aligned(8);
static char reason[256];
static const struct record_rule raw_rules[] = {
	{ RECORD_ACCEPT, 0, 1000 }, { RECORD_REFUSE, 0, 1000 }, { RECORD_ABORT, 0, 1000 },
	{ RECORD_PREPARED, 0, 0 }, { RECORD_RUNNING, 0, 8 }, { RECORD_VERIFIED, 0, 2000 }, { 0, 0, 0 },
};

static void raw_read(void)
{
	while (stream_read(&raw) == 0)
		if (raw.header.type == RECORD_ABORT || raw.header.type == RECORD_REFUSE)
			stream_text(reason, sizeof(reason), raw.body + 8, raw.header.length - 8);
}

static void raw_connect(void)
{
	struct pipe *pipe;

	reason[0] = 0;
	assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipe), 0);
	stream_init(&raw, pipe, raw_rules, raw_body, sizeof(raw_body));
}

static void raw_put(const u8 *data, size_t bytes)
{
	stream_send(&raw, data, bytes);
	for (u32 i = 0; i < 1000 && !stream_pump(&raw) && !reason[0]; i++) {
		bed_step();
		raw_read();
	}
	raw.out_left = 0;
	bed_step();
	raw_read();
}

static void renumber(u8 *record, u32 bytes, u32 sequence)
{
	struct record_header *h = (struct record_header *)record;

	h->sequence = sequence;
	h->crc = 0;
	h->crc = crc32c(0, record, h->type == RECORD_PAGE ? 24 : bytes);
}

/* Each replay is another attempt: else it would be known as a repetition. */
static void new_attempt(u8 *hello)
{
	((struct wire_hello *)(hello + 16))->handover.attempt = random_u64();
}

/* Sends the records in this order (indices), changing record `victim` by damage. */
static void replay(const u32 *order, u32 count, u32 victim, void (*damage)(u8 *record, u32 bytes))
{
	static u8 copy[STREAM_MAX] aligned(8);

	raw_connect();
	for (u32 i = 0; i < count && !reason[0]; i++) {
		u32 r = order[i];

		memcpy(copy, recorded + records[r].at, records[r].bytes);
		if (i == 0)
			new_attempt(copy);
		if (i == victim && damage)
			damage(copy, records[r].bytes);
		renumber(copy, records[r].bytes, i);
		raw_put(copy, records[r].bytes);
	}
}

/* The host must be as before: nothing runs that was not wholly handed over, and nothing leaks. */
static bool finish(void)
{
	bool runs;

	for (u32 i = 0; i < 4; i++)
		bed_step();
	raw_read();
	raw.pipe->ops->close(raw.pipe, false);
	for (u32 i = 0; i < 4; i++)
		bed_step();
	runs = vm_next(NULL) != NULL;
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
	return runs;
}

static u32 order_all(u32 *order)
{
	for (u32 i = 0; i < record_count; i++)
		order[i] = i;
	return record_count;
}

static void test_replayed(unused void **state)
{
	u32 order[RECORDS_MAX];
	u32 count;

	record_move(true);
	count = order_all(order);
	/* Byte for byte: the hand-over was taken before. */
	raw_connect();
	raw_put(recorded, recorded_bytes);
	assert_non_null(strstr(reason, "repetition"));
	assert_false(finish());
	/* As another attempt it is a move like any other. */
	replay(order, count, ~0u, NULL);
	assert_true(finish());
}

static void test_lost_and_doubled_records(unused void **state)
{
	u32 order[RECORDS_MAX + 1];

	record_move(false);
	for (u32 lost = 0; lost < record_count; lost++) {
		u32 count = 0;

		for (u32 i = 0; i < record_count; i++)
			if (i != lost)
				order[count++] = i;
		replay(order, count, ~0u, NULL);
		assert_false(finish());
		/* Without COMMIT nobody says anything; else there is a reason. */
		assert_true(reason[0] || lost == record_count - 1);
	}
	for (u32 doubled = 0; doubled < record_count - 2; doubled++) {
		u32 count = 0;

		for (u32 i = 0; i < record_count; i++) {
			order[count++] = i;
			if (i == doubled)
				order[count++] = i;
		}
		replay(order, count, ~0u, NULL);
		assert_false(finish());
		assert_true(reason[0]);
	}
}

static void test_cut_short(unused void **state)
{
	u32 order[RECORDS_MAX];

	record_move(false);
	for (u32 count = 0; count < order_all(order); count++) {
		replay(order, count, ~0u, NULL);
		assert_false(finish());
	}
}

static void test_exchanged(unused void **state)
{
	record_move(true);
	for (u32 run = 0; run < 100; run++) {
		u32 order[RECORDS_MAX];
		u32 count = order_all(order);
		u32 a = (u32)(random_u64() % count), b = (u32)(random_u64() % count);

		order[a] = b;
		order[b] = a;
		replay(order, count, ~0u, NULL);
		finish();
	}
}

static void damage_bits(u8 *record, u32 bytes)
{
	for (u64 n = 1 + random_u64() % 3; n; n--)
		record[random_u64() % bytes] ^= (u8)(1 << random_u64() % 8);
}

static void damage_words(u8 *record, u32 bytes)
{
	static const u64 values[] = { 0, ~0ull, 1ull << 63, 0x7fffffff, 0xffffffff, 1, 0x8000, PAGE_SIZE };
	u64 word = values[random_u64() % ARRAY_SIZE(values)];
	u32 size = 1u << random_u64() % 4;

	memcpy(record + (random_u64() % (bytes / size)) * size, &word, size);
}

static void damage_body(u8 *record, u32 bytes)
{
	if (bytes > 16)
		damage_words(record + 16, bytes - 16);
}

/* Not the many pages: all the others, over and over. */
static u32 some_victim(void)
{
	for (;;) {
		u32 i = (u32)(random_u64() % record_count);

		if (records[i].type != RECORD_PAGE || random_u64() % 16 == 0)
			return i;
	}
}

static void test_changed(unused void **state)
{
	static void (*const damages[])(u8 *, u32) = { damage_bits, damage_words, damage_body, damage_body };
	u32 order[RECORDS_MAX];
	u32 ran = 0, refused = 0;
	u32 count;

	record_move(false);
	count = order_all(order);
	for (u32 run = 0; run < 800; run++) {
		replay(order, count, some_victim(), damages[run % ARRAY_SIZE(damages)]);
		refused += reason[0] != 0;
		ran += finish();
	}
	assert_true(refused > 100);
	assert_true(ran > 10);
}

static u32 index_of(u16 type)
{
	u32 i = 0;

	while (records[i].type != type)
		i++;
	return i;
}

static void damage_length(u8 *record, unused u32 bytes)
{
	struct record_header *h = (struct record_header *)record;

	h->length += random_u64() % 2 ? 8 : (u32)-8;
}

/* VERIFY comes once, before END, and has its length; COMMIT comes after the last digest. */
static void test_verify_record(unused void **state)
{
	u32 order[RECORDS_MAX + 1];
	u32 count, verify;

	record_verified_move(false, true);
	verify = index_of(RECORD_VERIFY);
	assert_int_equal(records[verify + 1].type, RECORD_END);
	count = order_all(order);
	for (u32 run = 0; run < 8; run++) {
		replay(order, count, verify, damage_length);
		assert_non_null(strstr(reason, "VERIFY record has"));
		assert_false(finish());
	}
	/* COMMIT is sent at once here, and the digests take a while. */
	replay(order, count, ~0u, NULL);
	assert_non_null(strstr(reason, "COMMIT) is not known or not expected here"));
	assert_false(finish());
	order[verify] = verify + 1;
	order[verify + 1] = verify;
	replay(order, count, ~0u, NULL);
	assert_non_null(strstr(reason, "VERIFY) is not known or not expected here"));
	assert_false(finish());
	order[verify] = order[verify + 1] = verify;
	replay(order, count, ~0u, NULL);
	assert_non_null(strstr(reason, "two VERIFY records"));
	assert_false(finish());
}

/* The CPU does not take the state that the checks let pass. */
static void test_set_state_fails(unused void **state)
{
	u32 order[RECORDS_MAX];
	u32 count;

	record_move(false);
	count = order_all(order);
	assert_int_equal(fault_set("bed.set_state", 1), 0);
	replay(order, count, ~0u, NULL);
	assert_false(finish());
	assert_non_null(strstr(reason, "does not enter"));
}

/* --- a peer that lies --------------------------------------------------------------------------- */

/* The source's guest goes on whatever comes back, as long as COMMIT is not sent. */
static void test_wrong_answers(unused void **state)
{
	static const u16 types[] = { RECORD_ACCEPT, RECORD_PREPARED, RECORD_RUNNING, RECORD_STATUS, RECORD_VERIFIED,
				     RECORD_HELLO, 999 };
	struct migrate_progress progress;
	struct vm *vm;

	/* Nobody listens here: the test is the peer. */
	fake_pipe_reset();
	vm = bed_create();
	for (u32 run = 0; run < 300; run++) {
		u8 record[16 + 64] aligned(8) = { 0 };
		u32 body = (u32)(random_u64() % 64);
		struct stream peer;

		bed_start(vm, true);
		stream_init(&peer, fake_pipe_take(), raw_rules, raw_body, sizeof(raw_body));
		bed_step();
		memcpy(record + 16, "alpha", 6);
		record_seal(&peer, record, types[random_u64() % ARRAY_SIZE(types)], body);
		if (run % 3 == 0)
			damage_bits(record, sizeof(record));
		stream_send(&peer, record, sizeof(record));
		bed_run(50);
		peer.pipe->ops->close(peer.pipe, run & 1);
		assert_int_equal(bed_run(1000), MIGRATE_FAILED);
		migrate_get_progress(&progress);
		assert_true(progress.why[0]);
		assert_ptr_equal(bed_running(), vm);
		assert_int_equal(fake_pipe_open(), 0);
	}
	assert_true(bed_memory_equal(vm));
	migrate_init(&bed_host, &fake_network);
	bed_move(vm, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replayed), TEST(test_lost_and_doubled_records), TEST(test_cut_short), TEST(test_exchanged),
		TEST(test_changed), TEST(test_verify_record), TEST(test_set_state_fails), TEST(test_wrong_answers),
	};

	/* Thousands of guests arrive. */
	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	return cmocka_run_group_tests_name("migrate_hostile", tests, NULL, NULL);
}
