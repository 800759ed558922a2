/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a Linux kernel (bzImage, 64-bit boot protocol) into a guest. Service CPU; no vCPU runs. */
#ifndef VMM_LINUX_BOOT_H
#define VMM_LINUX_BOOT_H

#include "types.h"

struct host_file;
struct vm;

/* Does it have that protocol's magic number? */
bool linux_boot_is(const struct host_file *kernel);

/*
 * Puts kernel, initrd, command line and ACPI tables into the guest's memory (zero so far) and
 * vCPU 0 at the kernel's entry. On an error why names the file and what is wrong with it.
 */
int must_check linux_boot(struct vm *vm, const struct host_file *kernel, char *why, size_t why_bytes);

#endif
