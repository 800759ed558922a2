/* SPDX-License-Identifier: Apache-2.0 */
/* Modern virtio devices on PCI. Service CPU, at boot; afterwards drivers use their rings alone. */
#include "drivers/virtio_pci.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/log.h"
#include "mm/pages.h"

#define RESET_TIMEOUT_NS (100 * NS_PER_MS)

static u8 read8(volatile u8 *p)
{
	return *p;
}

static u16 read16(volatile u8 *p)
{
	return *(volatile u16 *)p;
}

static u32 read32(volatile u8 *p)
{
	return *(volatile u32 *)p;
}

static void write16(volatile u8 *p, u16 value)
{
	*(volatile u16 *)p = value;
}

static void write32(volatile u8 *p, u32 value)
{
	*(volatile u32 *)p = value;
}

/* 64-bit registers may be written as two halves (virtio 1.2 4.1.3.1). */
static void write64(volatile u8 *p, u64 value)
{
	write32(p, (u32)value);
	write32(p + 4, (u32)(value >> 32));
}

/* The registers that a vendor capability points to; NULL if they are not as the manual says. */
static volatile u8 *map_structure(const struct pci_device *dev, u32 capability, u64 *bytes)
{
	u8 bar = pci_device_read8(dev, capability + CAP_BAR);
	u64 offset = pci_device_read32(dev, capability + CAP_OFFSET);
	volatile u8 *registers;

	*bytes = pci_device_read32(dev, capability + CAP_LENGTH);
	registers = pci_device_map(dev, bar, offset + *bytes);
	return registers ? registers + offset : NULL;
}

static int find_structures(struct virtio_pci *v)
{
	const struct pci_device *dev = v->pci;
	u32 capability = 0;

	while ((capability = pci_device_capability(dev, VIRTIO_CAPABILITY, capability))) {
		u8 type = pci_device_read8(dev, capability + CAP_TYPE);
		u64 bytes;
		volatile u8 *registers;

		/* The first of each type counts (virtio 1.2 4.1.4.1). */
		if (type == CAP_COMMON && !v->common) {
			registers = map_structure(dev, capability, &bytes);
			if (registers && bytes >= COMMON_BYTES)
				v->common = registers;
		} else if (type == CAP_NOTIFY && !v->notify) {
			v->notify = map_structure(dev, capability, &v->notify_bytes);
			v->notify_multiplier = pci_device_read32(dev, capability + CAP_EXTRA);
		} else if (type == CAP_ISR && !v->isr) {
			v->isr = map_structure(dev, capability, &bytes);
		} else if (type == CAP_DEVICE && !v->config) {
			v->config = map_structure(dev, capability, &bytes);
			v->config_bytes = (u32)MIN(bytes, (u64)VIRTIO_CONFIG_BYTES);
		}
	}
	return v->common && v->notify ? 0 : trace_error(-E_NOSYS);
}

static int reset(struct virtio_pci *v)
{
	u64 deadline = time_ns() + RESET_TIMEOUT_NS;

	v->common[COMMON_STATUS] = 0;
	while (read8(v->common + COMMON_STATUS)) {
		if (time_ns() > deadline)
			return trace_error(-E_TIMEOUT);
		cpu_relax();
	}
	return 0;
}

int virtio_pci_start(struct virtio_pci *v, const struct pci_device *dev)
{
	int error;

	*v = (struct virtio_pci){ .pci = dev };
	error = find_structures(v);
	if (error)
		return error;
	pci_device_enable(dev);
	error = reset(v);
	if (error)
		return error;
	v->common[COMMON_STATUS] = VIRTIO_ACKNOWLEDGE;
	v->common[COMMON_STATUS] = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER;
	write32(v->common + COMMON_DEVICE_FEATURE_SELECT, 0);
	v->offered = read32(v->common + COMMON_DEVICE_FEATURE);
	write32(v->common + COMMON_DEVICE_FEATURE_SELECT, 1);
	v->offered |= (u64)read32(v->common + COMMON_DEVICE_FEATURE) << 32;
	return v->offered & VIRTIO_F_VERSION_1 ? 0 : trace_error(-E_NOSYS);
}

int virtio_pci_agree(struct virtio_pci *v, u64 features)
{
	v->features = v->offered & (features | VIRTIO_F_VERSION_1);
	write32(v->common + COMMON_DRIVER_FEATURE_SELECT, 0);
	write32(v->common + COMMON_DRIVER_FEATURE, (u32)v->features);
	write32(v->common + COMMON_DRIVER_FEATURE_SELECT, 1);
	write32(v->common + COMMON_DRIVER_FEATURE, (u32)(v->features >> 32));
	v->common[COMMON_STATUS] = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK;
	if (read8(v->common + COMMON_STATUS) & VIRTIO_FEATURES_OK)
		return 0;
	v->common[COMMON_STATUS] = VIRTIO_FAILED;
	return trace_error(-E_NOSYS);
}

int virtio_pci_queue_init(struct virtio_pci *v, struct virtio_pci_queue *q, u16 index, u16 size, bool msix)
{
	u16 device_size;
	u64 doorbell;
	hpa_t memory;

	write16(v->common + COMMON_QUEUE_SELECT, index);
	device_size = read16(v->common + COMMON_QUEUE_SIZE);
	/* A split ring's size is a power of two (virtio 1.2 2.7). */
	if (!device_size || (device_size & (device_size - 1)))
		return trace_error(-E_IO);
	size = MIN(size, device_size);
	doorbell = (u64)read16(v->common + COMMON_QUEUE_NOTIFY_OFF) * v->notify_multiplier;
	if (doorbell + 2 > v->notify_bytes)
		return trace_error(-E_IO);
	memory = pages_alloc(pages_order(vring_bytes(size)));
	if (memory == HPA_NONE)
		return trace_error(-E_NOMEM);
	vring_init(&q->ring, page_ptr(memory), size, virtio_pci_has(v, VIRTIO_F_EVENT_IDX));
	q->index = index;
	q->doorbell = (volatile u16 *)(v->notify + doorbell);
	write16(v->common + COMMON_QUEUE_SIZE, size);
	write64(v->common + COMMON_QUEUE_DESC, page_hpa(q->ring.desc));
	write64(v->common + COMMON_QUEUE_DRIVER, page_hpa(q->ring.avail_flags));
	write64(v->common + COMMON_QUEUE_DEVICE, page_hpa(q->ring.used_flags));
	write16(v->common + COMMON_QUEUE_VECTOR, msix ? 0 : VIRTIO_NO_VECTOR);
	if (msix && read16(v->common + COMMON_QUEUE_VECTOR) != 0)
		return trace_error(-E_NOMEM);
	vring_silence(&q->ring);
	write16(v->common + COMMON_QUEUE_ENABLE, 1);
	return 0;
}

void virtio_pci_ready(struct virtio_pci *v)
{
	v->common[COMMON_STATUS] = read8(v->common + COMMON_STATUS) | VIRTIO_DRIVER_OK;
}

void virtio_pci_reset(struct virtio_pci *v)
{
	if (v->common)
		v->common[COMMON_STATUS] = 0;
}

u8 virtio_pci_config8(const struct virtio_pci *v, u32 offset)
{
	if (!v->config || offset >= v->config_bytes)
		return 0;
	return read8(v->config + offset);
}

u16 virtio_pci_config16(const struct virtio_pci *v, u32 offset)
{
	if (!v->config || offset + 2 > v->config_bytes)
		return 0;
	return read16(v->config + offset);
}
