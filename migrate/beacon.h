/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A beacon: what a host says every two seconds of the guests that it has (docs/ownership.md). This is its
 * layout and its parser, a pure function of bytes. beacons.c sends and hears them. Service CPU.
 */
#ifndef MIGRATE_BEACON_H
#define MIGRATE_BEACON_H

#include "migrate/datagram.h"
#include "types.h"

#define BEACON_MAGIC 0x31304e4f43414542ull /* the bytes "BEACON01" */
#define BEACON_VERSION 2
#define BEACON_PORT 8003
#define BEACON_GUESTS_MAX 24 /* of one datagram; more go into further ones */
#define BEACON_AUTH_MAX 112  /* bytes that the proof of its sender may take */

/* Never renumbered. */
enum beacon_state {
	BEACON_RUNS = 1,
	BEACON_PAUSED = 2,  /* owned, and does not run at the moment */
	BEACON_DOUBT = 3,   /* handed over, and no answer came */
	BEACON_YIELDED = 4, /* paused because another host has it at an epoch as high or higher */
};

struct beacon_guest {
	u8 uuid[16];
	u64 epoch;
	u64 attempt; /* of the hand-over by which it came here; 0: it began here, or the operator forced it */
	u32 state;   /* enum beacon_state */
	u32 reserved;
};
static_assert(sizeof(struct beacon_guest) == 40, "wire layout");

struct beacon_header {
	u64 magic;
	u32 version;
	u32 guest_count;   /* that follow */
	char host[32];     /* what the sender calls itself, NUL-ended, the rest zeros */
	u64 instance;      /* a random number of the sender's, new at every start */
	u64 stamp;         /* of the sender's clock; rises with every datagram */
	u64 echo_instance; /* of the last datagram that the sender had from the one that this goes to; 0: none */
	u64 echo_stamp;
	u64 free_pages;    /* of 4 KiB, of the sender's memory: what guests could get */
};
static_assert(sizeof(struct beacon_header) == 88, "wire layout");
static_assert(sizeof(struct beacon_header) + BEACON_GUESTS_MAX * sizeof(struct beacon_guest) + BEACON_AUTH_MAX <=
	      DATAGRAM_BYTES_MAX, "a full beacon fits");

struct beacon {
	struct beacon_header header;
	struct beacon_guest guests[BEACON_GUESTS_MAX];
};

static inline u32 beacon_bytes(const struct beacon *beacon)
{
	return (u32)(sizeof(beacon->header) + beacon->header.guest_count * sizeof(beacon->guests[0]));
}

/* Exactly one beacon, all of it as it must be; -E_PROTO: it is none. Looks at nothing but its arguments. */
int must_check beacon_parse(const void *bytes, size_t count, struct beacon *beacon);

#endif
