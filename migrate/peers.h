/* SPDX-License-Identifier: Apache-2.0 */
/* Which hosts may send guests here and get guests from here, and who this host is. Service CPU. */
#ifndef MIGRATE_PEERS_H
#define MIGRATE_PEERS_H

#include "migrate/migrate.h"
#include "migrate/pipe.h"
#include "types.h"

void peers_init(const struct migrate_config *config, const struct pipe_maker *network);
const char *peers_host_name(void);
/* A random number: as long as it is the same, this host remembers every hand-over that it accepted under it. */
u64 peers_boot_id(void);
/* This host is about to forget some. */
void peers_renew_boot_id(void);
/* So long without any progress: the peer is gone. */
u64 peers_silence_ns(void);
/* By name or address, or "localhost"; -E_NOENT: not configured. */
int must_check peers_find(const char *text, struct migrate_peer *peer);
/* The same, where guests may go; why says what is wrong. */
int must_check peers_target(const char *text, struct migrate_peer *peer, char *why, size_t why_bytes);
/* Who has this address; -E_REFUSED: nobody that is allowed. */
int must_check peers_allowed(const u8 ip[4], struct migrate_peer *peer);
/* NULL, or why no pipe to it can be made at all, and what to do. */
const char *peers_missing(const struct migrate_peer *peer);
/* The index-th of godwit.cfg; NULL past the last. */
const struct migrate_peer *peers_get(u32 index);
/* A pipe to this peer (status() is -E_AGAIN until it is open), or to ourselves. */
int must_check peers_connect(const struct migrate_peer *peer, struct pipe **pipe);
/* Over a pipe that this peer has made: the one to use. On an error the pipe is closed. */
int must_check peers_secure(const struct migrate_peer *peer, struct pipe **pipe);
/* For pipes that come in, from peers or from ourselves. -E_IO: there is no network. */
int must_check peers_listen(pipe_accept_fn accept);

#endif
