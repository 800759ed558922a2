/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own PCI devices. Service CPU, mostly at boot. Configuration space goes by the ports
 * 0xcf8 and 0xcfc (PCI 3.0 3.2.2.3.2): every PC has them, and no driver here needs the extended
 * space beyond 256 bytes that only MCFG's window reaches.
 */
#include "drivers/pci.h"

#include "arch/x86_64/io.h"
#include "arch/x86_64/irq.h"
#include "arch/x86_64/paging.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/format.h"
#include "lib/log.h"
#include "pci_regs.h"

#define HEADER_MULTIFUNCTION 0x80
#define HEADER_TYPE_BRIDGE 1

#define CAPABILITY_MSI 0x05

/* MSI (PCI 3.0 6.8.1) */
#define MSI_CONTROL 2
#define MSI_CONTROL_ENABLE BIT(0)
#define MSI_CONTROL_COUNT (7u << 4)
#define MSI_CONTROL_64 BIT(7)

static struct pci_device devices[PCI_DEVICES_MAX];
static u32 device_count;
static u64 buses_seen[BITMAP_WORDS(256)];

static void config_select(const struct pci_device *dev, u32 offset)
{
	u32 address = (u32)PCI_CONFIG_ENABLE | (u32)dev->bus << 16 | (u32)dev->slot << 11 | (u32)dev->function << 8;

	port_write32(PCI_CONFIG_ADDRESS_PORT, address | (offset & 0xfc));
}

u8 pci_device_read8(const struct pci_device *dev, u32 offset)
{
	config_select(dev, offset);
	return port_read8((u16)(PCI_CONFIG_DATA_PORT + (offset & 3)));
}

u16 pci_device_read16(const struct pci_device *dev, u32 offset)
{
	config_select(dev, offset);
	return port_read16((u16)(PCI_CONFIG_DATA_PORT + (offset & 2)));
}

u32 pci_device_read32(const struct pci_device *dev, u32 offset)
{
	config_select(dev, offset);
	return port_read32(PCI_CONFIG_DATA_PORT);
}

void pci_device_write16(const struct pci_device *dev, u32 offset, u16 value)
{
	config_select(dev, offset);
	port_write16((u16)(PCI_CONFIG_DATA_PORT + (offset & 2)), value);
}

void pci_device_write32(const struct pci_device *dev, u32 offset, u32 value)
{
	config_select(dev, offset);
	port_write32(PCI_CONFIG_DATA_PORT, value);
}

u32 pci_device_capability(const struct pci_device *dev, u8 id, u32 after)
{
	u32 offset;

	if (!(pci_device_read16(dev, PCI_STATUS) & PCI_STATUS_CAPABILITIES))
		return 0;
	offset = pci_device_read8(dev, after ? after + 1 : PCI_CAPABILITIES) & 0xfc;
	/* 48 capabilities fit; a list that is longer is a ring. */
	for (u32 i = 0; offset >= 0x40 && i < 48; i++) {
		if (pci_device_read8(dev, offset) == id)
			return offset;
		offset = pci_device_read8(dev, offset + 1) & 0xfc;
	}
	return 0;
}

/* Measures the BARs (PCI 3.0 6.2.5.1), with decoding off: for a moment they are all over the place. */
static void read_bars(struct pci_device *dev)
{
	u16 command = pci_device_read16(dev, PCI_COMMAND);

	pci_device_write16(dev, PCI_COMMAND, command & (u16)~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	for (u32 i = 0; i < PCI_DEVICE_BARS; i++) {
		u32 offset = PCI_BAR0 + 4 * i;
		u32 low = pci_device_read32(dev, offset);
		struct pci_device_bar *bar = &dev->bar[i];
		u64 mask;

		pci_device_write32(dev, offset, ~0u);
		mask = pci_device_read32(dev, offset);
		pci_device_write32(dev, offset, low);
		if (!mask)
			continue;
		if (low & 1) {
			bar->io = true;
			bar->base = low & ~3u;
			bar->bytes = (~(mask & ~3ull) & 0xffff) + 1;
			continue;
		}
		bar->base = low & ~15u;
		if ((low & 6) == 4 && i + 1 < PCI_DEVICE_BARS) {
			u32 high = pci_device_read32(dev, offset + 4);

			pci_device_write32(dev, offset + 4, ~0u);
			mask |= (u64)pci_device_read32(dev, offset + 4) << 32;
			pci_device_write32(dev, offset + 4, high);
			bar->base |= (u64)high << 32;
			i++;
		} else {
			mask |= 0xffffffffull << 32;
		}
		bar->bytes = ~(mask & ~15ull) + 1;
	}
	pci_device_write16(dev, PCI_COMMAND, command);
}

static void scan_bus(u32 bus);

/* Notes the function, or looks behind it if it is a bridge. */
static void scan_function(const struct pci_device *found)
{
	u32 class = pci_device_read32(found, PCI_REVISION);
	struct pci_device *dev;

	if ((pci_device_read8(found, PCI_HEADER_TYPE) & 0x7f) == HEADER_TYPE_BRIDGE) {
		scan_bus(pci_device_read8(found, PCI_SECONDARY_BUS));
		return;
	}
	if (device_count == PCI_DEVICES_MAX)
		return;
	dev = &devices[device_count++];
	*dev = *found;
	dev->vendor = pci_device_read16(dev, PCI_VENDOR_ID);
	dev->device = pci_device_read16(dev, PCI_DEVICE_ID);
	dev->class = (u8)(class >> 24);
	dev->subclass = (u8)(class >> 16);
	dev->interface = (u8)(class >> 8);
	str_format(dev->address, sizeof(dev->address), "%02x:%02x.%x", dev->bus, dev->slot, dev->function);
	read_bars(dev);
}

static void scan_bus(u32 bus)
{
	/* A bridge that was not set up says 0; two that say the same are not followed twice. */
	if (bitmap_test(buses_seen, bus))
		return;
	bitmap_set(buses_seen, bus);
	for (u32 slot = 0; slot < 32; slot++) {
		u32 functions = 1;

		for (u32 function = 0; function < functions; function++) {
			struct pci_device found = { .bus = (u8)bus, .slot = (u8)slot, .function = (u8)function };

			if (pci_device_read16(&found, PCI_VENDOR_ID) == 0xffff)
				continue;
			if (pci_device_read8(&found, PCI_HEADER_TYPE) & HEADER_MULTIFUNCTION)
				functions = 8;
			scan_function(&found);
		}
	}
}

u32 pci_scan(void)
{
	device_count = 0;
	for (u32 i = 0; i < ARRAY_SIZE(buses_seen); i++)
		buses_seen[i] = 0;
	scan_bus(0);
	return device_count;
}

struct pci_device *pci_device_get(u32 index)
{
	return index < device_count ? &devices[index] : NULL;
}

void pci_device_enable(const struct pci_device *dev)
{
	u16 command = pci_device_read16(dev, PCI_COMMAND);

	pci_device_write16(dev, PCI_COMMAND, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void pci_device_disable(const struct pci_device *dev)
{
	u16 command = pci_device_read16(dev, PCI_COMMAND);

	pci_device_write16(dev, PCI_COMMAND, command & (u16)~PCI_COMMAND_MASTER);
}

volatile void *pci_device_map(const struct pci_device *dev, u32 bar, u64 bytes)
{
	const struct pci_device_bar *b;

	if (bar >= PCI_DEVICE_BARS)
		return NULL;
	b = &dev->bar[bar];
	if (b->io || !b->base || b->bytes < bytes)
		return NULL;
	return paging_map_device(b->base, b->bytes);
}

static int irq_msix(const struct pci_device *dev, u32 capability, u8 vector)
{
	u16 control = pci_device_read16(dev, capability + MSIX_CONTROL);
	u32 table = pci_device_read32(dev, capability + MSIX_TABLE);
	u32 entries = (control & MSIX_CONTROL_SIZE) + 1u;
	u64 offset = table & ~7u;
	volatile u8 *entry = pci_device_map(dev, table & 7, offset + (u64)entries * MSIX_ENTRY_BYTES);

	if (!entry)
		return trace_error(-E_IO);
	entry += offset;
	/* Switched on but all masked, so that the table may be written. */
	pci_device_write16(dev, capability + MSIX_CONTROL, control | MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	for (u32 i = 1; i < entries; i++)
		mmio_write32(entry + i * MSIX_ENTRY_BYTES + MSIX_ENTRY_CONTROL, MSIX_ENTRY_MASKED);
	mmio_write32(entry + MSIX_ENTRY_ADDRESS, (u32)irq_msi_address());
	mmio_write32(entry + MSIX_ENTRY_ADDRESS + 4, (u32)(irq_msi_address() >> 32));
	mmio_write32(entry + MSIX_ENTRY_DATA, irq_msi_data(vector));
	mmio_write32(entry + MSIX_ENTRY_CONTROL, 0);
	control &= (u16)~MSIX_CONTROL_MASK_ALL;
	pci_device_write16(dev, capability + MSIX_CONTROL, control | MSIX_CONTROL_ENABLE);
	return 0;
}

static void irq_msi(const struct pci_device *dev, u32 capability, u8 vector)
{
	u16 control = pci_device_read16(dev, capability + MSI_CONTROL);
	u32 data = capability + 8;

	pci_device_write32(dev, capability + 4, (u32)irq_msi_address());
	if (control & MSI_CONTROL_64) {
		pci_device_write32(dev, capability + 8, (u32)(irq_msi_address() >> 32));
		data = capability + 12;
	}
	pci_device_write16(dev, data, (u16)irq_msi_data(vector));
	control &= (u16)~MSI_CONTROL_COUNT; /* one message */
	pci_device_write16(dev, capability + MSI_CONTROL, control | MSI_CONTROL_ENABLE);
}

/*
 * The pin, by the line that the firmware wrote down. As an edge: a driver that is slow to quiet the
 * device then costs nothing, and one that misses an edge on a shared line still polls.
 */
static int irq_pin(const struct pci_device *dev, u8 vector)
{
	u8 line = pci_device_read8(dev, PCI_INTERRUPT_LINE);

	if (!pci_device_read8(dev, PCI_INTERRUPT_PIN) || line == 0 || line >= 24)
		return -E_NOENT;
	return irq_route_gsi(line, vector, false, false);
}

int pci_device_irq(const struct pci_device *dev, bool msix, u8 *vector, enum pci_irq_kind *kind)
{
	u32 table = msix ? pci_device_capability(dev, PCI_CAPABILITY_MSIX, 0) : 0;
	u32 msi = pci_device_capability(dev, CAPABILITY_MSI, 0);
	u16 command = pci_device_read16(dev, PCI_COMMAND);
	int error;

	*kind = PCI_IRQ_NONE;
	error = irq_alloc(vector);
	if (error)
		return error;
	if (table && irq_msix(dev, table, *vector) == 0) {
		*kind = PCI_IRQ_MSIX;
	} else if (msi) {
		irq_msi(dev, msi, *vector);
		*kind = PCI_IRQ_MSI;
	} else {
		error = irq_pin(dev, *vector);
		if (error)
			return error;
		*kind = PCI_IRQ_PIN;
	}
	if (*kind == PCI_IRQ_PIN)
		command &= (u16)~PCI_COMMAND_INTX_DISABLE;
	else
		command |= PCI_COMMAND_INTX_DISABLE;
	pci_device_write16(dev, PCI_COMMAND, command);
	return 0;
}
