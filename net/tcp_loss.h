/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large segments, and what becomes of them when frames get lost. lwIP's own recovery is Reno's, with whole segments:
 * good for one lost frame of an ordinary size. For net/tcp_pipe.c and net/lwip_port.c.
 */
#ifndef NET_TCP_LOSS_H
#define NET_TCP_LOSS_H

#include "types.h"

struct tcp_pcb;

struct tcp_loss {
	bool recovering;   /* from a loss that was seen through duplicate acknowledgements */
	u32 recover_until; /* sequence number: what was under way then */
};

/* The connection is up. */
void tcp_loss_start(struct tcp_loss *loss, struct tcp_pcb *pcb);
/* The peer acknowledged something new (lwIP's sent callback). */
void tcp_loss_acked(struct tcp_loss *loss, struct tcp_pcb *pcb);
/* After lwIP's input and timers ran. */
void tcp_loss_poll(struct tcp_loss *loss, struct tcp_pcb *pcb);

/*
 * A large segment on its way out, from the Ethernet header on: if the peer has its beginning already, the rest as a
 * frame of its own is written to copy and its length returned, else 0. Whatever bottleneck cuts a burst short, the next
 * one starts where that ended.
 */
u32 tcp_loss_trim(const u8 *frame, u32 bytes, u8 *copy);

#endif
