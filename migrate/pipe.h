/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reliable, ordered byte stream to a peer; net/tcp_pipe.c makes one of lwIP's TCP, the host tests
 * one of two rings. Nothing blocks: room and back-pressure are return values. Service CPU.
 */
#ifndef MIGRATE_PIPE_H
#define MIGRATE_PIPE_H

#include "types.h"

struct pipe;

struct pipe_ops {
	/* 0: open; -E_AGAIN: still connecting; -E_CLOSED: the peer closed, all was read; else: broken. */
	int (*status)(struct pipe *pipe);
	size_t (*room)(struct pipe *pipe);                              /* bytes that put() takes now */
	size_t (*put)(struct pipe *pipe, const void *data, size_t bytes); /* how many it took (copied) */
	void (*flush)(struct pipe *pipe);                               /* nothing more for now: send what is there */
	size_t (*peek)(struct pipe *pipe, const void **data);           /* a contiguous piece received; 0: none */
	void (*consume)(struct pipe *pipe, size_t bytes);
	u64 (*unacked)(struct pipe *pipe);                              /* put, but not yet known to be with the peer */
	void (*close)(struct pipe *pipe, bool abort);                   /* frees the pipe too */
};

struct pipe {
	const struct pipe_ops *ops;
	char peer[48]; /* for messages: "10.0.0.2:8002" */
	const char *why; /* after an error: more than its number says; NULL: nothing */
};

/* Gets each new connection's pipe and the peer's address, and owns the pipe; false refuses it. */
typedef bool (*pipe_accept_fn)(struct pipe *pipe, const u8 ip[4]);

/* Where pipes to other hosts come from; boot/main.c says which it is. */
struct pipe_maker {
	/* Starts connecting: status() is -E_AGAIN until it is open. -E_NOMEM; -E_IO: there is no network. */
	int (*connect)(const u8 ip[4], u16 port, struct pipe **pipe);
	int (*listen)(u16 port, pipe_accept_fn accept);
	/*
	 * Over a pipe of these, which it owns from then on (closed if this fails): one that is
	 * encrypted, to the host of this name and to no other. server: that host has connected.
	 * status() is -E_AGAIN until both have proved who they are.
	 */
	int (*secure)(struct pipe *plain, const char *peer, bool server, struct pipe **pipe);
	/* NULL, or why secure() can't be done at all (keys are missing), and what to do. */
	const char *(*missing)(void);
};

#endif
