/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segmentation in software. Service CPU, called by the switch. The frame comes from a guest or from
 * the wire: its headers are believed only as far as they were checked against its length.
 */
#include "net/segment.h"

#include "errors.h"
#include "lib/string.h"
#include "net/checksum.h"

#define ETHERNET_BYTES 14
#define ETHERTYPE_IPV4 0x0800
#define IP_PROTOCOL_TCP 6
#define IP_TOTAL_LENGTH 2
#define IP_ID 4
#define IP_PROTOCOL 9
#define IP_CHECKSUM 10
#define IP_ADDRESSES 12
#define TCP_SEQUENCE 4
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static u16 get16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static void put16(u8 *p, u32 value)
{
	p[0] = (u8)(value >> 8);
	p[1] = (u8)value;
}

static u32 get32(const u8 *p)
{
	return (u32)get16(p) << 16 | get16(p + 2);
}

static void put32(u8 *p, u32 value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

int segment_start(struct segmenter *s, const struct net_frame *whole)
{
	const u8 *d = whole->data;
	u32 ip_bytes, tcp_bytes, ip_total;

	*s = (struct segmenter){ .whole = whole, .ip = ETHERNET_BYTES };
	if (!whole->gso_size || whole->bytes < ETHERNET_BYTES + 20 || whole->bytes > NET_FRAME_MAX)
		return -E_INVAL;
	if (get16(d + 12) != ETHERTYPE_IPV4 || d[s->ip] >> 4 != 4 || d[s->ip + IP_PROTOCOL] != IP_PROTOCOL_TCP)
		return -E_INVAL;
	ip_bytes = (d[s->ip] & 15) * 4u;
	s->tcp = s->ip + ip_bytes;
	if (ip_bytes < 20 || whole->bytes < s->tcp + 20)
		return -E_INVAL;
	tcp_bytes = (d[s->tcp + 12] >> 4) * 4u;
	s->payload = s->tcp + tcp_bytes;
	ip_total = get16(d + s->ip + IP_TOTAL_LENGTH);
	if (tcp_bytes < 20 || ip_total < ip_bytes + tcp_bytes || s->ip + ip_total > whole->bytes)
		return -E_INVAL;
	s->payload_bytes = ip_total - ip_bytes - tcp_bytes;
	if (!s->payload_bytes || DIV_UP(s->payload_bytes, (u32)whole->gso_size) > SEGMENT_PIECES_MAX)
		return -E_INVAL;
	return 0;
}

u64 segment_ports_and_sequence(const struct segmenter *s)
{
	u64 value;

	memcpy(&value, s->whole->data + s->tcp, sizeof(value));
	return value;
}

void segment_skip(struct segmenter *s, u32 done)
{
	s->done = MIN(done, s->payload_bytes);
	s->count = (u16)(s->done / s->whole->gso_size);
}

/* The copied headers of the whole become those of one piece. */
static void fix_headers(const struct segmenter *s, u8 *buffer, u32 bytes, bool last)
{
	u8 *ip = buffer + s->ip;
	u8 *tcp = buffer + s->tcp;
	u32 tcp_total = s->payload - s->tcp + bytes;
	u16 sum;

	put16(ip + IP_TOTAL_LENGTH, s->tcp - s->ip + tcp_total);
	put16(ip + IP_ID, (u32)get16(ip + IP_ID) + s->count);
	put16(ip + IP_CHECKSUM, 0);
	sum = (u16)~checksum_add(0, ip, s->tcp - s->ip);
	memcpy(ip + IP_CHECKSUM, &sum, sizeof(sum));
	put32(tcp + TCP_SEQUENCE, get32(tcp + TCP_SEQUENCE) + s->done);
	if (!last)
		tcp[TCP_FLAGS] &= (u8)~(TCP_FIN | TCP_PSH);
	if (s->count)
		tcp[TCP_FLAGS] &= (u8)~TCP_CWR;
	sum = checksum_pseudo(ip + IP_ADDRESSES, IP_PROTOCOL_TCP, (u16)tcp_total);
	memcpy(tcp + TCP_CHECKSUM, &sum, sizeof(sum));
}

bool segment_next(struct segmenter *s, u8 *buffer, struct net_frame *piece)
{
	u32 left = s->payload_bytes - s->done;
	u32 bytes = MIN(left, (u32)s->whole->gso_size);

	if (!left)
		return false;
	memcpy(buffer, s->whole->data, s->payload);
	memcpy(buffer + s->payload, s->whole->data + s->payload + s->done, bytes);
	fix_headers(s, buffer, bytes, bytes == left);
	*piece = (struct net_frame){
		.data = buffer,
		.bytes = s->payload + bytes,
		.flags = NET_CSUM_PARTIAL,
		.csum_start = (u16)s->tcp,
		.csum_offset = TCP_CHECKSUM,
	};
	s->done += bytes;
	s->count++;
	return true;
}
