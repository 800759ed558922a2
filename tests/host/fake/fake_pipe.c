/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_pipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/cpu.h"
#include "errors.h"

#define CONNECTIONS_MAX 32
#define MARKS 256

/* One direction. */
struct flow {
	u8 *data;
	u64 size;
	u64 head, tail; /* bytes ever put, ever consumed */
	u64 lost;       /* put, but never to arrive */
	struct {
		u64 head, ns;
	} marks[MARKS]; /* up to where can be read from when on */
	u32 mark_first, mark_count;
	u64 visible;
};

struct end {
	struct pipe pipe;
	struct connection *connection;
	u32 side;
	bool closed;
};

struct connection {
	bool used;
	struct end ends[2];
	struct flow flows[2]; /* flows[i]: what end i puts */
	bool aborted;
	bool cut;
	u64 cut_ns;
};

struct fake_pipe_options fake_pipe;
static struct connection connections[CONNECTIONS_MAX];
static pipe_accept_fn listener;
static struct pipe *not_taken;
static u64 total;

static struct end *end_of(struct pipe *pipe)
{
	return container_of(pipe, struct end, pipe);
}

static void release(struct connection *c)
{
	free(c->flows[0].data);
	free(c->flows[1].data);
	memset(c, 0, sizeof(*c));
}

static void check_cut(struct connection *c)
{
	if (c->cut || total < fake_pipe.cut_after)
		return;
	c->cut = true;
	c->cut_ns = time_ns();
	for (u32 i = 0; i < 2 && fake_pipe.lose_in_flight; i++)
		c->flows[i].lost += c->flows[i].head - c->flows[i].tail;
	for (u32 i = 0; i < 2 && fake_pipe.lose_in_flight; i++)
		c->flows[i].head = c->flows[i].tail;
}

static int op_status(struct pipe *pipe)
{
	struct end *e = end_of(pipe);
	struct connection *c = e->connection;
	struct flow *in = &c->flows[!e->side];

	if (c->aborted)
		return -E_IO;
	if (c->cut && time_ns() - c->cut_ns >= fake_pipe.notice_ns)
		return -E_TIMEOUT;
	if (c->ends[!e->side].closed && !c->cut && in->head == in->tail)
		return -E_CLOSED;
	return 0;
}

static size_t op_room(struct pipe *pipe)
{
	struct end *e = end_of(pipe);
	struct flow *out = &e->connection->flows[e->side];
	u64 room = out->size - MIN(out->size, out->head - out->tail + out->lost);

	return op_status(pipe) ? 0 : (size_t)room;
}

static void mark(struct flow *f)
{
	u64 due = time_ns() + fake_pipe.delay_ns;

	if (f->mark_count < MARKS)
		f->mark_count++;
	f->marks[(f->mark_first + f->mark_count - 1) % MARKS].head = f->head;
	f->marks[(f->mark_first + f->mark_count - 1) % MARKS].ns = due;
}

static size_t op_put(struct pipe *pipe, const void *data, size_t bytes)
{
	struct end *e = end_of(pipe);
	struct connection *c = e->connection;
	struct flow *out = &c->flows[e->side];
	const u8 *from = data;
	size_t n = MIN(bytes, op_room(pipe));
	size_t arrives;

	if (fake_pipe.put_max)
		n = MIN(n, fake_pipe.put_max);
	check_cut(c);
	arrives = c->cut ? 0 : MIN(n, fake_pipe.cut_after - total);
	for (size_t i = 0; i < arrives; i++)
		out->data[(out->head + i) & (out->size - 1)] = from[i];
	if (fake_pipe.tap && e->side == 0)
		fake_pipe.tap(from, n);
	out->head += arrives;
	out->lost += n - arrives;
	total += n;
	mark(out);
	check_cut(c);
	return n;
}

static void op_flush(unused struct pipe *pipe)
{
}

static size_t op_peek(struct pipe *pipe, const void **data)
{
	struct end *e = end_of(pipe);
	struct flow *in = &e->connection->flows[!e->side];
	u64 at = in->tail & (in->size - 1);
	u64 n;

	while (in->mark_count && in->marks[in->mark_first].ns <= time_ns()) {
		in->visible = in->marks[in->mark_first].head;
		in->mark_first = (in->mark_first + 1) % MARKS;
		in->mark_count--;
	}
	n = MIN(in->visible, in->head);
	n = n > in->tail ? n - in->tail : 0;
	n = MIN(n, in->size - at);
	if (fake_pipe.peek_max)
		n = MIN(n, fake_pipe.peek_max);
	if (e->connection->aborted)
		n = 0;
	*data = in->data + at;
	return (size_t)n;
}

static void op_consume(struct pipe *pipe, size_t bytes)
{
	struct end *e = end_of(pipe);
	struct flow *in = &e->connection->flows[!e->side];

	if (bytes > in->head - in->tail) {
		fprintf(stderr, "fake_pipe: more consumed than there is\n");
		abort();
	}
	in->tail += bytes;
}

static u64 op_unacked(struct pipe *pipe)
{
	struct end *e = end_of(pipe);
	struct flow *out = &e->connection->flows[e->side];

	return out->head - out->tail + out->lost;
}

static void op_close(struct pipe *pipe, bool abort_it)
{
	struct end *e = end_of(pipe);
	struct connection *c = e->connection;

	if (e->closed) {
		fprintf(stderr, "fake_pipe: closed twice\n");
		abort();
	}
	e->closed = true;
	if (abort_it && !c->cut)
		c->aborted = true;
	if (c->ends[!e->side].closed)
		release(c);
}

static const struct pipe_ops ops = {
	.status = op_status, .room = op_room, .put = op_put, .flush = op_flush, .peek = op_peek,
	.consume = op_consume, .unacked = op_unacked, .close = op_close,
};

static struct connection *new_connection(void)
{
	for (u32 i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &connections[i];

		if (c->used)
			continue;
		c->used = true;
		for (u32 side = 0; side < 2; side++) {
			c->ends[side].pipe.ops = &ops;
			strcpy(c->ends[side].pipe.peer, "fake:8002");
			c->ends[side].connection = c;
			c->ends[side].side = side;
			c->flows[side].size = fake_pipe.ring_bytes;
			c->flows[side].data = malloc(fake_pipe.ring_bytes);
		}
		return c;
	}
	fprintf(stderr, "fake_pipe: too many connections\n");
	abort();
}

static int fake_connect(unused const u8 ip[4], unused u16 port, struct pipe **pipe)
{
	struct connection *c;

	if (fake_pipe.link_down)
		return -E_IO;
	c = new_connection();
	*pipe = &c->ends[0].pipe;
	if (!listener)
		not_taken = &c->ends[1].pipe;
	else if (!listener(&c->ends[1].pipe, fake_pipe.from_ip))
		op_close(&c->ends[1].pipe, true);
	return 0;
}

static int fake_listen(unused u16 port, pipe_accept_fn accept)
{
	listener = accept;
	return 0;
}

const struct pipe_maker fake_network = {
	.connect = fake_connect,
	.listen = fake_listen,
};

void fake_pipe_reset(void)
{
	static const struct fake_pipe_options defaults = {
		.ring_bytes = 65536, .cut_after = FAKE_PIPE_NEVER, .from_ip = { 127, 0, 0, 1 },
	};

	for (u32 i = 0; i < CONNECTIONS_MAX; i++)
		if (connections[i].used)
			release(&connections[i]);
	fake_pipe = defaults;
	listener = NULL;
	not_taken = NULL;
	total = 0;
}

u64 fake_pipe_bytes(void)
{
	return total;
}

void fake_pipe_restart_count(void)
{
	total = 0;
}

void fake_pipe_repair(void)
{
	fake_pipe.cut_after = FAKE_PIPE_NEVER;
	fake_pipe.link_down = false;
	for (u32 i = 0; i < CONNECTIONS_MAX; i++)
		if (connections[i].used && connections[i].cut)
			connections[i].aborted = true;
}

u32 fake_pipe_open(void)
{
	u32 open = 0;

	for (u32 i = 0; i < CONNECTIONS_MAX; i++)
		for (u32 side = 0; side < 2 && connections[i].used; side++)
			open += !connections[i].ends[side].closed;
	return open;
}

struct pipe *fake_pipe_take(void)
{
	struct pipe *pipe = not_taken;

	not_taken = NULL;
	return pipe;
}

size_t fake_pipe_readable(struct pipe *pipe)
{
	const void *data;

	return op_peek(pipe, &data);
}
