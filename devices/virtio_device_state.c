/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of the virtio transport: what moves with the guest, and what is believed of what arrives. Service CPU,
 * vm->lock held.
 */
#include "devices/virtio_device.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

#define ISR_BITS 3

void virtio_device_pause(struct virtio_device *virtio)
{
	virtio->dev.paused = true;
}

/* Doorbells of the time before the pause, or from before a move, may not have been served. */
void virtio_device_resume(struct virtio_device *virtio)
{
	virtio->dev.paused = false;
	pci_function_resume(&virtio->pci);
	virtio_device_notify_all(virtio);
}

void virtio_device_save(const struct virtio_device *virtio, struct virtio_device_state *state)
{
	memset(state, 0, sizeof(*state));
	pci_function_save(&virtio->pci, &state->pci);
	state->accepted = virtio->accepted;
	state->offered_select = virtio->offered_select;
	state->accepted_select = virtio->accepted_select;
	state->config_vector = virtio->config_vector;
	state->queue_select = virtio->queue_select;
	state->status = virtio->status;
	state->isr = virtio->isr;
	state->generation = virtio->generation;
	state->queue_count = (u8)virtio->ops->queue_count;
	for (u32 i = 0; i < virtio->ops->queue_count; i++)
		virtqueue_save(&virtio->queue[i], &state->queue[i]);
}

static int check_status(const struct virtio_device *virtio, const struct virtio_device_state *state)
{
	bool features_ok = state->status & VIRTIO_FEATURES_OK;

	if (state->status & ~VIRTIO_STATUS_BITS)
		return trace_error(-E_INVAL);
	if ((state->status & VIRTIO_DRIVER_OK) && !features_ok)
		return trace_error(-E_INVAL);
	/* Until FEATURES_OK a driver may have written anything. */
	if (features_ok && ((state->accepted & ~virtio->offered) || !(state->accepted & VIRTIO_F_VERSION_1)))
		return trace_error(-E_INVAL);
	return 0;
}

int virtio_device_check(const struct virtio_device *virtio, const struct virtio_device_state *state)
{
	u16 vectors = virtio->pci.msix_vectors;
	int error = pci_function_check(&virtio->pci, &state->pci);

	if (!error)
		error = check_status(virtio, state);
	if (error)
		return error;
	if (state->queue_count != virtio->ops->queue_count || (state->isr & ~ISR_BITS))
		return trace_error(-E_INVAL);
	if (state->config_vector != VIRTIO_NO_VECTOR && state->config_vector >= vectors)
		return trace_error(-E_INVAL);
	for (u32 i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		const struct virtqueue_state *queue = &state->queue[i];

		if (i >= virtio->ops->queue_count) {
			if (!mem_is_zero(queue, sizeof(*queue)))
				return trace_error(-E_INVAL);
			continue;
		}
		if (queue->enabled && !(state->status & VIRTIO_FEATURES_OK))
			return trace_error(-E_INVAL);
		error = virtqueue_check(&virtio->queue[i], queue, vectors);
		if (error)
			return error;
	}
	return 0;
}

/* The device stays still until it is resumed. */
void virtio_device_load(struct virtio_device *virtio, const struct virtio_device_state *state)
{
	virtio->dev.paused = true;
	pci_function_load(&virtio->pci, &state->pci);
	virtio->accepted = state->accepted;
	virtio->offered_select = state->offered_select;
	virtio->accepted_select = state->accepted_select;
	virtio->config_vector = state->config_vector;
	virtio->queue_select = state->queue_select;
	virtio->status = state->status;
	virtio->isr = state->isr;
	virtio->generation = state->generation;
	for (u32 i = 0; i < virtio->ops->queue_count; i++)
		virtqueue_load(&virtio->queue[i], &state->queue[i], virtio_device_has(virtio, VIRTIO_F_EVENT_IDX));
}
