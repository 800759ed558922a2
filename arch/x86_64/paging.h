/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own page tables: all memory identity-mapped (RW, NX), the image W^X by sections,
 * a not-present guard page below every stack. Built once at boot.
 */
#ifndef ARCH_PAGING_H
#define ARCH_PAGING_H

#include "types.h"

/* Maps a device's registers uncached at their physical address; bytes is rounded to pages. */
void *paging_map_device(hpa_t base, u64 bytes);

#endif
