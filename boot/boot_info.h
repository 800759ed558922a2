/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the UEFI application learned before ExitBootServices, in plain types: nothing above boot/
 * sees an EFI header.
 */
#ifndef BOOT_BOOT_INFO_H
#define BOOT_BOOT_INFO_H

#include "types.h"

#define BOOT_RANGES_MAX 256
#define BOOT_FILES_MAX 64
#define BOOT_FILE_NAME_BYTES 64

struct boot_range {
	hpa_t base;
	u64 bytes;
};

/* A file of \godwit\ on the ESP, read whole into memory of its own (page-aligned). */
struct boot_file {
	char name[BOOT_FILE_NAME_BYTES]; /* without the folder; as stored (FAT ignores case) */
	const void *data;
	u64 bytes;
};

struct boot_info {
	struct boot_range free[BOOT_RANGES_MAX]; /* usable after ExitBootServices */
	u32 free_count;
	struct boot_range memory[BOOT_RANGES_MAX]; /* all that is memory, whoever uses it: sorted, joined */
	u32 memory_count;
	hpa_t memory_end; /* end of the highest RAM */
	hpa_t table_pool; /* zeroed pages below 4 GiB, for the host's first page tables */
	u64 table_pool_bytes;
	struct boot_file files[BOOT_FILES_MAX];
	u32 file_count;
	char files_error[160]; /* why \godwit\ could not be read (wholly), or "" */
	hpa_t image_base;
	u64 image_bytes;
	hpa_t rsdp;          /* ACPI 2.0 root pointer, or 0 */
	void *reset_system;  /* EFI_RESET_SYSTEM, callable (identity-mapped), or NULL */
	hpa_t framebuffer;   /* 0: none */
	u32 framebuffer_width, framebuffer_height, framebuffer_pitch_bytes; /* 32 bits a pixel */
	u64 wall_time_s;     /* UTC seconds since 1970 at boot */
	u64 entry_tsc;       /* TSC at the UEFI entry, for prompt_instructions */
	hpa_t trampoline;    /* a free page below 1 MiB for the other CPUs' start */
};

/* By name, ignoring case; NULL if there is none. */
const struct boot_file *boot_file_find(const struct boot_info *info, const char *name);

#endif
