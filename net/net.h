/* SPDX-License-Identifier: Apache-2.0 */
/* The host's network: NIC drivers, switch, lwIP. Service CPU. */
#ifndef NET_NET_H
#define NET_NET_H

#include "types.h"

struct net_config {
	char nic[32];      /* "auto", or a PCI address "00:03.0" */
	bool dhcp;
	u8 ip[4], netmask[4], gateway[4];
	u16 mtu;           /* 0: 1500 */
	char host_name[32];
	u32 peer_timeout_s; /* 0: the default, 10 */
};

/* Finds the NIC, starts lwIP; without a NIC the switch and loopback still work (why says what to do). */
int must_check net_init(const struct net_config *config, char *why, size_t why_bytes);
bool net_poll(void);        /* true if there is more to do */
void net_flush(void);       /* what was given to the NIC is to leave now, not with the next net_poll() */
u64 net_next_deadline(void); /* of lwIP's timers and repeated announcements, in time_ns; 0: none */

struct net_info {
	char nic[64];      /* "virtio-net 00:03.0", or why there is none */
	u8 mac[6];
	u8 ip[4], netmask[4], gateway[4];
	bool link_up, has_address;
	u16 mtu;
};
void net_get_info(struct net_info *info);

#endif
