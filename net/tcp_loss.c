/* SPDX-License-Identifier: Apache-2.0 */
/* Large segments and lost frames. Service CPU, from within lwIP's callbacks and net_poll(). */
#include "net/tcp_loss.h"

#include "lib/string.h"
#include "net/checksum.h"
#include "net/lwip_port.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip4.h"

#define IP_TOTAL_LENGTH 2
#define IP_PROTOCOL 9
#define IP_CHECKSUM 10
#define IP_DESTINATION 16
#define TCP_SEQUENCE 4

void tcp_loss_start(struct tcp_loss *loss, struct tcp_pcb *pcb)
{
	u16 bytes = lwip_port_segment_bytes(pcb->mss);

	*loss = (struct tcp_loss){ 0 };
	if (bytes == pcb->mss)
		return;
	pcb->mss = bytes;
	/* The window must hold one at least, or nothing would ever be sent. */
	pcb->cwnd = LWIP_MAX(pcb->cwnd, (tcpwnd_size_t)2 * bytes);
}

void tcp_loss_acked(struct tcp_loss *loss, struct tcp_pcb *pcb)
{
	if (!loss->recovering)
		return;
	loss->recovering = false;
	if ((pcb->flags & TF_RTO) || TCP_SEQ_GEQ(pcb->lastack, loss->recover_until))
		return;
	/*
	 * An acknowledgement that does not cover what was under way at the loss: more of it is gone (RFC 6582 3.2).
	 * lwIP reads no SACKs, so we do not know what: go back, and skip what the peer turns out to have.
	 */
	if (pcb->unacked && tcp_rexmit_rto_prepare(pcb) == ERR_OK)
		tcp_rexmit_rto_commit(pcb);
}

void tcp_loss_poll(struct tcp_loss *loss, struct tcp_pcb *pcb)
{
	if (!loss->recovering && (pcb->flags & TF_INFR)) {
		loss->recovering = true;
		loss->recover_until = pcb->snd_nxt;
	}
}

static const struct tcp_pcb *find_pcb(const u8 *ip, const struct tcp_hdr *tcp)
{
	const struct tcp_pcb *pcb;
	u32 to;

	memcpy(&to, ip + IP_DESTINATION, sizeof(to));
	for (pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
		if (pcb->local_port == lwip_ntohs(tcp->src) && pcb->remote_port == lwip_ntohs(tcp->dest) &&
		    ip4_addr_get_u32(ip_2_ip4(&pcb->remote_ip)) == to)
			return pcb;
	return NULL;
}

u32 tcp_loss_trim(const u8 *frame, u32 bytes, u8 *copy)
{
	u32 ip_bytes = (frame[SIZEOF_ETH_HDR] & 15) * 4u;
	const struct tcp_hdr *tcp = (const struct tcp_hdr *)(frame + SIZEOF_ETH_HDR + ip_bytes);
	u32 header_bytes = SIZEOF_ETH_HDR + ip_bytes + TCPH_HDRLEN_BYTES(tcp);
	const struct tcp_pcb *pcb;
	u32 rest, seq;
	s32 skip;
	u16 word;

	if (frame[SIZEOF_ETH_HDR + IP_PROTOCOL] != IP_PROTO_TCP || header_bytes >= bytes)
		return 0;
	pcb = find_pcb(frame + SIZEOF_ETH_HDR, tcp);
	if (!pcb)
		return 0;
	seq = lwip_ntohl(tcp->seqno);
	skip = (s32)(pcb->lastack - seq);
	if (skip <= 0 || (u32)skip >= bytes - header_bytes)
		return 0;
	rest = bytes - header_bytes - (u32)skip;
	memcpy(copy, frame, header_bytes);
	memcpy(copy + header_bytes, frame + header_bytes + skip, rest);
	word = lwip_htons((u16)(header_bytes + rest - SIZEOF_ETH_HDR));
	memcpy(copy + SIZEOF_ETH_HDR + IP_TOTAL_LENGTH, &word, sizeof(word));
	memset(copy + SIZEOF_ETH_HDR + IP_CHECKSUM, 0, 2);
	word = (u16)~checksum_add(0, copy + SIZEOF_ETH_HDR, ip_bytes);
	memcpy(copy + SIZEOF_ETH_HDR + IP_CHECKSUM, &word, sizeof(word));
	seq = lwip_htonl(seq + (u32)skip);
	memcpy(copy + SIZEOF_ETH_HDR + ip_bytes + TCP_SEQUENCE, &seq, sizeof(seq));
	return header_bytes + rest;
}
