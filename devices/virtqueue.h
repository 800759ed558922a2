/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2 2.7). All of it lies in guest memory, which the guest may
 * change at any moment: each field is read once, into a local copy, and checked there. Called with vm->lock
 * held, by the service CPU (setup: by the vCPU's CPU).
 */
#ifndef DEVICES_VIRTQUEUE_H
#define DEVICES_VIRTQUEUE_H

#include "mm/gmem.h"
#include "types.h"
#include "virtio.h"

#define VIRTQUEUE_SIZE_MAX 256

struct virtqueue {
	struct gmem *gmem;
	u16 size_max;
	u32 epoch;           /* rises with every reset */
	/* set by the driver, fixed once it is enabled */
	u16 size;
	bool enabled;
	u16 vector;
	gpa_t descriptors, avail, used;
	bool event_idx;
	/* ours */
	u16 avail_next;      /* the next entry of the available ring that we look at */
	u16 avail_seen;      /* the driver's index, as last read */
	u16 used_next;
	u16 used_signalled;  /* used_next when the driver was last asked whether it wants an interrupt */
	bool signal_all;     /* there was no last time */
	const char *broken;  /* what the driver did wrong; the queue is dead until the device is reset */
};

struct virtqueue_segment {
	gpa_t address;
	u32 bytes;
};

/* A descriptor chain: first what the device may read, then what it may write. All inside the guest's RAM. */
struct virtqueue_chain {
	u16 head;
	u16 readable, writable; /* segments */
	u32 readable_bytes, writable_bytes;
	struct virtqueue_segment segments[VIRTQUEUE_SIZE_MAX];
};

void virtqueue_init(struct virtqueue *queue, struct gmem *gmem, u16 size_max);
void virtqueue_reset(struct virtqueue *queue);
/* The driver enables it: -E_INVAL (and broken says why) unless size and rings are possible. */
int must_check virtqueue_enable(struct virtqueue *queue, bool event_idx);

/* Takes the next chain: 1, 0 if there is none, -E_INVAL (broken says why) if it makes no sense. */
int must_check virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain);
/* Puts the chains last popped back, as if they had not been popped (only what was not published yet). */
void virtqueue_unpop(struct virtqueue *queue, u16 chains);
/* The same for one that makes no sense to the device: the queue is broken. Returns -E_INVAL. */
int virtqueue_refuse(struct virtqueue *queue, const char *why);
/*
 * Puts a chain into the used ring, ahead places beyond the ones published; virtqueue_publish() then shows
 * count of them to the driver at once.
 */
int must_check virtqueue_put(struct virtqueue *queue, u16 ahead, u16 head, u32 written_bytes);
int must_check virtqueue_publish(struct virtqueue *queue, u16 count);
/* Does the driver want an interrupt for what was published since the last call? */
bool virtqueue_wants_interrupt(struct virtqueue *queue);
/* Asks the driver for doorbells, or (as a hint) for none. allow() returns true if there is work already. */
bool virtqueue_allow_doorbells(struct virtqueue *queue);
void virtqueue_stop_doorbells(struct virtqueue *queue);

/* Copies between a chain's readable / writable part, from offset on, and a buffer; the bytes copied. */
u32 virtqueue_chain_read(const struct virtqueue *queue, const struct virtqueue_chain *chain, u32 offset, void *dst,
			 u32 bytes);
u32 virtqueue_chain_write(const struct virtqueue *queue, const struct virtqueue_chain *chain, u32 offset,
			  const void *src, u32 bytes);

struct virtqueue_state {
	u64 descriptors, avail, used;
	u16 size, vector;
	u16 avail_next, used_next;
	u16 used_signalled;
	u8 enabled, signal_all;
	u8 reserved[4];
};
static_assert(sizeof(struct virtqueue_state) == 40, "stream layout");

void virtqueue_save(const struct virtqueue *queue, struct virtqueue_state *state);
/* vectors: how many the function has. */
int must_check virtqueue_check(const struct virtqueue *queue, const struct virtqueue_state *state, u16 vectors);
void virtqueue_load(struct virtqueue *queue, const struct virtqueue_state *state, bool event_idx);

#endif
