/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2 2.7). Guest memory is read once, into locals, and every index,
 * length and address is checked there. Whatever a driver can get wrong sets queue->broken and nothing else. Service
 * CPU with vm->lock held; enabling and resetting also on the vCPU's CPU.
 */
#include "devices/virtqueue.h"

#include "compiler.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"

/* The available ring (2.7.6): flags, index, ring, used_event. */
#define AVAIL_FLAGS 0
#define AVAIL_INDEX 2
#define AVAIL_RING 4
/* The used ring (2.7.8): flags, index, ring, avail_event. */
#define USED_FLAGS 0
#define USED_INDEX 2
#define USED_RING 4

static u64 descriptors_bytes(u16 size)
{
	return sizeof(struct virtio_descriptor) * size;
}

static u64 avail_bytes(u16 size)
{
	return AVAIL_RING + 2u * size + 2;
}

static u64 used_bytes(u16 size)
{
	return USED_RING + sizeof(struct virtio_used) * size + 2;
}

/* RAM is two stretches without holes: the range is inside if its ends are, and lie as far apart in pages. */
static bool range_is_ram(const struct gmem *gmem, gpa_t gpa, u64 bytes)
{
	u64 first, last;
	gpa_t end = gpa + bytes - 1;

	if (bytes == 0 || end < gpa)
		return false;
	if (gmem_page_of(gmem, gpa, &first) || gmem_page_of(gmem, end, &last))
		return false;
	return last - first == (end >> PAGE_SHIFT) - (gpa >> PAGE_SHIFT);
}

static int queue_break(struct virtqueue *queue, const char *why)
{
	queue->broken = why;
	return -E_INVAL;
}

/* --- setup ----------------------------------------------------------------------------------------------------- */

void virtqueue_init(struct virtqueue *queue, struct gmem *gmem, u16 size_max)
{
	assert(size_max <= VIRTQUEUE_SIZE_MAX);
	queue->gmem = gmem;
	queue->size_max = size_max;
	virtqueue_reset(queue);
}

void virtqueue_reset(struct virtqueue *queue)
{
	struct gmem *gmem = queue->gmem;
	u16 size_max = queue->size_max;
	u32 epoch = queue->epoch + 1;

	*queue = (struct virtqueue){
		.gmem = gmem,
		.size_max = size_max,
		.epoch = epoch,
		.size = size_max,
		.vector = VIRTIO_NO_VECTOR,
		.signal_all = true,
	};
}

static bool size_is_valid(const struct virtqueue *queue, u16 size)
{
	return size != 0 && !(size & (size - 1)) && size <= queue->size_max;
}

static const char *layout_problem(const struct virtqueue *queue, u16 size, gpa_t descriptors, gpa_t avail, gpa_t used)
{
	if (!size_is_valid(queue, size))
		return "a queue size that is no power of two or too large";
	if (!IS_ALIGNED(descriptors, 16) || !IS_ALIGNED(avail, 2) || !IS_ALIGNED(used, 4))
		return "a misaligned ring";
	if (!range_is_ram(queue->gmem, descriptors, descriptors_bytes(size)))
		return "a descriptor table outside of its memory";
	if (!range_is_ram(queue->gmem, avail, avail_bytes(size)) || !range_is_ram(queue->gmem, used, used_bytes(size)))
		return "a ring outside of its memory";
	return NULL;
}

int virtqueue_enable(struct virtqueue *queue, bool event_idx)
{
	const char *problem = layout_problem(queue, queue->size, queue->descriptors, queue->avail, queue->used);

	if (problem)
		return queue_break(queue, problem);
	queue->event_idx = event_idx;
	queue->enabled = true;
	return 0;
}

/* --- the available ring ---------------------------------------------------------------------------------------- */

/* How many chains the driver has made available that we have not taken. */
static int queue_look(struct virtqueue *queue, u16 *count)
{
	u16 index;

	if (gmem_read_u16(queue->gmem, queue->avail + AVAIL_INDEX, &index))
		return queue_break(queue, "a ring outside of its memory");
	if ((u16)(index - queue->avail_next) > queue->size)
		return queue_break(queue, "an available index that runs ahead of the ring");
	queue->avail_seen = index;
	*count = (u16)(index - queue->avail_next);
	/* The entries are read after the index (2.7.13.3). */
	compiler_barrier();
	return 0;
}

static int chain_add(struct virtqueue *queue, struct virtqueue_chain *chain, const struct virtio_descriptor *descriptor)
{
	bool writable = descriptor->flags & DESCRIPTOR_WRITE;
	u32 *total = writable ? &chain->writable_bytes : &chain->readable_bytes;
	struct virtqueue_segment *segment;

	if (!writable && chain->writable)
		return queue_break(queue, "a readable descriptor after a writable one");
	if (descriptor->bytes == 0)
		return 0;
	if (!range_is_ram(queue->gmem, descriptor->address, descriptor->bytes))
		return queue_break(queue, "a descriptor outside of its memory");
	if (descriptor->bytes > UINT32_MAX - *total)
		return queue_break(queue, "a chain of 4 GiB or more");
	segment = &chain->segments[chain->readable + chain->writable];
	segment->address = descriptor->address;
	segment->bytes = descriptor->bytes;
	*total += descriptor->bytes;
	if (writable)
		chain->writable++;
	else
		chain->readable++;
	return 0;
}

/* A chain has no more descriptors than the queue has entries, indirect ones included (2.7.5.3.1): no endless loops. */
static int chain_walk(struct virtqueue *queue, struct virtqueue_chain *chain)
{
	gpa_t table = queue->descriptors;
	u32 entries = queue->size;
	u32 index = chain->head;
	u32 added = 0;
	bool indirect = false;

	for (;;) {
		struct virtio_descriptor descriptor;

		if (index >= entries)
			return queue_break(queue, "a descriptor index beyond the table");
		if (gmem_read(queue->gmem, table + index * sizeof(descriptor), &descriptor, sizeof(descriptor)))
			return queue_break(queue, "an indirect table outside of its memory");
		if (descriptor.flags & DESCRIPTOR_INDIRECT) {
			if (indirect || (descriptor.flags & DESCRIPTOR_NEXT))
				return queue_break(queue, "an indirect table inside of another, or with a successor");
			entries = descriptor.bytes / sizeof(descriptor);
			if (entries == 0 || entries > queue->size || descriptor.bytes % sizeof(descriptor))
				return queue_break(queue, "an indirect table of a wrong length");
			table = descriptor.address;
			if (!range_is_ram(queue->gmem, table, descriptor.bytes))
				return queue_break(queue, "an indirect table outside of its memory");
			indirect = true;
			index = 0;
			continue;
		}
		if (added == queue->size)
			return queue_break(queue, "a chain longer than the queue, or a loop");
		added++;
		if (chain_add(queue, chain, &descriptor))
			return -E_INVAL;
		if (!(descriptor.flags & DESCRIPTOR_NEXT))
			return 0;
		index = descriptor.next;
	}
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain)
{
	u16 head, count;
	u32 entry;

	if (queue->broken)
		return -E_INVAL;
	if (!queue->enabled)
		return 0;
	if (queue->avail_seen == queue->avail_next) {
		if (queue_look(queue, &count))
			return -E_INVAL;
		if (count == 0)
			return 0;
	}
	entry = queue->avail_next & (queue->size - 1u);
	if (gmem_read_u16(queue->gmem, queue->avail + AVAIL_RING + 2 * entry, &head))
		return queue_break(queue, "a ring outside of its memory");
	chain->head = head;
	chain->readable = 0;
	chain->writable = 0;
	chain->readable_bytes = 0;
	chain->writable_bytes = 0;
	if (chain_walk(queue, chain))
		return -E_INVAL;
	queue->avail_next++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *queue, u16 chains)
{
	queue->avail_next = (u16)(queue->avail_next - chains);
}

int virtqueue_refuse(struct virtqueue *queue, const char *why)
{
	virtqueue_unpop(queue, 1);
	return queue_break(queue, why);
}

/* --- the used ring --------------------------------------------------------------------------------------------- */

int virtqueue_put(struct virtqueue *queue, u16 ahead, u16 head, u32 written_bytes)
{
	struct virtio_used element = { .id = head, .bytes = written_bytes };
	u32 entry = (u16)(queue->used_next + ahead) & (queue->size - 1u);

	if (gmem_write(queue->gmem, queue->used + USED_RING + entry * sizeof(element), &element, sizeof(element)))
		return queue_break(queue, "a ring outside of its memory");
	return 0;
}

int virtqueue_publish(struct virtqueue *queue, u16 count)
{
	queue->used_next = (u16)(queue->used_next + count);
	/* The elements, and what they stand for, are written before the index. */
	compiler_barrier();
	if (gmem_write_u16(queue->gmem, queue->used + USED_INDEX, queue->used_next))
		return queue_break(queue, "a ring outside of its memory");
	return 0;
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
	u16 old = queue->used_signalled;
	u16 new = queue->used_next;
	bool all = queue->signal_all;
	u16 word;

	queue->used_signalled = new;
	queue->signal_all = false;
	/* The index is written before the driver's wish is read, or both sides could miss each other. */
	memory_barrier();
	if (!queue->event_idx) {
		if (gmem_read_u16(queue->gmem, queue->avail + AVAIL_FLAGS, &word))
			return false;
		return !(word & AVAIL_NO_INTERRUPT);
	}
	if (gmem_read_u16(queue->gmem, queue->avail + AVAIL_RING + 2u * queue->size, &word))
		return false;
	/* Did we step over the entry that it waits for (2.7.7.2)? */
	return all || (u16)(new - word - 1) < (u16)(new - old);
}

bool virtqueue_allow_doorbells(struct virtqueue *queue)
{
	u16 count = 0;
	int error;

	if (queue->event_idx)
		error = gmem_write_u16(queue->gmem, queue->used + USED_RING + sizeof(struct virtio_used) * queue->size,
				       queue->avail_next);
	else
		error = gmem_write_u16(queue->gmem, queue->used + USED_FLAGS, 0);
	if (error) {
		(void)queue_break(queue, "a ring outside of its memory");
		return false;
	}
	/* What was made available before the driver saw our wish came without a doorbell. */
	memory_barrier();
	if (queue_look(queue, &count))
		return true;
	return count != 0;
}

/* With EVENT_IDX there is nothing to do: the driver waits for an entry that we have passed. */
void virtqueue_stop_doorbells(struct virtqueue *queue)
{
	if (queue->event_idx)
		return;
	if (gmem_write_u16(queue->gmem, queue->used + USED_FLAGS, USED_NO_NOTIFY))
		(void)queue_break(queue, "a ring outside of its memory");
}

/* --- data ------------------------------------------------------------------------------------------------------ */

static u32 chain_copy(const struct virtqueue *queue, const struct virtqueue_segment *segments, u32 count, u32 offset,
		      u8 *buffer, u32 bytes, bool to_guest)
{
	u32 done = 0;

	for (u32 i = 0; i < count && done < bytes; i++) {
		gpa_t address = segments[i].address + offset;
		u32 piece;
		int error;

		if (offset >= segments[i].bytes) {
			offset -= segments[i].bytes;
			continue;
		}
		piece = MIN(bytes - done, segments[i].bytes - offset);
		if (to_guest)
			error = gmem_write(queue->gmem, address, buffer + done, piece);
		else
			error = gmem_read(queue->gmem, address, buffer + done, piece);
		if (error)
			break;
		done += piece;
		offset = 0;
	}
	return done;
}

u32 virtqueue_chain_read(const struct virtqueue *queue, const struct virtqueue_chain *chain, u32 offset, void *dst,
			 u32 bytes)
{
	return chain_copy(queue, chain->segments, chain->readable, offset, dst, bytes, false);
}

u32 virtqueue_chain_write(const struct virtqueue *queue, const struct virtqueue_chain *chain, u32 offset,
			  const void *src, u32 bytes)
{
	return chain_copy(queue, chain->segments + chain->readable, chain->writable, offset, (u8 *)(uintptr_t)src,
			  bytes, true);
}

/* --- state ----------------------------------------------------------------------------------------------------- */

void virtqueue_save(const struct virtqueue *queue, struct virtqueue_state *state)
{
	memset(state, 0, sizeof(*state));
	state->descriptors = queue->descriptors;
	state->avail = queue->avail;
	state->used = queue->used;
	state->size = queue->size;
	state->vector = queue->vector;
	state->avail_next = queue->avail_next;
	state->used_next = queue->used_next;
	state->used_signalled = queue->used_signalled;
	state->enabled = queue->enabled;
	state->signal_all = queue->signal_all;
}

int virtqueue_check(const struct virtqueue *queue, const struct virtqueue_state *state, u16 vectors)
{
	if (state->enabled > 1 || state->signal_all > 1 || !mem_is_zero(state->reserved, sizeof(state->reserved)))
		return trace_error(-E_INVAL);
	if (state->vector != VIRTIO_NO_VECTOR && state->vector >= vectors)
		return trace_error(-E_INVAL);
	/* Our devices finish what they take before anyone can save them: nothing is ever in flight. */
	if (state->avail_next != state->used_next)
		return trace_error(-E_INVAL);
	if (!state->enabled)
		return state->avail_next == 0 && state->used_signalled == 0 ? 0 : trace_error(-E_INVAL);
	if (layout_problem(queue, state->size, state->descriptors, state->avail, state->used))
		return trace_error(-E_INVAL);
	return 0;
}

void virtqueue_load(struct virtqueue *queue, const struct virtqueue_state *state, bool event_idx)
{
	queue->descriptors = state->descriptors;
	queue->avail = state->avail;
	queue->used = state->used;
	queue->size = state->size;
	queue->vector = state->vector;
	queue->avail_next = state->avail_next;
	queue->avail_seen = state->avail_next;
	queue->used_next = state->used_next;
	queue->used_signalled = state->used_signalled;
	queue->enabled = state->enabled;
	queue->signal_all = state->signal_all;
	queue->event_idx = event_idx;
	queue->broken = NULL;
}
