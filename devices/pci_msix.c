/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X of a PCI function (PCI 3.0 6.8.2): the capability, its table and pending bits in one page of a BAR.
 * Called with vm->lock held: by the guest's accesses on the vCPU's CPU, by devices on the service CPU.
 */
#include "devices/pci.h"

#include "lib/log.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

#define BAR_BYTES 0x1000
#define PENDING_OFFSET 0x800

static u32 msix_control(const struct pci_function *function)
{
	if (!function->msix_capability)
		return 0;
	return pci_read_bytes(&function->config[function->msix_capability + MSIX_CONTROL], 2);
}

bool pci_msix_enabled(const struct pci_function *function)
{
	return msix_control(function) & MSIX_CONTROL_ENABLE;
}

static void msix_flush(struct pci_function *function)
{
	u32 control = msix_control(function);

	if (!(control & MSIX_CONTROL_ENABLE) || (control & MSIX_CONTROL_MASK_ALL) || !pci_is_master(function))
		return;
	for (u32 i = 0; i < function->msix_vectors; i++) {
		const struct pci_msix_entry *entry = &function->msix[i];

		if (!(function->msix_pending & BIT(i)) || (entry->control & MSIX_ENTRY_MASKED))
			continue;
		function->msix_pending &= ~BIT(i);
		irqchip_msi(function->vm, entry->address, entry->data);
	}
}

void pci_msix_send(struct pci_function *function, u16 vector)
{
	if (vector >= function->msix_vectors || !pci_msix_enabled(function))
		return;
	function->msix_pending |= BIT(vector);
	msix_flush(function);
}

void pci_msix_control_written(struct pci_function *function)
{
	if (!pci_msix_enabled(function))
		function->msix_pending = 0;
	msix_flush(function);
}

static u32 msix_read(const struct pci_function *function, u32 offset)
{
	const struct pci_msix_entry *entry;

	if (offset >= PENDING_OFFSET)
		return offset < PENDING_OFFSET + 8 ? (u32)(function->msix_pending >> (8 * (offset & 4))) : 0;
	if (offset / MSIX_ENTRY_BYTES >= function->msix_vectors)
		return 0;
	entry = &function->msix[offset / MSIX_ENTRY_BYTES];
	switch (offset % MSIX_ENTRY_BYTES) {
	case 0:
		return (u32)entry->address;
	case 4:
		return (u32)(entry->address >> 32);
	case 8:
		return entry->data;
	default:
		return entry->control;
	}
}

static void msix_write(struct pci_function *function, u32 offset, u32 value)
{
	struct pci_msix_entry *entry;

	if (offset / MSIX_ENTRY_BYTES >= function->msix_vectors)
		return;
	entry = &function->msix[offset / MSIX_ENTRY_BYTES];
	switch (offset % MSIX_ENTRY_BYTES) {
	case 0:
		entry->address = (entry->address & ~0xffffffffull) | (value & ~3u);
		break;
	case 4:
		entry->address = (entry->address & 0xffffffffull) | (u64)value << 32;
		break;
	case 8:
		entry->data = value;
		break;
	default:
		entry->control = value & MSIX_ENTRY_MASKED;
		msix_flush(function);
		break;
	}
}

/* Dwords and quadwords only (PCI 3.0 6.8.2): others read zero and write nothing. */
static void msix_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct pci_function *function = ctx;
	u32 at = (u32)offset;

	if (size < 4 || offset % size != 0) {
		if (!write)
			*value = 0;
		return;
	}
	if (write) {
		msix_write(function, at, (u32)*value);
		if (size == 8)
			msix_write(function, at + 4, (u32)(*value >> 32));
		return;
	}
	*value = msix_read(function, at);
	if (size == 8)
		*value |= (u64)msix_read(function, at + 4) << 32;
}

void pci_function_add_msix(struct pci_function *function, u32 bar, u16 vectors)
{
	u8 at = pci_function_add_capability(function, PCI_CAPABILITY_MSIX, MSIX_CAPABILITY_BYTES);

	assert(vectors > 0 && vectors <= PCI_MSIX_MAX);
	pci_write_bytes(&function->config[at + MSIX_CONTROL], 2, vectors - 1u);
	pci_write_bytes(&function->writable[at + MSIX_CONTROL], 2, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
	pci_write_bytes(&function->config[at + MSIX_TABLE], 4, bar);
	pci_write_bytes(&function->config[at + MSIX_PENDING], 4, PENDING_OFFSET | bar);
	function->msix_capability = at;
	function->msix_vectors = vectors;
	pci_function_add_bar(function, bar, BAR_BYTES, msix_access, function);
}
