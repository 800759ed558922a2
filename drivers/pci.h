/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own PCI devices, as the firmware left them: found, their BARs measured, their
 * interrupts set up. (The guests' PCI bus is devices/pci.h.) Service CPU.
 */
#ifndef DRIVERS_PCI_H
#define DRIVERS_PCI_H

#include "types.h"

#define PCI_DEVICES_MAX 128
#define PCI_DEVICE_BARS 6

struct pci_device_bar {
	u64 base;  /* physical or port; 0: the firmware gave it no place */
	u64 bytes; /* 0: there is none */
	bool io;
};

struct pci_device {
	u8 bus, slot, function;
	u16 vendor, device;
	u8 class, subclass, interface;
	struct pci_device_bar bar[PCI_DEVICE_BARS];
	char address[12]; /* "00:03.0" */
};

/* Boot: walks the buses behind the bridges that the firmware set up. Returns how many it found. */
u32 pci_scan(void);
struct pci_device *pci_device_get(u32 index); /* NULL past the last */

u8 pci_device_read8(const struct pci_device *dev, u32 offset);
u16 pci_device_read16(const struct pci_device *dev, u32 offset);
u32 pci_device_read32(const struct pci_device *dev, u32 offset);
void pci_device_write16(const struct pci_device *dev, u32 offset, u16 value);
void pci_device_write32(const struct pci_device *dev, u32 offset, u32 value);

/* The next capability with this id after one (0: from the start); 0: there is none. */
u32 pci_device_capability(const struct pci_device *dev, u8 id, u32 after);
/* Memory and bus mastering on. */
void pci_device_enable(const struct pci_device *dev);
/* Bus mastering off: after this the device reads and writes no memory. */
void pci_device_disable(const struct pci_device *dev);
/* A memory BAR's registers; NULL if it is not there or less than bytes. */
volatile void *pci_device_map(const struct pci_device *dev, u32 bar, u64 bytes);

/*
 * One vector for all that the device has to say: MSI-X (entry 0) if the driver wants that, else MSI, else
 * its pin. *kind says which.
 */
enum pci_irq_kind { PCI_IRQ_NONE, PCI_IRQ_MSIX, PCI_IRQ_MSI, PCI_IRQ_PIN };
int must_check pci_device_irq(const struct pci_device *dev, bool msix, u8 *vector, enum pci_irq_kind *kind);

#endif
