/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's kernel: loaded by what its file is. Service CPU; no vCPU runs. */
#ifndef VMM_KERNEL_H
#define VMM_KERNEL_H

#include "types.h"

struct vm;

/*
 * Puts the kernel of vm's configuration into its memory (zero so far) and vCPU 0 at its entry. On an
 * error why names the file and what is wrong with it.
 */
int must_check kernel_load(struct vm *vm, char *why, size_t why_bytes);

#endif
