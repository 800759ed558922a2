/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network for host tests: each connection is two rings. It can be cut at any byte, take and
 * give in small pieces, and be slow. Time is fake_cpu's.
 */
#ifndef FAKE_PIPE_H
#define FAKE_PIPE_H

#include "migrate/pipe.h"
#include "types.h"

#define FAKE_PIPE_NEVER (~0ull)

struct fake_pipe_options {
	u32 ring_bytes;    /* of each direction; a power of two */
	u32 put_max;       /* a put() takes at most this much, 0: no limit */
	u32 peek_max;      /* a peek() shows at most this much, 0: no limit */
	u64 delay_ns;      /* until what was put can be read */
	/*
	 * After this many bytes (of both directions, in the order they are put) nothing arrives any
	 * more. Who puts does not notice before notice_ns have passed: then status() is -E_TIMEOUT.
	 */
	u64 cut_after;
	u64 notice_ns;
	bool link_down;    /* new connections fail */
	bool lose_in_flight; /* what was put but not read at the cut is lost, too */
	u8 from_ip[4];     /* what the listener is told */
	/* Sees all that the connecting side puts. */
	void (*tap)(const void *data, size_t bytes);
};

/* The options of new connections; the cut counts from here on. */
extern struct fake_pipe_options fake_pipe;

extern const struct pipe_maker fake_network;

/* Defaults: 64 KiB rings, no trouble, from 127.0.0.1. Nobody listens. All connections are gone. */
void fake_pipe_reset(void);
/* Bytes put on all connections since fake_pipe_reset() or fake_pipe_restart_count(). */
u64 fake_pipe_bytes(void);
void fake_pipe_restart_count(void);
/* The link is back: the next connections work, those that were cut stay dead. */
void fake_pipe_repair(void);
/* Ends of connections that nobody closed yet. */
u32 fake_pipe_open(void);
/* Instead of a listener: the far end of the connection made last, for a test that plays the peer. */
struct pipe *fake_pipe_take(void);
/* Bytes that can be read at this end. */
size_t fake_pipe_readable(struct pipe *pipe);

#endif
