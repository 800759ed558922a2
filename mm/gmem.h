/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory: RAM in 2 MiB chunks, its nested tables, the one door for host accesses, and the
 * dirty log. RAM is at 0 .. min(bytes, 3 GiB) and the rest from 4 GiB up; pages are numbered
 * 0 .. pages - 1 without the hole ("page" below, as in the migration stream).
 *
 * Clearing all of a large memory would stop the service CPU for seconds. So it is done by the chunk: until
 * then a chunk reads as zeros, and is cleared by the host's first write to it. The nested tables lead to
 * it already: no vCPU runs before gmem_clear_next() has said that all is done.
 *
 * A chunk can be given back to the host (gmem_give_back: the balloon). It reads as zeros then, and is
 * there again, zeroed, at the first write: gmem_fill.
 *
 * Any CPU may read, write and fill; logging is started, collected and stopped, and memory is given
 * back, by the service CPU.
 */
#ifndef MM_GMEM_H
#define MM_GMEM_H

#include "compiler.h"
#include "mm/dirty.h"
#include "mm/npt.h"
#include "mm/pages.h"
#include "types.h"

#define GMEM_LOW_END GIB(3)
#define GMEM_HIGH_START GIB(4)
#define GMEM_CHUNK_PAGES (LARGE_SIZE / PAGE_SIZE)
#define GMEM_GIANT_CHUNKS (GIB(1) / LARGE_SIZE)
/* In an entry of chunks[]: what is there is not the guest's to see. (Set in HPA_NONE, too.) */
#define GMEM_UNCLEARED BIT(0)

struct gmem {
	u64 pages;
	gpa_t low_end, high_end; /* of the RAM that begins at 0, and at 4 GiB */
	hpa_t *chunks;     /* one per 2 MiB; with GMEM_UNCLEARED; HPA_NONE: given back. Read without the lock */
	hpa_t *leaving;    /* the same: given back, but a CPU may still be using it; until gmem_reap() */
	u64 chunk_count;
	u64 giants;        /* 1 GiB pieces that were one leaf at first; the chunks in them are as any others */
	struct spinlock lock; /* of what comes and goes or is cleared, and against the log's start and end */
	u64 uncleared;     /* chunks */
	u64 clear_next;    /* below it there are none */
	u64 given_back, leaving_count; /* chunks */
	bool gave_back;       /* ever */
	struct npt npt;
	const struct dirty_method *dirty;
	/* Bit per page, set by gmem_write and gmem_log_page while logging; from the first log on, to the end. */
	u64 *host_dirty;
	bool logging;
};

/* bytes: a multiple of 2 MiB. Reads as zeros; not yet cleared. -E_NOMEM leaves nothing behind. */
int must_check gmem_init(struct gmem *gm, u64 bytes, const struct npt_format *format);
/*
 * The same, but the memory is as its last user left it: for a guest that arrives, whose every page
 * is written before it runs (migrate/arrival.c checks that).
 */
int must_check gmem_init_raw(struct gmem *gm, u64 bytes, const struct npt_format *format);
void gmem_fini(struct gmem *gm);
/* All of it reads as zeros again, and is to be cleared. No vCPU runs. */
void gmem_forget(struct gmem *gm);
/* Clears a chunk. False: none is left. */
bool gmem_clear_next(struct gmem *gm);

/*
 * Copies; the range may cross pages. -E_RANGE (nothing copied) unless all of it is RAM. A write may
 * find no room for what was given back: -E_NOMEM.
 */
int must_check gmem_read(const struct gmem *gm, gpa_t gpa, void *dst, u64 bytes);
int must_check gmem_write(struct gmem *gm, gpa_t gpa, const void *src, u64 bytes);
/* Single, untorn accesses of naturally aligned fields that the guest changes too; -E_INVAL if gpa is odd. */
int must_check gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value);
int must_check gmem_read_u32(const struct gmem *gm, gpa_t gpa, u32 *value);
int must_check gmem_read_u64(const struct gmem *gm, gpa_t gpa, u64 *value);
int must_check gmem_write_u16(struct gmem *gm, gpa_t gpa, u16 value);
/* Sets bits of a byte atomically (A and D of the guest's own page tables); outside of RAM: nothing. */
void gmem_or_u8(struct gmem *gm, gpa_t gpa, u8 bits);

/* Page numbers and addresses; -E_RANGE if it is no RAM. */
int must_check gmem_page_of(const struct gmem *gm, gpa_t gpa, u64 *page);
gpa_t gmem_page_gpa(const struct gmem *gm, u64 page);
/* A page for reading (by the migration's sender); page < gm->pages. The guest may change it meanwhile. */
const void *gmem_page(const struct gmem *gm, u64 page);
/* Is the page all zero? Stops at the first byte that is not. */
bool gmem_page_is_zero(const struct gmem *gm, u64 page);
/* One that is zero is not written: nor logged, nor is memory used that was not yet. */
void gmem_zero_page(struct gmem *gm, u64 page);

/*
 * Gives a chunk back to the host; what it held is lost. False: not while the dirty log is on (the sender
 * of a migration reads pages from their place). Then flush the TLBs, wait until every vCPU has been out
 * of its exit handlers, and gmem_reap(): see vm_reap_memory().
 */
bool gmem_give_back(struct gmem *gm, u64 chunk);
void gmem_reap(struct gmem *gm);
/* The page's chunk is there again, zeroed, if it was given back or not cleared yet. -E_NOMEM: given back. Any CPU. */
int must_check gmem_fill(struct gmem *gm, u64 page);
static inline bool gmem_is_given_back(const struct gmem *gm, u64 page)
{
	return READ_ONCE(gm->chunks[page / GMEM_CHUNK_PAGES]) == HPA_NONE;
}

/*
 * Splits large pages and starts the log. -E_NOMEM: nothing changed; -E_NOSYS: there is no way to find
 * what is written. Flush TLBs after it, then gmem_log_clear(), then again.
 */
int must_check gmem_log_start(struct gmem *gm);
/* Forgets what was written up to now. */
void gmem_log_clear(struct gmem *gm);
/* Should the CPUs list the pages that they write to? If so they call gmem_log_page(). Any CPU. */
bool gmem_log_listed(const struct gmem *gm);
void gmem_log_page(struct gmem *gm, gpa_t gpa);
/*
 * Moves what was dirtied since the last time into bitmap (or-ed; one bit per page) and returns how
 * many bits that set. Flush TLBs after it and before reading a page: see vm_dirty_collect().
 */
u64 gmem_log_collect(struct gmem *gm, u64 *bitmap);
/* Merges pages again. Flush TLBs after it, then npt_reap(). */
void gmem_log_stop(struct gmem *gm);

#endif
