/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The learning switch between the real NIC, the guests' NICs and the host's own lwIP. Service CPU.
 *
 * It owns the table of addresses. Those of ports on this machine are pinned: a frame that claims one of
 * them elsewhere teaches nothing, and is dropped if a guest sent it. Everything else is learned from the
 * frames' sources, forgotten after five minutes, and flooded when unknown. A guest that moved away is
 * learned at the uplink as soon as its port is gone here.
 */
#include "net/port.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/string.h"
#include "net/segment.h"

#define HASH_BUCKETS 256
#define HASH_WAYS 4
#define AGE_MAX_NS (300 * NS_PER_S)
#define PINS_MAX NET_PORTS_MAX
#define ANNOUNCEMENTS_MAX 16
#define ANNOUNCEMENT_REPEATS 5
#define ANNOUNCEMENT_GAP_NS (50 * NS_PER_MS) /* then three times that, and so on */
#define ETHERNET_HEADER_BYTES 14
#define RARP_FRAME_BYTES 60

struct learned {
	u64 mac; /* 0: free */
	struct net_port *port;
	u64 seen_ns;
};

struct pin {
	u64 mac;
	struct net_port *port;
};

struct announcement {
	struct net_port *port; /* NULL: free */
	u8 mac[6];
	u32 left;
	u64 gap_ns, due_ns;
};

static struct net_port *ports[NET_PORTS_MAX];
static u32 port_count;
static struct learned table[HASH_BUCKETS][HASH_WAYS];
static struct pin pins[PINS_MAX];
static u32 pin_count;
static struct announcement announcements[ANNOUNCEMENTS_MAX];
/* Where a frame is changed for a port that does not take it as it is; busy while that port has it. */
static u8 scratch[NET_FRAME_MAX] aligned(16);
static bool scratch_busy;

static u64 mac_value(const u8 *mac)
{
	u64 value = 0;

	memcpy(&value, mac, 6);
	return value;
}

/* The group bit is the first one on the wire: bit 0 of the first byte. */
static bool is_group(u64 mac)
{
	return mac & 1;
}

/* --- addresses --------------------------------------------------------------------------------------------------- */

static struct learned *bucket_of(u64 mac)
{
	return table[(mac * 0x9e3779b97f4a7c15ull) >> 56];
}

static struct pin *pin_find(u64 mac)
{
	for (u32 i = 0; i < pin_count; i++)
		if (pins[i].mac == mac)
			return &pins[i];
	return NULL;
}

static void forget(u64 mac)
{
	struct learned *bucket = bucket_of(mac);

	for (u32 i = 0; i < HASH_WAYS; i++)
		if (bucket[i].mac == mac)
			bucket[i].mac = 0;
}

/* move: take the address over from the port that has it (a guest that moves within this host). */
static void pin_add(struct net_port *port, u64 mac, bool move)
{
	struct pin *pin = pin_find(mac);

	if (!mac || is_group(mac) || (pin && !move))
		return;
	if (!pin) {
		if (pin_count == PINS_MAX)
			return;
		pin = &pins[pin_count++];
	}
	pin->mac = mac;
	pin->port = port;
	forget(mac);
}

static void learn(struct net_port *port, u64 mac)
{
	struct learned *bucket = bucket_of(mac);
	struct learned *best = &bucket[0];

	for (u32 i = 0; i < HASH_WAYS; i++) {
		struct learned *entry = &bucket[i];

		if (entry->mac == mac) {
			best = entry;
			break;
		}
		/* Else a free one, else the one that was silent for longest. */
		if (best->mac && (!entry->mac || entry->seen_ns < best->seen_ns))
			best = entry;
	}
	best->mac = mac;
	best->port = port;
	best->seen_ns = time_ns();
}

static struct net_port *lookup(u64 mac)
{
	struct pin *pin = pin_find(mac);
	struct learned *bucket = bucket_of(mac);

	if (pin)
		return pin->port;
	for (u32 i = 0; i < HASH_WAYS; i++)
		if (bucket[i].mac == mac)
			return time_ns() - bucket[i].seen_ns < AGE_MAX_NS ? bucket[i].port : NULL;
	return NULL;
}

/* --- delivery ---------------------------------------------------------------------------------------------------- */

static bool hand_over(struct net_port *port, const struct net_frame *frame)
{
	if (!(frame->flags & NET_GSO_TCP4) && frame->bytes > port->mtu + (u32)NET_FRAME_OVERHEAD) {
		port->dropped++;
		return true; /* another try would be no better */
	}
	if (!port->deliver(port, frame)) {
		port->dropped++;
		return false;
	}
	port->tx_frames++;
	port->tx_bytes += frame->bytes;
	return true;
}

/* Frame is in scratch already, or is copied there. */
static bool hand_over_completed(struct net_port *port, const struct net_frame *frame)
{
	struct net_frame complete = *frame;

	if (frame->data != scratch)
		memcpy(scratch, frame->data, frame->bytes);
	net_checksum_complete(scratch, frame->bytes, frame->csum_start, frame->csum_offset);
	complete.data = scratch;
	complete.keep = NULL;
	complete.flags = (u16)((frame->flags & ~NET_CSUM_PARTIAL) | NET_CSUM_VALID);
	return hand_over(port, &complete);
}

static bool hand_over_piece(struct net_port *port, const struct net_frame *piece)
{
	return port->caps & NET_CAP_CSUM ? hand_over(port, piece) : hand_over_completed(port, piece);
}

/*
 * A port without room for all pieces gets the others when the frame is offered again: cut anew each time, a card
 * whose ring is full would get its beginning over and over, and seldom its end.
 */
static bool hand_over_segments(struct net_port *from, struct net_port *port, const struct net_frame *frame)
{
	struct segmenter segmenter;
	struct net_frame piece;
	u64 which;
	u32 done;

	if (segment_start(&segmenter, frame) != 0) {
		port->dropped++;
		return true; /* another try would be no better */
	}
	which = segment_ports_and_sequence(&segmenter);
	if (from->interrupted.to == port && from->interrupted.ports_and_sequence == which)
		segment_skip(&segmenter, from->interrupted.done);
	from->interrupted.to = NULL;
	for (done = segmenter.done; segment_next(&segmenter, scratch, &piece); done = segmenter.done) {
		if (hand_over_piece(port, &piece))
			continue;
		from->interrupted.to = port;
		from->interrupted.ports_and_sequence = which;
		from->interrupted.done = done;
		return false;
	}
	return true;
}

static bool deliver(struct net_port *from, struct net_port *port, const struct net_frame *frame)
{
	bool cut = (frame->flags & NET_GSO_TCP4) && !(port->caps & NET_CAP_GSO);
	bool complete = (frame->flags & NET_CSUM_PARTIAL) && !(port->caps & NET_CAP_CSUM);
	bool delivered;

	if (!cut && !complete)
		return hand_over(port, frame);
	if (scratch_busy) {
		port->dropped++;
		return false;
	}
	scratch_busy = true;
	if (cut)
		delivered = hand_over_segments(from, port, frame);
	else
		delivered = hand_over_completed(port, frame);
	scratch_busy = false;
	return delivered;
}

static void flood(struct net_port *from, const struct net_frame *frame)
{
	for (u32 i = 0; i < port_count; i++)
		if (ports[i] != from)
			(void)deliver(from, ports[i], frame);
}

static bool frame_is_sane(const struct net_frame *frame)
{
	if (frame->bytes < ETHERNET_HEADER_BYTES || frame->bytes > NET_FRAME_MAX)
		return false;
	if (!(frame->flags & NET_CSUM_PARTIAL))
		return true;
	return (u32)frame->csum_start + frame->csum_offset + 2 <= frame->bytes;
}

bool net_switch_input(struct net_port *port, const struct net_frame *frame)
{
	u64 source, destination;
	struct net_port *to;
	struct pin *pin;

	if (!frame_is_sane(frame)) {
		port->dropped++;
		return true;
	}
	port->rx_frames++;
	port->rx_bytes += frame->bytes;
	destination = mac_value(frame->data);
	source = mac_value(frame->data + 6);
	pin = pin_find(source);
	if (pin && pin->port != port && !port->uplink) {
		port->dropped++;
		return true;
	}
	if (!pin && source && !is_group(source))
		learn(port, source);
	if (is_group(destination)) {
		flood(port, frame);
		return true;
	}
	to = lookup(destination);
	if (to == port)
		return true;
	if (to)
		return deliver(port, to, frame);
	flood(port, frame);
	return true;
}

/* --- ports ------------------------------------------------------------------------------------------------------- */

int net_switch_add(struct net_port *port)
{
	if (port_count == NET_PORTS_MAX)
		return -E_NOMEM;
	for (u32 i = 0; i < port_count; i++)
		if (ports[i] == port)
			return -E_EXIST;
	ports[port_count++] = port;
	pin_add(port, mac_value(port->mac), false);
	return 0;
}

static void forget_port(const struct net_port *port)
{
	for (u32 i = 0; i < HASH_BUCKETS; i++)
		for (u32 way = 0; way < HASH_WAYS; way++)
			if (table[i][way].port == port)
				table[i][way] = (struct learned){ 0 };
	for (u32 i = 0; i < pin_count;) {
		if (pins[i].port == port)
			pins[i] = pins[--pin_count];
		else
			i++;
	}
	for (u32 i = 0; i < ANNOUNCEMENTS_MAX; i++)
		if (announcements[i].port == port)
			announcements[i].port = NULL;
}

void net_switch_remove(struct net_port *port)
{
	for (u32 i = 0; i < port_count; i++) {
		if (ports[i] != port)
			continue;
		ports[i] = ports[--port_count];
		forget_port(port);
		break;
	}
	/* Another port of this host may have waited for the address (a guest that moved to localhost). */
	for (u32 i = 0; i < port_count; i++)
		pin_add(ports[i], mac_value(ports[i]->mac), false);
}

struct net_port *net_switch_port(u32 index)
{
	return index < port_count ? ports[index] : NULL;
}

/* --- announcements ----------------------------------------------------------------------------------------------- */

/*
 * A RARP request to all (RFC 903): whoever switches frames learns where the address is now. The guest's IP
 * addresses are not needed for that: its neighbours know them already.
 */
static void announce_once(struct net_port *port, const u8 mac[6])
{
	static const u8 rarp[] = {
		0x80, 0x35,             /* ethertype */
		0, 1, 0x08, 0, 6, 4,    /* Ethernet, IPv4, lengths of their addresses */
		0, 3,                   /* reverse request */
	};
	u8 data[RARP_FRAME_BYTES] = { 0 };
	struct net_frame frame = { .data = data, .bytes = sizeof(data) };

	memset(data, 0xff, 6);
	memcpy(data + 6, mac, 6);
	memcpy(data + 12, rarp, sizeof(rarp));
	memcpy(data + 22, mac, 6);
	memcpy(data + 32, mac, 6);
	flood(port, &frame);
}

void net_switch_announce(struct net_port *port, const u8 mac[6])
{
	struct announcement *slot = &announcements[0];

	pin_add(port, mac_value(mac), true);
	announce_once(port, mac);
	for (u32 i = 0; i < ANNOUNCEMENTS_MAX; i++) {
		struct announcement *a = &announcements[i];

		if (a->port && memcmp(a->mac, mac, 6) == 0) {
			slot = a;
			break;
		}
		if (slot->port && !a->port)
			slot = a;
	}
	slot->port = port;
	memcpy(slot->mac, mac, 6);
	slot->left = ANNOUNCEMENT_REPEATS - 1;
	slot->gap_ns = ANNOUNCEMENT_GAP_NS;
	slot->due_ns = time_ns() + slot->gap_ns;
}

void net_switch_poll(void)
{
	for (u32 i = 0; i < ANNOUNCEMENTS_MAX; i++) {
		struct announcement *a = &announcements[i];

		if (!a->port || time_ns() < a->due_ns)
			continue;
		announce_once(a->port, a->mac);
		a->gap_ns *= 3;
		a->due_ns += a->gap_ns;
		if (--a->left == 0)
			a->port = NULL;
	}
}

u64 net_switch_next_deadline(void)
{
	u64 next = 0;

	for (u32 i = 0; i < ANNOUNCEMENTS_MAX; i++)
		if (announcements[i].port && (!next || announcements[i].due_ns < next))
			next = announcements[i].due_ns;
	return next;
}
