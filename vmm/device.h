/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every device model is to the rest: its accesses go over the I/O bus, its state is one plain,
 * fixed-width, versioned struct. check() is pure and says whether load() can take the state;
 * load() cannot fail after it.
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include "types.h"

struct device;
struct vm;

/* Numbers of the stream's DEVICE records: never reused, never renumbered. */
enum device_type {
	DEVICE_LAPIC = 1,
	DEVICE_IOAPIC = 2,
	DEVICE_PIC = 3,
	DEVICE_PIT = 4,
	DEVICE_RTC = 5,
	DEVICE_UART = 6,
	DEVICE_ACPI_PM = 7,
	DEVICE_PCI_HOST = 8,
	DEVICE_PVCLOCK = 9,
	DEVICE_TEST_PORTS = 10,
	DEVICE_VIRTIO_NET = 16,
	DEVICE_VIRTIO_RNG = 17,
	DEVICE_VIRTIO_BALLOON = 21,
};

struct device_ops {
	const char *name;
	u16 type;
	u16 version;
	u32 state_bytes;
	u32 state_offset; /* from the struct device on */
	/* Called with vm->lock held. The guest's vCPUs are out of the guest. NULL: nothing to do. */
	void (*pause)(struct device *dev);   /* from here no guest memory is touched */
	void (*resume)(struct device *dev);  /* timers armed again, lines driven again */
	void (*reset)(struct device *dev);   /* as at power-on (guest reboot) */
	int (*check)(struct device *dev, const void *state); /* of device_state_bytes(): can it be loaded? -E_INVAL */
	/* NULL: the struct that DEVICE_STATE() names is copied. */
	void (*save)(struct device *dev, void *state);
	void (*load)(struct device *dev, const void *state);
	/* On the service CPU, vm->lock held, after vm_doorbell(); true if there is more to do. */
	bool (*service)(struct device *dev);
	void (*announce)(struct device *dev); /* the segment is to hear (again) where the guest is */
	void (*fini)(struct device *dev);
};

/* For device_ops: the state is this member of the device's own struct, as it is. */
#define DEVICE_STATE(type, member)                                        \
	.state_bytes = sizeof(((type *)0)->member),                       \
	.state_offset = (u32)(offsetof(type, member) - offsetof(type, dev))

/* Embedded in each device's own struct (container_of). */
struct device {
	const struct device_ops *ops;
	struct vm *vm;
	u16 instance;
	bool paused;
	u32 more_state_bytes; /* besides ops->state_bytes, as its size wants it; set after device_add() */
	struct device *next;
};

static inline u32 device_state_bytes(const struct device *dev)
{
	return dev->ops->state_bytes + dev->more_state_bytes;
}

/* Adds to vm's list, in the order of saving. */
void device_add(struct vm *vm, struct device *dev, const struct device_ops *ops, u16 instance);
/*
 * All of them, in that order; vm->lock held. Those that are (not) paused already are left alone:
 * these functions keep dev->paused. vm_pause() and vm_unpause() call them for a move.
 */
void devices_pause(struct vm *vm);
void devices_resume(struct vm *vm);
void devices_reset(struct vm *vm);
void devices_announce(struct vm *vm);
/* Its state, for the stream: aligned to 8. Nothing is loaded that check did not pass. vm->lock held. */
void device_save(struct device *dev, void *state);
int must_check device_check(struct device *dev, const void *state, u32 bytes);
void device_load(struct device *dev, const void *state);
struct device *device_find(struct vm *vm, u16 type, u16 instance);

#endif
