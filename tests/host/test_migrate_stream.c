/* SPDX-License-Identifier: Apache-2.0 */
/* Records over a pipe: round trips, pieces of every size, and streams that are wrong in every way. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pipe.h"
#include "lib/crc.h"
#include "migrate/stream.h"

static struct stream near, far;
static u8 body[4096] aligned(8);

static const struct record_rule rules[] = {
	{ RECORD_PAGE, 8 + 4096, 8 + 64 * 4096 },
	{ RECORD_ZERO, 16, 16 },
	{ RECORD_CONSOLE, 0, 100 },
	{ 0, 0, 0 },
};

static int set_up(unused void **state)
{
	static const u8 ip[4] = { 127, 0, 0, 1 };
	struct pipe *pipe;

	fake_cpu_reset();
	fake_pipe_reset();
	assert_int_equal(fake_network.connect(ip, 8002, &pipe), 0);
	stream_init(&near, pipe, rules, body, sizeof(body));
	stream_init(&far, fake_pipe_take(), rules, body, sizeof(body));
	return 0;
}

static int tear_down(unused void **state)
{
	near.pipe->ops->close(near.pipe, true);
	far.pipe->ops->close(far.pipe, true);
	assert_int_equal(fake_pipe_open(), 0);
	return 0;
}

static size_t make(u8 *record, u16 type, const void *data, u32 bytes)
{
	memcpy(record + sizeof(struct record_header), data, bytes);
	return record_seal(&near, record, type, bytes);
}

static void seal_again(u8 *record, size_t bytes)
{
	struct record_header *h = (struct record_header *)record;

	h->crc = 0;
	h->crc = crc32c(0, record, bytes);
}

static void test_round_trip_in_pieces(unused void **state)
{
	u8 record[128] aligned(8);

	for (u32 piece = 1; piece < 20; piece++) {
		u32 calls = 0;

		fake_pipe.put_max = piece;
		fake_pipe.peek_max = piece;
		stream_send(&near, record, make(record, RECORD_CONSOLE, "hello world", 11));
		assert_true(stream_pump(&near));
		while (stream_read(&far) == -E_AGAIN)
			assert_true(calls++ < 100);
		assert_int_equal(far.header.type, RECORD_CONSOLE);
		assert_int_equal(far.header.length, 11);
		assert_memory_equal(far.body, "hello world\0\0\0\0\0", 16);
		assert_int_equal(stream_read(&far), -E_AGAIN);
	}
}

static void test_no_room(unused void **state)
{
	static u8 record[16 + 104] aligned(8);
	u32 sent = 0;

	while (stream_idle(&near)) {
		stream_send(&near, record, make(record, RECORD_CONSOLE, body, 96));
		sent++;
	}
	assert_int_equal(sent, 65536 / 112 + 1);
	for (u32 i = 0; i < sent; i++) {
		assert_int_equal(stream_read(&far), 0);
		stream_pump(&near);
	}
	assert_true(stream_idle(&near));
	assert_int_equal(stream_read(&far), -E_AGAIN);
}

static void test_pages(unused void **state)
{
	static u8 page[2 * 4096];
	u8 head[24] aligned(8);
	u64 got = 0;

	memset(page, 0x5a, sizeof(page));
	assert_int_equal(record_seal_pages(&near, head, 77, 2), 24);
	stream_send(&near, head, 24);
	stream_send(&near, page, sizeof(page));
	fake_pipe.peek_max = 1000;
	assert_int_equal(stream_read(&far), 0);
	assert_int_equal(((struct wire_page *)far.body)->first, 77);
	while (far.bulk_left) {
		const void *data;
		size_t n = stream_bulk(&far, &data, 300);

		assert_true(n > 0 && n <= 300);
		assert_memory_equal(data, page, n);
		stream_bulk_done(&far, n);
		got += n;
	}
	assert_int_equal(got, sizeof(page));
	assert_int_equal(stream_read(&far), -E_AGAIN);
}

static void test_kept_bodies(unused void **state)
{
	u8 record[64] aligned(8);

	stream_send(&near, record, make(record, RECORD_CONSOLE, "one", 3));
	assert_int_equal(stream_read(&far), 0);
	stream_keep(&far);
	stream_send(&near, record, make(record, RECORD_CONSOLE, "two", 3));
	assert_int_equal(stream_read(&far), 0);
	assert_memory_equal(body, "one\0\0\0\0\0two", 11);
	far.body_bytes = 8;
	stream_send(&near, record, make(record, RECORD_CONSOLE, "123456789", 9));
	assert_int_equal(stream_read(&far), -E_PROTO);
	assert_non_null(strstr(far.why, "more than was announced"));
}

/* All the room is taken by kept bodies: a PAGE's number has none either. */
static void test_no_room_for_a_page(unused void **state)
{
	u8 head[24] aligned(8);

	memset(body, 0x77, sizeof(body));
	far.body_bytes = 0;
	assert_int_equal(record_seal_pages(&near, head, 77, 1), 24);
	near.pipe->ops->put(near.pipe, head, sizeof(head));
	assert_int_equal(stream_read(&far), -E_PROTO);
	assert_non_null(strstr(far.why, "more than was announced"));
	assert_int_equal(body[0], 0x77);
}

static void test_every_bit_counts(unused void **state)
{
	u8 record[64] aligned(8);
	u8 wrong[64] aligned(8);
	size_t bytes = make(record, RECORD_CONSOLE, "hello world", 11);

	for (size_t bit = 0; bit < bytes * 8; bit++) {
		struct stream reader;

		memcpy(wrong, record, bytes);
		wrong[bit / 8] ^= (u8)(1 << bit % 8);
		stream_init(&reader, far.pipe, rules, body, sizeof(body));
		near.pipe->ops->put(near.pipe, wrong, bytes);
		/* A longer length waits for more bytes; nothing else may pass. */
		assert_int_not_equal(stream_read(&reader), 0);
		far.pipe->ops->consume(far.pipe, fake_pipe_readable(far.pipe));
	}
}

static void put_header(u16 type, u16 flags, u32 length, u32 sequence)
{
	u8 record[16 + 64] aligned(8) = { 0 };
	struct record_header *h = (struct record_header *)record;
	size_t bytes = sizeof(*h) + MIN(ALIGN_UP(length, 8), 64);

	h->type = type;
	h->flags = flags;
	h->length = length;
	h->sequence = sequence;
	seal_again(record, bytes);
	near.pipe->ops->put(near.pipe, record, bytes);
}

static void expect_broken(const char *why)
{
	assert_int_equal(stream_read(&far), -E_PROTO);
	assert_non_null(strstr(far.why, why));
}

static void test_replayed(unused void **state)
{
	put_header(RECORD_ZERO, 0, 16, 0);
	put_header(RECORD_ZERO, 0, 16, 0);
	assert_int_equal(stream_read(&far), 0);
	expect_broken("record 0 came where 1 was due");
}

static void test_unknown_mandatory(unused void **state)
{
	put_header(1234, 0, 16, 0);
	expect_broken("type 1234");
}

static void test_unknown_optional(unused void **state)
{
	put_header(1234, RECORD_OPTIONAL, 13, 0);
	put_header(1235, RECORD_OPTIONAL, 0, 1);
	put_header(RECORD_ZERO, 0, 16, 2);
	assert_int_equal(stream_read(&far), 0);
	assert_int_equal(far.header.type, RECORD_ZERO);
}

/* Optional is for types that this version does not know. */
static void test_known_but_optional(unused void **state)
{
	put_header(RECORD_COMMIT, RECORD_OPTIONAL, 16, 0);
	expect_broken("COMMIT");
}

static void test_optional_too_long(unused void **state)
{
	put_header(1234, RECORD_OPTIONAL, STREAM_SKIP_MAX + 1, 0);
	expect_broken("too long");
}

static void test_unknown_flags(unused void **state)
{
	put_header(RECORD_ZERO, 2, 16, 0);
	expect_broken("unknown flags");
}

static void test_wrong_length(unused void **state)
{
	put_header(RECORD_ZERO, 0, 0xffffffff, 0);
	expect_broken("not between 16 and 16");
}

static void test_not_expected_here(unused void **state)
{
	put_header(RECORD_COMMIT, 0, 16, 0);
	expect_broken("COMMIT");
}

static void test_padding(unused void **state)
{
	u8 record[64] aligned(8);
	size_t bytes = make(record, RECORD_CONSOLE, "hello world", 11);

	record[16 + 12] = 1;
	seal_again(record, bytes);
	near.pipe->ops->put(near.pipe, record, bytes);
	expect_broken("padded");
}

/* Random bytes, and right records with random damage: never a crash, never more read than there is room for. */
static void test_random(unused void **state)
{
	for (u32 run = 0; run < 20000; run++) {
		u8 record[160] aligned(8);
		struct stream reader;
		size_t bytes;

		near.out_sequence = 0;
		bytes = make(record, RECORD_CONSOLE, body, (u32)(random_u64() % 101));
		for (u64 n = random_u64() % 4; n; n--)
			record[random_u64() % bytes] = (u8)random_u64();
		if (random_u64() % 2)
			seal_again(record, bytes);
		near.pipe->ops->put(near.pipe, record, random_u64() % (bytes + 1));
		stream_init(&reader, far.pipe, rules, body, 64);
		while (stream_read(&reader) == 0 && reader.bulk_left == 0)
			;
		far.pipe->ops->consume(far.pipe, fake_pipe_readable(far.pipe));
	}
}

static void test_text(unused void **state)
{
	char text[8];

	stream_text(text, sizeof(text), "a\033[2J\nbcdef", 11);
	assert_string_equal(text, "a?[2J?b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip_in_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kept_bodies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_room_for_a_page, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_bit_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replayed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown_mandatory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown_optional, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_known_but_optional, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_optional_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown_flags, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_length, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_expected_here, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_padding, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_text, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("migrate_stream", tests, NULL, NULL);
}
