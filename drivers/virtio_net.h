/* SPDX-License-Identifier: Apache-2.0 */
/* Between virtio_net.c (frames) and virtio_net_start.c (setting up). */
#ifndef DRIVERS_VIRTIO_NET_H
#define DRIVERS_VIRTIO_NET_H

#include "drivers/nic.h"
#include "drivers/tx_area.h"
#include "drivers/virtio_pci.h"
#include "types.h"
#include "virtio.h"

static_assert(sizeof(struct virtio_net_header) == NET_FRAME_HEADROOM, "a kept frame has room for it");

#define VIRTIO_NIC_RING 256
#define VIRTIO_NIC_RX_BUFFER_BYTES 4096u

struct virtio_nic {
	struct nic nic;
	struct virtio_pci virtio;
	struct virtio_pci_queue rx, tx;
	u8 *rx_buffers;
	u8 *gather; /* NET_FRAME_MAX bytes, NULL without MRG_RXBUF */
	struct tx_area area;
	u16 tx_head, tx_tail; /* frames ever given to the device, and taken back in order */
	u16 tx_waiting;       /* given since the last doorbell */
	struct {
		u32 end;                      /* where the frame's piece of the area ends */
		void (*release)(void *owner); /* NULL: the frame was copied there, not kept */
		void *owner;
	} tx_sent[VIRTIO_NIC_RING];
	struct virtio_net_header rx_header;
};

/* Gives a receive buffer to the device. */
void virtio_nic_rx_post(struct virtio_nic *n, u16 slot);
bool virtio_nic_deliver(struct net_port *port, const struct net_frame *frame);
bool virtio_nic_poll(struct nic *nic);
void virtio_nic_flush(struct nic *nic);
bool virtio_nic_arm(struct nic *nic);
bool virtio_nic_link_up(struct nic *nic);

#endif
