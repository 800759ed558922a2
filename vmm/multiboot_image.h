/* SPDX-License-Identifier: Apache-2.0 */
/* What a multiboot kernel's file says it wants: multiboot_image.c and multiboot_elf.c find it, multiboot.c loads it. */
#ifndef VMM_MULTIBOOT_IMAGE_H
#define VMM_MULTIBOOT_IMAGE_H

#include "types.h"
#include "vmm/files.h"

#define MULTIBOOT_SEGMENTS_MAX 16

struct multiboot_segment {
	gpa_t gpa;
	u64 memory_bytes;        /* not 0; what the file does not fill is zero */
	u64 offset, file_bytes;  /* in the file */
};

struct multiboot_image {
	const struct host_file *file;
	const char *name;
	struct multiboot_segment segments[MULTIBOOT_SEGMENTS_MAX];
	u32 segment_count;
	u64 entry;               /* physical */
	char *why;
	size_t why_bytes;
};

/* why: the file's name, then this; returns -E_INVAL. */
int multiboot_bad(struct multiboot_image *image, const char *fmt, ...) printf_like(2, 3);
/* Of the file's own bytes; nothing is known yet of the guest's memory. */
int must_check multiboot_image_read(struct multiboot_image *image);
int must_check multiboot_elf_read(struct multiboot_image *image);
/* Leaves one that takes no memory out. */
int must_check multiboot_add_segment(struct multiboot_image *image, const struct multiboot_segment *segment);

#endif
