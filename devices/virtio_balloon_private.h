/* SPDX-License-Identifier: Apache-2.0 */
/* What virtio_balloon.c (the device) and virtio_balloon_queue.c (what the guest gives it) share. */
#ifndef DEVICES_VIRTIO_BALLOON_PRIVATE_H
#define DEVICES_VIRTIO_BALLOON_PRIVATE_H

#include "devices/virtio_device.h"
#include "types.h"
#include "vmm/balloon.h"

/*
 * Reports have queue 4 (5.5.2), but Linux counts only the queues that it uses, and so takes 3, which would
 * be that of free page hints: we offer none, and take reports from both.
 */
enum balloon_queue { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORT_LINUX, QUEUE_REPORT, QUEUES };
#define CHUNK_WORDS (GMEM_CHUNK_PAGES / 64)

struct virtio_balloon {
	struct virtio_device virtio;
	u64 *held;             /* a bit per page: is it in the balloon? */
	u64 chunks;            /* of the guest */
	u32 done[QUEUES];      /* pages of the chain at hand that are done, where they are more than a step */
	u64 reported_pages;
	bool give_back;        /* there may be chunks to be given back */
	bool waits;            /* for memory to be free, before it can go on with QUEUE_DEFLATE */
	u32 warnings;          /* that it waits, in the log */
	bool stats_wanted;     /* by the console: the driver is to say it anew */
	bool stats_known;      /* the buffer that the driver has made available was read */
	struct balloon_info stats;
};

struct virtio_balloon_state {
	struct virtio_device_state virtio;
	u32 actual;
	u32 reserved;
	u64 whole[]; /* a bit per chunk: it is in the balloon as a whole, and so holds nothing */
};
static_assert(sizeof(struct virtio_balloon_state) == sizeof(struct virtio_device_state) + 8, "stream layout");

static inline u64 *balloon_chunk_bits(const struct virtio_balloon *balloon, u64 chunk)
{
	return balloon->held + chunk * CHUNK_WORDS;
}

/* virtio_balloon_queue.c */
bool balloon_chunk_is_whole(const struct virtio_balloon *balloon, u64 chunk);
/* Gives back the chunks that are in the balloon as a whole; not while the dirty log is on. */
void balloon_give_back(struct virtio_balloon *balloon);
/* What was put into its queues, as far as one step goes; true if there is more to do. */
bool balloon_serve(struct virtio_balloon *balloon);

#endif
