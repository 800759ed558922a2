/* SPDX-License-Identifier: Apache-2.0 */
/* The learning switch: who gets which frame, what is learned, pinned, forgotten and announced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "net/checksum.h"
#include "net/port.h"

#define FRAME_BYTES 64

struct seen {
	struct net_port port;
	u32 frames;
	bool full;
	u32 room; /* if it is not full: for so many frames, 0 for any number */
	u8 data[FRAME_BYTES * 40];
	u32 bytes;
	u16 flags;
};

static struct seen uplink, web, db, host;
static const u8 mac_web[6] = { 0x52, 0x54, 0, 0, 0, 1 };
static const u8 mac_db[6] = { 0x52, 0x54, 0, 0, 0, 2 };
static const u8 mac_far[6] = { 0x52, 0x54, 0, 0, 0, 9 };
static const u8 mac_all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static bool deliver(struct net_port *port, const struct net_frame *frame)
{
	struct seen *s = container_of(port, struct seen, port);

	if (s->full || (s->room && s->frames == s->room))
		return false;
	s->frames++;
	s->bytes = frame->bytes;
	s->flags = frame->flags;
	memcpy(s->data, frame->data, MIN(frame->bytes, (u32)sizeof(s->data)));
	return true;
}

static void add(struct seen *s, const char *name, const u8 *mac, u32 caps, bool is_uplink)
{
	memset(s, 0, sizeof(*s));
	s->port = (struct net_port){ .name = name, .deliver = deliver, .caps = caps, .mtu = 1500, .uplink = is_uplink };
	if (mac)
		memcpy(s->port.mac, mac, 6);
	assert_int_equal(net_switch_add(&s->port), 0);
}

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	add(&uplink, "nic", NULL, NET_CAP_CSUM, true);
	add(&web, "web", mac_web, NET_CAP_CSUM, false);
	add(&db, "db", mac_db, 0, false);
	add(&host, "host", NULL, NET_CAP_CSUM | NET_CAP_GSO, false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_switch_remove(&uplink.port);
	net_switch_remove(&web.port);
	net_switch_remove(&db.port);
	net_switch_remove(&host.port);
	return net_switch_port(0) ? -1 : 0;
}

static bool send(struct seen *from, const u8 *to, const u8 *source)
{
	u8 data[FRAME_BYTES] = { 0 };
	struct net_frame frame = { .data = data, .bytes = sizeof(data) };

	memcpy(data, to, 6);
	memcpy(data + 6, source, 6);
	return net_switch_input(&from->port, &frame);
}

static void expect_frames(u32 at_uplink, u32 at_web, u32 at_db, u32 at_host)
{
	assert_int_equal(uplink.frames, at_uplink);
	assert_int_equal(web.frames, at_web);
	assert_int_equal(db.frames, at_db);
	assert_int_equal(host.frames, at_host);
}

static void unknown_is_flooded_known_is_not(void **state)
{
	(void)state;
	send(&web, mac_far, mac_web);
	expect_frames(1, 0, 1, 1);
	send(&uplink, mac_web, mac_far);
	expect_frames(1, 1, 1, 1);
	/* learned at the uplink now */
	send(&web, mac_far, mac_web);
	expect_frames(2, 1, 1, 1);
	send(&web, mac_all, mac_web);
	expect_frames(3, 1, 2, 2);
}

static void no_hairpin(void **state)
{
	(void)state;
	send(&uplink, mac_all, mac_far);
	expect_frames(0, 1, 1, 1);
	send(&uplink, mac_far, mac_far);
	expect_frames(0, 1, 1, 1);
}

static void groups_are_never_learned(void **state)
{
	static const u8 group[6] = { 0x53, 0x54, 0, 0, 0, 7 };

	(void)state;
	send(&uplink, mac_web, group);
	send(&web, group, mac_web);
	/* flooded as any group */
	expect_frames(1, 1, 1, 1);
}

static void old_entries_are_forgotten(void **state)
{
	(void)state;
	send(&uplink, mac_web, mac_far);
	fake_time_advance(299 * NS_PER_S);
	send(&web, mac_far, mac_web);
	expect_frames(1, 1, 0, 0);
	fake_time_advance(2 * NS_PER_S);
	send(&web, mac_far, mac_web);
	expect_frames(2, 1, 1, 1);
}

static void a_pinned_address_can_not_be_stolen(void **state)
{
	(void)state;
	/* from the wire: delivered, not learned */
	send(&uplink, mac_db, mac_web);
	expect_frames(0, 0, 1, 0);
	send(&db, mac_web, mac_db);
	expect_frames(0, 1, 1, 0);
	/* by a guest: dropped */
	send(&db, mac_web, mac_web);
	send(&db, mac_far, mac_web);
	expect_frames(0, 1, 1, 0);
	assert_int_equal(db.port.dropped, 2);
}

static void a_guest_that_left_is_learned_at_the_uplink(void **state)
{
	(void)state;
	net_switch_remove(&web.port);
	send(&uplink, mac_all, mac_web);
	expect_frames(0, 0, 1, 1);
	send(&db, mac_web, mac_db);
	expect_frames(1, 0, 1, 1);
	assert_int_equal(net_switch_add(&web.port), 0);
	send(&db, mac_web, mac_db);
	expect_frames(1, 1, 1, 1);
}

/* A guest that moves to localhost has two ports for a while; the new one gets the address with the announcement. */
static void the_address_moves_with_the_announcement(void **state)
{
	struct seen second;

	(void)state;
	add(&second, "web", mac_web, 0, false);
	send(&db, mac_web, mac_db);
	expect_frames(0, 1, 0, 0);
	net_switch_announce(&second.port, mac_web);
	send(&db, mac_web, mac_db);
	assert_int_equal(second.frames, 1);
	/* it came to nothing: the first has it again */
	net_switch_remove(&second.port);
	web.frames = 0;
	send(&db, mac_web, mac_db);
	assert_int_equal(web.frames, 1);
}

static void announcements_are_repeated(void **state)
{
	static const u8 rarp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3, 0x52, 0x54, 0, 0, 0, 1 };
	u32 polls = 0;

	(void)state;
	net_switch_announce(&web.port, mac_web);
	assert_int_equal(uplink.frames, 1);
	assert_memory_equal(uplink.data, mac_all, 6);
	assert_memory_equal(uplink.data + 6, mac_web, 6);
	assert_memory_equal(uplink.data + 12, rarp, sizeof(rarp));
	assert_memory_equal(uplink.data + 32, mac_web, 6);
	for (u64 next; (next = net_switch_next_deadline()); polls++) {
		assert_true(next > time_ns());
		net_switch_poll();
		fake_time_set(next);
		net_switch_poll();
	}
	assert_int_equal(polls, 4);
	assert_int_equal(uplink.frames, 5);
	assert_int_equal(web.frames, 0);
	/* who leaves is not announced any more */
	net_switch_announce(&web.port, mac_web);
	net_switch_remove(&web.port);
	assert_int_equal(net_switch_next_deadline(), 0);
	assert_int_equal(net_switch_add(&web.port), 0);
}

static void many_addresses_do_not_break_the_table(void **state)
{
	(void)state;
	for (u32 i = 0; i < 5000; i++) {
		u8 mac[6] = { 0x02, 0, 0, (u8)(i >> 16), (u8)(i >> 8), (u8)i };

		fake_time_advance(1);
		send(&uplink, mac_web, mac);
		send(&web, mac, mac_web);
		assert_int_equal(uplink.frames, i + 1);
	}
	expect_frames(5000, 5000, 0, 0);
}

static void no_room_is_said_and_counted(void **state)
{
	(void)state;
	web.full = true;
	assert_false(send(&db, mac_web, mac_db));
	assert_int_equal(web.port.dropped, 1);
	assert_true(send(&db, mac_all, mac_db));
	assert_int_equal(web.port.dropped, 2);
	web.full = false;
	assert_true(send(&db, mac_web, mac_db));
}

static void rubbish_is_dropped(void **state)
{
	u8 data[FRAME_BYTES] = { 0 };
	struct net_frame frame = { .data = data, .bytes = 13 };

	(void)state;
	assert_true(net_switch_input(&web.port, &frame));
	frame.bytes = NET_FRAME_MAX + 1;
	assert_true(net_switch_input(&web.port, &frame));
	frame = (struct net_frame){
		.data = data, .bytes = FRAME_BYTES, .flags = NET_CSUM_PARTIAL, .csum_start = 60, .csum_offset = 3,
	};
	assert_true(net_switch_input(&web.port, &frame));
	frame = (struct net_frame){
		.data = data, .bytes = FRAME_BYTES, .flags = NET_CSUM_PARTIAL, .csum_start = 0xffff, .csum_offset = 0xffff,
	};
	assert_true(net_switch_input(&web.port, &frame));
	assert_int_equal(web.port.dropped, 4);
	expect_frames(0, 0, 0, 0);
}

/* A UDP-like frame whose checksum field at 40 holds the pseudo-header's sum. */
static void partial_frame(u8 *data, struct net_frame *frame, const u8 *to)
{
	memset(data, 0, FRAME_BYTES);
	memcpy(data, to, 6);
	memcpy(data + 6, mac_web, 6);
	for (u32 i = 34; i < FRAME_BYTES; i++)
		data[i] = (u8)(i * 37);
	data[40] = 0x12;
	data[41] = 0x34;
	*frame = (struct net_frame){
		.data = data, .bytes = FRAME_BYTES, .flags = NET_CSUM_PARTIAL, .csum_start = 34, .csum_offset = 6,
	};
}

static void checksums_are_completed_where_needed(void **state)
{
	u8 data[FRAME_BYTES], copy[FRAME_BYTES];
	struct net_frame frame;
	u16 sum;

	(void)state;
	partial_frame(data, &frame, mac_all);
	memcpy(copy, data, sizeof(data));
	assert_true(net_switch_input(&web.port, &frame));
	expect_frames(1, 0, 1, 1);
	/* who can do it himself got it as it was, and nobody changed the original */
	assert_memory_equal(data, copy, sizeof(data));
	assert_memory_equal(uplink.data, copy, sizeof(copy));
	assert_int_equal(uplink.flags, NET_CSUM_PARTIAL);
	assert_int_equal(db.flags, NET_CSUM_VALID);
	/* the sum over all of it, with what stood in the field added, is minus zero */
	sum = checksum_add(0, db.data + 34, FRAME_BYTES - 34);
	assert_int_equal(checksum_add(sum, copy + 40, 2), 0xffff);
}

#define SEGMENT_HEADERS (14 + 20 + 20)

/* A TCP segment of web's to db, to be cut into pieces of 100 bytes. */
static void large_frame(u8 *data, struct net_frame *frame, u32 payload, u8 sequence)
{
	memset(data, 0, SEGMENT_HEADERS + payload);
	memcpy(data, mac_db, 6);
	memcpy(data + 6, mac_web, 6);
	data[12] = 0x08;
	data[14] = 0x45;
	data[16] = (u8)((40 + payload) >> 8);
	data[17] = (u8)(40 + payload);
	data[23] = 6;
	data[41] = sequence;
	data[46] = 0x50;
	for (u32 i = 0; i < payload; i++)
		data[SEGMENT_HEADERS + i] = (u8)(i / 100);
	*frame = (struct net_frame){
		.data = data, .bytes = SEGMENT_HEADERS + payload, .flags = NET_CSUM_PARTIAL | NET_GSO_TCP4,
		.csum_start = 34, .csum_offset = 16, .gso_size = 100,
	};
}

static void a_cut_segment_goes_on_where_there_was_no_room(void **state)
{
	u8 data[SEGMENT_HEADERS + 1000], other[SEGMENT_HEADERS + 1000];
	struct net_frame frame, another;

	(void)state;
	large_frame(data, &frame, 1000, 1);
	large_frame(other, &another, 1000, 2);
	db.room = 3;
	assert_false(net_switch_input(&web.port, &frame));
	assert_int_equal(db.frames, 3);
	/* still none; and nothing twice */
	assert_false(net_switch_input(&web.port, &frame));
	assert_int_equal(db.frames, 3);
	db.room = 7;
	assert_false(net_switch_input(&web.port, &frame));
	assert_int_equal(db.frames, 7);
	assert_int_equal(db.data[SEGMENT_HEADERS], 6);
	db.room = 0;
	assert_true(net_switch_input(&web.port, &frame));
	assert_int_equal(db.frames, 10);
	assert_int_equal(db.data[SEGMENT_HEADERS], 9);
	/* Its sender gave up: the next segment is another one, and goes whole. */
	db.room = 13;
	assert_false(net_switch_input(&web.port, &frame));
	db.room = 0;
	assert_true(net_switch_input(&web.port, &another));
	assert_int_equal(db.frames, 23);
}

static void a_frame_too_long_for_a_port_is_not_tried_again(void **state)
{
	u8 data[1520] = { 0 };
	struct net_frame frame = { .data = data, .bytes = 1500 + NET_FRAME_OVERHEAD };

	(void)state;
	memcpy(data, mac_db, 6);
	memcpy(data + 6, mac_web, 6);
	assert_true(net_switch_input(&web.port, &frame));
	expect_frames(0, 0, 1, 0);
	frame.bytes++;
	assert_true(net_switch_input(&web.port, &frame));
	expect_frames(0, 0, 1, 0);
	assert_int_equal(db.port.dropped, 1);
}

static void ports_are_bounded(void **state)
{
	static struct net_port many[NET_PORTS_MAX];
	u32 added = 0;

	(void)state;
	assert_int_equal(net_switch_add(&web.port), -E_EXIST);
	for (u32 i = 0; i < NET_PORTS_MAX; i++) {
		many[i] = (struct net_port){ .name = "x", .deliver = deliver };
		if (net_switch_add(&many[i]) == 0)
			added++;
	}
	assert_int_equal(added, NET_PORTS_MAX - 4);
	for (u32 i = 0; i < NET_PORTS_MAX; i++)
		net_switch_remove(&many[i]);
	expect_frames(0, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unknown_is_flooded_known_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(no_hairpin, setup, teardown),
		cmocka_unit_test_setup_teardown(groups_are_never_learned, setup, teardown),
		cmocka_unit_test_setup_teardown(old_entries_are_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pinned_address_can_not_be_stolen, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guest_that_left_is_learned_at_the_uplink, setup, teardown),
		cmocka_unit_test_setup_teardown(the_address_moves_with_the_announcement, setup, teardown),
		cmocka_unit_test_setup_teardown(announcements_are_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(many_addresses_do_not_break_the_table, setup, teardown),
		cmocka_unit_test_setup_teardown(no_room_is_said_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(rubbish_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(checksums_are_completed_where_needed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_segment_goes_on_where_there_was_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(a_frame_too_long_for_a_port_is_not_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(ports_are_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
