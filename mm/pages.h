/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's physical memory: a buddy allocator of 4 KiB << order blocks. Any CPU.
 * The host maps all memory at its physical address, so a block is used through page_ptr().
 */
#ifndef MM_PAGES_H
#define MM_PAGES_H

#include "types.h"

#define PAGES_ORDER_MAX 18 /* 1 GiB */
#define PAGES_ORDER_LARGE 9 /* 2 MiB */
#define HPA_NONE (~0ull)

/* Boot: gives a range of free memory to the allocator (page-aligned inwards). */
void pages_add(hpa_t base, u64 bytes);
/* A block of 2^order pages aligned to its size, zeroed; HPA_NONE if there is none. */
hpa_t pages_alloc(unsigned int order);
/* The same without zeroing, for who overwrites it all at once. */
hpa_t pages_alloc_raw(unsigned int order);
/* All of a block to zeros. */
void pages_clear(hpa_t block, unsigned int order);
void pages_free(hpa_t block, unsigned int order);
/* A block that was handed out is as many blocks of a smaller order from now on, each to be freed by itself. */
void pages_break(hpa_t block, unsigned int order, unsigned int smaller);
u64 pages_free_count(void);
u64 pages_total_count(void);
/* The smallest order whose block holds bytes. */
unsigned int pages_order(u64 bytes);

static inline void *page_ptr(hpa_t hpa)
{
	return (void *)(uintptr_t)hpa;
}

static inline hpa_t page_hpa(const void *ptr)
{
	return (hpa_t)(uintptr_t)ptr;
}

#endif
