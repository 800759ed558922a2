/* SPDX-License-Identifier: Apache-2.0 */
/* What a network driver is to net/net.c. Service CPU. */
#ifndef DRIVERS_NIC_H
#define DRIVERS_NIC_H

#include "drivers/pci.h"
#include "net/port.h"
#include "types.h"

#define NIC_POLL_FRAMES 256 /* received in one poll, at most: others want to run too */

struct nic {
	const struct nic_ops *ops;
	struct net_port port; /* port.deliver() sends; the doorbell waits for flush() or poll() */
	const struct pci_device *pci;
	u8 mac[6]; /* zero: it has none of its own */
	u8 vector;
	enum pci_irq_kind irq;
	bool broken; /* the device said something impossible: it is left alone from then on */
};

struct nic_ops {
	const char *name;
	bool (*match)(const struct pci_device *dev);
	/* mtu is what is wanted; nic->port.mtu what there is. *nic is the driver's own, for ever. */
	int (*start)(const struct pci_device *dev, u16 mtu, struct nic **nic);
	/* Hands what was received to the switch, takes back what was sent; true: there may be more. */
	bool (*poll)(struct nic *nic);
	/* Tells the device of the frames that it was given since the last time. */
	void (*flush)(struct nic *nic);
	/* Interrupts on again; false: something came meanwhile, poll once more. */
	bool (*arm)(struct nic *nic);
	bool (*link_up)(struct nic *nic);
};

extern const struct nic_ops virtio_net_nic;
extern const struct nic_ops e1000_nic;

#endif
