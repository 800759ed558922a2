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
#include "arch/x86_64/cpu.h"
#include "drivers/nic.h"
#include "drivers/tx_area.h"
#include "drivers/virtio_pci.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"

#define VIRTIO_NET_TRANSITIONAL 0x1000
#define VIRTIO_NET_MODERN 0x1041

/* virtio 1.2 5.1.3 */
#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_GUEST_TSO4 BIT(7)
#define F_HOST_TSO4 BIT(11)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
/* Without CTRL_VQ nothing can filter addresses: the card passes on all that it gets, as a switch wants it. */
#define F_WANTED (F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MRG_RXBUF | F_STATUS | \
		VIRTIO_F_EVENT_IDX)

/* virtio 1.2 5.1.4 */
#define CONFIG_MAC 0
#define CONFIG_STATUS 6
#define CONFIG_MTU 10
#define CONFIG_STATUS_LINK_UP 1

/* virtio 1.2 5.1.6 */
struct virtio_net_header {
	u8 flags;
	u8 gso_type;
	u16 header_bytes;
	u16 gso_size;
	u16 csum_start;
	u16 csum_offset;
	u16 buffers;
};
static_assert(sizeof(struct virtio_net_header) == NET_FRAME_HEADROOM, "virtio 1.2 5.1.6");

#define HEADER_NEEDS_CSUM 1
#define HEADER_DATA_VALID 2
#define GSO_NONE 0
#define GSO_TCP4 1

#define RX_QUEUE 0
#define TX_QUEUE 1
#define RING_SIZE 256
#define RX_BUFFER_BYTES 4096u
#define TX_AREA_BYTES KIB(512)
#define TX_BATCH 32 /* frames, after which the doorbell does not wait any longer */
#define ETHERNET_BYTES 18 /* header and a VLAN tag */

struct virtio_net {
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
	} tx_sent[RING_SIZE];
	struct virtio_net_header rx_header;
};

static struct virtio_net the_nic;

static void give_up(struct virtio_net *n, const char *what)
{
	log_error("%s %s: the device %s; it is switched off", n->nic.ops->name, n->nic.pci->address, what);
	n->nic.broken = true;
	virtio_pci_reset(&n->virtio);
	pci_device_disable(n->nic.pci);
}

/* --- receive ---------------------------------------------------------------------------------------------------- */

static u8 *rx_buffer(struct virtio_net *n, u16 slot)
{
	return n->rx_buffers + slot * RX_BUFFER_BYTES;
}

static void rx_post(struct virtio_net *n, u16 slot)
{
	vring_post(&n->rx.ring, slot, page_hpa(rx_buffer(n, slot)), RX_BUFFER_BYTES, true);
}

/* From the card's header to the switch's words; false: it makes no sense. */
static bool rx_describe(struct virtio_net *n, struct net_frame *frame)
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
	if (h->gso_type != GSO_TCP4 || !h->gso_size || !virtio_pci_has(&n->virtio, F_GUEST_TSO4))
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
static int rx_take(struct virtio_net *n, u16 *slots, u32 *count, struct net_frame *frame)
{
	const u32 header_bytes = sizeof(n->rx_header);
	bool apart = false;
	u32 bytes, total, buffers;
	int error;

	error = vring_take(&n->rx.ring, &slots[0], &bytes);
	if (error)
		return error;
	*count = 1;
	if (bytes < header_bytes || bytes > RX_BUFFER_BYTES)
		return trace_error(-E_IO);
	/* Read once: the device could still change it. */
	memcpy(&n->rx_header, rx_buffer(n, slots[0]), header_bytes);
	buffers = virtio_pci_has(&n->virtio, F_MRG_RXBUF) ? n->rx_header.buffers : 1;
	frame->data = rx_buffer(n, slots[0]) + header_bytes;
	total = bytes - header_bytes;
	if (buffers == 0 || buffers > DIV_UP(NET_FRAME_MAX + header_bytes, RX_BUFFER_BYTES))
		return trace_error(-E_IO);
	while (*count < buffers) {
		u16 *slot = &slots[*count];

		/* All but the last are full; all of a frame's come at once (virtio 1.2 5.1.6.3.2). */
		if (bytes != RX_BUFFER_BYTES)
			return trace_error(-E_IO);
		if (vring_take(&n->rx.ring, slot, &bytes) != 0 || bytes > RX_BUFFER_BYTES)
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
		u32 piece = MIN(RX_BUFFER_BYTES - skip, total - at);

		memcpy(n->gather + at, rx_buffer(n, slots[i]) + skip, piece);
		at += piece;
	}
	frame->data = n->gather;
	return 0;
}

static bool rx_poll(struct virtio_net *n)
{
	for (u32 frames = 0; frames < NIC_POLL_FRAMES; frames++) {
		u16 slots[DIV_UP(NET_FRAME_MAX + sizeof(struct virtio_net_header), RX_BUFFER_BYTES)];
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
			rx_post(n, slots[i]);
	}
	virtio_pci_kick(&n->rx);
	return true;
}

/* --- transmit --------------------------------------------------------------------------------------------------- */

static void tx_reap(struct virtio_net *n)
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

static void flush(struct nic *nic)
{
	struct virtio_net *n = container_of(nic, struct virtio_net, nic);

	if (!n->tx_waiting || nic->broken)
		return;
	n->tx_waiting = 0;
	virtio_pci_kick(&n->tx);
}

/* Where header and frame go: where the frame is, or a piece of the area. NULL: no room. */
static u8 *tx_place(struct virtio_net *n, const struct net_frame *frame, u32 *end)
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
		h.gso_type = GSO_TCP4;
		h.gso_size = frame->gso_size;
		h.header_bytes = frame->gso_header_bytes;
	}
	return h;
}

static bool deliver(struct net_port *port, const struct net_frame *frame)
{
	struct virtio_net *n = container_of(port, struct virtio_net, nic.port);
	struct virtio_net_header h = tx_header(frame);
	u32 max = frame->flags & NET_GSO_TCP4 ? NET_FRAME_MAX : port->mtu + ETHERNET_BYTES;
	u16 slot = n->tx_head % n->tx.ring.size;
	u8 *place;
	u32 end;

	if (n->nic.broken || frame->bytes > max)
		return false;
	place = tx_place(n, frame, &end);
	if (!place) {
		flush(&n->nic);
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
		flush(&n->nic);
	return true;
}

/* --- as net/net.c knows it --------------------------------------------------------------------------------------- */

static bool poll(struct nic *nic)
{
	struct virtio_net *n = container_of(nic, struct virtio_net, nic);
	bool more;

	if (nic->broken)
		return false;
	vring_silence(&n->rx.ring);
	tx_reap(n);
	more = !nic->broken && rx_poll(n);
	flush(nic);
	return more;
}

static bool arm(struct nic *nic)
{
	struct virtio_net *n = container_of(nic, struct virtio_net, nic);

	if (nic->irq == PCI_IRQ_PIN)
		virtio_pci_quiet(&n->virtio);
	/* What was sent is taken back when there is something to send: no interrupts for that. */
	return nic->broken || vring_arm(&n->rx.ring);
}

static bool link_up(struct nic *nic)
{
	struct virtio_net *n = container_of(nic, struct virtio_net, nic);

	if (nic->broken)
		return false;
	if (!virtio_pci_has(&n->virtio, F_STATUS))
		return true;
	return virtio_pci_config16(&n->virtio, CONFIG_STATUS) & CONFIG_STATUS_LINK_UP;
}

static bool match(const struct pci_device *dev)
{
	return dev->vendor == VIRTIO_VENDOR &&
		(dev->device == VIRTIO_NET_TRANSITIONAL || dev->device == VIRTIO_NET_MODERN);
}

static int memory_init(struct virtio_net *n)
{
	hpa_t rx = pages_alloc_raw(pages_order(RING_SIZE * RX_BUFFER_BYTES));
	hpa_t tx = pages_alloc_raw(pages_order(TX_AREA_BYTES));

	if (rx == HPA_NONE || tx == HPA_NONE)
		return trace_error(-E_NOMEM);
	n->rx_buffers = page_ptr(rx);
	tx_area_init(&n->area, page_ptr(tx), TX_AREA_BYTES);
	if (virtio_pci_has(&n->virtio, F_MRG_RXBUF)) {
		hpa_t gather = pages_alloc_raw(pages_order(NET_FRAME_MAX + RX_BUFFER_BYTES));

		if (gather == HPA_NONE)
			return trace_error(-E_NOMEM);
		n->gather = page_ptr(gather);
	}
	return 0;
}

/* What of the offered goes together (virtio 1.2 5.1.3.1). */
static u64 features_for(u64 offered)
{
	u64 features = offered & F_WANTED;

	if (!(features & F_CSUM))
		features &= ~F_HOST_TSO4;
	/* Without mergeable buffers every one of them would have to hold 64 KiB (5.1.6.3.1). */
	if (!(features & F_GUEST_CSUM) || !(features & F_MRG_RXBUF))
		features &= ~F_GUEST_TSO4;
	return features;
}

/* The card's own address, or one of ours, locally administered. */
static void mac_init(struct virtio_net *n)
{
	u64 random;

	if (virtio_pci_has(&n->virtio, F_MAC)) {
		for (u32 i = 0; i < 6; i++)
			n->nic.mac[i] = virtio_pci_config8(&n->virtio, CONFIG_MAC + i);
		return;
	}
	random = random_u64();
	memcpy(n->nic.mac, &random, 6);
	n->nic.mac[0] = (u8)((n->nic.mac[0] & ~1) | 2);
}

static void port_init(struct virtio_net *n, u16 mtu)
{
	u16 device_mtu = virtio_pci_has(&n->virtio, F_MTU) ? virtio_pci_config16(&n->virtio, CONFIG_MTU) : 0;
	u16 rx_mtu = virtio_pci_has(&n->virtio, F_MRG_RXBUF) ? 9000 : 1500;

	if (device_mtu >= 68)
		mtu = MIN(mtu, device_mtu);
	n->nic.port = (struct net_port){
		.name = "nic",
		.deliver = deliver,
		.mtu = MIN(mtu, rx_mtu),
		.uplink = true,
		.ctx = &n->nic,
	};
	if (virtio_pci_has(&n->virtio, F_CSUM))
		n->nic.port.caps |= NET_CAP_CSUM;
	if (virtio_pci_has(&n->virtio, F_HOST_TSO4))
		n->nic.port.caps |= NET_CAP_GSO;
}

static int start(const struct pci_device *dev, u16 mtu, struct nic **nic)
{
	struct virtio_net *n = &the_nic;
	int error;

	if (n->nic.ops)
		return trace_error(-E_BUSY);
	n->nic.ops = &virtio_net_nic;
	n->nic.pci = dev;
	error = virtio_pci_start(&n->virtio, dev);
	if (!error)
		error = virtio_pci_agree(&n->virtio, features_for(n->virtio.offered));
	if (error)
		return error;
	error = pci_device_irq(dev, true, &n->nic.vector, &n->nic.irq);
	if (error)
		log_warn("virtio-net %s: no interrupt (%s): it is polled", dev->address, error_name(error));
	error = virtio_pci_queue_init(&n->virtio, &n->rx, RX_QUEUE, RING_SIZE, n->nic.irq == PCI_IRQ_MSIX);
	if (!error)
		error = virtio_pci_queue_init(&n->virtio, &n->tx, TX_QUEUE, RING_SIZE, false);
	if (!error)
		error = memory_init(n);
	if (error) {
		virtio_pci_reset(&n->virtio);
		pci_device_disable(dev);
		return error;
	}
	mac_init(n);
	port_init(n, mtu);
	virtio_pci_ready(&n->virtio);
	for (u16 slot = 0; slot < n->rx.ring.size; slot++)
		rx_post(n, slot);
	virtio_pci_kick(&n->rx);
	*nic = &n->nic;
	return 0;
}

const struct nic_ops virtio_net_nic = {
	.name = "virtio-net",
	.match = match,
	.start = start,
	.poll = poll,
	.flush = flush,
	.arm = arm,
	.link_up = link_up,
};
