/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's virtio network card (virtio 1.2 5.1). Service CPU. It owns one NIC: two rings, a block
 * of receive buffers that are posted again as soon as the switch has seen them, and a tx_area that
 * frames are copied into unless their owner lets them be kept.
 *
 * Large frames: with HOST_TSO4 a port of the switch may hand down a TCP segment of up to 64 KiB that
 * the device (or whoever receives it) cuts; with GUEST_TSO4 such frames come in. They arrive spread over
 * several receive buffers, but these lie side by side in memory and devices take them in order, so that
 * the frame is in one piece all the same; only when it is not it is gathered.
 */
#include "drivers/virtio_net.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define TX_BATCH 32 /* frames, after which the doorbell does not wait any longer */

static void give_up(struct virtio_nic *n, const char *what)
{
	log_error("%s %s: the device %s; it is switched off", n->nic.ops->name, n->nic.pci->address, what);
	n->nic.broken = true;
	virtio_pci_reset(&n->virtio);
	pci_device_disable(n->nic.pci);
}

/* --- receive ---------------------------------------------------------------------------------------------------- */

static u8 *rx_buffer(struct virtio_nic *n, u16 slot)
{
	return n->rx_buffers + slot * VIRTIO_NIC_RX_BUFFER_BYTES;
}

void virtio_nic_rx_post(struct virtio_nic *n, u16 slot)
{
	vring_post(&n->rx.ring, slot, page_hpa(rx_buffer(n, slot)), VIRTIO_NIC_RX_BUFFER_BYTES, true);
}

/* From the card's header to the switch's words; false: it makes no sense. */
static bool rx_describe(struct virtio_nic *n, struct net_frame *frame)
{
	const struct virtio_net_header *h = &n->rx_header;

	if (frame->bytes < 14 || frame->bytes > NET_FRAME_MAX)
		return false;
	if (h->flags & HEADER_NEEDS_CSUM) {
		if ((u32)h->csum_start + h->csum_offset + 2 > frame->bytes)
			return false;
		frame->flags |= NET_CSUM_PARTIAL;
		frame->csum_start = h->csum_start;
		frame->csum_offset = h->csum_offset;
	} else if (h->flags & HEADER_DATA_VALID) {
		frame->flags |= NET_CSUM_VALID;
	}
	if (h->gso_type == GSO_NONE)
		return true;
	if (h->gso_type != GSO_TCPV4 || !h->gso_size || !virtio_pci_has(&n->virtio, NET_F_GUEST_TSO4))
		return false;
	frame->flags |= NET_GSO_TCP4;
	frame->gso_size = h->gso_size;
	frame->gso_header_bytes = h->header_bytes;
	return true;
}

/*
 * Takes one frame's buffers: slots[0 .. *count - 1], the frame from behind the first one's header.
 * -E_AGAIN: no frame; -E_IO: rubbish.
 */
static int rx_take(struct virtio_nic *n, u16 *slots, u32 *count, struct net_frame *frame)
{
	const u32 header_bytes = sizeof(n->rx_header);
	bool apart = false;
	u32 bytes, total, buffers;
	int error;

	error = vring_take(&n->rx.ring, &slots[0], &bytes);
	if (error)
		return error;
	*count = 1;
	if (bytes < header_bytes || bytes > VIRTIO_NIC_RX_BUFFER_BYTES)
		return trace_error(-E_IO);
	/* Read once: the device could still change it. */
	memcpy(&n->rx_header, rx_buffer(n, slots[0]), header_bytes);
	buffers = virtio_pci_has(&n->virtio, NET_F_MRG_RXBUF) ? n->rx_header.buffers : 1;
	frame->data = rx_buffer(n, slots[0]) + header_bytes;
	total = bytes - header_bytes;
	if (buffers == 0 || buffers > DIV_UP(NET_FRAME_MAX + header_bytes, VIRTIO_NIC_RX_BUFFER_BYTES))
		return trace_error(-E_IO);
	while (*count < buffers) {
		u16 *slot = &slots[*count];

		/* All but the last are full; all of a frame's come at once (virtio 1.2 5.1.6.3.2). */
		if (bytes != VIRTIO_NIC_RX_BUFFER_BYTES)
			return trace_error(-E_IO);
		if (vring_take(&n->rx.ring, slot, &bytes) != 0 || bytes > VIRTIO_NIC_RX_BUFFER_BYTES)
			return trace_error(-E_IO);
		apart |= *slot != slots[*count - 1] + 1;
		total += bytes;
		(*count)++;
	}
	frame->bytes = total;
	if (total > NET_FRAME_MAX)
		return trace_error(-E_IO);
	if (!apart)
		return 0;
	for (u32 i = 0, at = 0; i < buffers; i++) {
		u32 skip = i ? 0 : header_bytes;
		u32 piece = MIN(VIRTIO_NIC_RX_BUFFER_BYTES - skip, total - at);

		memcpy(n->gather + at, rx_buffer(n, slots[i]) + skip, piece);
		at += piece;
	}
	frame->data = n->gather;
	return 0;
}

static bool rx_poll(struct virtio_nic *n)
{
	for (u32 frames = 0; frames < NIC_POLL_FRAMES; frames++) {
		u16 slots[DIV_UP(NET_FRAME_MAX + sizeof(struct virtio_net_header), VIRTIO_NIC_RX_BUFFER_BYTES)];
		struct net_frame frame = { 0 };
		u32 count = 0;
		int error = rx_take(n, slots, &count, &frame);

		if (error == -E_AGAIN) {
			virtio_pci_kick(&n->rx);
			return false;
		}
		if (error) {
			give_up(n, "broke the rules of its receive ring");
			return false;
		}
		if (rx_describe(n, &frame))
			net_switch_input(&n->nic.port, &frame);
		else
			n->nic.port.dropped++;
		for (u32 i = 0; i < count; i++)
			virtio_nic_rx_post(n, slots[i]);
	}
	virtio_pci_kick(&n->rx);
	return true;
}

/* --- transmit --------------------------------------------------------------------------------------------------- */

static void tx_reap(struct virtio_nic *n)
{
	u16 slot;
	u32 bytes;
	int error;

	while ((error = vring_take(&n->tx.ring, &slot, &bytes)) == 0)
		continue;
	if (error != -E_AGAIN) {
		give_up(n, "broke the rules of its transmit ring");
		return;
	}
	/* The area is given back in order, whatever the order in which the device was done. */
	while (n->tx_tail != n->tx_head) {
		slot = n->tx_tail % n->tx.ring.size;
		if (vring_with_device(&n->tx.ring, slot))
			break;
		tx_area_give(&n->area, n->tx_sent[slot].end);
		if (n->tx_sent[slot].release)
			n->tx_sent[slot].release(n->tx_sent[slot].owner);
		n->tx_tail++;
	}
}

void virtio_nic_flush(struct nic *nic)
{
	struct virtio_nic *n = container_of(nic, struct virtio_nic, nic);

	if (!n->tx_waiting || nic->broken)
		return;
	n->tx_waiting = 0;
	virtio_pci_kick(&n->tx);
}

/* Where header and frame go: where the frame is, or a piece of the area. NULL: no room. */
static u8 *tx_place(struct virtio_nic *n, const struct net_frame *frame, u32 *end)
{
	if ((u16)(n->tx_head - n->tx_tail) == n->tx.ring.size)
		return NULL;
	if (frame->keep) {
		*end = n->area.head;
		/* Its owner says that there is room before it. */
		return (u8 *)(uintptr_t)frame->data - sizeof(struct virtio_net_header);
	}
	return tx_area_take(&n->area, (u32)sizeof(struct virtio_net_header) + frame->bytes, end);
}

static struct virtio_net_header tx_header(const struct net_frame *frame)
{
	struct virtio_net_header h = { 0 };

	if (frame->flags & NET_CSUM_PARTIAL) {
		h.flags = HEADER_NEEDS_CSUM;
		h.csum_start = frame->csum_start;
		h.csum_offset = frame->csum_offset;
	}
	if (frame->flags & NET_GSO_TCP4) {
		h.gso_type = GSO_TCPV4;
		h.gso_size = frame->gso_size;
		h.header_bytes = frame->gso_header_bytes;
	}
	return h;
}

bool virtio_nic_deliver(struct net_port *port, const struct net_frame *frame)
{
	struct virtio_nic *n = container_of(port, struct virtio_nic, nic.port);
	struct virtio_net_header h = tx_header(frame);
	u16 slot = n->tx_head % n->tx.ring.size;
	u8 *place;
	u32 end;

	if (n->nic.broken)
		return false;
	place = tx_place(n, frame, &end);
	if (!place) {
		virtio_nic_flush(&n->nic);
		tx_reap(n);
		place = tx_place(n, frame, &end);
		if (!place)
			return false;
	}
	memcpy(place, &h, sizeof(h));
	if (frame->keep)
		frame->keep(frame->owner);
	else
		memcpy(place + sizeof(h), frame->data, frame->bytes);
	n->tx_sent[slot].end = end;
	n->tx_sent[slot].release = frame->keep ? frame->release : NULL;
	n->tx_sent[slot].owner = frame->owner;
	n->tx_head++;
	vring_post(&n->tx.ring, slot, page_hpa(place), (u32)sizeof(h) + frame->bytes, false);
	if (++n->tx_waiting >= TX_BATCH)
		virtio_nic_flush(&n->nic);
	return true;
}

/* --- as net/net.c knows it --------------------------------------------------------------------------------------- */

bool virtio_nic_poll(struct nic *nic)
{
	struct virtio_nic *n = container_of(nic, struct virtio_nic, nic);
	bool more;

	if (nic->broken)
		return false;
	vring_silence(&n->rx.ring);
	tx_reap(n);
	more = !nic->broken && rx_poll(n);
	virtio_nic_flush(nic);
	return more;
}

bool virtio_nic_arm(struct nic *nic)
{
	struct virtio_nic *n = container_of(nic, struct virtio_nic, nic);

	if (nic->irq == PCI_IRQ_PIN)
		virtio_pci_quiet(&n->virtio);
	/* What was sent is taken back when there is something to send: no interrupts for that. */
	return nic->broken || vring_arm(&n->rx.ring);
}

bool virtio_nic_link_up(struct nic *nic)
{
	struct virtio_nic *n = container_of(nic, struct virtio_nic, nic);

	if (nic->broken)
		return false;
	if (!virtio_pci_has(&n->virtio, NET_F_STATUS))
		return true;
	return virtio_pci_config16(&n->virtio, NET_CONFIG_STATUS) & NET_STATUS_LINK_UP;
}
