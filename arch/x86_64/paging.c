/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own page tables (SDM 3 4.5): an identity map in 4-level paging (5-level where the
 * firmware left that on: it can't be changed in long mode) with the largest pages that fit. Built
 * on the boot CPU from a pool of its own, before there is a page allocator; later changes come
 * from the service CPU (device registers, guard pages) under paging_lock.
 */
#include "arch/x86_64/paging.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/init.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/regs.h"
#include "lib/log.h"
#include "mm/pages.h"
#include "spinlock.h"

enum pte_bits {
	PTE_PRESENT = 1 << 0,
	PTE_WRITE = 1 << 1,
	PTE_PWT = 1 << 3,
	PTE_PCD = 1 << 4,
	PTE_ACCESSED = 1 << 5,
	PTE_DIRTY = 1 << 6,
	PTE_PS = 1 << 7,
};
#define PTE_NX BIT(63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define TABLE_ENTRIES 512
#define TABLE_FLAGS (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED)
/* Accessed and dirty from the start: nobody looks at them here, and the CPU need not set them. */
#define LEAF_FLAGS (PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY)
#define IDENTITY_END BIT(47)

/* Enough for the edges of many ranges; what is left over goes to the page allocator. */
#define POOL_SPARE_PAGES 128

extern u8 image_start[], text_start[], text_end[], rodata_start[], rodata_end[], data_start[],
	image_end[];

static struct spinlock paging_lock;
/* All under paging_lock (at boot there is only one CPU). */
static u64 *root;
static hpa_t pool_next;
static hpa_t pool_end;
static u32 largest_level = 2;
static u32 top_level = 4;
static bool live; /* CR3 points to root */

static unsigned int level_shift(u32 level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static bool have_gib_pages(void)
{
	return cpuid_read(0x80000000, 0).eax >= 0x80000001 &&
	       cpuid_read(0x80000001, 0).edx & BIT(26);
}

u64 paging_pool_pages(hpa_t memory_end)
{
	u64 pages = POOL_SPARE_PAGES + memory_end / GIB(512) + 3;

	if (!have_gib_pages())
		pages += memory_end / GIB(1) + 2;
	return pages;
}

static u64 *table_alloc(void)
{
	hpa_t page = pool_next;

	if (page < pool_end) {
		pool_next += PAGE_SIZE;
		return page_ptr(page);
	}
	page = pages_alloc(0);
	assert(page != HPA_NONE);
	return page_ptr(page);
}

static u64 *entry_table(u64 entry)
{
	return page_ptr(entry & PTE_ADDRESS);
}

static bool is_leaf(u64 entry, u32 level)
{
	return level == 1 || entry & PTE_PS;
}

/* A leaf becomes a table of smaller leaves that says the same. */
static u64 split(u64 leaf, u32 level)
{
	u64 *table = table_alloc();
	u64 step = BIT(level_shift(level - 1));
	u64 child = level - 1 == 1 ? leaf & ~(u64)PTE_PS : leaf;

	for (u32 i = 0; i < TABLE_ENTRIES; i++)
		table[i] = child + i * step;
	return page_hpa(table) | TABLE_FLAGS;
}

/* The entry for address at the given level; tables above it are made as needed. */
static u64 *entry_at(u64 address, u32 level)
{
	u64 *table = root;

	for (u32 l = top_level;; l--) {
		u64 *entry = &table[address >> level_shift(l) & (TABLE_ENTRIES - 1)];

		if (l == level)
			return entry;
		if (!(*entry & PTE_PRESENT))
			*entry = page_hpa(table_alloc()) | TABLE_FLAGS;
		else if (is_leaf(*entry, l))
			*entry = split(*entry, l);
		table = entry_table(*entry);
	}
}

/* An entry at this level can be a leaf for address, and no table hangs there already. */
static bool leaf_fits(u64 address, u64 end, u32 level)
{
	u64 bytes = BIT(level_shift(level));
	u64 entry;

	if (level == 1)
		return true;
	if (level > largest_level || !IS_ALIGNED(address, bytes) || address + bytes > end)
		return false;
	entry = *entry_at(address, level);
	return !(entry & PTE_PRESENT) || is_leaf(entry, level);
}

/* flags 0: not present. */
static void map(u64 base, u64 bytes, u64 flags)
{
	u64 end = ALIGN_UP(base + bytes, PAGE_SIZE);
	u64 at = ALIGN_DOWN(base, PAGE_SIZE);

	assert(end <= IDENTITY_END && at < end);
	while (at < end) {
		u32 level = largest_level;
		bool was_present;
		u64 *entry;

		while (!leaf_fits(at, end, level))
			level--;
		entry = entry_at(at, level);
		was_present = *entry & PTE_PRESENT;
		*entry = flags ? at | flags | (level > 1 ? PTE_PS : 0) : 0;
		if (was_present && live)
			tlb_flush_page(at);
		at += BIT(level_shift(level));
	}
}

static u64 access_flags(enum paging_access access)
{
	switch (access) {
	case PAGING_NONE:
		break;
	case PAGING_READ:
		return LEAF_FLAGS | PTE_NX;
	case PAGING_READ_WRITE:
		return LEAF_FLAGS | PTE_WRITE | PTE_NX;
	case PAGING_READ_EXECUTE:
		return LEAF_FLAGS;
	}
	return 0;
}

void paging_protect(hpa_t base, u64 bytes, enum paging_access access)
{
	spin_lock(&paging_lock);
	map(base, bytes, access_flags(access));
	spin_unlock(&paging_lock);
}

void *paging_map_device(hpa_t base, u64 bytes)
{
	spin_lock(&paging_lock);
	map(base, bytes, LEAF_FLAGS | PTE_WRITE | PTE_NX | PTE_PCD | PTE_PWT);
	spin_unlock(&paging_lock);
	return page_ptr(base);
}

/* Where the walk for address ends: a leaf or an entry that is not present. */
static u64 walk(u64 address, u32 *level)
{
	const u64 *table = root;

	for (*level = top_level;; (*level)--) {
		u64 entry = table[address >> level_shift(*level) & (TABLE_ENTRIES - 1)];

		if (!(entry & PTE_PRESENT) || is_leaf(entry, *level))
			return entry;
		table = entry_table(entry);
	}
}

/* Also in a panic, so without the lock. */
bool paging_mapped(hpa_t base, u64 bytes)
{
	u64 at = base;

	if (!root || bytes == 0 || base >= IDENTITY_END || bytes > IDENTITY_END - base)
		return false;
	while (at < base + bytes) {
		u32 level;

		if (!(walk(at, &level) & PTE_PRESENT))
			return false;
		at = ALIGN_DOWN(at, BIT(level_shift(level))) + BIT(level_shift(level));
	}
	return true;
}

void paging_init(hpa_t pool, u64 pool_bytes)
{
	pool_next = pool;
	pool_end = pool + pool_bytes;
	if (have_gib_pages())
		largest_level = 3;
	if (cr4_read() & CR4_LA57)
		top_level = 5;
	root = table_alloc();
}

/* Page 0 stays unmapped, so that a NULL pointer faults. */
void paging_map_memory(hpa_t base, u64 bytes)
{
	hpa_t end = base + bytes;

	base = MAX(base, PAGE_SIZE);
	if (base < end)
		map(base, end - base, access_flags(PAGING_READ_WRITE));
}

static void protect_section(const u8 *start, const u8 *end, enum paging_access access)
{
	if (start < end)
		map((uintptr_t)start, (u64)(end - start), access_flags(access));
}

void paging_start(void)
{
	protect_section(image_start, text_start, PAGING_READ);
	protect_section(text_start, text_end, PAGING_READ_EXECUTE);
	protect_section(rodata_start, rodata_end, PAGING_READ);
	protect_section(data_start, image_end, PAGING_READ_WRITE);
	cr3_write(page_hpa(root));
	live = true;
	cpu_block_guard(&cpu_boot_block);
}

void paging_pool_release(void)
{
	/* A few stay: the next changes may come when memory is short. */
	u64 keep = 16 * PAGE_SIZE;

	if (pool_end - pool_next <= keep)
		return;
	pages_add(pool_next + keep, pool_end - pool_next - keep);
	pool_end = pool_next + keep;
}

hpa_t paging_root(void)
{
	return page_hpa(root);
}

static void open_table(u64 *table, u32 level)
{
	for (u32 i = 0; i < TABLE_ENTRIES; i++) {
		if (!(table[i] & PTE_PRESENT))
			continue;
		table[i] = (table[i] | PTE_WRITE) & ~PTE_NX;
		if (!is_leaf(table[i], level))
			open_table(entry_table(table[i]), level - 1);
	}
}

void paging_open_for_firmware(void)
{
	open_table(root, top_level);
	cr3_write(page_hpa(root));
}
