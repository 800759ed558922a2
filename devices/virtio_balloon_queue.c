/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest puts into its balloon's queues: pages to be given away or taken back, reports of free pages,
 * statistics. Called by virtio_balloon.c, where it says what becomes of them; service CPU, vm->lock held.
 */
#include "devices/virtio_balloon_private.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

/* Of one service() call: short enough for the console and the network to stay quick. */
#define STEP_PAGES 256
#define STATS_MAX 32
/* A guest could fill the log. */
#define WARNINGS_MAX 8

/* Of whoever is being served: the service CPU's. */
static struct virtqueue_chain chain;

/* --- pages ----------------------------------------------------------------------------------------------------- */

bool balloon_chunk_is_whole(const struct virtio_balloon *balloon, u64 chunk)
{
	const u64 *bits = balloon_chunk_bits(balloon, chunk);
	u64 all = ~0ull;

	for (u32 i = 0; i < CHUNK_WORDS; i++)
		all &= bits[i];
	return all == ~0ull;
}

static void give_back(struct virtio_balloon *balloon, u64 chunk)
{
	/* A driver that may use a page before it says so could lose what it has written. */
	if (!virtio_device_has(&balloon->virtio, BALLOON_F_MUST_TELL_HOST) || !balloon_chunk_is_whole(balloon, chunk))
		return;
	/* While the dirty log is on it stays, all zeros. */
	if (!gmem_give_back(&balloon->virtio.dev.vm->gmem, chunk))
		balloon->give_back = true;
}

void balloon_give_back(struct virtio_balloon *balloon)
{
	balloon->give_back = false;
	for (u64 chunk = 0; chunk < balloon->chunks && !balloon->give_back; chunk++)
		give_back(balloon, chunk);
}

static void inflate(struct virtio_balloon *balloon, u64 page)
{
	if (bitmap_test(balloon->held, page))
		return;
	/* The guest does not want what is in it. */
	gmem_zero_page(&balloon->virtio.dev.vm->gmem, page);
	bitmap_set(balloon->held, page);
	give_back(balloon, page / GMEM_CHUNK_PAGES);
}

static int deflate(struct virtio_balloon *balloon, u64 page, u32 *budget)
{
	struct gmem *gmem = &balloon->virtio.dev.vm->gmem;

	if (!bitmap_test(balloon->held, page))
		return 0;
	/* It learns that it has the page when there is one. A chunk to be zeroed is enough for a step. */
	if (gmem_is_given_back(gmem, page)) {
		if (gmem_fill(gmem, page))
			return -E_NOMEM;
		*budget = 1;
	}
	bitmap_clear(balloon->held, page);
	return 0;
}

/* --- queues ---------------------------------------------------------------------------------------------------- */

enum served { SERVED, SERVED_PART, SERVED_WAITS, SERVED_BROKEN };

static enum served refuse(struct virtqueue *queue, const char *why)
{
	(void)virtqueue_refuse(queue, why);
	return SERVED_BROKEN;
}

static void starved(struct virtio_balloon *balloon)
{
	if (!balloon->waits && balloon->warnings < WARNINGS_MAX) {
		balloon->warnings++;
		log_warn("%s wants memory back from its balloon, and this host has none free: it waits",
			 balloon->virtio.dev.vm->config.name);
	}
	balloon->waits = true;
}

/* A chain of page numbers, 32 bits each (5.5.6.1), read once. */
static enum served serve_numbers(struct virtio_balloon *balloon, u32 index, u32 *budget)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	u32 *done = &balloon->done[index];
	u32 numbers[64];

	if (chain.writable || !chain.readable_bytes || chain.readable_bytes % sizeof(u32))
		return refuse(queue, "a list of pages that is empty, writable or of a wrong length");
	while (*done < chain.readable_bytes / sizeof(u32)) {
		u32 count = MIN(chain.readable_bytes / (u32)sizeof(u32) - *done, (u32)ARRAY_SIZE(numbers));

		count = MIN(count, *budget);
		if (!count)
			return SERVED_PART;
		if (virtqueue_chain_read(queue, &chain, *done * (u32)sizeof(u32), numbers, count * sizeof(u32)) !=
		    count * sizeof(u32))
			return refuse(queue, "a list of pages outside of its memory");
		for (u32 i = 0; i < count && *budget; i++) {
			u64 page;

			if (gmem_page_of(queue->gmem, (gpa_t)numbers[i] << BALLOON_PAGE_SHIFT, &page))
				return refuse(queue, "a page outside of its memory");
			if (index == QUEUE_INFLATE) {
				inflate(balloon, page);
			} else if (deflate(balloon, page, budget)) {
				starved(balloon);
				return SERVED_WAITS;
			}
			++*done;
			--*budget;
		}
	}
	return SERVED;
}

/* A chain whose buffers are the free pages themselves (5.5.6.7); until it comes back, the guest does not use them. */
static enum served serve_report(struct virtio_balloon *balloon, u32 index, u32 *budget)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	u32 skip = balloon->done[index];

	if (chain.readable || !chain.writable)
		return refuse(queue, "a report of free pages that is readable or empty");
	for (u32 i = 0; i < chain.writable; i++) {
		const struct virtqueue_segment *segment = &chain.segments[i];
		gpa_t gpa = ALIGN_UP(segment->address, PAGE_SIZE);
		gpa_t end = ALIGN_DOWN(segment->address + segment->bytes, PAGE_SIZE);
		u32 count = end > gpa ? (u32)((end - gpa) / PAGE_SIZE) : 0;

		if (skip >= count) {
			skip -= count;
			continue;
		}
		for (gpa += (gpa_t)skip * PAGE_SIZE; gpa < end; gpa += PAGE_SIZE) {
			u64 page;

			if (!*budget)
				return SERVED_PART;
			if (gmem_page_of(queue->gmem, gpa, &page))
				return refuse(queue, "a free page outside of its memory");
			gmem_zero_page(queue->gmem, page);
			balloon->reported_pages++;
			balloon->done[index]++;
			--*budget;
		}
		skip = 0;
	}
	return SERVED;
}

/*
 * One chain. What is more than a step is put back, for the next one: nothing is in flight when the device is
 * saved. (If the guest puts another chain in its place meanwhile, a part of that is skipped. It is the guest's loss.)
 */
static enum served serve_chain(struct virtio_balloon *balloon, u32 index, u32 *budget)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	enum served served;

	if (index >= QUEUE_REPORT_LINUX)
		served = serve_report(balloon, index, budget);
	else
		served = serve_numbers(balloon, index, budget);
	if (served == SERVED_BROKEN)
		return served;
	if (served != SERVED) {
		virtqueue_unpop(queue, 1);
		return served;
	}
	balloon->done[index] = 0;
	if (virtqueue_put(queue, 0, chain.head, 0) || virtqueue_publish(queue, 1))
		return SERVED_BROKEN;
	/* An empty chain costs something, too. */
	*budget -= MIN(*budget, 1);
	return SERVED;
}

/* True if there is more to do. */
static bool serve_queue(struct virtio_balloon *balloon, u32 index, u32 *budget)
{
	struct virtqueue *queue = &balloon->virtio.queue[index];
	enum served served = SERVED;
	bool any = false;
	int result = 0;

	while (served == SERVED && *budget) {
		result = virtqueue_pop(queue, &chain);
		if (result <= 0)
			break;
		served = serve_chain(balloon, index, budget);
		any = any || served == SERVED;
	}
	if (index == QUEUE_DEFLATE && any && served != SERVED_WAITS)
		balloon->waits = false;
	if (any)
		virtio_device_signal(&balloon->virtio, index);
	if (served == SERVED_WAITS || queue->broken)
		return false;
	return served == SERVED_PART || result > 0 || !*budget || virtqueue_allow_doorbells(queue);
}

/* --- statistics ------------------------------------------------------------------------------------------------ */

static void take_stat(struct balloon_info *stats, u16 tag, u64 value)
{
	switch ((enum virtio_balloon_stat)tag) {
	case BALLOON_STAT_MAJOR_FAULTS:
		stats->major_faults = value;
		return;
	case BALLOON_STAT_FREE:
		stats->free_bytes = value;
		return;
	case BALLOON_STAT_TOTAL:
		stats->total_bytes = value;
		return;
	case BALLOON_STAT_AVAILABLE:
		stats->available_bytes = value;
		return;
	case BALLOON_STAT_CACHES:
		stats->cache_bytes = value;
		return;
	}
}

static void take_stats(struct virtio_balloon *balloon)
{
	u8 bytes[STATS_MAX * BALLOON_STAT_BYTES];
	struct balloon_info stats = {
		.told_ns = time_ns(),
		.total_bytes = ~0ull, .free_bytes = ~0ull, .available_bytes = ~0ull, .cache_bytes = ~0ull,
		.major_faults = ~0ull,
	};
	u32 count = virtqueue_chain_read(&balloon->virtio.queue[QUEUE_STATS], &chain, 0, bytes, sizeof(bytes));

	for (u32 at = 0; at + BALLOON_STAT_BYTES <= count; at += BALLOON_STAT_BYTES) {
		u16 tag;
		u64 value;

		memcpy(&tag, bytes + at, sizeof(tag));
		memcpy(&value, bytes + at + sizeof(tag), sizeof(value));
		take_stat(&stats, tag, value);
	}
	balloon->stats = stats;
}

/*
 * The driver fills a buffer and waits; when it gets it back it does so again (5.5.6.3). So it stays where it is, and
 * goes back when somebody wants to know.
 */
static bool serve_stats(struct virtio_balloon *balloon)
{
	struct virtqueue *queue = &balloon->virtio.queue[QUEUE_STATS];
	int result = virtqueue_pop(queue, &chain);

	if (result <= 0)
		return false;
	if (chain.writable) {
		(void)virtqueue_refuse(queue, "statistics that are writable");
		return false;
	}
	if (!balloon->stats_known) {
		take_stats(balloon);
		balloon->stats_known = true;
		balloon->stats_wanted = false;
	}
	if (!balloon->stats_wanted) {
		virtqueue_unpop(queue, 1);
		return false;
	}
	balloon->stats_known = false;
	balloon->stats_wanted = false;
	if (virtqueue_put(queue, 0, chain.head, 0) || virtqueue_publish(queue, 1))
		return false;
	virtio_device_signal(&balloon->virtio, QUEUE_STATS);
	return virtqueue_allow_doorbells(queue);
}

/* --- all of them ----------------------------------------------------------------------------------------------- */

bool balloon_serve(struct virtio_balloon *balloon)
{
	struct virtio_device *virtio = &balloon->virtio;
	u32 notified = virtio_device_take_notified(virtio);
	u32 budget = STEP_PAGES;

	if (balloon->waits)
		notified |= BIT(QUEUE_DEFLATE);
	if (balloon->stats_wanted)
		notified |= BIT(QUEUE_STATS);
	for (u32 i = 0; i < QUEUES; i++) {
		struct virtqueue *queue = &virtio->queue[i];

		if (!(notified & BIT(i)) || !queue->enabled)
			continue;
		if (i == QUEUE_STATS ? serve_stats(balloon) : serve_queue(balloon, i, &budget))
			virtio->notified |= (u32)BIT(i);
		if (queue->broken) {
			virtio_device_broken(virtio, i, queue->broken);
			return false;
		}
	}
	return virtio->notified;
}
