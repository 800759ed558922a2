/* SPDX-License-Identifier: Apache-2.0 */
/* What vm.c, vm_run.c and vm_service.c share. */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include "types.h"

struct vm;

/* Kicks every vCPU and waits until none is in vcpu_run(). Something must keep them from going back. */
void vm_wait_stopped(struct vm *vm);
/* Wakes every vCPU that could run. */
void vm_wake(struct vm *vm);
/* What its devices have given back of its memory is the host's, once no vCPU can be using it any more. */
void vm_reap_memory(struct vm *vm);
/* Some guest's balloon may wait for memory. */
void vm_memory_came_free(void);
/* Power-on state again: memory, vCPUs, board, kernel. No vCPU runs. why: what is missing. */
int must_check vm_reset(struct vm *vm, char *why, size_t why_bytes);

#endif
