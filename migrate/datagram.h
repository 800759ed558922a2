/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small packets to and from other hosts, which may be lost, repeated or late; net/udp_port.c makes them of
 * lwIP's UDP. Service CPU.
 */
#ifndef MIGRATE_DATAGRAM_H
#define MIGRATE_DATAGRAM_H

#include "types.h"

#define DATAGRAM_BYTES_MAX 1200 /* fits every MTU in one piece */

/* data is only there during the call. */
typedef void (*datagram_fn)(const u8 ip[4], const void *data, size_t bytes);

struct datagram_ops {
	/* -E_NOMEM; -E_IO: there is no network. */
	int (*open)(u16 port, datagram_fn heard);
	/* Sent or lost: nobody is told. */
	void (*send)(const u8 ip[4], u16 port, const void *data, size_t bytes);
};

#endif
