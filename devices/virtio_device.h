/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio transport over PCI, modern devices only (virtio 1.2 4.1): registers, features, queues, interrupts.
 * A device embeds struct virtio_device, and its struct device is the one inside. Registers run on the vCPU's CPU, all
 * else on the service CPU, both with vm->lock held.
 */
#ifndef DEVICES_VIRTIO_DEVICE_H
#define DEVICES_VIRTIO_DEVICE_H

#include "devices/pci.h"
#include "devices/virtqueue.h"
#include "types.h"
#include "virtio.h"
#include "vmm/device.h"

#define VIRTIO_QUEUES_MAX 5
#define VIRTIO_CONFIG_BYTES 32
#define VIRTIO_NAME_BYTES 16

struct virtio_device;

struct virtio_device_ops {
	u16 id;          /* virtio 1.2 5 */
	u32 class_code;
	u16 queue_count;
	u16 queue_size;  /* of each, at most */
	/* The driver (or the board) resets the device: its own state, as at power-on. May be NULL. */
	void (*reset)(struct virtio_device *virtio);
	/* The driver has set DRIVER_OK. May be NULL. */
	void (*started)(struct virtio_device *virtio);
	/* The driver writes to the device's own configuration. NULL: it is read-only. */
	void (*config_write)(struct virtio_device *virtio, u32 offset, u32 size, u64 value);
};

struct virtio_device {
	struct device dev;
	struct pci_function pci;
	const struct virtio_device_ops *ops;
	char name[VIRTIO_NAME_BYTES];    /* for messages: "net0" */
	u64 offered;                     /* features; fixed */
	u8 config[VIRTIO_CONFIG_BYTES];  /* device-specific configuration */
	u32 config_bytes;
	u8 window;                       /* offset of the PCI configuration access capability (4.1.4.9) */
	u32 faults;                      /* times that the driver broke it */
	/* registers */
	u64 accepted;
	u32 offered_select, accepted_select;
	u16 config_vector, queue_select;
	u8 status, isr, generation;
	struct virtqueue queue[VIRTIO_QUEUES_MAX];
	u32 notified;                    /* a bit per queue whose doorbell was rung */
};

struct virtio_device_state {
	struct pci_function_state pci;
	u64 accepted;
	u32 offered_select, accepted_select;
	u16 config_vector, queue_select;
	u8 status, isr, generation, queue_count;
	struct virtqueue_state queue[VIRTIO_QUEUES_MAX];
};
static_assert(sizeof(struct virtio_device_state) == sizeof(struct pci_function_state) + 24 + 40 * VIRTIO_QUEUES_MAX,
	      "stream layout");

/*
 * Puts the device on the bus; the caller has filled in ops, name, offered, config. -E_NOMEM: no slot. The device's
 * own device_add() comes after it.
 */
int must_check virtio_device_init(struct virtio_device *virtio, struct vm *vm);
void virtio_device_fini(struct virtio_device *virtio);

/* May the device look at its queues now? */
bool virtio_device_running(const struct virtio_device *virtio);
static inline bool virtio_device_has(const struct virtio_device *virtio, u64 feature)
{
	return virtio->accepted & feature;
}
/* Takes the doorbells rung since the last call. */
u32 virtio_device_take_notified(struct virtio_device *virtio);
/* Interrupts the driver if it wants to know what was published. */
void virtio_device_signal(struct virtio_device *virtio, u32 queue);
/* config has changed: new generation, and an interrupt. */
void virtio_device_config_changed(struct virtio_device *virtio);
/* The driver did what makes no sense: nothing goes until it resets the device. */
void virtio_device_broken(struct virtio_device *virtio, u32 queue, const char *why);

/* Has the service CPU look at every queue. */
void virtio_device_notify_all(struct virtio_device *virtio);
/* virtio_common.c: an access to the common configuration structure. */
void virtio_common_access(struct virtio_device *virtio, u32 offset, u32 size, bool write, u64 *value);

/* Parts of the device's own ops; reset leaves the PCI function alone. */
void virtio_device_reset(struct virtio_device *virtio);
void virtio_device_pause(struct virtio_device *virtio);
void virtio_device_resume(struct virtio_device *virtio);
void virtio_device_save(const struct virtio_device *virtio, struct virtio_device_state *state);
int must_check virtio_device_check(const struct virtio_device *virtio, const struct virtio_device_state *state);
void virtio_device_load(struct virtio_device *virtio, const struct virtio_device_state *state);

#endif
