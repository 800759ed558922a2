/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the virtual board (vmm/board.h): devices, their ports and pages, and the ports that are too
 * simple for a file of their own. Service CPU; port handlers on the vCPU's CPU with vm->lock held.
 */
#include "devices/board.h"

#include "devices/pci.h"
#include "devices/virtio_balloon.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"
#include "errors.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/board.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

enum { PORT_KEYBOARD_COMMAND = 0x64, PORT_SYSTEM_CONTROL = 0x92 };
enum { SYSTEM_CONTROL_RESET = BIT(0), SYSTEM_CONTROL_A20 = BIT(1) };

/* There is no keyboard (FADT says so), but its controller's output pin 0 resets the machine. */
static void keyboard_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	(void)offset;
	(void)size;
	/* Status: nothing to read, ready for a command. */
	if (!write)
		*value = 0;
	/* "Pulse output" commands 0xf0-0xff: the low bits that are 0 say which pins. */
	else if ((*value & 0xf1) == 0xf0)
		vm_want(ctx, VM_WANT_REBOOT);
}

/* A20 is always open. */
static void system_control_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	(void)offset;
	(void)size;
	if (!write)
		*value = SYSTEM_CONTROL_A20;
	else if (*value & SYSTEM_CONTROL_RESET)
		vm_want(ctx, VM_WANT_REBOOT);
}

static int add_test_ports(struct vm *vm, struct test_ports *ports)
{
	int error = io_bus_add(&vm->pio, TEST_PORT_LATCH, 4, test_ports_latch_io, ports);

	if (!error)
		error = io_bus_add(&vm->pio, TEST_PORT_EXIT, 4, test_ports_exit_io, ports);
	if (!error)
		error = io_bus_add(&vm->pio, TEST_PORT_SHUTDOWN, 1, test_ports_shutdown_io, ports);
	return error;
}

static int add_ranges(struct vm *vm, struct board *board)
{
	const struct {
		struct io_bus *bus;
		u64 base, bytes;
		io_handler *handler;
		void *ctx;
	} ranges[] = {
		{&vm->mmio, BOARD_LAPIC_BASE, PAGE_SIZE, lapic_mmio, vm},
		{&vm->mmio, BOARD_IOAPIC_BASE, PAGE_SIZE, ioapic_mmio, &board->ioapic},
		{&vm->pio, 0x20, 2, pic_master_io, &board->pic},
		{&vm->pio, 0xa0, 2, pic_slave_io, &board->pic},
		{&vm->pio, 0x4d0, 2, pic_elcr_io, &board->pic},
		{&vm->pio, 0x40, 4, pit_io, &board->pit},
		{&vm->pio, 0x61, 1, pit_speaker_io, &board->pit},
		{&vm->pio, 0x70, 2, rtc_io, &board->rtc},
		{&vm->pio, BOARD_UART_PORT, 8, uart_io, &board->uart},
		{&vm->pio, BOARD_PM1_EVT_PORT, 4, acpi_pm_event_io, &board->acpi_pm},
		{&vm->pio, BOARD_PM1_CNT_PORT, 2, acpi_pm_control_io, &board->acpi_pm},
		{&vm->pio, BOARD_PM_TMR_PORT, 4, acpi_pm_timer_io, &board->acpi_pm},
		{&vm->pio, BOARD_GPE0_PORT, 4, acpi_pm_gpe_io, &board->acpi_pm},
		{&vm->pio, PORT_KEYBOARD_COMMAND, 1, keyboard_io, vm},
		{&vm->pio, PORT_SYSTEM_CONTROL, 1, system_control_io, vm},
	};

	for (u32 i = 0; i < ARRAY_SIZE(ranges); i++) {
		int error = io_bus_add(ranges[i].bus, ranges[i].base, ranges[i].bytes, ranges[i].handler,
				       ranges[i].ctx);

		if (error)
			return error;
	}
	return vm->config.test_ports ? add_test_ports(vm, &board->test_ports) : 0;
}

static int add_pci(struct vm *vm)
{
	int error = pci_host_init(vm);

	for (u32 i = 0; !error && i < vm->config.vif_count; i++)
		error = virtio_net_create(vm, i);
	if (!error)
		error = virtio_rng_create(vm);
	if (!error)
		error = virtio_balloon_create(vm);
	return error;
}

/* The order is that of saving and loading: interrupt controllers before those that drive them. */
static void add_devices(struct vm *vm, struct board *board)
{
	for (u32 i = 0; i < vm->vcpu_count; i++)
		lapic_init(&board->lapics[i], vm->vcpus[i]);
	ioapic_init(&board->ioapic, vm);
	pic_init(&board->pic, vm);
	pit_init(&board->pit, vm);
	rtc_init(&board->rtc, vm);
	uart_init(&board->uart, vm);
	acpi_pm_init(&board->acpi_pm, vm);
	if (vm->config.test_ports)
		test_ports_init(&board->test_ports, vm);
}

/* The last one first: a card goes before its bus. fini may free the device. */
static void fini_devices(struct vm *vm)
{
	while (vm->devices) {
		struct device **last = &vm->devices;
		struct device *dev;

		while ((*last)->next)
			last = &(*last)->next;
		dev = *last;
		*last = NULL;
		if (dev->ops->fini)
			dev->ops->fini(dev);
	}
}

int board_init(struct vm *vm)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct board)));
	struct board *board;
	int error;

	if (block == HPA_NONE)
		return -E_NOMEM;
	board = page_ptr(block);
	vm->board = board;
	add_devices(vm, board);
	error = add_ranges(vm, board);
	if (!error)
		error = add_pci(vm);
	if (error)
		board_fini(vm);
	return error;
}

void board_fini(struct vm *vm)
{
	if (!vm->board)
		return;
	fini_devices(vm);
	/* Timers and LAPICs were in this block. */
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		vm->vcpus[i]->timers = NULL;
		vm->vcpus[i]->lapic = NULL;
	}
	memset(&vm->pio, 0, sizeof(vm->pio));
	memset(&vm->mmio, 0, sizeof(vm->mmio));
	pages_free(page_hpa(vm->board), pages_order(sizeof(struct board)));
	vm->board = NULL;
}

void board_reset(struct vm *vm)
{
	devices_reset(vm);
}

void board_power_button(struct vm *vm)
{
	struct board *board = vm->board;

	acpi_pm_power_button(&board->acpi_pm);
}

void board_console_input(struct vm *vm)
{
	struct board *board = vm->board;

	uart_input(&board->uart);
}
