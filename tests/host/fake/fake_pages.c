/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_pages.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/pages.h"

/* Blocks handed out, by address: open addressing. */
#define SLOTS (1u << 18)

static struct {
	hpa_t block; /* 0: never used, HPA_NONE: freed */
	unsigned int order;
} slots[SLOTS];
static u64 used_pages;
static u64 total_pages = GIB(4) / PAGE_SIZE;
static u64 calls_left = ~0ull;
static bool lazy;

static void die(const char *what, hpa_t block, unsigned int order)
{
	fprintf(stderr, "fake_pages: %s: block %#llx, order %u\n", what, (unsigned long long)block, order);
	abort();
}

/*
 * Large blocks are huge pages of the kernel's where it has them: a fault for each small page of 2 MiB takes it a hundred
 * times as long as one for all. There is a hole on both sides of a block, and it is one when it is freed; those of 2 MiB are
 * used again, the oldest first, once some more were freed. In their lazy form they cost nothing before they are touched.
 */
#define KEPT_MAX 64
#define KEPT_LEAST 8

static struct {
	u8 *blocks[KEPT_MAX];
	u32 first, count;
} kept;

static void *large_block(size_t bytes)
{
	u8 *hole, *block;

	if (bytes == PAGE_SIZE << PAGES_ORDER_LARGE && kept.count > KEPT_LEAST) {
		block = kept.blocks[kept.first];
		kept.first = (kept.first + 1) % KEPT_MAX;
		kept.count--;
		return mprotect(block, bytes, PROT_READ | PROT_WRITE) ? NULL : block;
	}
	hole = mmap(NULL, 3 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	block = (u8 *)ALIGN_UP((uintptr_t)hole + PAGE_SIZE, bytes);
	if (hole == MAP_FAILED || mprotect(block, bytes, PROT_READ | PROT_WRITE))
		return NULL;
	/* So that it can be found again: PAGE_SIZE of hole before it, bytes after it. */
	if (block - PAGE_SIZE > hole)
		munmap(hole, (size_t)(block - PAGE_SIZE - hole));
	if (hole + 3 * bytes > block + 2 * bytes)
		munmap(block + 2 * bytes, (size_t)(hole + 3 * bytes - (block + 2 * bytes)));
	/* Read only, it is one page of zeros; where the kernel does not do that, it takes longer. */
	(void)madvise(block, bytes, MADV_HUGEPAGE);
	return block;
}

static void large_free(u8 *block, size_t bytes)
{
	if (bytes != PAGE_SIZE << PAGES_ORDER_LARGE || kept.count == KEPT_MAX) {
		munmap(block - PAGE_SIZE, PAGE_SIZE + 2 * bytes);
		return;
	}
	if (lazy)
		madvise(block, bytes, MADV_DONTNEED);
	mprotect(block, bytes, PROT_NONE);
	kept.blocks[(kept.first + kept.count++) % KEPT_MAX] = block;
}

/*
 * Small blocks, once freed, wait here for the next of their order, poisoned, the oldest first: fresh memory costs a
 * page fault for each page and some more for ASan's shadow of it, a hundred times what the tests do there.
 */
#define WAITING_MAX 256

static struct {
	void *blocks[WAITING_MAX];
	u32 first, count;
} waiting[PAGES_ORDER_LARGE];

/* A MiB of each order. */
static u32 waiting_max(unsigned int order)
{
	return WAITING_MAX >> order;
}

static void *waiting_block(unsigned int order)
{
	void *block;

	/* So many stay here, so that what was freed is not handed out again at once. */
	if (waiting[order].count <= waiting_max(order) / 2)
		return aligned_alloc(PAGE_SIZE << order, PAGE_SIZE << order);
	block = waiting[order].blocks[waiting[order].first];
	waiting[order].first = (waiting[order].first + 1) % waiting_max(order);
	waiting[order].count--;
	ASAN_UNPOISON_MEMORY_REGION(block, PAGE_SIZE << order);
	return block;
}

static void let_wait(void *block, unsigned int order)
{
	if (waiting[order].count == waiting_max(order)) {
		free(block);
		return;
	}
	ASAN_POISON_MEMORY_REGION(block, PAGE_SIZE << order);
	waiting[order].blocks[(waiting[order].first + waiting[order].count++) % waiting_max(order)] = block;
}

static void *block_of(unsigned int order)
{
	return order >= PAGES_ORDER_LARGE ? large_block(PAGE_SIZE << order) : waiting_block(order);
}

static u32 hash(hpa_t block)
{
	return (u32)((block >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 40) % SLOTS;
}

static void remember(hpa_t block, unsigned int order)
{
	u32 slot = hash(block);

	for (u32 i = 0; i < SLOTS; i++, slot = (slot + 1) % SLOTS) {
		if (slots[slot].block && slots[slot].block != HPA_NONE)
			continue;
		slots[slot].block = block;
		slots[slot].order = order;
		return;
	}
	die("too many blocks", block, order);
}

static void forget(hpa_t block, unsigned int order)
{
	u32 slot = hash(block);

	for (u32 i = 0; i < SLOTS && slots[slot].block; i++, slot = (slot + 1) % SLOTS) {
		if (slots[slot].block != block)
			continue;
		if (slots[slot].order != order)
			die("freed with another order", block, order);
		slots[slot].block = HPA_NONE;
		/* Where nothing follows, nobody looks further: so the table does not fill up with what is gone. */
		for (; !slots[(slot + 1) % SLOTS].block && slots[slot].block == HPA_NONE; slot = (slot + SLOTS - 1) % SLOTS)
			slots[slot].block = 0;
		return;
	}
	die("freed, but not handed out", block, order);
}

static hpa_t hand_out(unsigned int order)
{
	void *block;

	if (!calls_left || order > PAGES_ORDER_MAX || used_pages + BIT(order) > total_pages)
		return HPA_NONE;
	if (calls_left != ~0ull)
		calls_left--;
	block = block_of(order);
	if (!block)
		die("the host's memory is used up", 0, order);
	used_pages += BIT(order);
	remember(page_hpa(block), order);
	return page_hpa(block);
}

hpa_t pages_alloc_raw(unsigned int order)
{
	hpa_t block = hand_out(order);

	if (block != HPA_NONE && (order < PAGES_ORDER_LARGE || (order == PAGES_ORDER_LARGE && !lazy)))
		memset(page_ptr(block), 0xa5, PAGE_SIZE << order);
	return block;
}

hpa_t pages_alloc(unsigned int order)
{
	hpa_t block = hand_out(order);

	if (block != HPA_NONE)
		pages_clear(block, order);
	return block;
}

void pages_clear(hpa_t block, unsigned int order)
{
	if (lazy && order >= PAGES_ORDER_LARGE)
		madvise(page_ptr(block), PAGE_SIZE << order, MADV_DONTNEED);
	else
		memset(page_ptr(block), 0, PAGE_SIZE << order);
}

/* No guest of the tests has a GiB. */
void pages_break(unused hpa_t block, unused unsigned int order, unused unsigned int smaller)
{
	abort();
}

void pages_free(hpa_t block, unsigned int order)
{
	forget(block, order);
	used_pages -= BIT(order);
	if (order >= PAGES_ORDER_LARGE)
		large_free(page_ptr(block), PAGE_SIZE << order);
	else
		let_wait(page_ptr(block), order);
}

void pages_add(unused hpa_t base, unused u64 bytes)
{
}

u64 pages_free_count(void)
{
	return total_pages - used_pages;
}

u64 pages_total_count(void)
{
	return total_pages;
}

unsigned int pages_order(u64 bytes)
{
	unsigned int order = 0;

	while (PAGE_SIZE << order < bytes && order <= PAGES_ORDER_MAX)
		order++;
	return order;
}

u64 fake_pages_used(void)
{
	return used_pages;
}

void fake_pages_fail_after(u64 calls)
{
	calls_left = calls;
}

void fake_pages_set_total(u64 pages)
{
	total_pages = pages;
}

void fake_pages_set_lazy(void)
{
	lazy = true;
}
