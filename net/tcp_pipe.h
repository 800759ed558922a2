/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes over lwIP's TCP. Service CPU. */
#ifndef NET_TCP_PIPE_H
#define NET_TCP_PIPE_H

#include "migrate/pipe.h"
#include "types.h"

/* Starts connecting (status() is -E_AGAIN until it is open). -E_NOMEM, -E_IO if there is no network. */
int must_check tcp_pipe_connect(const u8 ip[4], u16 port, struct pipe **pipe);
/* accept() gets each new connection's pipe and the peer's address, and owns the pipe; false refuses it. */
int must_check tcp_pipe_listen(u16 port, bool (*accept)(struct pipe *pipe, const u8 ip[4]));
/* For net.c, once: a peer that does not answer for so long (about) is dead. */
void tcp_pipe_init(u32 peer_timeout_s);
/* For net.c: after lwIP ran. */
void tcp_pipe_poll(void);

#endif
