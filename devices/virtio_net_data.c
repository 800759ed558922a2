/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames between the guest's rings and the switch. Service CPU.
 *
 * Locks: delivering a frame takes the receiving guest's vm->lock, so nobody may hold any vm->lock when the switch is
 * called. Transmit takes one frame under the lock and copies it out, lets go of the lock, hands the frame to the
 * switch, and takes the lock again; if the driver has reset the queue meanwhile (its epoch says so), the frame's
 * buffers are forgotten. The service CPU never holds two of these locks, and never waits for one that it holds.
 */
#include "devices/virtio_net_private.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

#define HEADER_BUFFERS_OFFSET 10

/* One turn of one guest: then the others have theirs. */
#define TRANSMIT_FRAMES 64
#define TRANSMIT_BYTES KIB(256)
/* A frame of NET_FRAME_MAX bytes in buffers of one page, and then some. */
#define RECEIVE_CHAINS_MAX 64
/* How long a frame waits for a receiver that has no room. */
#define WAIT_MAX_NS NS_PER_MS

/* Of the frame being moved: the service CPU's. */
static struct virtqueue_chain transmit_chain, first_chain, next_chain;
static u8 transmit_buffer[NET_FRAME_MAX];

static bool has(const struct virtio_net *net, u64 feature)
{
	return virtio_device_has(&net->virtio, feature);
}

/* --- from the guest -------------------------------------------------------------------------------------------- */

/* What the driver says about the frame; -E_INVAL if it makes no sense. */
static int header_to_frame(const struct virtio_net *net, const struct virtio_net_header *header,
			   struct net_frame *frame)
{
	if (header->flags & HEADER_NEEDS_CSUM) {
		u32 end = (u32)header->csum_start + header->csum_offset + 2;

		if (!has(net, NET_F_CSUM) || header->csum_start < NET_ETHERNET_BYTES || end > frame->bytes)
			return -E_INVAL;
		frame->flags |= NET_CSUM_PARTIAL;
		frame->csum_start = header->csum_start;
		frame->csum_offset = header->csum_offset;
	}
	if (header->gso_type == GSO_NONE)
		return frame->bytes <= net->port.mtu + (u32)NET_FRAME_OVERHEAD ? 0 : -E_INVAL;
	if (header->gso_type != GSO_TCPV4 || !has(net, NET_F_HOST_TSO4))
		return -E_INVAL;
	if (!header->gso_size || !(header->flags & HEADER_NEEDS_CSUM))
		return -E_INVAL;
	frame->flags |= NET_GSO_TCP4;
	frame->gso_size = header->gso_size;
	frame->gso_header_bytes = header->header_bytes;
	return 0;
}

/*
 * A guest speaks with the address that its configuration gives it and no other, so that none can take over what is
 * sent to the host or to another guest.
 */
static bool source_is_own(struct virtio_net *net, const u8 *frame)
{
	if (!memcmp(frame + NET_MAC_BYTES, net->mac, NET_MAC_BYTES))
		return true;
	if (!net->spoofing)
		log_warn("%s: frames with a source address that is not its own are dropped", net->port_name);
	net->spoofing = true;
	return false;
}

/* Copies the chain's frame out; -E_INVAL if it is not to be sent. */
static int frame_take(struct virtio_net *net, const struct virtqueue *queue, struct net_frame *frame)
{
	struct virtio_net_header header;
	u32 bytes;

	if (transmit_chain.readable_bytes < sizeof(header) + NET_ETHERNET_BYTES)
		return -E_INVAL;
	bytes = transmit_chain.readable_bytes - (u32)sizeof(header);
	if (bytes > sizeof(transmit_buffer))
		return -E_INVAL;
	if (virtqueue_chain_read(queue, &transmit_chain, 0, &header, sizeof(header)) != sizeof(header))
		return -E_INVAL;
	*frame = (struct net_frame){ .data = transmit_buffer, .bytes = bytes };
	if (header_to_frame(net, &header, frame))
		return -E_INVAL;
	if (virtqueue_chain_read(queue, &transmit_chain, sizeof(header), transmit_buffer, bytes) != bytes)
		return -E_INVAL;
	return source_is_own(net, transmit_buffer) ? 0 : -E_INVAL;
}

/* The lock is not held inside: the driver may reset the device meanwhile. */
static bool switch_input(struct virtio_net *net, const struct net_frame *frame)
{
	struct vm *vm = net->virtio.dev.vm;
	bool taken;

	spin_unlock(&vm->lock);
	taken = net_switch_input(&net->port, frame);
	spin_lock(&vm->lock);
	return taken;
}

/* A receiver without room is waited for, but not for long: it may be a guest that does nothing. */
static bool worth_waiting(struct virtio_net *net)
{
	u64 now = time_ns();

	if (!net->waiting_since_ns)
		net->waiting_since_ns = now;
	return now - net->waiting_since_ns < WAIT_MAX_NS;
}

/*
 * Sends the next frame: 1; 0: there is none; -E_AGAIN: not now; -E_CANCELED: the driver has reset the device;
 * -E_INVAL: the queue is broken. The buffers are given back only when the frame has gone.
 */
static int transmit_next(struct virtio_net *net, struct virtqueue *queue, u64 *bytes)
{
	struct net_frame frame;
	int result = virtqueue_pop(queue, &transmit_chain);
	u32 epoch = queue->epoch;

	if (result <= 0)
		return result;
	if (frame_take(net, queue, &frame)) {
		net->port.dropped++;
	} else {
		bool taken = switch_input(net, &frame);

		if (queue->epoch != epoch)
			return -E_CANCELED;
		if (!taken && worth_waiting(net)) {
			virtqueue_unpop(queue, 1);
			return -E_AGAIN;
		}
		*bytes += frame.bytes;
	}
	net->waiting_since_ns = 0;
	if (virtqueue_put(queue, 0, transmit_chain.head, 0) || virtqueue_publish(queue, 1))
		return -E_INVAL;
	return 1;
}

bool virtio_net_transmit(struct virtio_net *net)
{
	struct virtqueue *queue = &net->virtio.queue[NET_TX];
	u64 bytes = 0;
	u32 frames = 0;
	int result = 1;
	bool more;

	if (!queue->enabled)
		return false;
	virtqueue_stop_doorbells(queue);
	while (frames < TRANSMIT_FRAMES && bytes < TRANSMIT_BYTES && virtio_device_running(&net->virtio)) {
		result = transmit_next(net, queue, &bytes);
		if (result <= 0)
			break;
		frames++;
	}
	if (frames && result != -E_CANCELED)
		virtio_device_signal(&net->virtio, NET_TX);
	if (!virtio_device_running(&net->virtio) || !queue->enabled)
		return false;
	/* Out of turn, no room, or a new frame came while doorbells were off: again, after the others. */
	more = result == 0 ? virtqueue_allow_doorbells(queue) : true;
	if (queue->broken) {
		virtio_device_broken(&net->virtio, NET_TX, queue->broken);
		return false;
	}
	return more;
}

/* --- to the guest ---------------------------------------------------------------------------------------------- */

static bool frame_to_header(const struct virtio_net *net, const struct net_frame *frame,
			    struct virtio_net_header *header)
{
	*header = (struct virtio_net_header){ .buffers = 1 };
	if (frame->flags & NET_CSUM_PARTIAL) {
		/* The switch looked at the port's capabilities; the driver may have been reset since. */
		if (!has(net, NET_F_GUEST_CSUM))
			return false;
		header->flags = HEADER_NEEDS_CSUM;
		header->csum_start = frame->csum_start;
		header->csum_offset = frame->csum_offset;
	} else if ((frame->flags & NET_CSUM_VALID) && has(net, NET_F_GUEST_CSUM)) {
		header->flags = HEADER_DATA_VALID;
	}
	if (!(frame->flags & NET_GSO_TCP4))
		return frame->bytes <= net->port.mtu + (u32)NET_FRAME_OVERHEAD;
	if (!has(net, NET_F_GUEST_TSO4))
		return false;
	header->gso_type = GSO_TCPV4;
	header->gso_size = frame->gso_size;
	header->header_bytes = frame->gso_header_bytes;
	return true;
}

/* A buffer for receiving: 1, 0 if there is none, -E_INVAL if the queue is broken. */
static int receive_pop(struct virtqueue *queue, struct virtqueue_chain *buffer)
{
	int result = virtqueue_pop(queue, buffer);

	if (result > 0 && (buffer->readable || buffer->writable_bytes < sizeof(struct virtio_net_header)))
		return virtqueue_refuse(queue, "a buffer for receiving that is readable or too small");
	return result;
}

/* Fills buffers until the frame is in; how many it took, 0 if there are too few, -E_INVAL if the queue is broken. */
static int receive_fill(struct virtio_net *net, struct virtqueue *queue, struct virtio_net_header *header,
			const struct net_frame *frame)
{
	u32 most = has(net, NET_F_MRG_RXBUF) ? RECEIVE_CHAINS_MAX : 1;
	u32 done = 0;
	u32 used;
	int result;

	for (used = 0; used < most && (used == 0 || done < frame->bytes); used++) {
		struct virtqueue_chain *buffer = used ? &next_chain : &first_chain;
		u32 offset = used ? 0 : (u32)sizeof(*header);
		u32 piece;

		result = receive_pop(queue, buffer);
		if (result <= 0) {
			virtqueue_unpop(queue, (u16)used);
			return result;
		}
		piece = virtqueue_chain_write(queue, buffer, offset, frame->data + done, frame->bytes - done);
		done += piece;
		if (virtqueue_put(queue, (u16)used, buffer->head, offset + piece))
			return -E_INVAL;
	}
	if (done < frame->bytes) {
		virtqueue_unpop(queue, (u16)used);
		return 0;
	}
	header->buffers = (u16)used;
	(void)virtqueue_chain_write(queue, &first_chain, 0, header, sizeof(*header));
	return (int)used;
}

/* False if there is no room now; what the guest cannot or will not have is swallowed, and nobody waits for it. */
static bool receive(struct virtio_net *net, const struct net_frame *frame)
{
	struct virtqueue *queue = &net->virtio.queue[NET_RX];
	struct virtio_net_header header;
	int result;

	if (!virtio_device_running(&net->virtio) || !queue->enabled || frame->bytes < NET_ETHERNET_BYTES ||
	    !frame_to_header(net, frame, &header)) {
		net->port.dropped++;
		return true;
	}
	if (!virtio_net_filter(net, frame->data))
		return true;
	result = receive_fill(net, queue, &header, frame);
	if (result > 0 && virtqueue_publish(queue, (u16)result))
		result = -E_INVAL;
	if (result < 0) {
		virtio_device_broken(&net->virtio, NET_RX, queue->broken);
		return true;
	}
	if (result == 0)
		return false;
	virtio_device_signal(&net->virtio, NET_RX);
	return true;
}

bool virtio_net_deliver(struct net_port *port, const struct net_frame *frame)
{
	struct virtio_net *net = port->ctx;
	struct vm *vm = net->virtio.dev.vm;
	bool taken;

	spin_lock(&vm->lock);
	taken = receive(net, frame);
	spin_unlock(&vm->lock);
	return taken;
}
