/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two rings in memory. Not lwIP's loopback: it would copy every byte three times more, and its
 * buffers are sized for a network that takes the frames away. Used by send.c and owner.c at one
 * end, receive.c at the other; service CPU.
 */
#include "migrate/local_pipe.h"

#include "errors.h"
#include "lib/ring.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "mm/pages.h"

#define CONNECTIONS_MAX (MIGRATE_OUT_MAX + 1) /* moves, and a question about another */
#define RING_BYTES KIB(256)

struct connection;

struct local_pipe {
	struct pipe pipe;
	struct connection *connection;
	struct ring *in, *out;
	struct local_pipe *other;
	bool closed;
};

struct connection {
	struct local_pipe ends[2];
	struct ring rings[2];
	hpa_t blocks[2];
	bool used;
	bool aborted;
};

static struct connection connections[CONNECTIONS_MAX];
static bool (*listener)(struct pipe *pipe, const u8 ip[4]);

static struct local_pipe *local_of(struct pipe *pipe)
{
	return container_of(pipe, struct local_pipe, pipe);
}

static int local_status(struct pipe *pipe)
{
	struct local_pipe *end = local_of(pipe);

	if (end->connection->aborted)
		return -E_IO;
	/* What came before the end is read before the end. */
	return end->other->closed && ring_used(end->in) == 0 ? -E_CLOSED : 0;
}

static size_t local_room(struct pipe *pipe)
{
	struct local_pipe *end = local_of(pipe);

	return end->other->closed ? 0 : ring_room(end->out);
}

static size_t local_put(struct pipe *pipe, const void *data, size_t bytes)
{
	return ring_put(local_of(pipe)->out, data, MIN(bytes, local_room(pipe)));
}

static void local_flush(struct pipe *pipe)
{
	(void)pipe;
}

static size_t local_peek(struct pipe *pipe, const void **data)
{
	struct local_pipe *end = local_of(pipe);
	u64 at = end->in->tail & (end->in->size - 1);

	*data = end->in->data + at;
	return end->connection->aborted ? 0 : MIN(ring_used(end->in), end->in->size - at);
}

static void local_consume(struct pipe *pipe, size_t bytes)
{
	local_of(pipe)->in->tail += bytes;
}

static u64 local_unacked(struct pipe *pipe)
{
	return ring_used(local_of(pipe)->out);
}

static void release(struct connection *c)
{
	for (u32 i = 0; i < ARRAY_SIZE(c->blocks); i++)
		if (c->blocks[i] != HPA_NONE)
			pages_free(c->blocks[i], pages_order(RING_BYTES));
	memset(c, 0, sizeof(*c));
}

static void local_close(struct pipe *pipe, bool abort)
{
	struct local_pipe *end = local_of(pipe);
	struct connection *c = end->connection;

	end->closed = true;
	if (abort)
		c->aborted = true;
	if (end->other->closed)
		release(c);
}

static const struct pipe_ops local_pipe_ops = {
	.status = local_status,
	.room = local_room,
	.put = local_put,
	.flush = local_flush,
	.peek = local_peek,
	.consume = local_consume,
	.unacked = local_unacked,
	.close = local_close,
};

static int connection_init(struct connection *c)
{
	c->used = true;
	for (u32 i = 0; i < ARRAY_SIZE(c->blocks); i++)
		c->blocks[i] = pages_alloc_raw(pages_order(RING_BYTES));
	if (c->blocks[0] == HPA_NONE || c->blocks[1] == HPA_NONE) {
		release(c);
		return -E_NOMEM;
	}
	for (u32 i = 0; i < ARRAY_SIZE(c->ends); i++) {
		struct local_pipe *end = &c->ends[i];

		ring_init(&c->rings[i], page_ptr(c->blocks[i]), RING_BYTES);
		end->pipe.ops = &local_pipe_ops;
		str_copy(end->pipe.peer, sizeof(end->pipe.peer), "localhost");
		end->connection = c;
		end->out = &c->rings[i];
		end->in = &c->rings[!i];
		end->other = &c->ends[!i];
	}
	return 0;
}

void local_pipe_listen(bool (*accept)(struct pipe *pipe, const u8 ip[4]))
{
	listener = accept;
}

int local_pipe_connect(struct pipe **pipe)
{
	static const u8 loopback[4] = { 127, 0, 0, 1 };
	struct connection *c = NULL;
	int error;

	for (u32 i = 0; i < CONNECTIONS_MAX && !c; i++)
		if (!connections[i].used)
			c = &connections[i];
	if (!c)
		return -E_BUSY;
	error = connection_init(c);
	if (error)
		return error;
	if (!listener || !listener(&c->ends[1].pipe, loopback)) {
		release(c);
		return -E_REFUSED;
	}
	*pipe = &c->ends[0].pipe;
	return 0;
}
