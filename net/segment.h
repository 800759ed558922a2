/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts a large TCP segment into frames, for ports that do not take it whole. Service CPU. */
#ifndef NET_SEGMENT_H
#define NET_SEGMENT_H

#include "net/port.h"

/* Ethernet, IPv4 and TCP headers at their longest. */
#define SEGMENT_HEADER_MAX (14 + 60 + 60)
/* No frame is cut into more pieces: a guest could keep the service CPU busy with pieces of one byte. */
#define SEGMENT_PIECES_MAX 1024

struct segmenter {
	const struct net_frame *whole;
	u32 ip, tcp, payload; /* where they start in the frame */
	u32 payload_bytes;
	u32 done;             /* bytes of payload that were cut off */
	u16 count;            /* pieces made */
};

/* -E_INVAL if the frame is not what its NET_GSO_TCP4 flag says. */
int must_check segment_start(struct segmenter *s, const struct net_frame *whole);
/* The first eight bytes of its TCP header: tells it from the segments before and after it. */
u64 segment_ports_and_sequence(const struct segmenter *s);
/* Goes on behind the first done bytes of the payload, which are a number of whole pieces. */
void segment_skip(struct segmenter *s, u32 done);
/*
 * Writes the next piece into buffer (NET_FRAME_MAX bytes), its TCP checksum partial; false: that was all.
 */
bool segment_next(struct segmenter *s, u8 *buffer, struct net_frame *piece);

#endif
