/* SPDX-License-Identifier: Apache-2.0 */
/* Sets up the host's virtio network card. Service CPU, once at boot. */
#include "drivers/virtio_net.h"

#include "errors.h"
#include "lib/log.h"
#include "mm/pages.h"

#define VIRTIO_NET_TRANSITIONAL 0x1000
#define VIRTIO_NET_MODERN (VIRTIO_DEVICE_BASE + VIRTIO_ID_NET)

/* Without CTRL_VQ nothing can filter addresses: the card passes on all that it gets, as a switch wants it. */
#define F_WANTED (NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_MTU | NET_F_MAC | NET_F_GUEST_TSO4 | NET_F_HOST_TSO4 | \
		NET_F_MRG_RXBUF | NET_F_STATUS | VIRTIO_F_EVENT_IDX)

#define RX_QUEUE 0
#define TX_QUEUE 1
#define TX_AREA_BYTES KIB(512)

static struct virtio_nic the_nic;

static bool match(const struct pci_device *dev)
{
	return dev->vendor == VIRTIO_VENDOR &&
		(dev->device == VIRTIO_NET_TRANSITIONAL || dev->device == VIRTIO_NET_MODERN);
}

static int memory_init(struct virtio_nic *n)
{
	hpa_t rx = pages_alloc_raw(pages_order(VIRTIO_NIC_RING * VIRTIO_NIC_RX_BUFFER_BYTES));
	hpa_t tx = pages_alloc_raw(pages_order(TX_AREA_BYTES));

	if (rx == HPA_NONE || tx == HPA_NONE)
		return trace_error(-E_NOMEM);
	n->rx_buffers = page_ptr(rx);
	tx_area_init(&n->area, page_ptr(tx), TX_AREA_BYTES);
	if (virtio_pci_has(&n->virtio, NET_F_MRG_RXBUF)) {
		hpa_t gather = pages_alloc_raw(pages_order(NET_FRAME_MAX + VIRTIO_NIC_RX_BUFFER_BYTES));

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

	if (!(features & NET_F_CSUM))
		features &= ~NET_F_HOST_TSO4;
	/* Without mergeable buffers every one of them would have to hold 64 KiB (5.1.6.3.1). */
	if (!(features & NET_F_GUEST_CSUM) || !(features & NET_F_MRG_RXBUF))
		features &= ~NET_F_GUEST_TSO4;
	return features;
}

static void mac_init(struct virtio_nic *n)
{
	for (u32 i = 0; i < 6 && virtio_pci_has(&n->virtio, NET_F_MAC); i++)
		n->nic.mac[i] = virtio_pci_config8(&n->virtio, NET_CONFIG_MAC + i);
}

static void port_init(struct virtio_nic *n, u16 mtu)
{
	u16 device_mtu = virtio_pci_has(&n->virtio, NET_F_MTU) ? virtio_pci_config16(&n->virtio, NET_CONFIG_MTU) : 0;
	u16 rx_mtu = virtio_pci_has(&n->virtio, NET_F_MRG_RXBUF) ? 9000 : 1500;

	if (device_mtu >= 68)
		mtu = MIN(mtu, device_mtu);
	n->nic.port = (struct net_port){
		.name = "nic",
		.deliver = virtio_nic_deliver,
		.mtu = MIN(mtu, rx_mtu),
		.uplink = true,
		.ctx = &n->nic,
	};
	if (virtio_pci_has(&n->virtio, NET_F_CSUM))
		n->nic.port.caps |= NET_CAP_CSUM;
	if (virtio_pci_has(&n->virtio, NET_F_HOST_TSO4))
		n->nic.port.caps |= NET_CAP_GSO;
}

static int start(const struct pci_device *dev, u16 mtu, struct nic **nic)
{
	struct virtio_nic *n = &the_nic;
	int error;

	if (n->nic.ops)
		return trace_error(-E_BUSY);
	n->nic.pci = dev;
	error = virtio_pci_start(&n->virtio, dev);
	if (!error)
		error = virtio_pci_agree(&n->virtio, features_for(n->virtio.offered));
	if (error)
		return error;
	error = pci_device_irq(dev, true, &n->nic.vector, &n->nic.irq);
	if (error)
		log_warn("virtio-net %s: no interrupt (%s): it is polled", dev->address, error_name(error));
	error = virtio_pci_queue_init(&n->virtio, &n->rx, RX_QUEUE, VIRTIO_NIC_RING, n->nic.irq == PCI_IRQ_MSIX);
	if (!error)
		error = virtio_pci_queue_init(&n->virtio, &n->tx, TX_QUEUE, VIRTIO_NIC_RING, false);
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
		virtio_nic_rx_post(n, slot);
	virtio_pci_kick(&n->rx);
	n->nic.ops = &virtio_net_nic;
	*nic = &n->nic;
	return 0;
}

const struct nic_ops virtio_net_nic = {
	.name = "virtio-net",
	.match = match,
	.start = start,
	.poll = virtio_nic_poll,
	.flush = virtio_nic_flush,
	.arm = virtio_nic_arm,
	.link_up = virtio_nic_link_up,
};
