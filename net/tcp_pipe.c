/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes over lwIP's TCP. Service CPU; lwIP's callbacks come from within net_poll() and from put and flush.
 *
 * put() copies into lwIP's segments (the only copy above the NIC's), flush() lets them go. What comes in stays in
 * lwIP's pbufs until it is consumed: peek() points into them. The window opens again as data is consumed, so a reader
 * that stops makes the sender stop.
 *
 * A peer that says nothing for four fifths of the time-out is dead: probes make a live one say something. How pipes
 * come about is in tcp_open.c.
 */
#include "net/tcp_pipe.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "net/net.h"
#include "net/tcp_pipe_internal.h"

#include "lwip/tcp.h"

#define PUT_CHUNK_BYTES 16384u
/* For each second of the time-out: a fifth until the first probe, and four probes within three fifths. */
#define KEEP_IDLE_MS 200
#define KEEP_INTERVAL_MS 150
#define KEEP_COUNT 4
#define CONNECT_NS (NS_PER_S / 2)
#define TIMEOUT_DEFAULT_S 10
#define POLL_TICKS 2 /* of lwIP's slow timer */
/* Told to the peer in steps: each may be a frame of its own. */
#define RECVED_STEP_BYTES 32768u
/* lwip/lwippools.h, without lwIP's headers. */
#define SMALL_BYTES 1460u
#define SMALL_COUNT 320u
#define LARGE_BYTES 16128u
#define LARGE_COUNT 64u
/* Of a window: a smaller part would not be told when it opens (TCP_WND_UPDATE_THRESHOLD). */
#define SHARING_MAX 4u
static_assert(TCP_WND / SHARING_MAX >= 2 * TCP_WND_UPDATE_THRESHOLD, "a share that was consumed is told at once");

static struct tcp_pipe pipes[PIPES_MAX];
static u32 timeout_s = TIMEOUT_DEFAULT_S;
/* The connection that was aborted last, maybe inside of its own accept callback: lwIP has to be told. */
struct tcp_pcb *tcp_pipe_aborted;

static struct tcp_pipe *tcp_pipe_of(struct pipe *pipe)
{
	return container_of(pipe, struct tcp_pipe, pipe);
}

int tcp_pipe_error(err_t error)
{
	switch (error) {
	case ERR_OK:
		return 0;
	case ERR_MEM:
	case ERR_BUF:
		return -E_NOMEM;
	case ERR_ABRT:
	case ERR_TIMEOUT:
		return -E_TIMEOUT;
	case ERR_CLSD:
		return -E_CLOSED;
	case ERR_USE:
	case ERR_ALREADY:
	case ERR_ISCONN:
		return -E_BUSY;
	default:
		return -E_IO;
	}
}

/* --- lwIP's callbacks --------------------------------------------------------------------------------------------- */

/* The connection ended by itself; lwIP has freed the pcb. */
static void on_error(void *arg, err_t error)
{
	struct tcp_pipe *t = arg;

	t->pcb = NULL;
	/* A reset in answer to our SYN: nobody listens there. */
	if (error == ERR_RST && !t->connected)
		t->error = -E_REFUSED;
	else
		t->error = tcp_pipe_error(error);
}

static void end(struct tcp_pipe *t, int error)
{
	struct tcp_pcb *pcb = t->pcb;

	t->error = error;
	t->pcb = NULL;
	if (!pcb)
		return;
	tcp_arg(pcb, NULL);
	tcp_err(pcb, NULL);
	tcp_pipe_aborted = pcb;
	tcp_abort(pcb);
}

static err_t on_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
	struct tcp_pipe *t = arg;

	(void)pcb;
	(void)error;
	if (!p) {
		t->peer_closed = true;
		return ERR_OK;
	}
	/* No place: lwIP keeps it and offers it again. */
	if (t->rx_head - t->rx_tail + pbuf_clen(p) > RX_QUEUE_PBUFS)
		return ERR_MEM;
	while (p) {
		struct pbuf *rest = p->next;

		if (rest) {
			pbuf_ref(rest); /* or it would go with the chain's own reference */
			(void)pbuf_dechain(p);
		}
		if (p->len)
			t->rx[t->rx_head++ % RX_QUEUE_PBUFS] = p;
		else
			pbuf_free(p);
		p = rest;
	}
	return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t bytes)
{
	struct tcp_pipe *t = arg;

	t->acked_bytes += bytes;
	tcp_loss_acked(&t->loss, pcb);
	return ERR_OK;
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
	struct tcp_pipe *t = arg;

	(void)pcb;
	if (!t->connected && time_ns() > t->connect_by_ns) {
		end(t, -E_TIMEOUT);
		return ERR_ABRT;
	}
	return ERR_OK;
}

/* --- the pipe's operations --------------------------------------------------------------------------------------- */

static int pipe_status(struct pipe *pipe)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);

	/* What arrived before the end is read before the end. */
	if (t->rx_head != t->rx_tail)
		return 0;
	if (t->error)
		return t->error;
	if (t->peer_closed)
		return -E_CLOSED;
	return t->connected ? 0 : -E_AGAIN;
}

/* Of data on its way out, in segments as this connection's: lwip/lwippools.h. */
static u64 pool_bytes(const struct tcp_pipe *t)
{
	u64 mss = tcp_mss(t->pcb);

	return mss <= SMALL_BYTES ? SMALL_COUNT * mss : LARGE_COUNT * MIN(mss, LARGE_BYTES);
}

/*
 * That pool is one for all pipes. One whose peer stands still fills what it may have, and keeps it until the peer goes
 * on or is given up: so nobody takes more than three quarters of what the others have left.
 */
static size_t fair_room(const struct tcp_pipe *t)
{
	u64 others = 0, own = t->put_bytes - t->acked_bytes, pool = pool_bytes(t), most;

	for (u32 i = 0; i < PIPES_MAX; i++)
		if (pipes[i].used && pipes[i].pcb && &pipes[i] != t)
			others += pipes[i].put_bytes - pipes[i].acked_bytes;
	most = (pool - MIN(others, pool)) * 3 / 4;
	return (size_t)(most - MIN(own, most));
}

static size_t pipe_room(struct pipe *pipe)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);

	if (!t->pcb || !t->connected || tcp_sndqueuelen(t->pcb) + 8 > TCP_SND_QUEUELEN)
		return 0;
	return MIN((size_t)tcp_sndbuf(t->pcb), fair_room(t));
}

static size_t pipe_put(struct pipe *pipe, const void *data, size_t bytes)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);
	const u8 *from = data;
	size_t done = 0;

	bytes = MIN(bytes, pipe_room(pipe));
	while (done < bytes) {
		u16 chunk = (u16)MIN(bytes - done, (size_t)PUT_CHUNK_BYTES);

		if (tcp_write(t->pcb, from + done, chunk, TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE) != ERR_OK)
			break;
		done += chunk;
	}
	t->put_bytes += done;
	return done;
}

static void pipe_flush(struct pipe *pipe)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);

	if (!t->pcb || !t->connected)
		return;
	(void)tcp_output(t->pcb);
	net_flush();
}

static size_t pipe_peek(struct pipe *pipe, const void **data)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);
	struct pbuf *p;

	if (t->rx_head == t->rx_tail)
		return 0;
	p = t->rx[t->rx_tail % RX_QUEUE_PBUFS];
	*data = (const u8 *)p->payload + t->rx_offset;
	return p->len - t->rx_offset;
}

/*
 * lwIP's buffers for what comes (PBUF_POOL_SIZE) hold little more than one window, and when they are full everybody's
 * frames are lost: so where several peers send, they share it. What a pipe holds back of its window it does not tell.
 */
static u32 held_back(const struct tcp_pipe *t)
{
	u32 sharing = 0;

	for (u32 i = 0; i < PIPES_MAX; i++)
		sharing += pipes[i].used && pipes[i].pcb && pipes[i].came_in;
	sharing = MIN(sharing, SHARING_MAX);
	return t->came_in && sharing > 1 ? TCP_WND - TCP_WND / sharing : 0;
}

/* Opens the window by what was consumed, but for what is left; also sends, if the peer should know at once. */
static void tell_recved(struct tcp_pipe *t, u32 left)
{
	while (t->recved_bytes > left && t->pcb) {
		u16 step = (u16)MIN(t->recved_bytes - left, RECVED_STEP_BYTES);

		t->recved_bytes -= step;
		tcp_recved(t->pcb, step);
	}
}

static void pipe_consume(struct pipe *pipe, size_t bytes)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);
	u32 left;

	while (bytes) {
		struct pbuf *p = t->rx[t->rx_tail % RX_QUEUE_PBUFS];
		u32 here;

		assert(t->rx_head != t->rx_tail);
		here = (u32)MIN(bytes, (size_t)(p->len - t->rx_offset));
		t->rx_offset += here;
		t->recved_bytes += here;
		bytes -= here;
		if (t->rx_offset == p->len) {
			pbuf_free(p);
			t->rx_tail++;
			t->rx_offset = 0;
		}
	}
	left = held_back(t);
	if (t->recved_bytes >= left + RECVED_STEP_BYTES || t->rx_head == t->rx_tail)
		tell_recved(t, left);
}

static u64 pipe_unacked(struct pipe *pipe)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);

	return t->put_bytes - t->acked_bytes;
}

static void drop_received(struct tcp_pipe *t)
{
	while (t->rx_tail != t->rx_head)
		pbuf_free(t->rx[t->rx_tail++ % RX_QUEUE_PBUFS]);
}

static void pipe_close(struct pipe *pipe, bool abort)
{
	struct tcp_pipe *t = tcp_pipe_of(pipe);
	struct tcp_pcb *pcb = t->pcb;

	if (abort) {
		end(t, -E_CLOSED);
	} else if (pcb) {
		bool unread = t->rx_tail != t->rx_head;

		tell_recved(t, 0);
		t->pcb = NULL;
		tcp_arg(pcb, NULL);
		tcp_recv(pcb, NULL);
		tcp_sent(pcb, NULL);
		tcp_err(pcb, NULL);
		tcp_poll(pcb, NULL, 0);
		/* lwIP goes on sending what was put; with data left unread it resets instead, as it should. */
		if (tcp_close(pcb) != ERR_OK)
			tcp_abort(pcb);
		else if (!unread)
			net_flush();
	}
	drop_received(t);
	t->used = false;
}

static const struct pipe_ops tcp_pipe_ops = {
	.status = pipe_status,
	.room = pipe_room,
	.put = pipe_put,
	.flush = pipe_flush,
	.peek = pipe_peek,
	.consume = pipe_consume,
	.unacked = pipe_unacked,
	.close = pipe_close,
};

/* --- making pipes ------------------------------------------------------------------------------------------------- */

struct tcp_pipe *tcp_pipe_new(struct tcp_pcb *pcb, const u8 ip[4], u16 port)
{
	struct tcp_pipe *t = NULL;

	for (u32 i = 0; i < PIPES_MAX && !t; i++)
		if (!pipes[i].used)
			t = &pipes[i];
	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->used = true;
	t->pcb = pcb;
	t->pipe.ops = &tcp_pipe_ops;
	str_format(t->pipe.peer, sizeof(t->pipe.peer), "%u.%u.%u.%u:%u", ip[0], ip[1], ip[2], ip[3], port);
	tcp_arg(pcb, t);
	tcp_recv(pcb, on_received);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_error);
	tcp_poll(pcb, on_poll, POLL_TICKS);
	tcp_nagle_disable(pcb);
	ip_set_option(pcb, SOF_KEEPALIVE);
	pcb->keep_idle = KEEP_IDLE_MS * timeout_s;
	pcb->keep_intvl = KEEP_INTERVAL_MS * timeout_s;
	pcb->keep_cnt = KEEP_COUNT;
	return t;
}

void tcp_pipe_init(u32 peer_timeout_s)
{
	timeout_s = peer_timeout_s ? peer_timeout_s : TIMEOUT_DEFAULT_S;
}

u64 tcp_pipe_connect_ns(void)
{
	return CONNECT_NS * timeout_s;
}

void tcp_pipe_poll(void)
{
	for (u32 i = 0; i < PIPES_MAX; i++)
		if (pipes[i].used && pipes[i].pcb && pipes[i].connected)
			tcp_loss_poll(&pipes[i].loss, pipes[i].pcb);
}
