/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams for host tests (the test sees what is sent and hands over what is to be heard), and a proof of their sender. */
#ifndef FAKE_BEACON_H
#define FAKE_BEACON_H

#include "migrate/beacons.h"
#include "migrate/datagram.h"

#define FAKE_BEACON_PROOF 8

extern const struct datagram_ops fake_datagrams;
/* A sum with a key: enough to tell the forged from the true where nobody attacks. */
extern const struct beacon_auth fake_beacon_auth;

/* Gets all that is sent. */
extern void (*fake_datagram_sent)(const u8 ip[4], const void *data, size_t bytes);
/* It comes from the network. */
void fake_datagram_hear(const u8 ip[4], const void *data, size_t bytes);

#endif
