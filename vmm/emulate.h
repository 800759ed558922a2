/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that we carry out for the guest. On the vCPU's CPU, out of the guest. */
#ifndef VMM_EMULATE_H
#define VMM_EMULATE_H

#include "types.h"
#include "vmm/hvm.h"

struct vcpu;
struct vm;

/*
 * An access to the guest's port or memory bus; size is 1, 2, 4 or, in memory, 8. What is read is
 * zero-extended; where nobody is, it is ones. Takes vm->lock.
 */
u64 emulate_port_read(struct vm *vm, u16 port, unsigned int size);
void emulate_port_write(struct vm *vm, u16 port, unsigned int size, u64 value);
void emulate_mmio(struct vm *vm, gpa_t gpa, unsigned int size, bool write, u64 *value);
/* VM_EXIT_NPT: a device's registers, or nothing at all. */
void emulate_npt(struct vcpu *vcpu, const struct vm_exit *exit);
/* VM_EXIT_IO with string set: INS and OUTS, with or without REP. */
void emulate_string_io(struct vcpu *vcpu, const struct vm_exit *exit);
/* The length of the instruction at RIP, where the CPU does not say; nonzero: the guest got a fault. */
int must_check emulate_length(struct vcpu *vcpu, u32 *len);

#endif
