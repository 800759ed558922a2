/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of guests and of the segment through the switch: checksums to be completed, large segments to be cut, with
 * headers and offsets that say what they like.
 */
#include "fuzz.h"

#include "errors.h"
#include "fake/fake_cpu.h"
#include "net/port.h"

#define PORTS 4

static struct {
	struct net_port port;
	u32 room;
} ports[PORTS];
static u32 segments;

static bool deliver(struct net_port *port, const struct net_frame *frame)
{
	u32 index = (u32)(uintptr_t)port->ctx;
	u8 sum = 0;

	assert_true(frame->bytes <= (frame->flags & NET_GSO_TCP4 ? NET_FRAME_MAX : port->mtu + NET_FRAME_OVERHEAD));
	assert_false(frame->flags & NET_GSO_TCP4 && !(port->caps & NET_CAP_GSO));
	assert_false(frame->flags & NET_CSUM_PARTIAL && !(port->caps & NET_CAP_CSUM));
	for (u32 i = 0; i < frame->bytes; i++)
		sum ^= ((const volatile u8 *)frame->data)[i];
	if (ports[index].room) {
		ports[index].room--;
		return false;
	}
	segments++;
	return sum != 1;
}

void fuzz_start(void)
{
}

/* A TCP segment over IPv4, of which the input may change everything. */
static u32 compose(struct fuzz *in, u8 *data, u32 max)
{
	static const u8 headers[54] = { 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1,
					10, 0, 0, 2, 0x1f, 0x42, 0x1f, 0x42, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0 };
	u32 bytes = (u32)fuzz_take(in, 2) % max;
	u32 changes = (u32)fuzz_take(in, 1) % 8;

	bytes = MAX(bytes, 14u);
	memset(data, 0x55, bytes);
	memcpy(data, headers, MIN(bytes, (u32)sizeof(headers)));
	if (bytes >= 18) {
		data[16] = (u8)((bytes - 14) >> 8);
		data[17] = (u8)(bytes - 14);
	}
	data[5] = (u8)fuzz_take(in, 1) % 8;
	data[11] = (u8)fuzz_take(in, 1) % 8;
	while (changes--) {
		u32 at = (u32)fuzz_take(in, 1) % MIN(bytes, 64u);

		data[at] = (u8)fuzz_take(in, 1);
	}
	return bytes;
}

static void frame(struct fuzz *in)
{
	static const u16 sizes[] = { 1460, 536, 1, 0, 100, 9000, 0xffff };
	u32 from = (u32)fuzz_take(in, 1) % PORTS;
	u8 flags = (u8)fuzz_take(in, 1);
	u32 max = flags & 8 ? NET_FRAME_MAX : ports[from].port.mtu + NET_FRAME_OVERHEAD;
	u8 *data = malloc(max);
	u8 *exact;
	struct net_frame f = { 0 };

	f.bytes = compose(in, data, max);
	f.flags = flags & 7;
	if (flags & 8)
		f.flags |= NET_GSO_TCP4 | NET_CSUM_PARTIAL;
	else if (f.bytes > ports[from].port.mtu + NET_FRAME_OVERHEAD)
		f.bytes = ports[from].port.mtu + NET_FRAME_OVERHEAD;
	/* As virtio-net and the NICs' drivers check them before: inside of the frame. */
	f.csum_start = flags & 16 ? (u16)fuzz_take(in, 2) : 34;
	f.csum_offset = flags & 32 ? (u16)fuzz_take(in, 2) : 16;
	f.gso_size = sizes[fuzz_take(in, 1) % ARRAY_SIZE(sizes)];
	f.gso_header_bytes = flags & 64 ? (u16)fuzz_take(in, 2) : 54;
	exact = malloc(f.bytes);
	memcpy(exact, data, f.bytes);
	f.data = exact;
	segments = 0;
	net_switch_input(&ports[from].port, &f);
	if (segments > 2 * PORTS)
		fuzz_reached();
	free(exact);
	free(data);
}

void fuzz_one(struct fuzz *in)
{
	u8 caps = (u8)fuzz_take(in, 1);

	fake_cpu_reset();
	for (u32 i = 0; i < PORTS; i++) {
		ports[i].port = (struct net_port){ .name = "port", .deliver = deliver, .caps = caps >> 2 * i & 3, .mtu = 1500,
						   .uplink = i == 0, .ctx = (void *)(uintptr_t)i };
		ports[i].room = 0;
		if (i == 1)
			ports[i].port.mac[5] = 1;
		assert_int_equal(net_switch_add(&ports[i].port), 0);
	}
	for (u32 i = 0; i < 20 && in->left; i++) {
		u8 what = (u8)fuzz_take(in, 1);

		if (what < 16)
			ports[what % PORTS].room = (u32)fuzz_take(in, 1) % 8;
		else if (what < 24)
			fake_time_advance(fuzz_take(in, 5));
		else
			frame(in);
		net_switch_poll();
	}
	for (u32 i = 0; i < PORTS; i++)
		net_switch_remove(&ports[i].port);
}
