/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network between the hosts of the fault runner: connections and datagrams that are cut, delayed, lost, repeated and chopped
 * by a seeded random number. Address 10.0.0.(host + 1).
 */
#ifndef FAKE_WIRE_H
#define FAKE_WIRE_H

#include "migrate/datagram.h"
#include "migrate/pipe.h"
#include "types.h"

#define WIRE_HOSTS 3

struct wire_options {
	u32 put_max, peek_max; /* short writes and reads; 0: none */
	u64 delay_ns;          /* until what was put can be read */
	u32 lose_percent, repeat_percent; /* of datagrams */
	bool down;             /* nobody gets a new connection */
};

extern struct wire_options wire;
/* Who calls now, and when it is. */
extern u32 wire_caller;
extern u64 wire_now_ns;

const struct pipe_maker *wire_pipes(u32 host);
const struct datagram_ops *wire_datagrams(void);
void wire_reset(u64 seed);
u64 wire_random(void);
/* Cuts one open connection: what is under way is lost or not, and each side notices when it does. False: there is none. */
bool wire_cut(void);
/* This host is gone, with all that it has open; what it sent may still arrive. */
void wire_crash(u32 host);
/* What somebody once sent to open a connection is sent again, by nobody. False: nothing was, or no place. */
bool wire_replay(void);
/* Datagrams that are due; to their hosts' listeners, with wire_caller set. */
void wire_deliver(void);
/* What is recorded to be repeated is forgotten, and nothing is lost or delayed from now on. */
void wire_calm(void);
u32 wire_open_ends(void);

#endif
