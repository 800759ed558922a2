/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UEFI application: what its files share. It runs on the boot CPU, on the firmware's stack and
 * page tables, until efi_exit(); after that no EFI type is seen any more.
 */
#ifndef BOOT_EFI_BOOT_H
#define BOOT_EFI_BOOT_H

#include <efi.h>

#include "boot/boot_info.h"

/* Pages of EfiLoaderData, which stay ours after ExitBootServices; 0 if there are none. */
hpa_t efi_alloc_pages(EFI_BOOT_SERVICES *bs, u64 pages, hpa_t below);
/* Reads \godwit\ into info->files; what went wrong goes to info->files_error. */
void efi_read_files(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info);
/*
 * Takes the memory map, sets aside the pool of page tables, leaves boot services and fills in
 * info->free and info->memory. False: the firmware would not let us go.
 */
bool must_check efi_exit(EFI_HANDLE image, EFI_BOOT_SERVICES *bs, struct boot_info *info);
/* Sorts ranges by base and joins those that touch; returns how many are left. */
u32 ranges_join(struct boot_range *ranges, u32 count);

#endif
