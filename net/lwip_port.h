/* SPDX-License-Identifier: Apache-2.0 */
/* lwIP between the switch and the rest: for net.c and tcp_pipe.c. Service CPU. */
#ifndef NET_LWIP_PORT_H
#define NET_LWIP_PORT_H

#include "net/net.h"
#include "types.h"

/* The host as a port of the switch, with this MAC, and 127.0.0.1. */
int must_check lwip_port_init(const struct net_config *config, const u8 mac[6], u16 mtu);
void lwip_port_set_link(bool up);
/* Frames that came since, and timers; true if there is more to do. */
bool lwip_port_poll(void);
u64 lwip_port_next_deadline(void);
void lwip_port_get_addresses(struct net_info *info);

/*
 * How much data a segment should have on a connection whose peer agreed on mss: as much as one block of
 * lwIP's memory holds if the NIC cuts segments, else mss.
 */
u16 lwip_port_segment_bytes(u16 mss);

#endif
