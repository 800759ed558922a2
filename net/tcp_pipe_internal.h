/* SPDX-License-Identifier: Apache-2.0 */
/* Between tcp_pipe.c (what a pipe does) and tcp_open.c (how it comes about). */
#ifndef NET_TCP_PIPE_INTERNAL_H
#define NET_TCP_PIPE_INTERNAL_H

#include "net/tcp_loss.h"
#include "net/tcp_pipe.h"

#include "lwip/tcp.h"

#define PIPES_MAX 12 /* all that TLS can have (tls_pipe.c), and one that it refuses */
#define RX_QUEUE_PBUFS 1024 /* a power of two */

struct tcp_pipe {
	struct pipe pipe;
	bool used;
	bool connected;
	bool peer_closed;
	bool came_in;        /* the peer has connected: most of what it says is memory */
	int error;           /* 0, or why the connection ended */
	struct tcp_pcb *pcb; /* NULL when it ended */
	struct tcp_loss loss;
	u64 connect_by_ns;
	struct pbuf *rx[RX_QUEUE_PBUFS]; /* single pbufs, not chains */
	u32 rx_head, rx_tail;            /* ever put, ever taken */
	u32 rx_offset;                   /* consumed of rx[rx_tail] */
	u32 recved_bytes;                /* consumed, but not yet told to lwIP */
	u64 put_bytes, acked_bytes;
};

extern struct tcp_pcb *tcp_pipe_aborted;

/* NULL: all are in use. */
struct tcp_pipe *tcp_pipe_new(struct tcp_pcb *pcb, const u8 ip[4], u16 port);
int tcp_pipe_error(err_t error);
/* So long a connection may take to come about. */
u64 tcp_pipe_connect_ns(void);

#endif
