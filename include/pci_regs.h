/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration space (PCI 3.0 6.1, 6.8) as both sides see it: the guests' functions (devices/) and the drivers of
 * the host's (drivers/). Numbers only.
 */
#ifndef PCI_REGS_H
#define PCI_REGS_H

#include "types.h"

/* Ports (3.2.2.3.2) */
#define PCI_CONFIG_ADDRESS_PORT 0xcf8
#define PCI_CONFIG_DATA_PORT 0xcfc
#define PCI_CONFIG_ENABLE BIT(31)
#define PCI_CONFIG_BYTES 256

/* Offsets in the header (type 0; the secondary bus is a bridge's). */
enum pci_register {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SECONDARY_BUS = 0x19,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
};

enum pci_command {
	PCI_COMMAND_IO = BIT(0),
	PCI_COMMAND_MEMORY = BIT(1),
	PCI_COMMAND_MASTER = BIT(2),
	PCI_COMMAND_INTX_DISABLE = BIT(10),
};

enum pci_status { PCI_STATUS_INTX = BIT(3), PCI_STATUS_CAPABILITIES = BIT(4) };

/* MSI-X (6.8.2): the capability's control word, table and pending bits; an entry of the table. */
#define PCI_CAPABILITY_MSIX 0x11
enum msix_field { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PENDING = 8, MSIX_CAPABILITY_BYTES = 12 };
enum msix_entry { MSIX_ENTRY_ADDRESS = 0, MSIX_ENTRY_DATA = 8, MSIX_ENTRY_CONTROL = 12, MSIX_ENTRY_BYTES = 16 };
#define MSIX_CONTROL_SIZE 0x7ff
#define MSIX_CONTROL_MASK_ALL BIT(14)
#define MSIX_CONTROL_ENABLE BIT(15)
#define MSIX_ENTRY_MASKED BIT(0)

#endif
