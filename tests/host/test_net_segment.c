/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums, and segmentation in software: the pieces are put together again and compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "net/checksum.h"
#include "net/segment.h"

static u8 whole[NET_FRAME_MAX], piece_data[NET_FRAME_MAX], joined[NET_FRAME_MAX];

/* The textbook's way: 16-bit words in network order. */
static u16 slow_sum(const u8 *data, u32 bytes)
{
	u32 sum = 0;

	for (u32 i = 0; i < bytes; i++)
		sum += i & 1 ? data[i] : (u32)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static void put16(u8 *p, u32 value)
{
	p[0] = (u8)(value >> 8);
	p[1] = (u8)value;
}

static u32 get16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static u32 get32(const u8 *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static struct net_frame make(u32 payload, u32 ip_options, u32 tcp_options, u16 gso_size)
{
	u32 ip_bytes = 20 + ip_options;
	u32 tcp_bytes = 20 + tcp_options;
	u32 bytes = 14 + ip_bytes + tcp_bytes + payload;
	u8 *ip = whole + 14;
	u8 *tcp = ip + ip_bytes;

	for (u32 i = 0; i < bytes; i++)
		whole[i] = (u8)(i * 13 + (i >> 8) * 7);
	put16(whole + 12, 0x0800);
	ip[0] = (u8)(0x40 | ip_bytes / 4);
	put16(ip + 2, bytes - 14);
	put16(ip + 4, 0xfffe);
	ip[9] = 6;
	tcp[12] = (u8)(tcp_bytes / 4 << 4);
	tcp[13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR ACK PSH FIN */
	return (struct net_frame){
		.data = whole,
		.bytes = bytes,
		.flags = NET_CSUM_PARTIAL | NET_GSO_TCP4,
		.csum_start = (u16)(14 + ip_bytes),
		.csum_offset = 16,
		.gso_size = gso_size,
	};
}

static void checksum_is_the_textbooks(void **state)
{
	static u8 data[300];

	(void)state;
	for (u32 i = 0; i < sizeof(data); i++)
		data[i] = (u8)(0xff - i * 11);
	for (u32 offset = 0; offset < 9; offset++)
		for (u32 bytes = 0; bytes < 200; bytes++) {
			u16 sum = checksum_add(0, data + offset, bytes);
			u8 stored[2];

			memcpy(stored, &sum, 2);
			assert_int_equal(get16(stored), slow_sum(data + offset, bytes));
			/* and in two pieces */
			sum = checksum_add(checksum_add(0, data + offset, bytes & ~1u), data + offset + (bytes & ~1u), bytes & 1);
			memcpy(stored, &sum, 2);
			assert_int_equal(get16(stored), slow_sum(data + offset, bytes));
		}
}

static void check_piece(const struct net_frame *piece, u32 index, bool last, u32 done)
{
	const u8 *ip = piece->data + 14;
	u32 ip_bytes = (ip[0] & 15) * 4u;
	const u8 *tcp = ip + ip_bytes;
	u8 flags = 0x10;

	if (index == 0)
		flags |= 0x80;
	if (last)
		flags |= 0x08 | 0x01;
	assert_int_equal(get16(ip + 2), piece->bytes - 14);
	assert_int_equal(get16(ip + 4), (0xfffe + index) & 0xffff);
	assert_int_equal(slow_sum(ip, ip_bytes), 0xffff);
	assert_int_equal(tcp[13], flags);
	assert_int_equal(get32(tcp + 4), get32(whole + 14 + ip_bytes + 4) + done);
	assert_int_equal(piece->flags, NET_CSUM_PARTIAL);
	assert_int_equal(piece->csum_start, 14 + ip_bytes);
	assert_int_equal(piece->csum_offset, 16);
	/* Completed, the TCP checksum with its pseudo-header is right. */
	net_checksum_complete(piece_data, piece->bytes, piece->csum_start, piece->csum_offset);
	assert_int_equal(checksum_add(checksum_pseudo(ip + 12, 6, (u16)(piece->bytes - 14 - ip_bytes)), tcp,
				      piece->bytes - 14 - ip_bytes), 0xffff);
}

static void cut_and_check(u32 payload, u32 ip_options, u32 tcp_options, u16 gso_size)
{
	struct net_frame frame = make(payload, ip_options, tcp_options, gso_size);
	u32 header = 14 + 40 + ip_options + tcp_options;
	struct segmenter s;
	struct net_frame piece;
	u32 done = 0;
	u32 index = 0;

	assert_int_equal(segment_start(&s, &frame), 0);
	while (segment_next(&s, piece_data, &piece)) {
		u32 bytes = piece.bytes - header;

		assert_true(bytes && bytes <= gso_size);
		memcpy(joined + done, piece.data + header, bytes);
		check_piece(&piece, index, done + bytes == payload, done);
		done += bytes;
		index++;
	}
	assert_int_equal(done, payload);
	assert_int_equal(index, DIV_UP(payload, (u32)gso_size));
	assert_memory_equal(joined, whole + header, payload);
}

static void pieces_make_the_whole(void **state)
{
	(void)state;
	cut_and_check(1, 0, 0, 1460);
	cut_and_check(1460, 0, 0, 1460);
	cut_and_check(1461, 0, 0, 1460);
	cut_and_check(64000, 0, 12, 1448);
	cut_and_check(30000, 40, 40, 536);
	cut_and_check(100, 0, 0, 1);
}

static void what_is_no_large_segment_is_refused(void **state)
{
	struct net_frame frame = make(3000, 0, 0, 1460);
	struct segmenter s;

	(void)state;
	whole[12] = 0x86;
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	frame = make(3000, 0, 0, 0);
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	frame = make(0, 0, 0, 1460);
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	frame = make(3000, 0, 0, 1460);
	whole[14 + 9] = 17;
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	frame = make(3000, 0, 0, 1460);
	put16(whole + 16, 3041);
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	/* padding behind the packet is none of it */
	frame = make(3000, 0, 0, 1460);
	put16(whole + 16, 2000);
	assert_int_equal(segment_start(&s, &frame), 0);
	/* nor can a guest have 60,000 pieces made of one frame */
	frame = make(60000, 0, 0, 1);
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
	frame = make(SEGMENT_PIECES_MAX * 50, 0, 0, 50);
	assert_int_equal(segment_start(&s, &frame), 0);
	frame = make(SEGMENT_PIECES_MAX * 50 + 1, 0, 0, 50);
	assert_int_equal(segment_start(&s, &frame), -E_INVAL);
}

/* The same numbers each time. */
static u64 random_number(void)
{
	static u64 seed = 42;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

/* Whatever the headers say, nothing is read or written outside (the sanitizers watch). */
static void random_headers(void **state)
{
	(void)state;
	for (u32 i = 0; i < 20000; i++) {
		struct net_frame frame = make((u32)(random_number() % 4000), 0, 0, (u16)(1 + random_number() % 2000));
		struct net_frame piece;
		struct segmenter s;

		for (u32 n = 0; n < 3; n++)
			whole[12 + random_number() % 42] = (u8)random_number();
		frame.bytes = (u32)(random_number() % (frame.bytes + 1));
		if (segment_start(&s, &frame) == 0)
			while (segment_next(&s, piece_data, &piece))
				assert_true(piece.bytes <= frame.bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_is_the_textbooks),
		cmocka_unit_test(pieces_make_the_whole),
		cmocka_unit_test(what_is_no_large_segment_is_refused),
		cmocka_unit_test(random_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
