/* SPDX-License-Identifier: Apache-2.0 */
/* Modern virtio devices on PCI (virtio 1.2 4.1), as a driver talks to them. Service CPU. */
#ifndef DRIVERS_VIRTIO_PCI_H
#define DRIVERS_VIRTIO_PCI_H

#include "drivers/pci.h"
#include "drivers/vring.h"
#include "types.h"
#include "virtio.h"

#define VIRTIO_CONFIG_BYTES 64 /* as much of a device's configuration as drivers look at */

struct virtio_pci {
	const struct pci_device *pci;
	volatile u8 *common;
	volatile u8 *notify;
	u64 notify_bytes;
	u32 notify_multiplier;
	volatile u8 *isr;
	volatile u8 *config;
	u32 config_bytes;
	u64 offered;  /* features of the device */
	u64 features; /* what both sides agreed on */
};

struct virtio_pci_queue {
	struct vring ring;
	volatile u16 *doorbell;
	u16 index;
};

/* Finds the registers, resets the device, reads what it offers. -E_NOSYS if it is older than virtio 1.0. */
int must_check virtio_pci_start(struct virtio_pci *v, const struct pci_device *dev);
/* Takes these features (of those offered) and VERSION_1. */
int must_check virtio_pci_agree(struct virtio_pci *v, u64 features);
/* Between agree and ready: size is cut to what the device has. Interrupts by MSI-X entry 0. */
int must_check virtio_pci_queue_init(struct virtio_pci *v, struct virtio_pci_queue *q, u16 index, u16 size, bool msix);
/* The device may use its queues. */
void virtio_pci_ready(struct virtio_pci *v);
/* The device may use nothing any more. */
void virtio_pci_reset(struct virtio_pci *v);

/* For devices that interrupt by their pin: quiets it (virtio 1.2 4.1.4.5). */
static inline void virtio_pci_quiet(struct virtio_pci *v)
{
	if (v->isr)
		(void)*v->isr;
}

static inline bool virtio_pci_has(const struct virtio_pci *v, u64 feature)
{
	return v->features & feature;
}

/* Shows the device what was posted and rings if it wants that. */
static inline void virtio_pci_kick(struct virtio_pci_queue *q)
{
	if (vring_publish(&q->ring))
		*q->doorbell = q->index;
}

u8 virtio_pci_config8(const struct virtio_pci *v, u32 offset);
u16 virtio_pci_config16(const struct virtio_pci *v, u32 offset);

#endif
