/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network card and its source of entropy, driven as Linux drives them, and as an attacker would. */
#include "virtio_bed.h"

#include "devices/virtio_net.h"
#include "devices/virtio_net_private.h"
#include "devices/virtio_rng.h"

#define NET_SLOT 1
#define RNG_SLOT 2
#define SIZE 16
#define BUFFER(n) (BUFFER_BASE + (n) * 0x10000ull)
#define CONTROL_BUFFER 0x60000ull

#define FEATURES                                                                                              \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 |     \
	 NET_F_HOST_TSO4 | NET_F_MRG_RXBUF | NET_F_STATUS | NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_MAC | NET_F_MTU | \
	 NET_F_GUEST_ANNOUNCE | NET_F_CTRL_MAC_ADDR)

struct header {
	u8 flags, gso_type;
	u16 header_bytes, gso_size, csum_start, csum_offset, buffers;
};

static const u8 own[6] = { 0x52, 0x54, 0, 0, 0, 1 };
static const u8 other[6] = { 0x52, 0x54, 0, 0, 0, 2 };

/* --- a switch that writes down --------------------------------------------------------------------------------- */

static struct {
	struct net_port *ports[4];
	u32 count;
	u8 data[NET_FRAME_MAX];
	struct net_frame frame;
	u32 frames;
	u32 refuse;             /* so many frames find no room */
	u32 announced;
	struct net_port *to;    /* if set: deliver there, as between two guests */
	const struct driver *reset_meanwhile;
} sw;

int net_switch_add(struct net_port *port)
{
	if (sw.count == ARRAY_SIZE(sw.ports))
		return -E_NOMEM;
	sw.ports[sw.count++] = port;
	return 0;
}

void net_switch_remove(struct net_port *port)
{
	for (u32 i = 0; i < sw.count; i++)
		if (sw.ports[i] == port)
			sw.ports[i] = sw.ports[--sw.count];
}

bool net_switch_input(struct net_port *port, const struct net_frame *frame)
{
	(void)port;
	assert_true(frame->bytes <= NET_FRAME_MAX);
	if (sw.reset_meanwhile)
		driver_set_status(sw.reset_meanwhile, 0);
	if (sw.refuse) {
		sw.refuse--;
		return false;
	}
	memcpy(sw.data, frame->data, frame->bytes);
	sw.frame = *frame;
	sw.frame.data = sw.data;
	sw.frames++;
	return sw.to ? sw.to->deliver(sw.to, frame) : true;
}

void net_switch_announce(struct net_port *port, const u8 mac[6])
{
	struct virtio_net *net = port->ctx;

	assert_int_equal(net->virtio.dev.vm->lock.held, 0);
	assert_memory_equal(mac, own, 6);
	sw.announced++;
}

/* --- the guest ------------------------------------------------------------------------------------------------- */

static struct vm *vm;
static struct driver net;

static struct vm *net_vm(const char *name, const u8 mac[6])
{
	struct vm *guest = bed_vm(name);

	memcpy(guest->config.vif[0].mac, mac, 6);
	guest->config.vif_count = 1;
	assert_int_equal(virtio_net_create(guest, 0), 0);
	assert_int_equal(virtio_rng_create(guest), 0);
	return guest;
}

static int setup(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	memset(&sw, 0, sizeof(sw));
	fake_cpu_reset();
	fake_time_set(NS_PER_S);
	vm = net_vm("web", own);
	driver_find(&net, vm, NET_SLOT);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bed_vm_fini(vm);
	assert_int_equal(sw.count, 0);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void start(u64 features)
{
	driver_start(&net, features, 3, SIZE);
	driver_msix(&net, 4);
	bed_service(vm);
}

static void frame_fill(u8 *frame, const u8 *to, const u8 *from, u32 bytes)
{
	for (u32 i = 0; i < bytes; i++)
		frame[i] = (u8)(i * 7);
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
}

/* Header and frame in two descriptors, as Linux does. */
static void send(const struct header *header, const u8 *frame, u32 bytes)
{
	guest_write(vm, BUFFER(0), header, sizeof(*header));
	guest_write(vm, BUFFER(1), frame, bytes);
	ring_descriptor(&net, NET_TX, 0, BUFFER(0), sizeof(*header), D_NEXT, 1);
	ring_descriptor(&net, NET_TX, 1, BUFFER(1), bytes, 0, 0);
	ring_offer(&net, NET_TX, 0);
	ring_kick(&net, NET_TX);
	bed_service(vm);
}

static bool sent(void)
{
	u32 id, bytes;

	return ring_take(&net, NET_TX, &id, &bytes) && id == 0 && bytes == 0;
}

/* Buffers for receiving: descriptor n is BUFFER(n). */
static void post(u32 first, u32 count, u32 bytes)
{
	for (u32 i = first; i < first + count; i++) {
		ring_descriptor(&net, NET_RX, i, BUFFER(i), bytes, D_WRITE, 0);
		ring_offer(&net, NET_RX, (u16)i);
	}
}

static bool deliver(const u8 *data, u32 bytes)
{
	struct net_frame frame = { .data = data, .bytes = bytes };

	return sw.ports[0]->deliver(sw.ports[0], &frame);
}

static u8 control(u8 class, u8 command, const void *data, u32 bytes)
{
	u8 ack = 0xff;
	u8 header[2] = { class, command };
	u32 id, length;

	guest_write(vm, CONTROL_BUFFER, header, 2);
	guest_write(vm, CONTROL_BUFFER + 0x100, data, bytes);
	guest_write(vm, CONTROL_BUFFER + 0x2000, &ack, 1);
	ring_descriptor(&net, NET_CONTROL, 0, CONTROL_BUFFER, 2, D_NEXT, 1);
	ring_descriptor(&net, NET_CONTROL, 1, CONTROL_BUFFER + 0x100, bytes, D_NEXT, 2);
	ring_descriptor(&net, NET_CONTROL, 2, CONTROL_BUFFER + 0x2000, 1, D_WRITE, 0);
	ring_offer(&net, NET_CONTROL, 0);
	ring_kick(&net, NET_CONTROL);
	bed_service(vm);
	assert_true(ring_take(&net, NET_CONTROL, &id, &length));
	assert_int_equal(length, 1);
	guest_read(vm, CONTROL_BUFFER + 0x2000, &ack, 1);
	return ack;
}

/* --- features and set-up --------------------------------------------------------------------------------------- */

static void test_negotiation(void **state)
{
	u64 offered = driver_offered(&net);

	(void)state;
	assert_int_equal(ecam_read(vm, NET_SLOT, 0, 4), 0x10411af4);
	assert_int_equal(ecam_read(vm, NET_SLOT, 0x0a, 2), 0x0200);
	assert_true((offered & FEATURES) == FEATURES);
	assert_int_equal(mmio_read(&net, net.common + 0x12, 2), 3);
	for (u32 i = 0; i < 6; i++)
		assert_int_equal(mmio_read(&net, net.device + i, 1), own[i]);
	assert_int_equal(mmio_read(&net, net.device + 6, 2), 1);
	assert_int_equal(mmio_read(&net, net.device + 8, 2), 1);
	assert_int_equal(mmio_read(&net, net.device + 10, 2), 1500);
	assert_int_equal(mmio_read(&net, net.device + 12, 4), 0);
	/* Without VERSION_1, or with what was not offered: refused. */
	driver_set_status(&net, 3);
	driver_set_status(&net, 3 | VIRTIO_FEATURES_OK);
	assert_int_equal(driver_status(&net), 3);
	mmio_write(&net, net.common + 8, 4, 1);
	mmio_write(&net, net.common + 12, 4, 0xffffffff);
	driver_set_status(&net, 3 | VIRTIO_FEATURES_OK);
	assert_int_equal(driver_status(&net), 3);
	driver_set_status(&net, 3 | VIRTIO_DRIVER_OK);
	assert_int_equal(driver_status(&net), 3);
	mmio_write(&net, net.common + 12, 4, 1);
	driver_set_status(&net, 3 | VIRTIO_FEATURES_OK);
	assert_int_equal(driver_status(&net), 3 | VIRTIO_FEATURES_OK);
	/* Features are fixed now. */
	mmio_write(&net, net.common + 12, 4, 3);
	assert_int_equal(mmio_read(&net, net.common + 12, 4), 1);
	driver_set_status(&net, 0);
	assert_int_equal(driver_status(&net), 0);
	assert_int_equal(mmio_read(&net, net.common + 12, 4), 0);
}

static void test_bad_queue(void **state)
{
	(void)state;
	driver_set_status(&net, 3);
	mmio_write(&net, net.common + 8, 4, 1);
	mmio_write(&net, net.common + 12, 4, 1);
	driver_set_status(&net, 11);
	/* A queue that does not exist. */
	mmio_write(&net, net.common + 0x16, 2, 3);
	assert_int_equal(mmio_read(&net, net.common + 0x18, 2), 0);
	mmio_write(&net, net.common + 0x1c, 2, 1);
	assert_int_equal(mmio_read(&net, net.common + 0x1c, 2), 0);
	/* Rings outside of memory. */
	mmio_write(&net, net.common + 0x16, 2, 0);
	assert_int_equal(mmio_read(&net, net.common + 0x18, 2), 256);
	mmio_write(&net, net.common + 0x20, 8, GIB(2));
	mmio_write(&net, net.common + 0x1c, 2, 1);
	assert_int_equal(mmio_read(&net, net.common + 0x1c, 2), 0);
	assert_int_equal(driver_status(&net), 11 | VIRTIO_NEEDS_RESET);
	/* A driver cannot wish it away. */
	driver_set_status(&net, 15);
	assert_int_equal(driver_status(&net), 15 | VIRTIO_NEEDS_RESET);
	start(FEATURES);
	assert_int_equal(driver_status(&net), 15);
	/* A vector that does not exist becomes none. */
	mmio_write(&net, net.common + 0x1a, 2, 4);
	assert_int_equal(mmio_read(&net, net.common + 0x1a, 2), 0xffff);
	mmio_write(&net, net.common + 0x10, 2, 100);
	assert_int_equal(mmio_read(&net, net.common + 0x10, 2), 0xffff);
}

/* --- sending --------------------------------------------------------------------------------------------------- */

static void test_send(void **state)
{
	struct header header = { 0 };
	u8 frame[1514];

	(void)state;
	start(FEATURES);
	frame_fill(frame, other, own, sizeof(frame));
	send(&header, frame, sizeof(frame));
	assert_int_equal(sw.frames, 1);
	assert_int_equal(sw.frame.bytes, sizeof(frame));
	assert_int_equal(sw.frame.flags, 0);
	assert_memory_equal(sw.data, frame, sizeof(frame));
	assert_true(sent());
	assert_int_equal(bed.msis, 1);
	assert_int_equal(bed.msi[0].data, 0x40 + NET_TX);
	/* A checksum to fill in. */
	header = (struct header){ .flags = 1, .csum_start = 34, .csum_offset = 16 };
	send(&header, frame, 100);
	assert_int_equal(sw.frame.flags, NET_CSUM_PARTIAL);
	assert_int_equal(sw.frame.csum_start, 34);
	assert_int_equal(sw.frame.csum_offset, 16);
	/* A large one. */
	header = (struct header){ .flags = 1, .gso_type = 1, .header_bytes = 54, .gso_size = 1448, .csum_start = 34,
				  .csum_offset = 16 };
	send(&header, frame, sizeof(frame));
	assert_int_equal(sw.frame.flags, NET_CSUM_PARTIAL | NET_GSO_TCP4);
	assert_int_equal(sw.frame.gso_size, 1448);
	assert_int_equal(sw.frames, 3);
}

/* The largest: 64 KiB in 17 descriptors of an indirect table. */
static void test_send_large(void **state)
{
	struct header header = { .flags = 1, .gso_type = 1, .gso_size = 1448, .csum_start = 34, .csum_offset = 16 };
	const u32 total = NET_FRAME_MAX;
	struct test_descriptor table[SIZE];
	u8 *frame = malloc(total);
	u32 at = 0;

	(void)state;
	start(FEATURES);
	frame_fill(frame, other, own, total);
	guest_write(vm, BUFFER(0), &header, sizeof(header));
	guest_write(vm, BUFFER(1), frame, total);
	table[0] = (struct test_descriptor){ BUFFER(0), sizeof(header), D_NEXT, 1 };
	for (u32 i = 1; i < SIZE; i++) {
		u32 piece = i < SIZE - 1 ? 4400 : total - at;

		table[i] = (struct test_descriptor){ BUFFER(1) + at, piece, i < SIZE - 1 ? D_NEXT : 0, (u16)(i + 1) };
		at += piece;
	}
	guest_write(vm, BUFFER(4), table, sizeof(table));
	ring_descriptor(&net, NET_TX, 0, BUFFER(4), sizeof(table), D_INDIRECT, 0);
	ring_offer(&net, NET_TX, 0);
	ring_kick(&net, NET_TX);
	bed_service(vm);
	assert_int_equal(sw.frames, 1);
	assert_int_equal(sw.frame.bytes, total);
	assert_memory_equal(sw.data, frame, total);
	assert_true(sent());
	free(frame);
}

/* What may not be sent is dropped, and the buffers come back all the same. */
static void test_send_dropped(void **state)
{
	const struct header bad[] = {
		{ .flags = 1, .csum_start = 34, .csum_offset = 1480 },       /* beyond the end */
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 2, .csum_offset = 2 },           /* in the addresses */
		{ .gso_type = 1, .gso_size = 1448 },                         /* no checksum */
		{ .flags = 1, .gso_type = 1, .csum_start = 34, .csum_offset = 16 }, /* no size */
		{ .flags = 1, .gso_type = 4, .gso_size = 1448, .csum_start = 34, .csum_offset = 16 }, /* TCPv6 */
		{ .flags = 1, .gso_type = 0x81, .gso_size = 1448, .csum_start = 34, .csum_offset = 16 }, /* ECN */
	};
	struct header good = { 0 };
	u8 frame[2000];

	(void)state;
	start(FEATURES);
	frame_fill(frame, other, own, sizeof(frame));
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		send(&bad[i], frame, 1514);
		assert_true(sent());
		assert_int_equal(sw.ports[0]->dropped, i + 1);
	}
	send(&good, frame, 1519); /* longer than the MTU allows */
	send(&good, frame, 13);
	assert_true(sent() && sent());
	frame_fill(frame, own, other, 100); /* somebody else's address */
	send(&good, frame, 100);
	memcpy(frame + 6, "\xff\xff\xff\xff\xff\xff", 6);
	send(&good, frame, 100);
	assert_true(sent() && sent());
	assert_int_equal(sw.frames, 0);
	assert_int_equal(sw.ports[0]->dropped, ARRAY_SIZE(bad) + 4);
	assert_int_equal(driver_status(&net), 15);
	/* Features that were not negotiated. */
	start(VIRTIO_F_VERSION_1);
	frame_fill(frame, other, own, 100);
	good = (struct header){ .flags = 1, .csum_start = 34, .csum_offset = 16 };
	send(&good, frame, 100);
	assert_int_equal(sw.frames, 0);
}

static void test_send_many(void **state)
{
	struct header header = { 0 };
	u8 frame[60];

	(void)state;
	start(FEATURES | VIRTIO_F_EVENT_IDX);
	frame_fill(frame, other, own, sizeof(frame));
	for (u32 i = 0; i < 70000; i++) {
		frame[20] = (u8)i;
		/* The driver wants to hear of every tenth. */
		guest_set_u16(vm, net.ring[NET_TX].avail + 4 + 2 * SIZE, (u16)(i / 10 * 10 + 9));
		send(&header, frame, sizeof(frame));
		assert_int_equal(sw.data[20], (u8)i);
		assert_true(sent());
	}
	assert_int_equal(sw.frames, 70000);
	assert_in_range(bed.msis, 7000, 7001);
}

/* No room at the receiver: the frame waits in the ring, but not for ever. */
static void test_send_waits(void **state)
{
	struct header header = { 0 };
	u8 frame[60];

	(void)state;
	start(FEATURES);
	frame_fill(frame, other, own, sizeof(frame));
	sw.refuse = 5;
	send(&header, frame, sizeof(frame));
	assert_int_equal(sw.refuse, 0);
	assert_int_equal(sw.frames, 1);
	assert_true(sent());
	assert_int_equal(sw.ports[0]->dropped, 0);
	sw.refuse = 1000000;
	guest_write(vm, BUFFER(0), &header, sizeof(header));
	guest_write(vm, BUFFER(1), frame, sizeof(frame));
	ring_offer(&net, NET_TX, 0);
	ring_kick(&net, NET_TX);
	for (u32 i = 0; i < 10; i++) {
		struct device *dev = device_find(vm, DEVICE_VIRTIO_NET, 0);

		assert_int_equal(guest_u16(vm, net.ring[NET_TX].used + 2), 1);
		spin_lock(&vm->lock);
		assert_true(dev->ops->service(dev));
		spin_unlock(&vm->lock);
		fake_time_advance(100 * NS_PER_US);
	}
	bed_service(vm);
	assert_int_equal(guest_u16(vm, net.ring[NET_TX].used + 2), 2);
	assert_int_equal(sw.frames, 1);
}

/* The driver resets the device while its frame is with the switch. */
static void test_reset_meanwhile(void **state)
{
	struct header header = { 0 };
	u8 frame[60];

	(void)state;
	start(FEATURES);
	frame_fill(frame, other, own, sizeof(frame));
	sw.reset_meanwhile = &net;
	send(&header, frame, sizeof(frame));
	assert_int_equal(sw.frames, 1);
	assert_false(sent());
	assert_int_equal(driver_status(&net), 0);
	assert_int_equal(bed.msis, 0);
	sw.reset_meanwhile = NULL;
	start(FEATURES);
	send(&header, frame, sizeof(frame));
	assert_true(sent());
}

/* --- receiving ------------------------------------------------------------------------------------------------- */

static void test_receive(void **state)
{
	struct net_frame frame = { .bytes = 200 };
	struct header header;
	u8 data[200], got[200];
	u32 id, bytes;

	(void)state;
	frame_fill(data, own, other, sizeof(data));
	frame.data = data;
	/* Not there yet: swallowed, counted. */
	assert_true(deliver(data, sizeof(data)));
	assert_int_equal(sw.ports[0]->dropped, 1);
	assert_int_equal(sw.ports[0]->caps, 0);
	start(FEATURES);
	assert_int_equal(sw.ports[0]->caps, NET_CAP_CSUM | NET_CAP_GSO);
	assert_false(deliver(data, sizeof(data)));
	post(0, 2, 2048);
	assert_true(deliver(data, sizeof(data)));
	assert_true(ring_take(&net, NET_RX, &id, &bytes));
	assert_int_equal(bytes, 212);
	guest_read(vm, BUFFER(0), &header, sizeof(header));
	guest_read(vm, BUFFER(0) + 12, got, sizeof(got));
	assert_memory_equal(got, data, sizeof(data));
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.buffers, 1);
	assert_int_equal(bed.msis, 1);
	assert_int_equal(bed.msi[0].data, 0x40);
	frame.flags = NET_CSUM_PARTIAL | NET_GSO_TCP4;
	frame.csum_start = 34;
	frame.csum_offset = 16;
	frame.gso_size = 1448;
	frame.gso_header_bytes = 66;
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	guest_read(vm, BUFFER(1), &header, sizeof(header));
	assert_int_equal(header.flags, 1);
	assert_int_equal(header.gso_type, 1);
	assert_int_equal(header.gso_size, 1448);
	assert_int_equal(header.header_bytes, 66);
	assert_int_equal(header.csum_start, 34);
	post(2, 1, 2048);
	frame.flags = NET_CSUM_VALID;
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	guest_read(vm, BUFFER(2), &header, sizeof(header));
	assert_int_equal(header.flags, 2);
	/* A driver that takes none of it. */
	start(VIRTIO_F_VERSION_1);
	assert_int_equal(sw.ports[0]->caps, 0);
	post(0, 2, 2048);
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	guest_read(vm, BUFFER(0), &header, sizeof(header));
	assert_int_equal(header.flags, 0);
	frame.flags = NET_CSUM_PARTIAL;
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	assert_int_equal(guest_u16(vm, net.ring[NET_RX].used + 2), 1);
}

/* Merged buffers; and a frame that finds too few leaves them where they are. */
static void test_receive_merged(void **state)
{
	const u32 total = 9000;
	u8 *data = malloc(total);
	struct net_frame frame = { .data = data, .bytes = total, .flags = NET_CSUM_PARTIAL | NET_GSO_TCP4, .gso_size = 1448,
				   .csum_start = 34, .csum_offset = 16 };
	struct header header;
	u32 id, bytes;
	u32 at = 0;

	(void)state;
	start(FEATURES);
	frame_fill(data, own, other, total);
	post(0, 4, 2000);
	assert_false(sw.ports[0]->deliver(sw.ports[0], &frame));
	assert_int_equal(guest_u16(vm, net.ring[NET_RX].used + 2), 0);
	post(4, 1, 2000);
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	guest_read(vm, BUFFER(0), &header, sizeof(header));
	assert_int_equal(header.buffers, 5);
	for (u32 i = 0; i < 5; i++) {
		u8 got[2000];
		u32 skip = i ? 0 : 12;

		assert_true(ring_take(&net, NET_RX, &id, &bytes));
		assert_int_equal(id, i);
		guest_read(vm, BUFFER(i) + skip, got, bytes - skip);
		assert_memory_equal(got, data + at, bytes - skip);
		at += bytes - skip;
	}
	assert_int_equal(at, total);
	assert_false(ring_take(&net, NET_RX, &id, &bytes));
	/* Without merging one chain has to hold it all. */
	start(FEATURES & ~NET_F_MRG_RXBUF);
	post(0, 5, 2000);
	assert_false(sw.ports[0]->deliver(sw.ports[0], &frame));
	assert_int_equal(guest_u16(vm, net.ring[NET_RX].used + 2), 0);
	/* More than 14 + MTU without being a large segment. */
	frame.flags = 0;
	assert_true(sw.ports[0]->deliver(sw.ports[0], &frame));
	assert_int_equal(guest_u16(vm, net.ring[NET_RX].used + 2), 0);
	free(data);
}

static void test_receive_malformed(void **state)
{
	u8 data[100];

	(void)state;
	frame_fill(data, own, other, sizeof(data));
	start(FEATURES);
	ring_descriptor(&net, NET_RX, 0, BUFFER(0), 2048, 0, 0);
	ring_offer(&net, NET_RX, 0);
	assert_true(deliver(data, sizeof(data)));
	assert_int_equal(driver_status(&net), 15 | VIRTIO_NEEDS_RESET);
	/* The driver is told, once. */
	assert_int_equal(bed.msis, 1);
	assert_int_equal(bed.msi[0].data, 0x43);
	assert_true(deliver(data, sizeof(data)));
	start(FEATURES);
	assert_int_equal(driver_status(&net), 15);
	post(0, 1, 4);
	assert_true(deliver(data, sizeof(data)));
	assert_int_equal(driver_status(&net), 15 | VIRTIO_NEEDS_RESET);
	for (u32 i = 0; i < 20; i++) {
		start(FEATURES);
		ring_offer(&net, NET_TX, SIZE);
		ring_kick(&net, NET_TX);
		bed_service(vm);
		assert_int_equal(driver_status(&net), 15 | VIRTIO_NEEDS_RESET);
	}
}

static bool received(void)
{
	u32 id, bytes;

	if (!ring_take(&net, NET_RX, &id, &bytes))
		return false;
	ring_offer(&net, NET_RX, (u16)id);
	return true;
}

static bool receives(const char *to)
{
	u8 data[60];

	frame_fill(data, (const u8 *)to, other, sizeof(data));
	assert_true(deliver(data, sizeof(data)));
	return received();
}

static void test_control(void **state)
{
	u8 table[4 + 6 + 4 + 40 * 6] = { 1 };

	(void)state;
	start(FEATURES);
	post(0, 4, 2048);
	assert_true(receives("\x52\x54\0\0\0\x09"));
	assert_int_equal(control(0, 0, "\0", 1), 0); /* not promiscuous */
	assert_int_equal(control(0, 1, "\0", 1), 0);
	assert_false(receives("\x52\x54\0\0\0\x09"));
	assert_true(receives("\x52\x54\0\0\0\x01"));
	assert_true(receives("\xff\xff\xff\xff\xff\xff"));
	assert_false(receives("\x01\0\x5e\0\0\x01"));
	table[10] = 2;
	memcpy(table + 14, "\x33\x33\0\0\0\x01\x01\0\x5e\0\0\x01", 12);
	assert_int_equal(control(1, 0, table, 26), 0);
	assert_true(receives("\x01\0\x5e\0\0\x01"));
	assert_false(receives("\x01\0\x5e\0\0\x02"));
	assert_int_equal(control(1, 0, table, 25), 1); /* cut short */
	table[10] = 40;
	assert_int_equal(control(1, 0, table, sizeof(table)), 0);
	assert_true(receives("\x01\0\x5e\0\0\x02"));
	table[3] = 0xff;
	assert_int_equal(control(1, 0, table, sizeof(table)), 1);
	/* The address stays what it is. */
	assert_int_equal(control(1, 1, own, 6), 0);
	assert_int_equal(control(1, 1, other, 6), 1);
	assert_int_equal(control(1, 1, own, 5), 1);
	assert_int_equal(control(0, 2, "\1", 1), 1);
	assert_int_equal(control(2, 0, "\1", 1), 1);
	assert_int_equal(control(3, 1, "\1", 1), 1);
	assert_int_equal(control(255, 255, "\1", 1), 1);
	assert_int_equal(driver_status(&net), 15);
	/* No room for the answer. */
	ring_descriptor(&net, NET_CONTROL, 0, CONTROL_BUFFER, 2, 0, 0);
	ring_offer(&net, NET_CONTROL, 0);
	ring_kick(&net, NET_CONTROL);
	bed_service(vm);
	assert_int_equal(driver_status(&net), 15 | VIRTIO_NEEDS_RESET);
}

/* --- interrupt lines ------------------------------------------------------------------------------------------- */

static void test_intx(void **state)
{
	u8 data[60];

	(void)state;
	driver_start(&net, FEATURES, 3, SIZE);
	frame_fill(data, own, other, sizeof(data));
	post(0, 4, 2048);
	assert_true(deliver(data, sizeof(data)));
	assert_true(bed.line[17]);
	assert_int_equal(mmio_read(&net, net.isr, 1), 1);
	assert_false(bed.line[17]);
	assert_int_equal(mmio_read(&net, net.isr, 1), 0);
	guest_set_u16(vm, net.ring[NET_RX].avail, 1);
	assert_true(deliver(data, sizeof(data)));
	assert_false(bed.line[17]);
	/* Switching MSI-X on silences the line. */
	guest_set_u16(vm, net.ring[NET_RX].avail, 0);
	assert_true(deliver(data, sizeof(data)));
	assert_true(bed.line[17]);
	driver_msix(&net, 4);
	assert_false(bed.line[17]);
	assert_int_equal(bed.msis, 0);
}

/* --- moving ---------------------------------------------------------------------------------------------------- */

static void test_move(void **state)
{
	struct header header = { 0 };
	u8 data[200];
	struct vm *peer;

	(void)state;
	start(FEATURES | VIRTIO_F_EVENT_IDX);
	post(0, 4, 2048);
	frame_fill(data, own, other, sizeof(data));
	assert_true(deliver(data, sizeof(data)));
	assert_int_equal(control(0, 0, "\0", 1), 0);
	frame_fill(data, other, own, sizeof(data));
	send(&header, data, sizeof(data));
	assert_true(sent());
	/* A frame offered, its doorbell rung, but not served before the pause. */
	ring_offer(&net, NET_TX, 0);
	ring_kick(&net, NET_TX);
	peer = net_vm("web", own);
	bed_move(vm, peer);
	/* Paused: nothing goes out or in. */
	bed_service(vm);
	assert_int_equal(sw.frames, 1);
	frame_fill(data, own, other, sizeof(data));
	assert_true(deliver(data, sizeof(data)));
	assert_int_equal(guest_u16(vm, net.ring[NET_RX].used + 2), 1);
	assert_int_equal(sw.announced, 0);
	bed_vm_fini(vm);
	vm = peer;
	net.vm = peer;
	bed.msis = 0;
	bed_resume(vm);
	bed_service(vm);
	assert_int_equal(sw.announced, 1);
	assert_int_equal(sw.frames, 2);
	/* The driver is asked to announce itself; it says when it has. */
	assert_int_equal(mmio_read(&net, net.device + 6, 2), 3);
	assert_true(bed.msis >= 1 && bed.msi[0].data == 0x43 && bed.msi[0].vm == peer);
	assert_true(sent());
	assert_int_equal(control(3, 0, "", 0), 0);
	assert_int_equal(mmio_read(&net, net.device + 6, 2), 1);
	assert_true(received());
	assert_true(deliver(data, sizeof(data)));
	assert_true(received());
	assert_false(receives("\x52\x54\0\0\0\x09"));
	/* A pause without a move announces nothing. */
	bed_pause(vm);
	bed_resume(vm);
	bed_service(vm);
	assert_int_equal(sw.announced, 1);
}

static void test_state_refused(void **state)
{
	struct device *dev = device_find(vm, DEVICE_VIRTIO_NET, 0);
	struct virtio_net_state saved, bad;

	(void)state;
	start(FEATURES);
	device_save(dev, &saved);
	assert_int_equal(device_check(dev, &saved, sizeof(saved)), 0);
#define REFUSED(change)                                                                \
	do {                                                                           \
		bad = saved;                                                           \
		change;                                                                \
		assert_int_equal(device_check(dev, &bad, sizeof(bad)), -E_INVAL);   \
	} while (0)
	REFUSED(bad.mac[5]++);
	REFUSED(bad.status = 0);
	REFUSED(bad.status = 5);
	REFUSED(bad.promiscuous = 2);
	REFUSED(bad.multicast_count = 33);
	REFUSED(bad.reserved[0] = 1);
	REFUSED(bad.virtio.accepted |= BIT(63));
	REFUSED(bad.virtio.accepted &= ~VIRTIO_F_VERSION_1);
	REFUSED(bad.virtio.status |= 16);
	REFUSED(bad.virtio.status &= (u8)~VIRTIO_FEATURES_OK);
	REFUSED(bad.virtio.config_vector = 4);
	REFUSED(bad.virtio.isr = 4);
	REFUSED(bad.virtio.queue_count = 2);
	REFUSED(bad.virtio.queue[0].vector = 4);
	REFUSED(bad.virtio.queue[2].used = BED_MEMORY);
	REFUSED(bad.virtio.pci.config[0]++);
	REFUSED(bad.virtio.pci.config[PCI_BAR0] = 4);
	REFUSED(bad.virtio.pci.msix_pending = 16);
	REFUSED(bad.virtio.pci.msix[0].address = 1);
	REFUSED(bad.virtio.pci.msix[0].control = 2);
	REFUSED(bad.virtio.pci.intx_asserted = 2);
}

/* A state with any bits changed that passes the check does no harm, whatever it makes the device do. */
static void test_state_random(void **state)
{
	struct device *dev = device_find(vm, DEVICE_VIRTIO_NET, 0);
	struct virtio_net_state saved, bad;
	u64 seed = 31337;
	u8 data[300];
	u32 taken = 0;

	(void)state;
	start(FEATURES);
	post(0, 8, 2048);
	frame_fill(data, own, other, sizeof(data));
	device_save(dev, &saved);
	for (u32 i = 0; i < 30000; i++) {
		bad = saved;
		for (u32 n = 0; n <= i % 4; n++) {
			u64 r = bed_random(&seed);
			/* Mostly behind the table of vectors, which takes anything. */
			u32 from = r & 0x10000000000 ? 0 : (u32)offsetof(struct virtio_net_state, virtio.accepted);

			((u8 *)&bad)[from + (r & 0xffff) % (sizeof(bad) - from)] ^= (u8)(1u << (r >> 32) % 8);
		}
		if (device_check(dev, &bad, sizeof(bad)))
			continue;
		taken++;
		bed_pause(vm);
		device_load(dev, &bad);
		bed_resume(vm);
		(void)deliver(data, sizeof(data));
		bed_service(vm);
		bed_pause(vm);
		device_save(dev, &bad);
		assert_int_equal(device_check(dev, &bad, sizeof(bad)), 0);
	}
	assert_true(taken > 3000);
	device_load(dev, &saved);
	bed_resume(vm);
	bed_service(vm);
}

/* --- two guests, and everything at random ---------------------------------------------------------------------- */

static void test_two_guests(void **state)
{
	struct vm *peer_vm = net_vm("db", other);
	struct header header = { 0 };
	struct driver peer;
	u8 frame[500], got[500];
	u32 id, bytes;

	(void)state;
	start(FEATURES);
	driver_find(&peer, peer_vm, NET_SLOT);
	driver_start(&peer, FEATURES, 3, SIZE);
	bed_service(peer_vm);
	ring_descriptor(&peer, NET_RX, 0, BUFFER(0), 2048, D_WRITE, 0);
	ring_offer(&peer, NET_RX, 0);
	sw.to = sw.ports[1];
	frame_fill(frame, other, own, sizeof(frame));
	send(&header, frame, sizeof(frame));
	assert_true(sent());
	assert_true(ring_take(&peer, NET_RX, &id, &bytes));
	guest_read(peer_vm, BUFFER(0) + 12, got, sizeof(got));
	assert_memory_equal(got, frame, sizeof(frame));
	/* To itself: no lock is held twice. */
	sw.to = sw.ports[0];
	post(0, 1, 2048);
	send(&header, frame, sizeof(frame));
	assert_true(sent());
	bed_vm_fini(peer_vm);
}

static void random_ring(u64 *seed, u32 queue)
{
	u64 r = bed_random(seed);
	u8 whole[26] = { 0 };

	/* A header and the addresses of a frame that may be sent. */
	memcpy(whole + 12, other, 6);
	memcpy(whole + 18, own, 6);
	guest_write(vm, BUFFER(0), whole, sizeof(whole));
	for (u32 i = 0; i < 2; i++) {
		u64 address = bed_random(seed) & 1 ? BUFFER(0) : bed_random(seed) % (BED_MEMORY + 0x800);

		ring_descriptor(&net, queue, (r >> 4) % SIZE, address, (u32)(bed_random(seed) % 3000),
				(r & 2) ? (r >> 12) & 7 : 0,
				(u16)((r >> 16) % SIZE));
	}
	if (r & 1)
		ring_offer(&net, queue, (u16)((r & 4 ? r >> 24 : r >> 4) % SIZE));
	ring_kick(&net, queue);
}

static void random_register(u64 *seed)
{
	u64 r = bed_random(seed);
	u64 value = bed_random(seed);

	if ((r & 0xff) < 2)
		driver_set_status(&net, (u8)value);
	else if ((r & 0xff) < 20)
		mmio_write(&net, net.common + (r >> 8) % 0x40, 1u << (r >> 16) % 4, value);
	else if ((r & 0xff) < 40)
		(void)mmio_read(&net, net.common + (r >> 8) % 0x4000, 1u << (r >> 16) % 4);
	else if ((r & 0xff) < 44)
		ecam_write(vm, NET_SLOT, (r >> 8) & 0xfc, 4, (u32)value);
}

static void test_random(void **state)
{
	u64 seed = 4711;
	u8 data[1514];
	u32 moves = 0;

	(void)state;
	frame_fill(data, own, other, sizeof(data));
	start(FEATURES | VIRTIO_F_EVENT_IDX);
	for (u32 round = 0; round < 60000; round++) {
		u64 r = bed_random(&seed);

		random_ring(&seed, (u32)(r % 3));
		random_register(&seed);
		if (r & 0x100)
			(void)deliver(data, 14 + (r >> 16) % 1500);
		bed_service(vm);
		if (round % 3000 == 2999) {
			struct vm *peer = net_vm("web", own);

			/* net_switch_add() put the peer behind; it moves up when the source goes. */
			bed_move(vm, peer);
			bed_vm_fini(vm);
			vm = peer;
			net.vm = peer;
			bed_resume(vm);
			bed_service(vm);
			moves++;
		}
		if (round % 50 == 49 || (r % 7 == 0 && (driver_status(&net) & VIRTIO_NEEDS_RESET))) {
			ecam_write(vm, NET_SLOT, PCI_COMMAND, 2, 0);
			ecam_write(vm, NET_SLOT, PCI_BAR0, 4, 0xc0000000);
			ecam_write(vm, NET_SLOT, PCI_BAR0 + 4, 4, 0xc0004000);
			ecam_write(vm, NET_SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
			driver_find(&net, vm, NET_SLOT);
			start(FEATURES | (r & 0x200 ? VIRTIO_F_EVENT_IDX : 0));
		}
	}
	assert_int_equal(moves, 20);
	assert_in_range(sw.frames, 100, 10000000);
}

/* --- entropy --------------------------------------------------------------------------------------------------- */

static void test_rng(void **state)
{
	struct driver rng;
	u8 first[256], second[256], zero[256] = { 0 };
	u32 id, bytes;

	(void)state;
	driver_find(&rng, vm, RNG_SLOT);
	assert_int_equal(ecam_read(vm, RNG_SLOT, 0, 4), 0x10441af4);
	driver_start(&rng, VIRTIO_F_VERSION_1, 1, SIZE);
	for (u32 i = 0; i < SIZE; i++) {
		ring_descriptor(&rng, 0, i, BUFFER(i), i ? 256 : 64, D_WRITE, 0);
		ring_offer(&rng, 0, (u16)i);
	}
	ring_kick(&rng, 0);
	bed_service(vm);
	assert_true(ring_take(&rng, 0, &id, &bytes));
	assert_int_equal(bytes, 64);
	guest_read(vm, BUFFER(0), first, 256);
	assert_memory_not_equal(first, zero, 64);
	assert_memory_equal(first + 64, zero, 192);
	for (u32 i = 1; i < SIZE; i++) {
		assert_true(ring_take(&rng, 0, &id, &bytes));
		assert_int_equal(bytes, 256);
		guest_read(vm, BUFFER(i), second, 256);
		assert_memory_not_equal(first, second, 256);
		memcpy(first, second, 256);
	}
	/* A huge buffer gets a piece; a readable one is a mistake. */
	ring_descriptor(&rng, 0, 0, BUFFER(0), MIB(1), D_WRITE, 0);
	ring_offer(&rng, 0, 0);
	ring_kick(&rng, 0);
	bed_service(vm);
	assert_true(ring_take(&rng, 0, &id, &bytes));
	assert_int_equal(bytes, 256);
	ring_descriptor(&rng, 0, 0, BUFFER(0), 64, 0, 0);
	ring_offer(&rng, 0, 0);
	ring_kick(&rng, 0);
	bed_service(vm);
	assert_int_equal(driver_status(&rng), 15 | VIRTIO_NEEDS_RESET);
}

static void test_no_memory(void **state)
{
	struct vm *peer = bed_vm("db");

	(void)state;
	peer->config.vif_count = 1;
	fake_pages_fail_after(0);
	assert_int_equal(virtio_net_create(peer, 0), -E_NOMEM);
	fake_pages_fail_after(~0ull);
	sw.count = ARRAY_SIZE(sw.ports);
	assert_int_equal(virtio_net_create(peer, 0), -E_NOMEM);
	sw.count = 1;
	assert_null(device_find(peer, DEVICE_VIRTIO_NET, 0));
	bed_vm_fini(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_negotiation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rng, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
