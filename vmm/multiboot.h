/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads a kernel by the multiboot specification 0.6.96: an ELF file, or any with address fields. Service CPU; no
 * vCPU runs.
 */
#ifndef VMM_MULTIBOOT_H
#define VMM_MULTIBOOT_H

#include "types.h"

struct host_file;
struct vm;

/* Is a multiboot header in its first 8 KiB, be it a wrong one? */
bool multiboot_is(const struct host_file *kernel);
/*
 * Puts kernel, module (ramdisk), command line and ACPI tables into the guest's memory (zero so far) and vCPU 0 at
 * the kernel's entry. On an error why names the file and what is wrong with it.
 */
int must_check multiboot_boot(struct vm *vm, const struct host_file *kernel, char *why, size_t why_bytes);

#endif
