/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue of the guest's network card (virtio 1.2 5.1.6.5): what it wants to receive, its address, the
 * acknowledgement of announcements. Service CPU, vm->lock held.
 *
 * The address is the one of the guest's configuration and stays so: a driver that asks for another one is refused
 * (Linux then says so to who typed "ip link set ... address"). A guest that could choose could claim the host's
 * address, or another guest's.
 */
#include "devices/virtio_net_private.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"

enum control_class { CLASS_RX = 0, CLASS_MAC = 1, CLASS_ANNOUNCE = 3 };
enum control_rx { RX_PROMISCUOUS = 0, RX_ALL_MULTICAST = 1 };
enum control_mac { MAC_TABLE_SET = 0, MAC_ADDRESS_SET = 1 };
enum control_announce { ANNOUNCE_ACK = 0 };
enum control_ack { ACK_OK = 0, ACK_ERROR = 1 };

struct control_header {
	u8 class;
	u8 command;
};

/* Commands of one turn. */
#define CONTROL_COMMANDS 16
#define MULTICAST_BIT 1

static struct virtqueue_chain chain;

u16 virtio_net_status(const struct virtio_net *net)
{
	return (u16)pci_read_bytes(&net->virtio.config[NET_CONFIG_STATUS], 2);
}

void virtio_net_set_status(struct virtio_net *net, u16 status)
{
	pci_write_bytes(&net->virtio.config[NET_CONFIG_STATUS], 2, status);
}

/* --- what the driver wants to receive -------------------------------------------------------------------------- */

/* Until the driver says what it wants, it gets everything. */
void virtio_net_filter_reset(struct virtio_net *net)
{
	net->promiscuous = true;
	net->all_multicast = true;
	net->multicast_count = 0;
}

bool virtio_net_filter(const struct virtio_net *net, const u8 destination[NET_MAC_BYTES])
{
	static const u8 broadcast[NET_MAC_BYTES] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (net->promiscuous || !memcmp(destination, net->mac, NET_MAC_BYTES))
		return true;
	if (!(destination[0] & MULTICAST_BIT))
		return false;
	if (net->all_multicast || !memcmp(destination, broadcast, NET_MAC_BYTES))
		return true;
	for (u32 i = 0; i < net->multicast_count; i++) {
		if (!memcmp(destination, net->multicast[i], NET_MAC_BYTES))
			return true;
	}
	return false;
}

static bool data_read(const struct virtqueue *queue, u32 offset, void *dst, u32 bytes)
{
	return virtqueue_chain_read(queue, &chain, (u32)sizeof(struct control_header) + offset, dst, bytes) == bytes;
}

static bool control_rx(struct virtio_net *net, const struct virtqueue *queue, u8 command)
{
	u8 on;

	if (!virtio_device_has(&net->virtio, NET_F_CTRL_RX) || !data_read(queue, 0, &on, 1))
		return false;
	switch (command) {
	case RX_PROMISCUOUS:
		net->promiscuous = on;
		return true;
	case RX_ALL_MULTICAST:
		net->all_multicast = on;
		return true;
	default:
		return false;
	}
}

/*
 * Two lists, each a count and the addresses: unicast, multicast. More multicast addresses than we keep are
 * refused: Linux then only warns, so all multicast is switched on instead. Other unicast addresses than the
 * guest's own never lead to it.
 */
static bool table_set(struct virtio_net *net, const struct virtqueue *queue)
{
	u32 unicast, multicast, offset;

	if (!data_read(queue, 0, &unicast, sizeof(unicast)) || unicast > chain.readable_bytes / NET_MAC_BYTES)
		return false;
	offset = (u32)sizeof(unicast) + unicast * NET_MAC_BYTES;
	if (!data_read(queue, offset, &multicast, sizeof(multicast)))
		return false;
	offset += (u32)sizeof(multicast);
	net->multicast_count = 0;
	if (multicast > NET_MULTICAST_MAX) {
		net->all_multicast = true;
		return true;
	}
	if (!data_read(queue, offset, net->multicast, multicast * NET_MAC_BYTES))
		return false;
	net->multicast_count = multicast;
	return true;
}

static bool control_mac(struct virtio_net *net, const struct virtqueue *queue, u8 command)
{
	u8 mac[NET_MAC_BYTES];

	switch (command) {
	case MAC_TABLE_SET:
		return virtio_device_has(&net->virtio, NET_F_CTRL_RX) && table_set(net, queue);
	case MAC_ADDRESS_SET:
		return data_read(queue, 0, mac, sizeof(mac)) && !memcmp(mac, net->mac, sizeof(mac));
	default:
		return false;
	}
}

/* --- the queue ------------------------------------------------------------------------------------------------- */

static bool control_command(struct virtio_net *net, const struct virtqueue *queue)
{
	struct control_header header;

	if (virtqueue_chain_read(queue, &chain, 0, &header, sizeof(header)) != sizeof(header))
		return false;
	switch (header.class) {
	case CLASS_RX:
		return control_rx(net, queue, header.command);
	case CLASS_MAC:
		return control_mac(net, queue, header.command);
	case CLASS_ANNOUNCE:
		if (header.command != ANNOUNCE_ACK || !virtio_device_has(&net->virtio, NET_F_GUEST_ANNOUNCE))
			return false;
		virtio_net_set_status(net, (u16)(virtio_net_status(net) & ~NET_STATUS_ANNOUNCE));
		return true;
	default:
		return false;
	}
}

/* One command: 1, 0 if there is none, -E_INVAL if the queue is broken. */
static int control_next(struct virtio_net *net, struct virtqueue *queue)
{
	int result = virtqueue_pop(queue, &chain);
	u8 ack;

	if (result <= 0)
		return result;
	if (!chain.writable_bytes)
		return virtqueue_refuse(queue, "a command without room for the answer");
	ack = control_command(net, queue) ? ACK_OK : ACK_ERROR;
	(void)virtqueue_chain_write(queue, &chain, 0, &ack, sizeof(ack));
	if (virtqueue_put(queue, 0, chain.head, sizeof(ack)) || virtqueue_publish(queue, 1))
		return -E_INVAL;
	return 1;
}

bool virtio_net_control(struct virtio_net *net)
{
	struct virtqueue *queue = &net->virtio.queue[NET_CONTROL];
	u32 commands = 0;
	int result = 1;
	bool more;

	if (!queue->enabled)
		return false;
	while (commands < CONTROL_COMMANDS) {
		result = control_next(net, queue);
		if (result <= 0)
			break;
		commands++;
	}
	if (commands)
		virtio_device_signal(&net->virtio, NET_CONTROL);
	more = result == 0 ? virtqueue_allow_doorbells(queue) : true;
	if (queue->broken) {
		virtio_device_broken(&net->virtio, NET_CONTROL, queue->broken);
		return false;
	}
	return more;
}
