/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe from this host to itself, for moves to localhost. Service CPU. */
#ifndef MIGRATE_LOCAL_PIPE_H
#define MIGRATE_LOCAL_PIPE_H

#include "migrate/pipe.h"
#include "types.h"

/* Who gets the other end. */
void local_pipe_listen(pipe_accept_fn accept);
/* -E_NOMEM, -E_BUSY (all in use), -E_REFUSED. */
int must_check local_pipe_connect(struct pipe **pipe);

#endif
