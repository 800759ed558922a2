/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node of the segment that talks to the migration port, below TLS: what it says instead of a client's side of the
 * handshake, or what it changes, keeps, doubles and adds of what two honest hosts say to each other. Nothing but what
 * was put may ever come out. (mbedTLS itself is compiled without sanitizers and coverage: its own fuzzers look for its
 * mistakes. Ours are in net/tls/.)
 */
#include "fuzz.h"

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pipe.h"
#include "net/tls/tls.h"

#define PORT 8002

static const u8 key[TLS_KEY_BYTES] = "the cluster's key, 32 bytes long";
static const u8 ip[4] = { 10, 0, 0, 2 };
static const char text[] = "what only the two of them know";
static struct pipe *accepted;

static bool on_accept(struct pipe *pipe, unused const u8 from[4])
{
	accepted = pipe;
	return true;
}

void fuzz_start(void)
{
	struct tls_config config = { .host_name = "alpha", .key = key };
	char why[200];

	fake_cpu_reset();
	fake_time_set(NS_PER_S);
	assert_int_equal(tls_init(&config, why, sizeof(why)), 0);
}

/* A connection, both of whose plain ends are ours to read and write. */
static struct pipe *connection(struct pipe **far_end)
{
	struct pipe *near_end;

	accepted = NULL;
	assert_int_equal(fake_network.connect(ip, PORT, &near_end), 0);
	*far_end = accepted;
	return near_end;
}

static void turn(struct pipe *pipe)
{
	if (pipe->ops->status(pipe) == 0)
		pipe->ops->flush(pipe);
	fake_time_advance(NS_PER_MS);
}

/* From one plain end to another, as the input wants. True: in pieces. */
static bool forward(struct fuzz *in, struct pipe *from, struct pipe *to)
{
	const void *data;
	size_t n = from->ops->peek(from, &data);
	u8 how = (u8)fuzz_take(in, 1);
	u8 copy[2048];
	size_t most = how & 64 ? (size_t)fuzz_take(in, 1) : sizeof(copy);
	bool in_pieces = n > most;

	n = MIN(n, most);
	memcpy(copy, data, n);
	from->ops->consume(from, n);
	if (how >= 128 && n) {
		u32 at = (u32)fuzz_take(in, 2) % (u32)n;

		copy[at] ^= (u8)(1 + (how & 31));
	}
	if (how % 64 != 63)
		to->ops->put(to, copy, n);
	if (how % 64 == 62)
		to->ops->put(to, copy, n);
	if (how % 64 == 61) {
		const u8 *bytes = fuzz_bytes(in, 64, &n);

		to->ops->put(to, bytes, n);
	}
	return in_pieces;
}

static bool receive(struct pipe *pipe)
{
	const void *data;
	size_t n;

	if (pipe->ops->status(pipe) != 0)
		return false;
	n = pipe->ops->peek(pipe, &data);
	if (n) {
		assert_true(n <= sizeof(text));
		assert_memory_equal(data, text, n);
		pipe->ops->consume(pipe, n);
	}
	return n == sizeof(text);
}

/* alpha - middle - beta: both ends are TLS, the middle is the input. */
static void in_the_middle(struct fuzz *in)
{
	struct pipe *client, *server, *at_client, *at_server;
	bool sent = false, got = false, in_pieces = false;

	client = connection(&at_client);
	at_server = connection(&server);
	assert_int_equal(tls_pipe_secure(client, "alpha", false, &client), 0);
	assert_int_equal(tls_pipe_secure(server, "alpha", true, &server), 0);
	for (u32 i = 0; i < 12; i++) {
		turn(client);
		in_pieces |= forward(in, at_client, at_server);
		turn(server);
		in_pieces |= forward(in, at_server, at_client);
		if (!sent && client->ops->status(client) == 0)
			sent = client->ops->put(client, text, sizeof(text)) == sizeof(text);
		got = receive(server) || got;
	}
	if (got && in_pieces)
		fuzz_reached();
	client->ops->close(client, true);
	server->ops->close(server, true);
	at_client->ops->close(at_client, true);
	at_server->ops->close(at_server, true);
}

static void to_server(struct fuzz *in)
{
	struct pipe *server;
	struct pipe *node = connection(&server);
	u8 record[5] = { 22, 3, 1 };

	assert_int_equal(tls_pipe_secure(server, "alpha", true, &server), 0);
	for (u32 i = 0; i < 8 && in->left; i++) {
		size_t n;
		u8 kind = (u8)fuzz_take(in, 1);
		const u8 *bytes = fuzz_bytes(in, 1 + fuzz_take(in, 1), &n);

		/* Mostly with the header of a record. */
		if (kind < 200) {
			record[0] = 20 + kind % 5;
			record[4] = (u8)n;
			node->ops->put(node, record, sizeof(record));
		}
		node->ops->put(node, bytes, n);
		turn(server);
		assert_int_not_equal(server->ops->status(server), 0);
	}
	server->ops->close(server, true);
	node->ops->close(node, true);
}

void fuzz_one(struct fuzz *in)
{
	fake_random_seed(1);
	fake_time_set(NS_PER_S);
	fake_pipe_reset();
	assert_int_equal(fake_network.listen(PORT, on_accept), 0);
	if (fuzz_take(in, 1) & 1)
		to_server(in);
	else
		in_the_middle(in);
	assert_int_equal(fake_pipe_open(), 0);
}
