/* SPDX-License-Identifier: Apache-2.0 */
/* How pipes over lwIP's TCP come about: connecting and listening. Service CPU. */
#include "net/tcp_pipe.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "net/tcp_pipe_internal.h"

#include "lwip/tcp.h"

#define LISTENERS_MAX 2

struct listener {
	struct tcp_pcb *pcb;
	bool (*accept)(struct pipe *pipe, const u8 ip[4]);
};

static struct listener listeners[LISTENERS_MAX];

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
	struct tcp_pipe *t = arg;

	(void)error;
	t->connected = true;
	tcp_loss_start(&t->loss, pcb);
	return ERR_OK;
}

int tcp_pipe_connect(const u8 ip[4], u16 port, struct pipe **pipe)
{
	struct tcp_pcb *pcb = tcp_new();
	struct tcp_pipe *t;
	ip_addr_t address;
	err_t error;

	if (!pcb)
		return trace_error(-E_NOMEM);
	t = tcp_pipe_new(pcb, ip, port);
	if (!t) {
		tcp_abort(pcb);
		return trace_error(-E_NOMEM);
	}
	t->connect_by_ns = time_ns() + tcp_pipe_connect_ns();
	IP_ADDR4(&address, ip[0], ip[1], ip[2], ip[3]);
	error = tcp_connect(pcb, &address, port, on_connected);
	if (error != ERR_OK) {
		t->pipe.ops->close(&t->pipe, true);
		return trace_error(tcp_pipe_error(error));
	}
	*pipe = &t->pipe;
	return 0;
}

static err_t on_accepted(void *arg, struct tcp_pcb *pcb, err_t error)
{
	struct listener *listener = arg;
	struct tcp_pipe *t;
	u32 address;
	u8 ip[4];

	if (error != ERR_OK || !pcb)
		return ERR_VAL;
	address = ip4_addr_get_u32(ip_2_ip4(&pcb->remote_ip));
	memcpy(ip, &address, 4);
	t = tcp_pipe_new(pcb, ip, pcb->remote_port);
	if (!t) {
		tcp_abort(pcb);
		return ERR_ABRT;
	}
	t->connected = true;
	t->came_in = true;
	tcp_loss_start(&t->loss, pcb);
	tcp_pipe_aborted = NULL;
	if (!listener->accept(&t->pipe, ip) && t->used && t->pcb == pcb)
		t->pipe.ops->close(&t->pipe, true);
	return tcp_pipe_aborted == pcb ? ERR_ABRT : ERR_OK;
}

int tcp_pipe_listen(u16 port, bool (*accept)(struct pipe *pipe, const u8 ip[4]))
{
	struct listener *listener = NULL;
	struct tcp_pcb *pcb;

	for (u32 i = 0; i < LISTENERS_MAX && !listener; i++)
		if (!listeners[i].pcb)
			listener = &listeners[i];
	if (!listener)
		return trace_error(-E_NOMEM);
	pcb = tcp_new();
	if (!pcb)
		return trace_error(-E_NOMEM);
	if (tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK) {
		tcp_abort(pcb);
		return trace_error(-E_BUSY);
	}
	/* On success the first pcb is gone. */
	listener->pcb = tcp_listen_with_backlog(pcb, PIPES_MAX);
	if (!listener->pcb) {
		tcp_abort(pcb);
		return trace_error(-E_NOMEM);
	}
	listener->accept = accept;
	tcp_arg(listener->pcb, listener);
	tcp_accept(listener->pcb, on_accepted);
	return 0;
}
