/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a function on the guest's PCI bus is made of: its header and capabilities, BARs that the guest may size and
 * move, its interrupt line, its state. Called with vm->lock held once the guest runs: on the vCPU's CPU for its
 * accesses, else on the service CPU.
 */
#include "devices/pci.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

#define HEADER_BYTES 0x40
/* Of a 32-bit memory BAR, what the guest cannot write. */
#define BAR_FLAGS 0xfull

u32 pci_read_bytes(const u8 *bytes, u32 count)
{
	u32 value = 0;

	for (u32 i = 0; i < count; i++)
		value |= (u32)bytes[i] << (8 * i);
	return value;
}

void pci_write_bytes(u8 *bytes, u32 count, u32 value)
{
	for (u32 i = 0; i < count; i++)
		bytes[i] = (u8)(value >> (8 * i));
}

/* --- BARs ------------------------------------------------------------------------------------------------------ */

static u32 function_command(const struct pci_function *function)
{
	return pci_read_bytes(&function->config[PCI_COMMAND], 2);
}

bool pci_is_master(const struct pci_function *function)
{
	return function_command(function) & PCI_COMMAND_MASTER;
}

/* Where a BAR answers now; 0: nowhere. Only the bridge's window reaches the bus, so no BAR hides RAM or an APIC. */
static u32 bar_base(const struct pci_function *function, u32 index)
{
	const struct pci_bar *bar = &function->bar[index];
	u64 base = pci_read_bytes(&function->config[PCI_BAR0 + 4 * index], 4) & ~BAR_FLAGS;

	if (!bar->bytes || !(function_command(function) & PCI_COMMAND_MEMORY))
		return 0;
	if (base < BOARD_PCI_MMIO_BASE || base + bar->bytes > (u64)BOARD_PCI_MMIO_BASE + BOARD_PCI_MMIO_BYTES)
		return 0;
	return (u32)base;
}

static void function_unmap(struct pci_function *function)
{
	for (u32 i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &function->bar[i];

		if (bar->mapped)
			io_bus_remove(&function->vm->mmio, bar->mapped_base);
		bar->mapped = false;
	}
}

static void function_map(struct pci_function *function)
{
	for (u32 i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &function->bar[i];
		u32 base = bar_base(function, i);

		if (!base)
			continue;
		/* BARs on top of each other: the first one answers, the others are not seen. */
		if (io_bus_add(&function->vm->mmio, base, bar->bytes, bar->handler, bar->ctx))
			continue;
		bar->mapped = true;
		bar->mapped_base = base;
	}
}

/*
 * Maps what all functions' registers say. All at once and in slot order, so that the outcome depends on the
 * registers only, never on their history: after a move it is the same.
 */
static void bus_remap(struct pci_bus *bus)
{
	for (u32 slot = 0; slot < PCI_SLOTS_MAX; slot++) {
		if (bus->slots[slot])
			function_unmap(bus->slots[slot]);
	}
	for (u32 slot = 0; slot < PCI_SLOTS_MAX; slot++) {
		if (bus->slots[slot])
			function_map(bus->slots[slot]);
	}
}

/* --- interrupt lines ------------------------------------------------------------------------------------------- */

/* Functions whose slots are 4 apart share a line. */
static void bus_drive_line(struct pci_bus *bus, u32 gsi)
{
	bool level = false;

	for (u32 slot = 0; slot < PCI_SLOTS_MAX; slot++) {
		const struct pci_function *function = bus->slots[slot];

		if (!function || pci_gsi(slot, 0) != gsi || !function->intx_asserted)
			continue;
		if (!(function_command(function) & PCI_COMMAND_INTX_DISABLE))
			level = true;
	}
	irqchip_set_line(bus->vm, gsi, level);
}

static void function_drive_line(struct pci_function *function)
{
	if (function->bus && function->config[PCI_INTERRUPT_PIN])
		bus_drive_line(function->bus, pci_gsi(function->slot, 0));
}

void pci_set_intx(struct pci_function *function, bool level)
{
	u8 *status = &function->config[PCI_STATUS];

	if (function->intx_asserted == level)
		return;
	function->intx_asserted = level;
	*status = (u8)(level ? *status | PCI_STATUS_INTX : *status & ~PCI_STATUS_INTX);
	function_drive_line(function);
}

/* --- functions ------------------------------------------------------------------------------------------------- */

static void function_fill_header(struct pci_function *function, const struct pci_identity *identity)
{
	u8 *config = function->config;

	pci_write_bytes(&config[PCI_VENDOR_ID], 2, identity->vendor);
	pci_write_bytes(&config[PCI_DEVICE_ID], 2, identity->device);
	pci_write_bytes(&config[PCI_SUBSYSTEM_VENDOR], 2, identity->subsystem_vendor);
	pci_write_bytes(&config[PCI_SUBSYSTEM_ID], 2, identity->subsystem);
	pci_write_bytes(&config[PCI_CLASS], 3, identity->class_code);
	config[PCI_REVISION] = identity->revision;
	pci_write_bytes(&function->writable[PCI_COMMAND], 2,
			PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	pci_write_bytes(&config[PCI_COMMAND], 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (identity->intx) {
		config[PCI_INTERRUPT_PIN] = 1;
		config[PCI_INTERRUPT_LINE] = (u8)pci_gsi(function->slot, 0);
		function->writable[PCI_INTERRUPT_LINE] = 0xff;
	}
	function->free_offset = HEADER_BYTES;
}

int pci_function_init_on(struct pci_function *function, struct pci_bus *bus, const struct pci_identity *identity)
{
	for (u32 slot = 0; slot < PCI_SLOTS_MAX; slot++) {
		if (bus->slots[slot])
			continue;
		function->vm = bus->vm;
		function->bus = bus;
		function->slot = (u8)slot;
		bus->slots[slot] = function;
		function_fill_header(function, identity);
		return 0;
	}
	return trace_error(-E_NOMEM);
}

int pci_function_init(struct pci_function *function, struct vm *vm, const struct pci_identity *identity)
{
	return pci_function_init_on(function, pci_bus_of(vm), identity);
}

/* The bus may have gone first: then it has forgotten us. */
void pci_function_fini(struct pci_function *function)
{
	if (!function->vm)
		return;
	function_unmap(function);
	if (function->bus)
		function->bus->slots[function->slot] = NULL;
	function->bus = NULL;
}

void pci_function_add_bar(struct pci_function *function, u32 index, u32 bytes, io_handler *handler, void *ctx)
{
	struct pci_bar *bar = &function->bar[index];
	struct pci_bus *bus = function->bus;

	assert(bytes >= PAGE_SIZE && !(bytes & (bytes - 1)));
	bus->bar_next = ALIGN_UP(bus->bar_next, bytes);
	bar->bytes = bytes;
	bar->initial = (u32)bus->bar_next;
	bar->handler = handler;
	bar->ctx = ctx;
	bus->bar_next += bytes;
	assert(bus->bar_next <= (u64)BOARD_PCI_MMIO_BASE + BOARD_PCI_MMIO_BYTES);
	pci_write_bytes(&function->config[PCI_BAR0 + 4 * index], 4, bar->initial);
	pci_write_bytes(&function->writable[PCI_BAR0 + 4 * index], 4, ~(bytes - 1));
}

u8 pci_function_add_capability(struct pci_function *function, u8 id, u32 bytes)
{
	u8 offset = function->free_offset;

	assert(offset + bytes <= PCI_CONFIG_BYTES);
	function->config[offset] = id;
	function->config[offset + 1] = 0;
	if (function->last_capability)
		function->config[function->last_capability + 1] = offset;
	else
		function->config[PCI_CAPABILITIES] = offset;
	function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	function->last_capability = offset;
	function->free_offset = (u8)ALIGN_UP(offset + bytes, 4);
	return offset;
}

void pci_function_start(struct pci_function *function)
{
	memcpy(function->reset, function->config, sizeof(function->reset));
	pci_function_reset(function);
}

void pci_function_reset(struct pci_function *function)
{
	pci_set_intx(function, false);
	memcpy(function->config, function->reset, sizeof(function->config));
	for (u32 i = 0; i < function->msix_vectors; i++)
		function->msix[i] = (struct pci_msix_entry){ .control = 1 };
	function->msix_pending = 0;
	bus_remap(function->bus);
}

static bool overlaps(u32 offset, u32 bytes, u32 start, u32 length)
{
	return offset < start + length && start < offset + bytes;
}

void pci_function_written(struct pci_function *function, u32 offset, u32 bytes)
{
	if (overlaps(offset, bytes, PCI_BAR0, 4 * PCI_BARS) || overlaps(offset, bytes, PCI_COMMAND, 2))
		bus_remap(function->bus);
	if (overlaps(offset, bytes, PCI_COMMAND, 2)) {
		function_drive_line(function);
		pci_msix_control_written(function);
	}
	if (function->msix_capability && overlaps(offset, bytes, function->msix_capability + 2, 2))
		pci_msix_control_written(function);
	if (function->after_write)
		function->after_write(function, offset, bytes);
}

/* --- state ----------------------------------------------------------------------------------------------------- */

void pci_function_save(const struct pci_function *function, struct pci_function_state *state)
{
	memset(state, 0, sizeof(*state));
	memcpy(state->config, function->config, sizeof(state->config));
	state->config[PCI_STATUS] &= (u8)~PCI_STATUS_INTX;
	state->intx_asserted = function->intx_asserted;
	state->msix_pending = function->msix_pending;
	memcpy(state->msix, function->msix, sizeof(state->msix));
}

int pci_function_check(const struct pci_function *function, const struct pci_function_state *state)
{
	/* What no guest can write must be what we have: identity, BAR sizes, capabilities. */
	for (u32 i = 0; i < PCI_CONFIG_BYTES; i++) {
		if ((state->config[i] ^ function->reset[i]) & ~function->writable[i])
			return trace_error(-E_INVAL);
	}
	for (u32 i = 0; i < PCI_MSIX_MAX; i++) {
		const struct pci_msix_entry *entry = &state->msix[i];

		if (i >= function->msix_vectors && (entry->address || entry->data || entry->control))
			return trace_error(-E_INVAL);
		if ((entry->address & 3) || (entry->control & ~1u))
			return trace_error(-E_INVAL);
	}
	if (state->msix_pending >> function->msix_vectors)
		return trace_error(-E_INVAL);
	if (state->intx_asserted > (function->config[PCI_INTERRUPT_PIN] ? 1 : 0))
		return trace_error(-E_INVAL);
	return mem_is_zero(state->reserved, sizeof(state->reserved)) ? 0 : trace_error(-E_INVAL);
}

void pci_function_load(struct pci_function *function, const struct pci_function_state *state)
{
	memcpy(function->config, state->config, sizeof(function->config));
	function->intx_asserted = state->intx_asserted;
	if (state->intx_asserted)
		function->config[PCI_STATUS] |= PCI_STATUS_INTX;
	function->msix_pending = state->msix_pending;
	memcpy(function->msix, state->msix, sizeof(function->msix));
	bus_remap(function->bus);
}

void pci_function_resume(struct pci_function *function)
{
	function_drive_line(function);
}
