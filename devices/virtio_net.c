/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network card (virtio 1.2 5.1): the device as the board and a migration see it. Service CPU, vm->lock
 * held; virtio_net_private.h says what is in which file.
 */
#include "devices/virtio_net.h"

#include "compiler.h"
#include "devices/virtio_net_private.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/vm.h"

#define NET_QUEUE_SIZE 256
#define NET_MTU_DEFAULT 1500

#define NET_FEATURES                                                                                       \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | NET_F_CSUM | NET_F_GUEST_CSUM | \
	 NET_F_MTU | NET_F_MAC | NET_F_GUEST_TSO4 | NET_F_HOST_TSO4 | NET_F_MRG_RXBUF | NET_F_STATUS |      \
	 NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_GUEST_ANNOUNCE | NET_F_CTRL_MAC_ADDR)

static struct virtio_net *net_of_device(struct device *dev)
{
	return container_of(dev, struct virtio_net, virtio.dev);
}

/* --- what the driver does -------------------------------------------------------------------------------------- */

static void net_update_caps(struct virtio_net *net)
{
	u32 caps = 0;

	if (net->virtio.status & VIRTIO_DRIVER_OK) {
		if (virtio_device_has(&net->virtio, NET_F_GUEST_CSUM))
			caps |= NET_CAP_CSUM;
		/* What comes large comes with a partial checksum (5.1.3.1: it needs the other feature). */
		if (caps && virtio_device_has(&net->virtio, NET_F_GUEST_TSO4))
			caps |= NET_CAP_GSO;
	}
	WRITE_ONCE(net->port.caps, caps);
}

static void net_driver_reset(struct virtio_device *virtio)
{
	struct virtio_net *net = net_of(virtio);

	net->waiting_since_ns = 0;
	virtio_net_filter_reset(net);
	virtio_net_set_status(net, NET_STATUS_LINK_UP);
	net_update_caps(net);
}

/* Buffers for receiving need no doorbell: they are looked for when a frame comes. */
static void net_driver_started(struct virtio_device *virtio)
{
	struct virtio_net *net = net_of(virtio);

	net_update_caps(net);
	if (virtio->queue[NET_RX].enabled)
		virtqueue_stop_doorbells(&virtio->queue[NET_RX]);
}

/* --- the device's ops ------------------------------------------------------------------------------------------ */

/*
 * The guest is here now: the switch and the segment are told, and the driver too, so that it announces all of its
 * addresses itself (5.1.6.5.4).
 */
static void net_announce(struct virtio_net *net)
{
	struct vm *vm = net->virtio.dev.vm;
	u64 needed = NET_F_GUEST_ANNOUNCE | NET_F_CTRL_VQ | NET_F_STATUS;

	net->arrived = false;
	if (virtio_device_running(&net->virtio) && (net->virtio.accepted & needed) == needed) {
		virtio_net_set_status(net, virtio_net_status(net) | NET_STATUS_ANNOUNCE);
		virtio_device_config_changed(&net->virtio);
	}
	/* Not with the lock held: see virtio_net_data.c. */
	spin_unlock(&vm->lock);
	net_switch_announce(&net->port, net->mac);
	spin_lock(&vm->lock);
}

static bool net_service(struct device *dev)
{
	struct virtio_net *net = net_of_device(dev);
	u32 notified;
	u32 again = 0;

	if (net->arrived)
		net_announce(net);
	if (!virtio_device_running(&net->virtio))
		return false;
	notified = virtio_device_take_notified(&net->virtio);
	if ((notified & BIT(NET_CONTROL)) && virtio_net_control(net))
		again |= BIT(NET_CONTROL);
	if ((notified & BIT(NET_TX)) && virtio_net_transmit(net))
		again |= BIT(NET_TX);
	/* Stopped half-way (no bus master any more): the doorbells count when it goes on. */
	if (!virtio_device_running(&net->virtio))
		again = notified;
	net->virtio.notified |= again;
	return again != 0 && virtio_device_running(&net->virtio);
}

static void net_announce_again(struct device *dev)
{
	net_of_device(dev)->arrived = true;
	vm_doorbell(dev->vm);
}

static void net_pause(struct device *dev)
{
	virtio_device_pause(&net_of_device(dev)->virtio);
}

static void net_resume(struct device *dev)
{
	virtio_device_resume(&net_of_device(dev)->virtio);
}

static void net_reset(struct device *dev)
{
	struct virtio_net *net = net_of_device(dev);

	pci_function_reset(&net->virtio.pci);
	virtio_device_reset(&net->virtio);
}

static void net_save(struct device *dev, void *data)
{
	const struct virtio_net *net = net_of_device(dev);
	struct virtio_net_state *state = data;

	memset(state, 0, sizeof(*state));
	virtio_device_save(&net->virtio, &state->virtio);
	memcpy(state->mac, net->mac, sizeof(state->mac));
	state->status = virtio_net_status(net);
	state->promiscuous = net->promiscuous;
	state->all_multicast = net->all_multicast;
	state->multicast_count = (u8)net->multicast_count;
	memcpy(state->multicast, net->multicast, net->multicast_count * sizeof(net->multicast[0]));
}

static int net_check(struct device *dev, const void *data)
{
	const struct virtio_net *net = net_of_device(dev);
	const struct virtio_net_state *state = data;

	if (memcmp(state->mac, net->mac, sizeof(state->mac)))
		return trace_error(-E_INVAL);
	if (!(state->status & NET_STATUS_LINK_UP) || (state->status & ~(NET_STATUS_LINK_UP | NET_STATUS_ANNOUNCE)))
		return trace_error(-E_INVAL);
	if (state->promiscuous > 1 || state->all_multicast > 1 || state->multicast_count > NET_MULTICAST_MAX)
		return trace_error(-E_INVAL);
	if (!mem_is_zero(state->reserved, sizeof(state->reserved)))
		return trace_error(-E_INVAL);
	return virtio_device_check(&net->virtio, &state->virtio);
}

static void net_load(struct device *dev, const void *data)
{
	struct virtio_net *net = net_of_device(dev);
	const struct virtio_net_state *state = data;

	virtio_device_load(&net->virtio, &state->virtio);
	virtio_net_set_status(net, state->status);
	net->promiscuous = state->promiscuous;
	net->all_multicast = state->all_multicast;
	net->multicast_count = state->multicast_count;
	memcpy(net->multicast, state->multicast, sizeof(net->multicast));
	net_update_caps(net);
	net->arrived = true;
}

static void net_fini(struct device *dev)
{
	struct virtio_net *net = net_of_device(dev);

	net_switch_remove(&net->port);
	virtio_device_fini(&net->virtio);
	pages_free(page_hpa(net), pages_order(sizeof(*net)));
}

static const struct device_ops net_ops = {
	.name = "virtio-net",
	.type = DEVICE_VIRTIO_NET,
	.version = 2,
	.state_bytes = sizeof(struct virtio_net_state),
	.pause = net_pause,
	.resume = net_resume,
	.reset = net_reset,
	.save = net_save,
	.check = net_check,
	.load = net_load,
	.service = net_service,
	.announce = net_announce_again,
	.fini = net_fini,
};

static const struct virtio_device_ops net_device_ops = {
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000, /* Ethernet */
	.queue_count = NET_QUEUES,
	.queue_size = NET_QUEUE_SIZE,
	.reset = net_driver_reset,
	.started = net_driver_started,
};

/* --- creation -------------------------------------------------------------------------------------------------- */

static void net_configure(struct virtio_net *net, const struct vm *vm, u32 vif)
{
	const struct vif_config *config = &vm->config.vif[vif];
	struct virtio_device *virtio = &net->virtio;

	memcpy(net->mac, config->mac, sizeof(net->mac));
	str_format(virtio->name, sizeof(virtio->name), "net%u", vif);
	str_format(net->port_name, sizeof(net->port_name), "%s/%s", vm->config.name, virtio->name);
	net->port = (struct net_port){
		.name = net->port_name,
		.deliver = virtio_net_deliver,
		.mtu = config->mtu ? config->mtu : NET_MTU_DEFAULT,
		.ctx = net,
	};
	virtio->ops = &net_device_ops;
	virtio->offered = NET_FEATURES;
	virtio->config_bytes = NET_CONFIG_BYTES;
	memcpy(net->port.mac, net->mac, sizeof(net->port.mac));
	memcpy(&virtio->config[NET_CONFIG_MAC], net->mac, sizeof(net->mac));
	pci_write_bytes(&virtio->config[NET_CONFIG_PAIRS], 2, 1);
	pci_write_bytes(&virtio->config[NET_CONFIG_MTU], 2, net->port.mtu);
}

int virtio_net_create(struct vm *vm, u32 vif)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct virtio_net)));
	struct virtio_net *net;
	int error;

	assert(vif < vm->config.vif_count);
	if (block == HPA_NONE)
		return trace_error(-E_NOMEM);
	net = page_ptr(block);
	net_configure(net, vm, vif);
	error = virtio_device_init(&net->virtio, vm);
	if (!error) {
		error = net_switch_add(&net->port);
		if (error)
			virtio_device_fini(&net->virtio);
	}
	if (error) {
		pages_free(block, pages_order(sizeof(*net)));
		return error;
	}
	device_add(vm, &net->virtio.dev, &net_ops, (u16)vif);
	return 0;
}
