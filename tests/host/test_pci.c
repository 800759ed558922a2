/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's PCI bus: configuration space both ways, BARs, MSI-X, lines, state; then all of it at random. */
#include "virtio_bed.h"

#include "devices/virtio_rng.h"

#define RNG 1 /* its slot */
#define RNG2 2

static struct vm *vm;

static int setup(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	vm = bed_vm("web");
	assert_int_equal(virtio_rng_create(vm), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bed_vm_fini(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void test_enumerate(void **state)
{
	(void)state;
	assert_int_equal(port_read(vm, 0, 0, 4), 0x00081b36);
	assert_int_equal(port_read(vm, 0, PCI_CLASS, 1), 0x00);
	assert_int_equal(port_read(vm, 0, 0x0a, 2), 0x0600);
	assert_int_equal(port_read(vm, 0, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(port_read(vm, RNG, 0, 4), 0x10441af4);
	assert_int_equal(port_read(vm, RNG, 0x2c, 4), 0x10441af4);
	assert_int_equal(port_read(vm, RNG, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(port_read(vm, RNG, PCI_INTERRUPT_LINE, 1), 17);
	assert_int_equal(port_read(vm, 5, 0, 4), 0xffffffff);
	assert_int_equal(port_read(vm, 5, 2, 2), 0xffff);
	for (u32 offset = 0; offset < 256; offset += 4)
		assert_int_equal(port_read(vm, RNG, offset, 4), ecam_read(vm, RNG, offset, 4));
	assert_int_equal(ecam_read(vm, RNG, 0x100, 4), 0);
	assert_int_equal(ecam_read(vm, RNG, 0xffc, 4), 0);
	assert_int_equal(ecam_read(vm, 31, 0, 4), 0xffffffff);
	/* Function 1, bus 1, no enable bit: nobody. */
	assert_int_equal(bed_read(vm, &vm->mmio, ecam(RNG, 0) + 0x1000, 4), 0xffffffff);
	bed_write(vm, &vm->pio, 0xcf8, 4, BIT(31) | 1 << 16);
	assert_int_equal(bed_read(vm, &vm->pio, 0xcfc, 4), 0xffffffff);
	bed_write(vm, &vm->pio, 0xcf8, 4, 0);
	assert_int_equal(bed_read(vm, &vm->pio, 0xcfc, 4), 0xffffffff);
	assert_int_equal(bed_read(vm, &vm->pio, 0xcf8, 4), 0);
	/* Eight bytes at once, as a wide copy would. */
	assert_true(bed_read(vm, &vm->mmio, ecam(RNG, 0), 8) == ((u64)ecam_read(vm, RNG, 4, 4) << 32 | 0x10441af4));
}

static void test_reset_port(void **state)
{
	(void)state;
	bed_write(vm, &vm->pio, 0xcf8, 4, 0x80000604);
	bed_write(vm, &vm->pio, 0xcf9, 1, 0x02);
	assert_int_equal(bed.wanted, 0);
	assert_int_equal(bed_read(vm, &vm->pio, 0xcf9, 1), 2);
	bed_write(vm, &vm->pio, 0xcf9, 1, 0x06);
	assert_int_equal(bed.wanted, VM_WANT_REBOOT);
	/* The address register is none of its business. */
	assert_int_equal(bed_read(vm, &vm->pio, 0xcf8, 4), 0x80000604);
}

static void test_bar_size_and_move(void **state)
{
	u32 base = ecam_read(vm, RNG, PCI_BAR0, 4);
	struct driver d;

	(void)state;
	assert_int_equal(base, BOARD_PCI_MMIO_BASE);
	driver_find(&d, vm, RNG);
	assert_int_equal(mmio_read(&d, d.common + 0x12, 2), 1);
	/* As Linux does it. */
	ecam_write(vm, RNG, PCI_COMMAND, 2, 0);
	ecam_write(vm, RNG, PCI_BAR0, 4, 0xffffffff);
	assert_int_equal(ecam_read(vm, RNG, PCI_BAR0, 4), 0xffffc000);
	assert_int_equal(mmio_read(&d, d.common + 0x12, 2), 0xffff);
	ecam_write(vm, RNG, PCI_BAR0, 4, 0xd0000000);
	assert_int_equal(mmio_read(&d, 0xd0000012, 2), 0xffff);
	ecam_write(vm, RNG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(mmio_read(&d, 0xd0000012, 2), 1);
	assert_int_equal(mmio_read(&d, base + 0x12, 2), 0xffff);
	/* Over the ECAM window, the APICs, RAM, the end: nobody answers there. */
	for (u32 bad = 0; bad < 5; bad++) {
		const u32 bases[] = { 0xe0000000, 0xfee00000, 0x00100000, 0xfffff000, 0 };
		u32 count = vm->mmio.count;

		ecam_write(vm, RNG, PCI_BAR0, 4, bases[bad]);
		assert_int_equal(vm->mmio.count, bad ? count : count - 1);
		assert_int_equal(ecam_read(vm, 0, 0, 4), 0x00081b36);
	}
	/* No second BAR 2. */
	ecam_write(vm, RNG, PCI_BAR0 + 8, 4, 0xffffffff);
	assert_int_equal(ecam_read(vm, RNG, PCI_BAR0 + 8, 4), 0);
}

static void test_bar_overlap(void **state)
{
	struct driver first, second;

	(void)state;
	assert_int_equal(virtio_rng_create(vm), 0);
	driver_find(&first, vm, RNG);
	driver_find(&second, vm, RNG2);
	driver_set_status(&first, VIRTIO_ACKNOWLEDGE);
	/* The second one on top of the first: the first answers; when it goes away, the second does. */
	ecam_write(vm, RNG2, PCI_BAR0, 4, first.common);
	assert_int_equal(mmio_read(&first, first.common + 0x14, 1), VIRTIO_ACKNOWLEDGE);
	ecam_write(vm, RNG, PCI_COMMAND, 2, 0);
	assert_int_equal(mmio_read(&first, first.common + 0x14, 1), 0);
	ecam_write(vm, RNG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(mmio_read(&first, first.common + 0x14, 1), VIRTIO_ACKNOWLEDGE);
	/* Both BARs of one function. */
	ecam_write(vm, RNG, PCI_BAR0 + 4, 4, first.common);
	assert_int_equal(mmio_read(&first, first.common + 0x14, 1), VIRTIO_ACKNOWLEDGE);
}

static struct pci_function *rng_function(void)
{
	struct device *dev = device_find(vm, DEVICE_VIRTIO_RNG, 0);

	return &container_of(dev, struct virtio_device, dev)->pci;
}

static void send(u16 vector)
{
	spin_lock(&vm->lock);
	pci_msix_send(rng_function(), vector);
	spin_unlock(&vm->lock);
}

static void test_msix(void **state)
{
	struct driver d;
	u32 at;

	(void)state;
	driver_find(&d, vm, RNG);
	at = find_capability(vm, RNG, 0x11, 0);
	assert_int_equal(ecam_read(vm, RNG, at + 2, 2), 1); /* two vectors */
	assert_int_equal(mmio_read(&d, d.msix + 12, 4), 1); /* masked at first */
	send(0);
	assert_int_equal(bed.msis, 0);
	driver_msix(&d, 2);
	assert_int_equal(ecam_read(vm, RNG, at + 2, 2), 0x8001);
	send(0);
	assert_int_equal(bed.msis, 1);
	assert_true(bed.msi[0].address == MSI_ADDRESS && bed.msi[0].data == 0x40);
	send(2);
	send(0xffff);
	assert_int_equal(bed.msis, 1);
	/* Masked: pending until it is not. */
	mmio_write(&d, d.msix + 16 + 12, 4, 1);
	send(1);
	send(1);
	assert_int_equal(bed.msis, 1);
	assert_int_equal(mmio_read(&d, d.msix + 0x800, 8), 2);
	mmio_write(&d, d.msix + 16 + 12, 4, 0);
	assert_int_equal(bed.msis, 2);
	assert_int_equal(bed.msi[1].data, 0x41);
	assert_int_equal(mmio_read(&d, d.msix + 0x800, 4), 0);
	/* The function's mask, and a function that is no bus master. */
	ecam_write(vm, RNG, at + 2, 2, 0xc000);
	send(0);
	assert_int_equal(bed.msis, 2);
	ecam_write(vm, RNG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ecam_write(vm, RNG, at + 2, 2, 0x8000);
	assert_int_equal(bed.msis, 2);
	ecam_write(vm, RNG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(bed.msis, 3);
	mmio_write(&d, d.msix, 4, 0x1000);
	/* Odd accesses, the reserved rest. */
	mmio_write(&d, d.msix + 2, 2, 0xffff);
	mmio_write(&d, d.msix + 0x100, 4, 0xffffffff);
	assert_int_equal(mmio_read(&d, d.msix + 2, 2), 0);
	assert_int_equal(mmio_read(&d, d.msix + 0x100, 8), 0);
	assert_int_equal(mmio_read(&d, d.msix, 4), 0x1000);
}

static void test_lines(void **state)
{
	struct pci_function *function = rng_function();

	(void)state;
	pci_set_intx(function, true);
	assert_true(bed.line[17]);
	assert_int_equal(ecam_read(vm, RNG, PCI_STATUS, 2), PCI_STATUS_INTX | PCI_STATUS_CAPABILITIES);
	ecam_write(vm, RNG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	assert_false(bed.line[17]);
	function->intx_asserted = true;
	pci_function_reset(function);
	assert_false(bed.line[17]);
	assert_int_equal(ecam_read(vm, RNG, PCI_STATUS, 2), PCI_STATUS_CAPABILITIES);
}

static void test_shared_line(void **state)
{
	struct device *dev;
	struct pci_function *fifth = NULL;

	(void)state;
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(virtio_rng_create(vm), 0);
	for (dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->type == DEVICE_VIRTIO_RNG)
			fifth = &container_of(dev, struct virtio_device, dev)->pci;
	assert_int_equal(fifth->slot, 5);
	pci_set_intx(rng_function(), true);
	pci_set_intx(fifth, true);
	pci_set_intx(rng_function(), false);
	assert_true(bed.line[17]);
	pci_set_intx(fifth, false);
	assert_false(bed.line[17]);
}

static void test_slots_run_out(void **state)
{
	int error = 0;

	(void)state;
	for (u32 i = 0; i < PCI_SLOTS_MAX && !error; i++)
		error = virtio_rng_create(vm);
	assert_int_equal(error, -E_NOMEM);
	fake_pages_fail_after(0);
	assert_int_equal(virtio_rng_create(vm), -E_NOMEM);
	fake_pages_fail_after(~0ull);
}

static void test_window(void **state)
{
	u32 at = find_capability(vm, RNG, 0x09, 3);
	struct driver d;

	(void)state;
	driver_find(&d, vm, RNG);
	assert_int_equal(ecam_read(vm, RNG, at + 3, 1), 5);
	ecam_write(vm, RNG, at + 4, 1, 0);
	ecam_write(vm, RNG, at + 8, 4, 0x12);
	ecam_write(vm, RNG, at + 12, 4, 2);
	assert_int_equal(ecam_read(vm, RNG, at + 16, 2), 1);
	ecam_write(vm, RNG, at + 8, 4, 0x14);
	ecam_write(vm, RNG, at + 12, 4, 1);
	ecam_write(vm, RNG, at + 16, 4, VIRTIO_ACKNOWLEDGE);
	assert_int_equal(driver_status(&d), VIRTIO_ACKNOWLEDGE);
	/* Another BAR, a wrong length, beyond the end: nothing happens. */
	ecam_write(vm, RNG, at + 4, 1, 1);
	ecam_write(vm, RNG, at + 16, 4, 0);
	ecam_write(vm, RNG, at + 4, 1, 0);
	ecam_write(vm, RNG, at + 12, 4, 3);
	ecam_write(vm, RNG, at + 16, 4, 0);
	ecam_write(vm, RNG, at + 12, 4, 4);
	ecam_write(vm, RNG, at + 8, 4, 0xfffffffc);
	ecam_write(vm, RNG, at + 16, 4, 0);
	assert_int_equal(driver_status(&d), VIRTIO_ACKNOWLEDGE);
}

static void check_buses(struct vm *guest)
{
	u64 end = 0;

	for (u32 i = 0; i < guest->mmio.count; i++) {
		const struct io_range *range = &guest->mmio.ranges[i];

		assert_true(range->base >= end);
		end = range->base + range->bytes;
		assert_true(range->base >= BOARD_PCI_MMIO_BASE);
		assert_true(end <= BOARD_MCFG_BASE || range->base == BOARD_MCFG_BASE);
	}
}

/* What random writes leave behind can be moved, and looks the same to the guest afterwards. */
static void test_random(void **state)
{
	u64 seed = 0x1234567;
	struct vm *peer;

	(void)state;
	for (u32 round = 0; round < 60; round++) {
		for (u32 i = 0; i < 300; i++) {
			u64 r = bed_random(&seed);
			u32 slot = (r >> 8) % 3;
			u32 size = 1u << (r >> 16) % 4;
			u32 offset = ((r >> 20) & (i % 8 ? 0xff : 0xfff)) & ~(i % 5 ? size - 1 : 0);
			u64 value = i % 3 ? bed_random(&seed) : 0xc0000000 + (bed_random(&seed) & 0x7ffc006);

			switch (r % 5) {
			case 0:
				bed_write(vm, &vm->mmio, ecam(slot, offset), size, value);
				break;
			case 1:
				(void)bed_read(vm, &vm->mmio, ecam(slot, offset), size);
				break;
			case 2:
				bed_write(vm, &vm->pio, 0xcf8 + offset % 8, MIN(size, 4u), value);
				break;
			case 3:
				port_write(vm, slot, offset & 0xff, MIN(size, 4u - (offset & 3)), (u32)value);
				break;
			case 4:
				bed_write(vm, &vm->mmio, bar_address(vm, RNG, r & 1) + (offset & 0xfff), size, value);
				break;
			}
			check_buses(vm);
		}
		peer = bed_vm("web");
		assert_int_equal(virtio_rng_create(peer), 0);
		bed_move(vm, peer);
		assert_int_equal(peer->mmio.count, vm->mmio.count);
		for (u32 i = 0; i < vm->mmio.count; i++)
			assert_true(vm->mmio.ranges[i].base == peer->mmio.ranges[i].base);
		bed_vm_fini(vm);
		vm = peer;
		bed_resume(vm);
	}
}

/* A state with any bits changed is refused, or it is one that could have come from a guest. */
static void test_check(void **state)
{
	u64 seed = 0x7654321;
	u32 refused = 0;
	u32 taken = 0;

	(void)state;
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		u32 bytes = device_state_bytes(dev);
		u8 *saved = malloc(bytes);
		u8 *bad = malloc(bytes);

		device_save(dev, saved);
		assert_int_equal(device_check(dev, saved, bytes), 0);
		assert_int_equal(device_check(dev, saved, bytes - 1), -E_INVAL);
		for (u32 i = 0; i < 20000; i++) {
			memcpy(bad, saved, bytes);
			for (u32 n = 0; n <= i % 3; n++) {
				u64 r = bed_random(&seed);

				bad[r % bytes] ^= (u8)(1u << (r >> 32) % 8);
			}
			if (device_check(dev, bad, bytes)) {
				refused++;
				continue;
			}
			taken++;
			device_load(dev, bad);
			check_buses(vm);
			device_save(dev, bad);
			assert_int_equal(device_check(dev, bad, bytes), 0);
		}
		device_load(dev, saved);
		free(saved);
		free(bad);
	}
	assert_true(refused > 1000 && taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_enumerate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bar_size_and_move, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bar_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
