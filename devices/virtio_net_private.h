/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the guest's network card: virtio_net.c (the device), virtio_net_data.c (frames),
 * virtio_net_control.c (control queue). Service CPU with vm->lock held, unless it says otherwise.
 */
#ifndef DEVICES_VIRTIO_NET_PRIVATE_H
#define DEVICES_VIRTIO_NET_PRIVATE_H

#include "devices/virtio_device.h"
#include "net/port.h"
#include "types.h"
#include "virtio.h"

#define NET_MULTICAST_MAX 32
#define NET_MAC_BYTES 6
#define NET_ETHERNET_BYTES 14
#define NET_PORT_NAME_BYTES 80

enum net_queue { NET_RX, NET_TX, NET_CONTROL, NET_QUEUES };

struct virtio_net {
	struct virtio_device virtio;
	struct net_port port;
	char port_name[NET_PORT_NAME_BYTES];
	u8 mac[NET_MAC_BYTES];
	/* What the driver wants to receive. */
	bool promiscuous, all_multicast;
	u32 multicast_count;
	u8 multicast[NET_MULTICAST_MAX][NET_MAC_BYTES];
	u64 waiting_since_ns; /* the next frame waits for its receiver; 0: it does not */
	bool arrived;         /* loaded, not yet announced */
	bool spoofing;        /* said so in the log */
};

static inline struct virtio_net *net_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_net, virtio);
}

/* virtio_net_data.c */
/* Sends a bounded number of frames; true if there are more. Drops vm->lock meanwhile. */
bool virtio_net_transmit(struct virtio_net *net);
/* The port's deliver(): vm->lock not held. */
bool virtio_net_deliver(struct net_port *port, const struct net_frame *frame);

/* virtio_net_control.c */
/* Obeys a bounded number of commands; true if there are more. */
bool virtio_net_control(struct virtio_net *net);
void virtio_net_filter_reset(struct virtio_net *net);
/* Does the driver want a frame to this address? */
bool virtio_net_filter(const struct virtio_net *net, const u8 destination[NET_MAC_BYTES]);
void virtio_net_set_status(struct virtio_net *net, u16 status);
u16 virtio_net_status(const struct virtio_net *net);

/* DEVICE_VIRTIO_NET, version 1. */
struct virtio_net_state {
	struct virtio_device_state virtio;
	u8 mac[NET_MAC_BYTES];
	u16 status;
	u8 promiscuous, all_multicast;
	u8 multicast_count;
	u8 reserved[5];
	u8 multicast[NET_MULTICAST_MAX][NET_MAC_BYTES];
};
static_assert(sizeof(struct virtio_net_state) == sizeof(struct virtio_device_state) + 16 + 6 * NET_MULTICAST_MAX,
	      "stream layout");

#endif
