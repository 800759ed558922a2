/* SPDX-License-Identifier: Apache-2.0 */
/* Rings, bitmaps and CRC-32C, each against something obvious. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bitmap.h"
#include "lib/crc.h"
#include "lib/ring.h"

static void test_fifo(void **state)
{
	u8 data[16];
	struct ring r;
	u8 out[32];
	u8 next_in = 0;
	u8 next_out = 0;

	(void)state;
	ring_init(&r, data, sizeof(data));
	srand(1);
	for (int i = 0; i < 5000; i++) {
		u8 in[20];
		size_t n = (size_t)rand() % sizeof(in);
		size_t room = ring_room(&r);

		for (size_t k = 0; k < n; k++)
			in[k] = (u8)(next_in + k);
		assert_int_equal(ring_put(&r, in, n), MIN(n, room));
		next_in = (u8)(next_in + MIN(n, room));
		n = ring_get(&r, out, (size_t)rand() % sizeof(out));
		for (size_t k = 0; k < n; k++)
			assert_int_equal(out[k], next_out++);
		assert_int_equal(ring_used(&r), (u8)(next_in - next_out));
	}
}

static void test_scroll_back(void **state)
{
	u8 data[8];
	struct ring r;
	u64 pos = 0;
	u8 out[16];

	(void)state;
	ring_init(&r, data, sizeof(data));
	ring_push(&r, "abcdef", 6);
	assert_int_equal(ring_peek(&r, &pos, out, 3), 3);
	assert_memory_equal(out, "abc", 3);
	ring_push(&r, "ghijklm", 7);
	assert_int_equal(ring_peek(&r, &pos, out, sizeof(out)), 8);
	assert_memory_equal(out, "fghijklm", 8);
	assert_int_equal(pos, 13);
	ring_push(&r, "0123456789ABCDEFGHIJ", 20);
	assert_int_equal(r.head, 33);
	pos = 1000;
	assert_int_equal(ring_peek(&r, &pos, out, sizeof(out)), 8);
	assert_memory_equal(out, "CDEFGHIJ", 8);
}

static void test_bitmaps(void **state)
{
	u64 map[4] = { 0 };

	(void)state;
	for (u64 bits = 0; bits <= 256; bits += 31) {
		memset(map, 0, sizeof(map));
		assert_int_equal(bitmap_next(map, bits, 0), bits);
		memset(map, 0xff, sizeof(map));
		assert_int_equal(bitmap_count(map, bits), bits);
		assert_int_equal(bitmap_next(map, bits, bits), bits);
		assert_int_equal(bitmap_next(map, bits, bits + 100), bits);
	}
	memset(map, 0, sizeof(map));
	bitmap_set(map, 3);
	bitmap_set_atomic(map, 64);
	bitmap_set_atomic(map, 64);
	bitmap_set(map, 255);
	assert_int_equal(bitmap_next(map, 256, 0), 3);
	assert_int_equal(bitmap_next(map, 256, 3), 3);
	assert_int_equal(bitmap_next(map, 256, 4), 64);
	assert_int_equal(bitmap_next(map, 256, 65), 255);
	assert_int_equal(bitmap_next(map, 255, 65), 255);
	assert_int_equal(bitmap_next(map, 200, 65), 200);
	assert_int_equal(bitmap_count(map, 255), 2);
	bitmap_clear(map, 64);
	assert_false(bitmap_test(map, 64));
	assert_int_equal(bitmap_count(map, 256), 2);
}

static u32 crc_by_bits(const u8 *p, size_t n)
{
	u32 crc = ~0u;

	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		for (int b = 0; b < 8; b++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* RFC 3720 B.4. */
static void test_crc_vectors(void **state)
{
	u8 buf[32];

	(void)state;
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		buf[i] = (u8)i;
	assert_int_equal(crc32c(0, buf, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
}

static void test_crc_pieces(void **state)
{
	u8 buf[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		buf[i] = (u8)(i * 31);
	for (size_t cut = 0; cut <= 100; cut++) {
		assert_int_equal(crc32c(crc32c(0, buf, cut), buf + cut, 100 - cut), crc_by_bits(buf, 100));
		assert_int_equal(crc32c(0, buf + cut, 100 - cut), crc_by_bits(buf + cut, 100 - cut));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fifo),    cmocka_unit_test(test_scroll_back),
		cmocka_unit_test(test_bitmaps), cmocka_unit_test(test_crc_vectors),
		cmocka_unit_test(test_crc_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
