/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio transport over PCI (virtio 1.2 4.1): capabilities, the structures that they point to, interrupts; the
 * common configuration is in virtio_common.c. The structures are accessed on the vCPU's CPU, the rest runs on the
 * service CPU, both with vm->lock held.
 */
#include "devices/virtio_device.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

/* BAR 0: a page for each structure. BAR 1 is MSI-X. */
#define REGISTERS_BAR 0
#define REGISTERS_BYTES 0x4000
#define MSIX_BAR 1
#define AREA_BYTES 0x1000
enum area { AREA_COMMON, AREA_ISR, AREA_DEVICE, AREA_NOTIFY };
#define NOTIFY_MULTIPLIER 4

enum isr { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* A guest could fill the log with its own mistakes. */
#define FAULTS_LOGGED 8

/* --- interrupts ------------------------------------------------------------------------------------------------ */

static void interrupt(struct virtio_device *virtio, u16 vector, u8 isr)
{
	if (pci_msix_enabled(&virtio->pci)) {
		pci_msix_send(&virtio->pci, vector);
		return;
	}
	virtio->isr |= isr;
	pci_set_intx(&virtio->pci, true);
}

void virtio_device_signal(struct virtio_device *virtio, u32 queue)
{
	/* The driver may have reset the device since. */
	if (!virtio->queue[queue].enabled)
		return;
	if (virtqueue_wants_interrupt(&virtio->queue[queue]))
		interrupt(virtio, virtio->queue[queue].vector, ISR_QUEUE);
}

void virtio_device_config_changed(struct virtio_device *virtio)
{
	virtio->generation++;
	if (virtio->status & VIRTIO_DRIVER_OK)
		interrupt(virtio, virtio->config_vector, ISR_CONFIG);
}

void virtio_device_broken(struct virtio_device *virtio, u32 queue, const char *why)
{
	const char *guest = virtio->dev.vm->config.name;

	if (virtio->faults < FAULTS_LOGGED)
		log_warn("%s: %s: the guest's driver gave queue %u %s; the device waits for a reset", guest,
			 virtio->name, queue, why);
	else if (virtio->faults == FAULTS_LOGGED)
		log_warn("%s: %s: more mistakes of the guest's driver are not shown", guest, virtio->name);
	if (virtio->faults <= FAULTS_LOGGED)
		virtio->faults++;
	virtio->status |= VIRTIO_NEEDS_RESET;
	virtio_device_config_changed(virtio);
}

bool virtio_device_running(const struct virtio_device *virtio)
{
	u8 mask = VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET | VIRTIO_FAILED;

	return (virtio->status & mask) == VIRTIO_DRIVER_OK && !virtio->dev.paused && pci_is_master(&virtio->pci);
}

u32 virtio_device_take_notified(struct virtio_device *virtio)
{
	u32 notified = virtio->notified;

	virtio->notified = 0;
	return notified;
}

void virtio_device_notify_all(struct virtio_device *virtio)
{
	virtio->notified = (u32)BIT(virtio->ops->queue_count) - 1;
	vm_doorbell(virtio->dev.vm);
}

/* The registers as at power-on; the PCI function is reset apart. */
void virtio_device_reset(struct virtio_device *virtio)
{
	virtio->accepted = 0;
	virtio->offered_select = 0;
	virtio->accepted_select = 0;
	virtio->config_vector = VIRTIO_NO_VECTOR;
	virtio->queue_select = 0;
	virtio->status = 0;
	virtio->isr = 0;
	virtio->generation = 0;
	virtio->notified = 0;
	for (u32 i = 0; i < virtio->ops->queue_count; i++)
		virtqueue_reset(&virtio->queue[i]);
	pci_set_intx(&virtio->pci, false);
	if (virtio->ops->reset)
		virtio->ops->reset(virtio);
}

/* --- the other structures -------------------------------------------------------------------------------------- */

static u64 isr_read(struct virtio_device *virtio)
{
	u8 isr = virtio->isr;

	virtio->isr = 0;
	pci_set_intx(&virtio->pci, false);
	return isr;
}

static u64 config_read(const struct virtio_device *virtio, u32 offset, u32 size)
{
	u64 value = 0;

	for (u32 i = 0; i < size && offset + i < virtio->config_bytes; i++)
		value |= (u64)virtio->config[offset + i] << (8 * i);
	return value;
}

static void doorbell(struct virtio_device *virtio, u32 queue)
{
	if (queue >= virtio->ops->queue_count)
		return;
	virtio->notified |= (u32)BIT(queue);
	vm_doorbell(virtio->dev.vm);
}

static void registers_access(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct virtio_device *virtio = ctx;
	u32 at = offset & (AREA_BYTES - 1);

	switch ((enum area)(offset / AREA_BYTES)) {
	case AREA_COMMON:
		virtio_common_access(virtio, at, size, write, value);
		break;
	case AREA_ISR:
		if (!write)
			*value = at == 0 ? isr_read(virtio) : 0;
		break;
	case AREA_DEVICE:
		if (!write)
			*value = config_read(virtio, at, size);
		else if (virtio->ops->config_write)
			virtio->ops->config_write(virtio, at, size, *value);
		break;
	case AREA_NOTIFY:
		if (write)
			doorbell(virtio, at / NOTIFY_MULTIPLIER);
		else
			*value = 0;
		break;
	}
}

/*
 * The window into the BAR for who can reach configuration space only (4.1.4.9): bar, offset and length choose,
 * pci_cfg_data does it.
 */
static bool window_access(struct virtio_device *virtio, bool write)
{
	u8 *capability = &virtio->pci.config[virtio->window];
	u32 offset = pci_read_bytes(&capability[CAP_OFFSET], 4);
	u32 length = pci_read_bytes(&capability[CAP_LENGTH], 4);
	u64 value = 0;

	if (capability[CAP_BAR] != REGISTERS_BAR || (length != 1 && length != 2 && length != 4))
		return false;
	if (offset % length != 0 || offset >= REGISTERS_BYTES)
		return false;
	if (write)
		value = pci_read_bytes(&capability[CAP_EXTRA], length);
	registers_access(virtio, offset, length, write, &value);
	if (!write)
		pci_write_bytes(&capability[CAP_EXTRA], length, (u32)value);
	return true;
}

static bool touches_window(const struct virtio_device *virtio, u32 offset, u32 bytes)
{
	u32 data = virtio->window + CAP_EXTRA;

	return offset < data + 4 && data < offset + bytes;
}

static void before_read(struct pci_function *function, u32 offset, u32 bytes)
{
	struct virtio_device *virtio = container_of(function, struct virtio_device, pci);

	if (touches_window(virtio, offset, bytes))
		(void)window_access(virtio, false);
}

static void after_write(struct pci_function *function, u32 offset, u32 bytes)
{
	struct virtio_device *virtio = container_of(function, struct virtio_device, pci);

	if (touches_window(virtio, offset, bytes))
		(void)window_access(virtio, true);
	/* With MSI-X the line is silent; it speaks up again if that goes while something is unread. */
	pci_set_intx(function, virtio->isr && !pci_msix_enabled(function));
	/* Doorbells that came while the function was no bus master. */
	if (pci_is_master(function) && virtio->notified)
		vm_doorbell(virtio->dev.vm);
}

/* --- on the bus ------------------------------------------------------------------------------------------------ */

static u8 add_capability(struct virtio_device *virtio, enum virtio_capability_type type, enum area area, u32 length,
			 u32 extra)
{
	struct pci_function *function = &virtio->pci;
	u8 at = pci_function_add_capability(function, VIRTIO_CAPABILITY, VIRTIO_CAPABILITY_BYTES + extra);
	u8 *capability = &function->config[at];

	capability[CAP_LEN] = (u8)(VIRTIO_CAPABILITY_BYTES + extra);
	capability[CAP_TYPE] = (u8)type;
	capability[CAP_BAR] = REGISTERS_BAR;
	pci_write_bytes(&capability[CAP_OFFSET], 4, area * AREA_BYTES);
	pci_write_bytes(&capability[CAP_LENGTH], 4, length);
	return at;
}

static void add_capabilities(struct virtio_device *virtio)
{
	struct pci_function *function = &virtio->pci;
	u32 notify_bytes = virtio->ops->queue_count * NOTIFY_MULTIPLIER;
	u8 notify;

	(void)add_capability(virtio, CAP_COMMON, AREA_COMMON, COMMON_BYTES, 0);
	(void)add_capability(virtio, CAP_ISR, AREA_ISR, 1, 0);
	if (virtio->config_bytes)
		(void)add_capability(virtio, CAP_DEVICE, AREA_DEVICE, virtio->config_bytes, 0);
	notify = add_capability(virtio, CAP_NOTIFY, AREA_NOTIFY, notify_bytes, 4);
	pci_write_bytes(&function->config[notify + CAP_EXTRA], 4, NOTIFY_MULTIPLIER);
	virtio->window = add_capability(virtio, CAP_WINDOW, 0, 0, 4);
	function->writable[virtio->window + CAP_BAR] = 0xff;
	memset(&function->writable[virtio->window + CAP_OFFSET], 0xff, 12);
}

int virtio_device_init(struct virtio_device *virtio, struct vm *vm)
{
	const struct pci_identity identity = {
		.vendor = VIRTIO_VENDOR,
		.device = VIRTIO_DEVICE_BASE + virtio->ops->id,
		.subsystem_vendor = VIRTIO_VENDOR,
		.subsystem = VIRTIO_DEVICE_BASE + virtio->ops->id,
		.class_code = virtio->ops->class_code,
		.revision = 1,
		.intx = true,
	};
	int error;

	assert(virtio->ops->queue_count <= VIRTIO_QUEUES_MAX && virtio->config_bytes <= VIRTIO_CONFIG_BYTES);
	virtio->dev.vm = vm;
	error = pci_function_init(&virtio->pci, vm, &identity);
	if (error)
		return error;
	virtio->pci.before_read = before_read;
	virtio->pci.after_write = after_write;
	pci_function_add_bar(&virtio->pci, REGISTERS_BAR, REGISTERS_BYTES, registers_access, virtio);
	pci_function_add_msix(&virtio->pci, MSIX_BAR, (u16)(virtio->ops->queue_count + 1));
	add_capabilities(virtio);
	for (u32 i = 0; i < virtio->ops->queue_count; i++)
		virtqueue_init(&virtio->queue[i], &vm->gmem, virtio->ops->queue_size);
	pci_function_start(&virtio->pci);
	virtio_device_reset(virtio);
	return 0;
}

void virtio_device_fini(struct virtio_device *virtio)
{
	pci_function_fini(&virtio->pci);
}
