/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams over lwIP's UDP, for migrate/'s beacons. Service CPU. */
#ifndef NET_UDP_PORT_H
#define NET_UDP_PORT_H

#include "migrate/datagram.h"

/* One port at a time; what comes is handed over from within net_poll(). */
extern const struct datagram_ops udp_port;

#endif
