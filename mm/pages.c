/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buddy allocator. Any CPU, under pages_lock (only the log's lock comes after it).
 * Each range given by pages_add() is a zone with one state byte per page, kept in the zone's own
 * memory; free blocks are linked through their own first words. Buddies never join across zones.
 */
#include "mm/pages.h"

#include "lib/log.h"
#include "lib/string.h"
#include "spinlock.h"

#define ZONES_MAX 256

/* The state of a page: inside of a block, or the first page of a free or of a used block. */
#define STATE_INSIDE 0x00
#define STATE_FREE 0x40 /* | order */
#define STATE_USED 0x80 /* | order */

struct zone {
	u64 first; /* page numbers; first .. end are given out */
	u64 end;
	u8 *state; /* of page first + i */
};

struct free_block {
	struct free_block *next;
	struct free_block **link; /* what points to this block */
};

static struct spinlock pages_lock;
/* All under pages_lock; zones only grow. */
static struct zone zones[ZONES_MAX];
static u32 zone_count;
static struct free_block *free_lists[PAGES_ORDER_MAX + 1];
static u64 free_pages;
static u64 total_pages;

static u64 page_number(hpa_t hpa)
{
	return hpa >> PAGE_SHIFT;
}

static struct zone *zone_find(u64 page)
{
	for (u32 i = 0; i < zone_count; i++)
		if (page >= zones[i].first && page < zones[i].end)
			return &zones[i];
	return NULL;
}

static void list_push(u64 page, unsigned int order)
{
	struct free_block *block = page_ptr(page << PAGE_SHIFT);

	block->next = free_lists[order];
	block->link = &free_lists[order];
	if (block->next)
		block->next->link = &block->next;
	free_lists[order] = block;
}

static void list_remove(struct free_block *block)
{
	*block->link = block->next;
	if (block->next)
		block->next->link = block->link;
}

/* Puts a block on its list, joined with its buddies as far as they are free. */
static void block_release(struct zone *zone, u64 page, unsigned int order)
{
	zone->state[page - zone->first] = STATE_INSIDE;
	while (order < PAGES_ORDER_MAX) {
		u64 buddy = page ^ BIT(order);

		if (buddy < zone->first || buddy + BIT(order) > zone->end)
			break;
		if (zone->state[buddy - zone->first] != (STATE_FREE | order))
			break;
		list_remove(page_ptr(buddy << PAGE_SHIFT));
		zone->state[buddy - zone->first] = STATE_INSIDE;
		page = MIN(page, buddy);
		order++;
	}
	zone->state[page - zone->first] = (u8)(STATE_FREE | order);
	list_push(page, order);
}

/* Takes the zone's state bytes from the end that spoils fewer large blocks; false: too small. */
static bool zone_carve(struct zone *zone)
{
	u64 pages = zone->end - zone->first;
	u64 state_pages = DIV_UP(pages, PAGE_SIZE + 1); /* a page of state serves 4096 others */

	if (pages < state_pages + 1)
		return false;
	if (zone->first % BIT(PAGES_ORDER_LARGE)) {
		zone->state = page_ptr(zone->first << PAGE_SHIFT);
		zone->first += state_pages;
	} else {
		zone->end -= state_pages;
		zone->state = page_ptr(zone->end << PAGE_SHIFT);
	}
	memset(zone->state, STATE_INSIDE, zone->end - zone->first);
	return true;
}

void pages_add(hpa_t base, u64 bytes)
{
	struct zone zone = {
		.first = MAX(page_number(base + PAGE_SIZE - 1), 1), /* never hand out NULL */
		.end = page_number(base + bytes),
	};
	u64 page;

	if (zone.end <= zone.first || !zone_carve(&zone))
		return;
	/* More pieces than any machine has: what is beyond is not used. */
	if (zone_count == ZONES_MAX)
		return;
	spin_lock(&pages_lock);
	zones[zone_count++] = zone;
	for (page = zone.first; page < zone.end;) {
		unsigned int order = 0;

		while (order < PAGES_ORDER_MAX && page % BIT(order + 1) == 0 &&
		       page + BIT(order + 1) <= zone.end)
			order++;
		block_release(&zone, page, order);
		page += BIT(order);
	}
	free_pages += zone.end - zone.first;
	total_pages += zone.end - zone.first;
	spin_unlock(&pages_lock);
}

hpa_t pages_alloc_raw(unsigned int order)
{
	struct free_block *block = NULL;
	unsigned int found;
	struct zone *zone;
	u64 page;

	spin_lock(&pages_lock);
	for (found = order; found <= PAGES_ORDER_MAX; found++) {
		block = free_lists[found];
		if (block)
			break;
	}
	if (!block) {
		spin_unlock(&pages_lock);
		return HPA_NONE;
	}
	list_remove(block);
	page = page_number(page_hpa(block));
	zone = zone_find(page);
	assert(zone && zone->state[page - zone->first] == (STATE_FREE | found));
	while (found > order) {
		found--;
		zone->state[page + BIT(found) - zone->first] = (u8)(STATE_FREE | found);
		list_push(page + BIT(found), found);
	}
	zone->state[page - zone->first] = (u8)(STATE_USED | order);
	free_pages -= BIT(order);
	spin_unlock(&pages_lock);
	return page << PAGE_SHIFT;
}

void pages_clear(hpa_t block, unsigned int order)
{
	memset(page_ptr(block), 0, PAGE_SIZE << order);
}

hpa_t pages_alloc(unsigned int order)
{
	hpa_t block = pages_alloc_raw(order);

	if (block != HPA_NONE)
		pages_clear(block, order);
	return block;
}

void pages_free(hpa_t block, unsigned int order)
{
	u64 page = page_number(block);
	struct zone *zone;

	spin_lock(&pages_lock);
	zone = zone_find(page);
	/* What was never handed out, was handed out in another size, or was freed before. */
	assert(zone && IS_ALIGNED(block, PAGE_SIZE << order));
	assert(zone->state[page - zone->first] == (STATE_USED | order));
	free_pages += BIT(order);
	block_release(zone, page, order);
	spin_unlock(&pages_lock);
}

void pages_break(hpa_t block, unsigned int order, unsigned int smaller)
{
	u64 page = page_number(block);
	struct zone *zone;

	assert(smaller <= order);
	spin_lock(&pages_lock);
	zone = zone_find(page);
	assert(zone && zone->state[page - zone->first] == (STATE_USED | order));
	for (u64 at = page; at < page + BIT(order); at += BIT(smaller))
		zone->state[at - zone->first] = (u8)(STATE_USED | smaller);
	spin_unlock(&pages_lock);
}

u64 pages_free_count(void)
{
	return __atomic_load_n(&free_pages, __ATOMIC_RELAXED);
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
