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
/* Whether all of the range can be read. */
bool paging_mapped(hpa_t base, u64 bytes);

enum paging_access {
	PAGING_NONE,         /* not present: a guard page */
	PAGING_READ,
	PAGING_READ_WRITE,
	PAGING_READ_EXECUTE,
};
/* Changes what may be done with whole pages of memory; this CPU's TLB only. */
void paging_protect(hpa_t base, u64 bytes, enum paging_access access);
/* The firmware's code expects to run as it was at boot: for the last call, everything is allowed. */
void paging_open_for_firmware(void);
/* For CR3 of the other CPUs; below 4 GiB. */
hpa_t paging_root(void);

#endif
