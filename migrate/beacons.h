/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beacons: every two seconds, and at once after a change, each peer is told which guests this host has; what
 * peers say goes to owner.c. Only with a key: without proof of its sender a beacon is worth nothing.
 * Service CPU.
 */
#ifndef MIGRATE_BEACONS_H
#define MIGRATE_BEACONS_H

#include "migrate/migrate.h"
#include "types.h"

struct datagram_ops;

/* Proof of who made a beacon. Hosts are named as in godwit.cfg. */
struct beacon_auth {
	/*
	 * Appends the proof to `bytes` bytes for that peer, BEACON_AUTH_MAX bytes at most; returns how long it is
	 * all together, 0: it could not.
	 */
	u32 (*seal)(const char *to, u8 *datagram, u32 bytes);
	/* Did that peer make this, for this host? Returns how many bytes of it are the beacon, 0: no. */
	u32 (*open)(const char *from, const u8 *datagram, u32 bytes);
	/*
	 * NULL where hosts need not meet. Writes what a host that may not know this one wants to see before it can open
	 * anything; its length, 0: nothing. And is it that, of another host's? Then it was looked at.
	 */
	u32 (*introduce)(u8 *datagram, u32 bytes_max);
	bool (*meet)(const char *from, const u8 *datagram, u32 bytes);
};

/* auth: NULL switches them off, both ways. */
void beacons_init(const struct datagram_ops *network, const struct beacon_auth *auth);
bool beacons_on(void);
/* Something changed: peers are told in the next beacons_poll(). */
void beacons_changed(void);
/* True if there is more to do at once. */
bool beacons_poll(void);
u64 beacons_next_deadline(void);
/* When the last beacon of the peer at this address came that counts; 0: never. */
u64 beacons_heard_ns(const u8 ip[4]);
/* How much memory it has free, as it said then. False: nothing counted in the last peers_silence_ns(). */
bool beacons_free_pages(const u8 ip[4], u64 *pages);

#endif
