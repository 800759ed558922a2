/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's own page tables, walked in software. On the vCPU's CPU. */
#ifndef VMM_WALK_H
#define VMM_WALK_H

#include "types.h"
#include "vmm/hvm.h"

struct vm;

enum walk_access { WALK_READ = 0, WALK_WRITE = 1, WALK_FETCH = 2 };

/* #PF error code (SDM 3 4.7). */
enum {
	PF_PRESENT = 1 << 0,
	PF_WRITE = 1 << 1,
	PF_USER = 1 << 2,
	PF_RESERVED = 1 << 3,
	PF_FETCH = 1 << 4,
};

/*
 * Translates one address, as the CPU would for an instruction at mode->cpl; sets A and D bits.
 * -E_INVAL: page fault, *error_code is set; -E_RANGE: not canonical.
 */
int must_check walk_translate(struct vm *vm, const struct paging_mode *mode, u64 rflags, u64 linear,
			      enum walk_access access, gpa_t *gpa, u32 *error_code);

#endif
