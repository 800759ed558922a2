/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bed for the tests of the guest's PCI devices: guests with memory and buses but no vCPUs, a driver (virtio_driver.h),
 * and what the devices call (interrupt controllers, doorbell) written down. Included by one file of
 * each test program; it defines what vmm/ and devices/irqchip.c define on the machine.
 */
#ifndef VIRTIO_BED_H
#define VIRTIO_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/npt_amd.c"
#include "devices/virtio_device.h"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pages.h"
#include "virtio_driver.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

#define BED_MEMORY MIB(4)
#define BED_MSIS 256
#define BED_GSIS 24

/* --- what the devices call ------------------------------------------------------------------------------------- */

struct bed_msi {
	struct vm *vm;
	u64 address;
	u32 data;
};

static struct {
	struct bed_msi msi[BED_MSIS];
	u32 msis;
	bool line[BED_GSIS];
	u32 wanted;
	u32 doorbells;
} bed;

void irqchip_msi(struct vm *vm, u64 address, u32 data)
{
	bed.msi[bed.msis % BED_MSIS] = (struct bed_msi){ vm, address, data };
	bed.msis++;
}

void irqchip_set_line(struct vm *vm, u32 gsi, bool level)
{
	(void)vm;
	assert_true(gsi < BED_GSIS);
	bed.line[gsi] = level;
}

void vm_want(struct vm *vm, u32 what)
{
	(void)vm;
	bed.wanted |= what;
}

void vm_doorbell(struct vm *vm)
{
	vm->doorbell = 1;
	bed.doorbells++;
}

/* --- guests ---------------------------------------------------------------------------------------------------- */

static inline struct vm *bed_vm(const char *name)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_non_null(vm);
	strcpy(vm->config.name, name);
	assert_int_equal(gmem_init(&vm->gmem, BED_MEMORY, npt_amd_format(true)), 0);
	assert_int_equal(pci_host_init(vm), 0);
	return vm;
}

static inline void bed_vm_fini(struct vm *vm)
{
	struct device *next;

	for (struct device *dev = vm->devices; dev; dev = next) {
		next = dev->next;
		dev->ops->fini(dev);
	}
	assert_int_equal(vm->pio.count, 0);
	assert_int_equal(vm->mmio.count, 0);
	assert_int_equal(vm->lock.held, 0);
	gmem_fini(&vm->gmem);
	free(vm);
}

/* What vm_service() does, until there is nothing more to do. */
static inline void bed_service(struct vm *vm)
{
	for (u32 turn = 0; vm->doorbell; turn++) {
		bool more = false;

		assert_true(turn < 100000);
		vm->doorbell = 0;
		spin_lock(&vm->lock);
		for (struct device *dev = vm->devices; dev; dev = dev->next)
			if (dev->ops->service && !dev->paused && dev->ops->service(dev))
				more = true;
		spin_unlock(&vm->lock);
		if (more)
			vm->doorbell = 1;
	}
}

static inline void bed_pause(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		if (dev->ops->pause)
			dev->ops->pause(dev);
		dev->paused = true;
	}
}

static inline void bed_resume(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		dev->paused = false;
		if (dev->ops->resume)
			dev->ops->resume(dev);
	}
}

/* Memory and devices of one guest into another one that is built alike. */
static inline void bed_move(struct vm *from, struct vm *to)
{
	struct device *peer = to->devices;

	bed_pause(from);
	for (u64 page = 0; page < from->gmem.pages; page++)
		assert_int_equal(gmem_write(&to->gmem, page * PAGE_SIZE, gmem_page(&from->gmem, page), PAGE_SIZE), 0);
	for (struct device *dev = from->devices; dev; dev = dev->next, peer = peer->next) {
		void *state = malloc(device_state_bytes(dev));
		void *again = malloc(device_state_bytes(dev));

		assert_non_null(peer);
		peer->paused = true;
		device_save(dev, state);
		assert_int_equal(device_check(peer, state, device_state_bytes(dev)), 0);
		device_load(peer, state);
		device_save(peer, again);
		assert_memory_equal(state, again, device_state_bytes(dev));
		free(state);
		free(again);
	}
	assert_null(peer);
}

/* A generator for the random tests: the same sequence every time. */
static inline u64 bed_random(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
