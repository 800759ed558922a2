/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the learning switch: the real NIC, the guests' NICs, the host's own lwIP.
 * All on the service CPU. A frame is borrowed: who wants to keep it copies it before returning.
 */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "types.h"

#define NET_FRAME_MAX 65550 /* with segmentation offload; else MTU + 18 */
#define NET_PORTS_MAX 64

enum net_frame_flags {
	NET_CSUM_PARTIAL = 1, /* csum_start/csum_offset: checksum still to be filled in (virtio 1.2 5.1.6.2) */
	NET_CSUM_VALID = 2,   /* checksums were verified */
	NET_GSO_TCP4 = 4,     /* to be cut into gso_size segments; only to ports with NET_CAP_GSO */
};

struct net_frame {
	const u8 *data;
	u32 bytes;
	u16 flags;
	u16 csum_start, csum_offset;
	u16 gso_size, gso_header_bytes;
	/*
	 * Set if a port may keep the frame's memory when it returns from deliver(): after keep(owner) it is left
	 * alone until release(owner), and NET_FRAME_HEADROOM bytes before data are the port's to write. Spares a copy.
	 */
	void (*keep)(void *owner);
	void (*release)(void *owner);
	void *owner;
};
#define NET_FRAME_HEADROOM 12

/* What a port can take as it is; the switch completes checksums for the others. */
enum net_port_caps { NET_CAP_CSUM = 1, NET_CAP_GSO = 2 };

#define NET_FRAME_OVERHEAD 18 /* beyond the MTU: the Ethernet header and a VLAN tag */

struct net_port {
	const char *name;
	/*
	 * Returns false if there was no room (counted as dropped). Must not call the switch. Frames without
	 * NET_GSO_TCP4 have at most mtu + NET_FRAME_OVERHEAD bytes.
	 */
	bool (*deliver)(struct net_port *port, const struct net_frame *frame);
	u32 caps;
	u16 mtu;
	bool uplink; /* the real NIC */
	bool host;   /* this host's own stack */
	u8 mac[6];   /* whose port this is: nobody else can claim the address; zero: nobody's */
	u64 rx_frames, rx_bytes, tx_frames, tx_bytes, dropped; /* as the switch counts them */
	void *ctx;
	/* The switch's: a large segment from here that it cut, and had no room half-way; it may be offered again. */
	struct {
		const struct net_port *to;
		u64 ports_and_sequence; /* of its TCP header: which one it was */
		u32 done;               /* bytes of its payload that have gone */
	} interrupted;
};

int must_check net_switch_add(struct net_port *port);
/* Forgets the port and what was learned at it. */
void net_switch_remove(struct net_port *port);
/*
 * A frame came in at port: learn its source, deliver to where it belongs. False if a port that
 * should have had it had no room: who can keep the frame may try again later.
 */
bool net_switch_input(struct net_port *port, const struct net_frame *frame);
/* A guest with this MAC is at port now: learn it and tell the segment (RARP, repeated by net_poll). */
void net_switch_announce(struct net_port *port, const u8 mac[6]);
struct net_port *net_switch_port(u32 index); /* NULL past the last */
/* For net.c: announcements that are due; when the next one is (time_ns, 0: none). */
void net_switch_poll(void);
u64 net_switch_next_deadline(void);
/* Fills in a partial checksum in place. */
void net_checksum_complete(u8 *frame, u32 bytes, u16 csum_start, u16 csum_offset);

#endif
