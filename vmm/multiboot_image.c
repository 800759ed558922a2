/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The multiboot header (3.1 of the specification) and the segments by its address fields. Service CPU. The file is
 * the user's, not trusted. Pure.
 */
#include "vmm/multiboot_image.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/multiboot.h"

/* The header lies within so many bytes, 4-byte aligned (3.1). */
#define SEARCH_BYTES 8192u
#define HEADER_MAGIC 0x1badb002u
/* A loader that can't do what bits 0 to 15 ask for must say so (3.1.2). */
#define FLAG_ALIGN BIT(0)
#define FLAG_MEMORY BIT(1)
#define FLAG_VIDEO BIT(2)
#define FLAGS_MUST 0xffffu
#define FLAG_ADDRESSES BIT(16)

struct header {
	u32 magic, flags, checksum;
	/* With FLAG_ADDRESSES: */
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
static_assert(sizeof(struct header) == 32, "multiboot 0.6.96 3.1");
#define HEADER_MIN offsetof(struct header, header_addr)

#define NOWHERE ~0u

int multiboot_bad(struct multiboot_image *image, const char *fmt, ...)
{
	int n = str_format(image->why, image->why_bytes, "%s ", image->name);
	size_t used = MIN((size_t)n, image->why_bytes - 1);
	va_list ap;

	va_start(ap, fmt);
	str_vformat(image->why + used, image->why_bytes - used, fmt, ap);
	va_end(ap);
	return -E_INVAL;
}

static u32 word(const struct host_file *file, u32 offset)
{
	u32 value;

	memcpy(&value, (const u8 *)file->data + offset, sizeof(value));
	return value;
}

static bool sums_up(const struct host_file *file, u32 offset)
{
	return !(word(file, offset) + word(file, offset + 4) + word(file, offset + 8));
}

/* The first header that is whole and sums up; else the first magic number; else NOWHERE. */
static u32 find_header(const struct host_file *file)
{
	u64 end = MIN(file->bytes, SEARCH_BYTES);
	u32 found = NOWHERE;

	for (u32 offset = 0; offset + sizeof(u32) <= end; offset += sizeof(u32)) {
		if (word(file, offset) != HEADER_MAGIC)
			continue;
		if (offset + HEADER_MIN <= end && sums_up(file, offset))
			return offset;
		if (found == NOWHERE)
			found = offset;
	}
	return found;
}

bool multiboot_is(const struct host_file *kernel)
{
	return find_header(kernel) != NOWHERE;
}

static int read_header(struct multiboot_image *image, struct header *header, u32 *offset)
{
	const struct host_file *file = image->file;
	u64 end = MIN(file->bytes, SEARCH_BYTES);
	u32 must;

	*offset = find_header(file);
	if (*offset == NOWHERE)
		return multiboot_bad(image, "is no multiboot kernel: no magic number in its first %u bytes",
				     SEARCH_BYTES);
	if (*offset + HEADER_MIN > end)
		return multiboot_bad(image, "is cut: its multiboot header at %#x is not whole", *offset);
	if (!sums_up(file, *offset))
		return multiboot_bad(image, "is no multiboot kernel: the header's checksum at %#x is wrong", *offset);
	memset(header, 0, sizeof(*header));
	memcpy(header, (const u8 *)file->data + *offset, MIN(end - *offset, sizeof(*header)));
	must = header->flags & FLAGS_MUST & ~(u32)(FLAG_ALIGN | FLAG_MEMORY);
	if (must & FLAG_VIDEO)
		return multiboot_bad(image, "asks for a video mode: guests have a serial console only");
	if (must)
		return multiboot_bad(image, "asks for what multiboot 0.6.96 does not know: flags %#x", header->flags);
	if (header->flags & FLAG_ADDRESSES && *offset + sizeof(*header) > end)
		return multiboot_bad(image, "is cut: its multiboot header at %#x is not whole", *offset);
	return 0;
}

int multiboot_add_segment(struct multiboot_image *image, const struct multiboot_segment *segment)
{
	if (!segment->memory_bytes)
		return 0;
	if (image->segment_count == MULTIBOOT_SEGMENTS_MAX)
		return multiboot_bad(image, "has more than %u segments", MULTIBOOT_SEGMENTS_MAX);
	if (segment->file_bytes > segment->memory_bytes)
		return multiboot_bad(image, "is no valid kernel: segment %u is larger in the file than in memory",
				     image->segment_count);
	if (segment->offset > image->file->bytes || segment->file_bytes > image->file->bytes - segment->offset)
		return multiboot_bad(image, "is cut: segment %u ends behind the file's end", image->segment_count);
	image->segments[image->segment_count++] = *segment;
	return 0;
}

/* 3.1.3: one segment; where the header is in the file and in memory says where in the file it begins. */
static int read_addresses(struct multiboot_image *image, const struct header *header, u32 header_offset)
{
	struct multiboot_segment segment = { .gpa = header->load_addr };
	u32 before = header->header_addr - header->load_addr;
	u64 load_end;

	if (header->header_addr < header->load_addr || before > header_offset)
		return multiboot_bad(image, "is no valid kernel: load_addr %#x does not fit to header_addr %#x",
				     header->load_addr, header->header_addr);
	segment.offset = header_offset - before;
	/* 0: to the file's end. */
	load_end = header->load_end_addr ? header->load_end_addr :
					   header->load_addr + image->file->bytes - segment.offset;
	if (load_end < header->load_addr || (header->bss_end_addr && header->bss_end_addr < load_end))
		return multiboot_bad(image, "is no valid kernel: its addresses do not rise (%#x, %#llx, %#x)",
				     header->load_addr, (unsigned long long)load_end, header->bss_end_addr);
	segment.file_bytes = load_end - header->load_addr;
	segment.memory_bytes = MAX(load_end, header->bss_end_addr) - header->load_addr;
	image->entry = header->entry_addr;
	return multiboot_add_segment(image, &segment);
}

int multiboot_image_read(struct multiboot_image *image)
{
	struct header header;
	u32 offset;
	int error = read_header(image, &header, &offset);

	if (error)
		return error;
	return header.flags & FLAG_ADDRESSES ? read_addresses(image, &header, offset) : multiboot_elf_read(image);
}
