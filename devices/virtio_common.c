/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common configuration structure of virtio over PCI (virtio 1.2 4.1.4.3): status, features, queue setup. Runs on
 * the vCPU's CPU with vm->lock held.
 */
#include "devices/virtio_device.h"

#include "vmm/vm.h"

/* 2.1, 3.1.1: FEATURES_OK sticks only if the features make sense; without it no DRIVER_OK. */
static void status_write(struct virtio_device *virtio, u8 value)
{
	bool was_running = virtio->status & VIRTIO_DRIVER_OK;

	if (value == 0) {
		virtio_device_reset(virtio);
		return;
	}
	value = (u8)((value & VIRTIO_STATUS_BITS & ~VIRTIO_NEEDS_RESET) | virtio->status);
	if (!(virtio->status & VIRTIO_FEATURES_OK)) {
		if ((virtio->accepted & ~virtio->offered) || !virtio_device_has(virtio, VIRTIO_F_VERSION_1))
			value &= (u8)~VIRTIO_FEATURES_OK;
	}
	if (!(value & VIRTIO_FEATURES_OK))
		value &= (u8)~VIRTIO_DRIVER_OK;
	virtio->status = value;
	if (was_running || !(value & VIRTIO_DRIVER_OK))
		return;
	if (virtio->ops->started)
		virtio->ops->started(virtio);
	virtio_device_notify_all(virtio);
}

static struct virtqueue *selected_queue(struct virtio_device *virtio)
{
	return virtio->queue_select < virtio->ops->queue_count ? &virtio->queue[virtio->queue_select] : NULL;
}

static u64 queue_read(struct virtio_device *virtio, u32 offset)
{
	const struct virtqueue *queue = selected_queue(virtio);

	if (!queue)
		return 0;
	switch (offset) {
	case COMMON_QUEUE_SIZE:
		return queue->size;
	case COMMON_QUEUE_VECTOR:
		return queue->vector;
	case COMMON_QUEUE_ENABLE:
		return queue->enabled;
	case COMMON_QUEUE_NOTIFY_OFF:
		return virtio->queue_select;
	case COMMON_QUEUE_DESC:
		return queue->descriptors;
	case COMMON_QUEUE_DRIVER:
		return queue->avail;
	case COMMON_QUEUE_DEVICE:
		return queue->used;
	default:
		return 0;
	}
}

static u64 common_read(struct virtio_device *virtio, u32 offset)
{
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		return virtio->offered_select;
	case COMMON_DEVICE_FEATURE:
		return virtio->offered_select < 2 ? (u32)(virtio->offered >> (32 * virtio->offered_select)) : 0;
	case COMMON_DRIVER_FEATURE_SELECT:
		return virtio->accepted_select;
	case COMMON_DRIVER_FEATURE:
		return virtio->accepted_select < 2 ? (u32)(virtio->accepted >> (32 * virtio->accepted_select)) : 0;
	case COMMON_CONFIG_VECTOR:
		return virtio->config_vector;
	case COMMON_NUM_QUEUES:
		return virtio->ops->queue_count;
	case COMMON_STATUS:
		return virtio->status;
	case COMMON_GENERATION:
		return virtio->generation;
	case COMMON_QUEUE_SELECT:
		return virtio->queue_select;
	default:
		return queue_read(virtio, offset);
	}
}

static u16 vector_of(const struct virtio_device *virtio, u64 value)
{
	return value < virtio->pci.msix_vectors ? (u16)value : VIRTIO_NO_VECTOR;
}

static void queue_enable(struct virtio_device *virtio, struct virtqueue *queue)
{
	if (virtqueue_enable(queue, virtio_device_has(virtio, VIRTIO_F_EVENT_IDX)))
		virtio_device_broken(virtio, virtio->queue_select, queue->broken);
}

static void queue_write(struct virtio_device *virtio, u32 offset, u64 value)
{
	struct virtqueue *queue = selected_queue(virtio);

	if (!queue)
		return;
	if (offset == COMMON_QUEUE_VECTOR)
		queue->vector = vector_of(virtio, value);
	if (queue->enabled)
		return;
	switch (offset) {
	case COMMON_QUEUE_SIZE:
		queue->size = (u16)value;
		break;
	case COMMON_QUEUE_ENABLE:
		if (value == 1 && (virtio->status & VIRTIO_FEATURES_OK))
			queue_enable(virtio, queue);
		break;
	case COMMON_QUEUE_DESC:
		queue->descriptors = value;
		break;
	case COMMON_QUEUE_DRIVER:
		queue->avail = value;
		break;
	case COMMON_QUEUE_DEVICE:
		queue->used = value;
		break;
	}
}

static void accepted_write(struct virtio_device *virtio, u32 value)
{
	u32 shift = 32 * virtio->accepted_select;

	if (virtio->accepted_select >= 2 || (virtio->status & VIRTIO_FEATURES_OK))
		return;
	virtio->accepted = (virtio->accepted & ~(0xffffffffull << shift)) | (u64)value << shift;
}

static void common_write(struct virtio_device *virtio, u32 offset, u64 value)
{
	switch (offset) {
	case COMMON_DEVICE_FEATURE_SELECT:
		virtio->offered_select = (u32)value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		virtio->accepted_select = (u32)value;
		break;
	case COMMON_DRIVER_FEATURE:
		accepted_write(virtio, (u32)value);
		break;
	case COMMON_CONFIG_VECTOR:
		virtio->config_vector = vector_of(virtio, value);
		break;
	case COMMON_STATUS:
		status_write(virtio, (u8)value);
		break;
	case COMMON_QUEUE_SELECT:
		virtio->queue_select = (u16)value;
		break;
	default:
		queue_write(virtio, offset, value);
		break;
	}
}

static u32 common_width(u32 offset)
{
	if (offset >= COMMON_QUEUE_DESC)
		return 8;
	if (offset < COMMON_CONFIG_VECTOR)
		return 4;
	return offset == COMMON_STATUS || offset == COMMON_GENERATION ? 1 : 2;
}

/* Drivers use each field's own width, or two halves for 64 bits (4.1.3.1). Other accesses do nothing. */
void virtio_common_access(struct virtio_device *virtio, u32 offset, u32 size, bool write, u64 *value)
{
	u32 width = common_width(offset);
	u32 shift = 8 * (offset & (width - 1));
	u64 whole;

	if (!write)
		*value = 0;
	if (offset >= COMMON_BYTES || (width != size && !(width == 8 && size == 4)) || offset % size != 0)
		return;
	offset &= ~(width - 1);
	if (width == size) {
		if (write)
			common_write(virtio, offset, *value);
		else
			*value = common_read(virtio, offset);
		return;
	}
	whole = common_read(virtio, offset);
	if (write)
		common_write(virtio, offset, (whole & ~(0xffffffffull << shift)) | (*value & 0xffffffff) << shift);
	else
		*value = (whole >> shift) & 0xffffffff;
}
