/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"

#define CONNECTIONS 32
#define RING_BYTES 65536
#define MARKS 64
#define DATAGRAMS 64
#define RECORDS 8
#define RECORD_BYTES 8192

struct flow {
	u8 data[RING_BYTES];
	u64 head, tail, visible, lost; /* bytes ever put, consumed, readable; put but never to arrive */
	struct {
		u64 head, ns;
	} marks[MARKS];
	u32 first, count;
};

struct wire_end {
	struct pipe pipe;
	struct wire_connection *connection;
	u32 side, host;
	bool closed, gone; /* gone: its host crashed */
	u64 notice_ns;     /* of a cut */
};

struct wire_connection {
	bool used, aborted, cut, nobody; /* nobody: no host is at the first end */
	struct wire_end ends[2];
	struct flow flows[2];
	u32 record;
};

struct wire_options wire;
u32 wire_caller;
u64 wire_now_ns;

static struct wire_connection connections[CONNECTIONS];
static pipe_accept_fn listeners[WIRE_HOSTS];
static datagram_fn hearers[WIRE_HOSTS];
static struct {
	bool used;
	u32 from, to;
	u64 due_ns;
	size_t bytes;
	u8 data[DATAGRAM_BYTES_MAX];
} datagrams[DATAGRAMS];
/* The first bytes of connections: HELLO, QUERY and what follows. */
static struct {
	u32 from, to;
	size_t bytes;
	u8 data[RECORD_BYTES];
} records[RECORDS];
static u32 record_count, datagram_count;
static u64 state;

u64 wire_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull >> 16;
}

static struct wire_end *end_of(struct pipe *pipe)
{
	return container_of(pipe, struct wire_end, pipe);
}

static void end_done(struct wire_connection *c)
{
	if (c->ends[0].closed && c->ends[1].closed)
		c->used = false;
}

static int op_status(struct pipe *pipe)
{
	struct wire_end *e = end_of(pipe);
	struct wire_connection *c = e->connection;
	struct flow *in = &c->flows[!e->side];

	if (c->aborted)
		return -E_IO;
	if (c->cut)
		return wire_now_ns >= e->notice_ns ? -E_TIMEOUT : 0;
	return c->ends[!e->side].closed && in->head == in->tail ? -E_CLOSED : 0;
}

static size_t op_room(struct pipe *pipe)
{
	struct wire_end *e = end_of(pipe);
	struct flow *out = &e->connection->flows[e->side];

	return op_status(pipe) ? 0 : (size_t)(RING_BYTES - MIN((u64)RING_BYTES, out->head - out->tail + out->lost));
}

static void record(struct wire_connection *c, const u8 *data, size_t bytes)
{
	size_t n = MIN(bytes, RECORD_BYTES - records[c->record].bytes);

	memcpy(records[c->record].data + records[c->record].bytes, data, n);
	records[c->record].bytes += n;
}

static void flow_put(struct flow *f, const u8 *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		f->data[(f->head + i) % RING_BYTES] = from[i];
	f->head += n;
	if (f->count < MARKS)
		f->count++;
	f->marks[(f->first + f->count - 1) % MARKS].head = f->head;
	f->marks[(f->first + f->count - 1) % MARKS].ns = wire_now_ns + (wire.delay_ns ? wire_random() % wire.delay_ns : 0);
}

static size_t op_put(struct pipe *pipe, const void *data, size_t bytes)
{
	struct wire_end *e = end_of(pipe);
	struct wire_connection *c = e->connection;
	size_t n = MIN(bytes, op_room(pipe));

	if (wire.put_max)
		n = MIN(n, 1 + wire_random() % wire.put_max);
	n = MIN(n, bytes);
	if (e->side == 0 && !c->nobody)
		record(c, data, n);
	if (c->cut || c->ends[!e->side].gone)
		c->flows[e->side].lost += n;
	else
		flow_put(&c->flows[e->side], data, n);
	return n;
}

static void op_flush(unused struct pipe *pipe)
{
}

static size_t op_peek(struct pipe *pipe, const void **data)
{
	struct wire_end *e = end_of(pipe);
	struct flow *in = &e->connection->flows[!e->side];
	u64 n;

	while (in->count && in->marks[in->first].ns <= wire_now_ns) {
		in->visible = in->marks[in->first].head;
		in->first = (in->first + 1) % MARKS;
		in->count--;
	}
	n = in->visible > in->tail ? in->visible - in->tail : 0;
	n = MIN(n, RING_BYTES - in->tail % RING_BYTES);
	if (wire.peek_max)
		n = MIN(n, wire.peek_max);
	*data = in->data + in->tail % RING_BYTES;
	return e->connection->aborted ? 0 : (size_t)n;
}

static void op_consume(struct pipe *pipe, size_t bytes)
{
	struct wire_end *e = end_of(pipe);

	e->connection->flows[!e->side].tail += bytes;
}

static u64 op_unacked(struct pipe *pipe)
{
	struct wire_end *e = end_of(pipe);
	struct flow *out = &e->connection->flows[e->side];

	return out->head - out->tail + out->lost;
}

static void op_close(struct pipe *pipe, bool abort_it)
{
	struct wire_end *e = end_of(pipe);

	if (e->closed) {
		fprintf(stderr, "wire: closed twice\n");
		abort();
	}
	e->closed = true;
	/* A reset that overtakes what is under way, or is lost: then the other side reads all of it first. */
	if (abort_it && !e->connection->cut && wire_random() % 2)
		e->connection->aborted = true;
	end_done(e->connection);
}

static const struct pipe_ops ops = {
	.status = op_status, .room = op_room, .put = op_put, .flush = op_flush, .peek = op_peek,
	.consume = op_consume, .unacked = op_unacked, .close = op_close,
};

static struct wire_connection *new_connection(u32 from, u32 to)
{
	for (u32 i = 0; i < CONNECTIONS; i++) {
		struct wire_connection *c = &connections[i];

		if (c->used)
			continue;
		for (u32 side = 0; side < 2; side++) {
			struct flow *f = &c->flows[side];

			c->ends[side] = (struct wire_end){
				.pipe = { .ops = &ops, .peer = "wire" }, .connection = c, .side = side, .host = side ? to : from,
			};
			f->head = f->tail = f->visible = f->lost = 0;
			f->first = f->count = 0;
		}
		c->used = true;
		c->aborted = c->cut = c->nobody = false;
		return c;
	}
	return NULL;
}

static bool offer(struct wire_connection *c, u32 from, u32 to)
{
	const u8 ip[4] = { 10, 0, 0, (u8)(from + 1) };
	u32 caller = wire_caller;
	bool taken;

	wire_caller = to;
	taken = listeners[to] && listeners[to](&c->ends[1].pipe, ip);
	wire_caller = caller;
	if (!taken)
		op_close(&c->ends[1].pipe, true);
	return taken;
}

static int do_connect(const u8 ip[4], unused u16 port, struct pipe **pipe)
{
	u32 to = ip[3] - 1u;
	struct wire_connection *c = wire.down ? NULL : new_connection(wire_caller, to);

	if (!c)
		return -E_IO;
	c->record = record_count++ % RECORDS;
	records[c->record].from = wire_caller;
	records[c->record].to = to;
	records[c->record].bytes = 0;
	*pipe = &c->ends[0].pipe;
	offer(c, wire_caller, to);
	return 0;
}

static int do_listen(unused u16 port, pipe_accept_fn accept)
{
	listeners[wire_caller] = accept;
	return 0;
}

const struct pipe_maker *wire_pipes(unused u32 host)
{
	static const struct pipe_maker maker = { .connect = do_connect, .listen = do_listen };

	return &maker;
}

/* --- datagrams -------------------------------------------------------------------------------- */

static int datagram_open(unused u16 port, datagram_fn heard)
{
	hearers[wire_caller] = heard;
	return 0;
}

static void post(u32 to, const void *data, size_t bytes)
{
	for (u32 i = 0; i < DATAGRAMS; i++) {
		if (datagrams[i].used)
			continue;
		datagrams[i].used = true;
		datagram_count++;
		datagrams[i].from = wire_caller;
		datagrams[i].to = to;
		datagrams[i].bytes = bytes;
		datagrams[i].due_ns = wire_now_ns + (wire.delay_ns ? wire_random() % (4 * wire.delay_ns) : 0);
		memcpy(datagrams[i].data, data, bytes);
		return;
	}
}

static void datagram_send(const u8 ip[4], unused u16 port, const void *data, size_t bytes)
{
	u32 to = ip[3] - 1u;

	if (to >= WIRE_HOSTS || wire.down || wire_random() % 100 < wire.lose_percent)
		return;
	post(to, data, bytes);
	if (wire_random() % 100 < wire.repeat_percent)
		post(to, data, bytes);
}

const struct datagram_ops *wire_datagrams(void)
{
	static const struct datagram_ops datagram_ops = { .open = datagram_open, .send = datagram_send };

	return &datagram_ops;
}

void wire_deliver(void)
{
	for (u32 i = 0; i < DATAGRAMS && datagram_count; i++) {
		const u8 ip[4] = { 10, 0, 0, (u8)(datagrams[i].from + 1) };

		if (!datagrams[i].used || datagrams[i].due_ns > wire_now_ns)
			continue;
		/* Some stay, to come once more. */
		datagrams[i].used = wire.repeat_percent && wire_random() % 100 < wire.repeat_percent;
		datagram_count -= !datagrams[i].used;
		datagrams[i].due_ns += 1 + (wire.delay_ns ? wire_random() % (100 * wire.delay_ns) : 0);
		wire_caller = datagrams[i].to;
		if (hearers[wire_caller])
			hearers[wire_caller](ip, datagrams[i].data, datagrams[i].bytes);
	}
}

/* --- faults ----------------------------------------------------------------------------------- */

static void cut(struct wire_connection *c)
{
	c->cut = true;
	for (u32 side = 0; side < 2; side++) {
		struct flow *f = &c->flows[side];

		c->ends[side].notice_ns = wire_now_ns + wire_random() % (12 * NS_PER_S);
		/* From some byte on it is lost. */
		if (wire_random() % 2) {
			f->lost += f->head - f->tail;
			f->head = f->tail + wire_random() % (f->head - f->tail + 1);
			f->lost -= f->head - f->tail;
			f->visible = MIN(f->visible, f->head);
			for (u32 i = 0; i < MARKS; i++)
				f->marks[i].head = MIN(f->marks[i].head, f->head);
		}
	}
}

bool wire_cut(void)
{
	u32 from = (u32)(wire_random() % CONNECTIONS);

	for (u32 i = 0; i < CONNECTIONS; i++) {
		struct wire_connection *c = &connections[(from + i) % CONNECTIONS];

		if (!c->used || c->cut)
			continue;
		cut(c);
		return true;
	}
	return false;
}

void wire_crash(u32 host)
{
	for (u32 i = 0; i < CONNECTIONS; i++) {
		struct wire_connection *c = &connections[i];

		for (u32 side = 0; side < 2 && c->used; side++) {
			if (c->ends[side].host != host || c->ends[side].closed || (side == 0 && c->nobody))
				continue;
			if (!c->cut)
				cut(c);
			c->ends[side].closed = true;
			c->ends[side].gone = true;
			end_done(c);
		}
	}
	listeners[host] = NULL;
	hearers[host] = NULL;
}

bool wire_replay(void)
{
	u32 which = (u32)(wire_random() % RECORDS);
	struct wire_connection *c;

	if (!records[which].bytes)
		return false;
	c = new_connection(records[which].from, records[which].to);
	if (!c)
		return false;
	c->nobody = true;
	c->ends[0].closed = true;
	flow_put(&c->flows[0], records[which].data, records[which].bytes);
	offer(c, records[which].from, records[which].to);
	return true;
}

void wire_calm(void)
{
	wire = (struct wire_options){ .down = false };
	for (u32 i = 0; i < DATAGRAMS; i++)
		datagrams[i].used = false;
	datagram_count = 0;
}

u32 wire_open_ends(void)
{
	u32 open = 0;

	for (u32 i = 0; i < CONNECTIONS; i++)
		for (u32 side = 0; side < 2 && connections[i].used; side++)
			open += !connections[i].ends[side].closed;
	return open;
}

void wire_reset(u64 seed)
{
	for (u32 i = 0; i < CONNECTIONS; i++)
		connections[i].used = false;
	memset(listeners, 0, sizeof(listeners));
	memset(hearers, 0, sizeof(hearers));
	memset(records, 0, sizeof(records));
	record_count = 0;
	wire_calm();
	wire_now_ns = 1000 * NS_PER_S;
	state = seed * 0x9e3779b97f4a7c15ull | 1;
	for (u32 i = 0; i < 8; i++)
		wire_random();
}
