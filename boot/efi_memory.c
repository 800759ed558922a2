/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out of boot services: the memory map, and what of it is ours from then on.
 * Boot CPU, boot services until ExitBootServices has succeeded.
 */
#include "boot/efi_boot.h"

#include "arch/x86_64/init.h"
#include "lib/string.h"
#include "mm/pages.h"

#define EXIT_TRIES 8

/* The map as the firmware wrote it; entries may be longer than the struct that we know. */
struct memory_map {
	u8 *buffer;
	UINTN capacity;
	UINTN bytes;
	UINTN key;
	UINTN entry_bytes;
};

static EFI_STATUS map_read(EFI_BOOT_SERVICES *bs, struct memory_map *map)
{
	UINT32 version;

	map->bytes = map->capacity;
	return bs->GetMemoryMap(&map->bytes, (EFI_MEMORY_DESCRIPTOR *)map->buffer, &map->key,
				&map->entry_bytes, &version);
}

static const EFI_MEMORY_DESCRIPTOR *map_entry(const struct memory_map *map, UINTN offset)
{
	return (const EFI_MEMORY_DESCRIPTOR *)(map->buffer + offset);
}

/* Room for the map and for what allocating that room, and the next calls, add to it. */
static bool map_alloc(EFI_BOOT_SERVICES *bs, struct memory_map *map)
{
	map->capacity = 0;
	if (map_read(bs, map) != EFI_BUFFER_TOO_SMALL)
		return false;
	map->capacity = map->bytes + 32 * map->entry_bytes;
	return !EFI_ERROR(bs->AllocatePool(EfiLoaderData, map->capacity, (void **)&map->buffer));
}

static bool is_free(UINT32 type)
{
	return type == EfiConventionalMemory || type == EfiBootServicesCode ||
	       type == EfiBootServicesData;
}

/* All but device registers and broken memory; the firmware's own part stays mapped for it. */
static bool is_memory(UINT32 type)
{
	return is_free(type) || type == EfiLoaderCode || type == EfiLoaderData ||
	       type == EfiRuntimeServicesCode || type == EfiRuntimeServicesData ||
	       type == EfiACPIReclaimMemory || type == EfiACPIMemoryNVS;
}

u32 ranges_join(struct boot_range *ranges, u32 count)
{
	u32 kept = 0;

	for (u32 i = 1; i < count; i++) {
		struct boot_range range = ranges[i];
		u32 at = i;

		for (; at && ranges[at - 1].base > range.base; at--)
			ranges[at] = ranges[at - 1];
		ranges[at] = range;
	}
	for (u32 i = 0; i < count; i++) {
		struct boot_range *last = &ranges[kept ? kept - 1 : 0];

		if (kept && ranges[i].base <= last->base + last->bytes) {
			u64 end = MAX(last->base + last->bytes, ranges[i].base + ranges[i].bytes);

			last->bytes = end - last->base;
		} else {
			ranges[kept++] = ranges[i];
		}
	}
	return kept;
}

/* Adds a range, or drops it when even joining makes no room: that memory is then not used. */
static void range_add(struct boot_range *ranges, u32 *count, const EFI_MEMORY_DESCRIPTOR *entry)
{
	if (*count == BOOT_RANGES_MAX)
		*count = ranges_join(ranges, *count);
	if (*count == BOOT_RANGES_MAX)
		return;
	ranges[*count].base = entry->PhysicalStart;
	ranges[*count].bytes = entry->NumberOfPages * PAGE_SIZE;
	(*count)++;
}

static void map_sort_out(const struct memory_map *map, struct boot_info *info)
{
	for (UINTN at = 0; at + map->entry_bytes <= map->bytes; at += map->entry_bytes) {
		const EFI_MEMORY_DESCRIPTOR *entry = map_entry(map, at);

		if (is_free(entry->Type))
			range_add(info->free, &info->free_count, entry);
		if (is_memory(entry->Type))
			range_add(info->memory, &info->memory_count, entry);
	}
	info->free_count = ranges_join(info->free, info->free_count);
	info->memory_count = ranges_join(info->memory, info->memory_count);
}

static hpa_t memory_end(const struct memory_map *map)
{
	hpa_t end = 0;

	for (UINTN at = 0; at + map->entry_bytes <= map->bytes; at += map->entry_bytes) {
		const EFI_MEMORY_DESCRIPTOR *entry = map_entry(map, at);

		if (is_memory(entry->Type))
			end = MAX(end, entry->PhysicalStart + entry->NumberOfPages * PAGE_SIZE);
	}
	return end;
}

/* The page tables come before the page allocator, and must not lie in memory that it gives out. */
static bool table_pool_alloc(EFI_BOOT_SERVICES *bs, const struct memory_map *map,
			     struct boot_info *info)
{
	u64 pages;

	info->memory_end = memory_end(map);
	pages = paging_pool_pages(info->memory_end);
	info->table_pool = efi_alloc_pages(bs, pages, GIB(4));
	info->table_pool_bytes = pages * PAGE_SIZE;
	return info->table_pool != 0;
}

bool efi_exit(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info)
{
	struct memory_map map = { 0 };

	if (!map_alloc(bs, &map) || EFI_ERROR(map_read(bs, &map)))
		return false;
	if (!table_pool_alloc(bs, &map, info))
		return false;
	/* Firmware timers may change the map between the two calls: then the key is stale. */
	for (int i = 0; i < EXIT_TRIES; i++) {
		if (EFI_ERROR(map_read(bs, &map)))
			return false;
		if (EFI_ERROR(bs->ExitBootServices(image, map.key)))
			continue;
		__asm__ volatile("cli");
		map_sort_out(&map, info);
		memset(page_ptr(info->table_pool), 0, info->table_pool_bytes);
		return true;
	}
	return false;
}
