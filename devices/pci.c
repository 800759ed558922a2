/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's PCI host bridge: configuration space by ports and by ECAM, and the bridge itself as a device. Called
 * on the vCPU's CPU for accesses and by the board on the service CPU, with vm->lock held once the guest runs. What
 * the functions are made of is in pci_function.c and pci_msix.c.
 */
#include "devices/pci.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/vm.h"

#define CONFIG_PORTS PCI_CONFIG_ADDRESS_PORT
#define CONFIG_PORTS_BYTES 8
#define ECAM_BYTES MIB(1)
#define ECAM_CONFIG_BYTES 4096
#define RESET_CPU BIT(2)

struct pci_host {
	struct device dev;
	struct pci_bus bus;
	struct pci_function bridge;
	u32 address;
	u8 reset_control;
};

static struct pci_host *host_of(struct device *dev)
{
	return container_of(dev, struct pci_host, dev);
}

/* --- configuration space --------------------------------------------------------------------------------------- */

static u32 config_read(struct pci_function *function, u32 offset, u32 bytes)
{
	if (!function)
		return ~0u;
	/* What lies beyond is the extended space of PCI Express, which is empty: a header of zero. */
	if (offset + bytes > PCI_CONFIG_BYTES)
		return 0;
	if (function->before_read)
		function->before_read(function, offset, bytes);
	return pci_read_bytes(&function->config[offset], bytes);
}

static void config_write(struct pci_function *function, u32 offset, u32 bytes, u32 value)
{
	u8 *config;

	if (!function || offset + bytes > PCI_CONFIG_BYTES)
		return;
	config = function->config;
	for (u32 i = 0; i < bytes; i++) {
		u8 mask = function->writable[offset + i];

		config[offset + i] = (u8)((config[offset + i] & ~mask) | ((u8)(value >> (8 * i)) & mask));
	}
	pci_function_written(function, offset, bytes);
}

static struct pci_function *host_function(struct pci_host *host, u32 bus, u32 slot, u32 function)
{
	if (bus != 0 || slot >= PCI_SLOTS_MAX || function != 0)
		return NULL;
	return host->bus.slots[slot];
}

static void ecam_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct pci_host *host = ctx;
	u32 devfn = (offset >> 12) & 0xff;
	struct pci_function *function = host_function(host, (u32)(offset >> 20), devfn >> 3, devfn & 7);
	u32 reg = offset & (ECAM_CONFIG_BYTES - 1);
	u32 first = MIN(size, 4u);

	/* PCI Express knows no more than 4 bytes at once; the root complex splits what is longer. */
	if (write) {
		config_write(function, reg, first, (u32)*value);
		if (size > 4)
			config_write(function, reg + 4, size - 4, (u32)(*value >> 32));
		return;
	}
	*value = config_read(function, reg, first);
	if (first < 4)
		*value &= BIT(8 * first) - 1;
	if (size > 4)
		*value |= (u64)config_read(function, reg + 4, size - 4) << 32;
}

/* 0xcf9: a rising RST_CPU resets the machine. */
static void reset_control_write(struct pci_host *host, u8 value)
{
	bool rises = (value & RESET_CPU) && !(host->reset_control & RESET_CPU);

	host->reset_control = value & (BIT(1) | RESET_CPU);
	if (rises)
		vm_want(host->dev.vm, VM_WANT_REBOOT);
}

static void data_port_access(struct pci_host *host, u32 lane, unsigned int size, bool write, u64 *value)
{
	u32 address = host->address;
	struct pci_function *function = NULL;

	if (address & PCI_CONFIG_ENABLE)
		function = host_function(host, (address >> 16) & 0xff, (address >> 11) & 31, (address >> 8) & 7);
	if (write)
		config_write(function, (address & 0xfc) + lane, size, (u32)*value);
	else
		*value = config_read(function, (address & 0xfc) + lane, size) & (BIT(8 * size) - 1);
}

static void port_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct pci_host *host = ctx;

	if (offset >= 4 && size <= 4) {
		data_port_access(host, (u32)offset - 4, size, write, value);
	} else if (offset == 0 && size == 4) {
		if (write)
			host->address = (u32)*value;
		else
			*value = host->address;
	} else if (offset == 1 && size == 1) {
		if (write)
			reset_control_write(host, (u8)*value);
		else
			*value = host->reset_control;
	} else if (!write) {
		*value = size < 8 ? BIT(8 * size) - 1 : ~0ull;
	}
}

/* --- the host bridge, a device --------------------------------------------------------------------------------- */

static void host_reset(struct device *dev)
{
	struct pci_host *host = host_of(dev);

	host->address = 0;
	host->reset_control = 0;
	pci_function_reset(&host->bridge);
}

static void host_save(struct device *dev, void *data)
{
	const struct pci_host *host = host_of(dev);
	struct pci_host_state *state = data;

	memset(state, 0, sizeof(*state));
	pci_function_save(&host->bridge, &state->bridge);
	state->address = host->address;
	state->reset_control = host->reset_control;
}

static int host_check(struct device *dev, const void *data)
{
	const struct pci_host_state *state = data;

	if (state->reset_control & ~(BIT(1) | RESET_CPU))
		return trace_error(-E_INVAL);
	if (!mem_is_zero(state->reserved, sizeof(state->reserved)))
		return trace_error(-E_INVAL);
	return pci_function_check(&host_of(dev)->bridge, &state->bridge);
}

static void host_load(struct device *dev, const void *data)
{
	struct pci_host *host = host_of(dev);
	const struct pci_host_state *state = data;

	pci_function_load(&host->bridge, &state->bridge);
	host->address = state->address;
	host->reset_control = state->reset_control;
}

static void host_free(struct pci_host *host)
{
	pages_free(page_hpa(host), pages_order(sizeof(*host)));
}

static void host_fini(struct device *dev)
{
	struct pci_host *host = host_of(dev);

	for (u32 slot = 0; slot < PCI_SLOTS_MAX; slot++) {
		if (host->bus.slots[slot])
			host->bus.slots[slot]->bus = NULL;
	}
	io_bus_remove(&dev->vm->mmio, BOARD_MCFG_BASE);
	io_bus_remove(&dev->vm->pio, CONFIG_PORTS);
	host_free(host);
}

struct pci_bus *pci_bus_of(struct vm *vm)
{
	struct device *dev = device_find(vm, DEVICE_PCI_HOST, 0);

	assert(dev);
	return &host_of(dev)->bus;
}

static const struct device_ops host_ops = {
	.name = "pci",
	.type = DEVICE_PCI_HOST,
	.version = 1,
	.state_bytes = sizeof(struct pci_host_state),
	.reset = host_reset,
	.save = host_save,
	.check = host_check,
	.load = host_load,
	.fini = host_fini,
};

/* The ids of a generic PCI Express host bridge. */
static const struct pci_identity bridge_identity = {
	.vendor = 0x1b36,
	.device = 0x0008,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class_code = 0x060000,
};

int pci_host_init(struct vm *vm)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct pci_host)));
	struct pci_host *host;
	int error;

	if (block == HPA_NONE)
		return trace_error(-E_NOMEM);
	host = page_ptr(block);
	host->dev.vm = vm;
	host->bus.vm = vm;
	host->bus.bar_next = BOARD_PCI_MMIO_BASE;
	error = io_bus_add(&vm->pio, CONFIG_PORTS, CONFIG_PORTS_BYTES, port_access, host);
	if (error) {
		host_free(host);
		return error;
	}
	error = io_bus_add(&vm->mmio, BOARD_MCFG_BASE, ECAM_BYTES, ecam_access, host);
	if (error) {
		io_bus_remove(&vm->pio, CONFIG_PORTS);
		host_free(host);
		return error;
	}
	error = pci_function_init_on(&host->bridge, &host->bus, &bridge_identity);
	assert(!error);
	device_add(vm, &host->dev, &host_ops, 0);
	pci_function_start(&host->bridge);
	return 0;
}
