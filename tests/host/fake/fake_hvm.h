/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A third implementation of struct hvm_ops: guests whose "program" is a queue of actions that a
 * test writes. Memory accesses go through the real nested tables as hardware's do: A and D bits
 * are set when a translation is walked, and not again while it is cached; so a flush that the
 * hypervisor forgets loses dirty pages here as it does on a real CPU.
 */
#ifndef FAKE_HVM_H
#define FAKE_HVM_H

#include "types.h"
#include "vmm/hvm.h"
#include "vmm/vm_config.h"

struct vcpu;
struct vm;

extern const struct hvm_ops fake_hvm_ops;

/* hvm = &fake_hvm_ops, a plain CPU in CPUID, and the files "vmlinuz" (a tiny bzImage) and "initrd.img". */
void fake_hvm_install(void);
/* A guest that boots them. */
void fake_vm_config(struct vm_config *config, const char *name, u32 memory_mib);

/* What the guest does next, in order; each wakes it if it halts. When nothing is left it halts. */
void fake_guest_store(struct vcpu *vcpu, gpa_t gpa, u32 size, u64 value);
void fake_guest_load(struct vcpu *vcpu, gpa_t gpa, u32 size);
void fake_guest_out(struct vcpu *vcpu, u16 port, u32 size, u64 value);
void fake_guest_in(struct vcpu *vcpu, u16 port, u32 size);
void fake_guest_wrmsr(struct vcpu *vcpu, u32 msr, u64 value);
void fake_guest_rdmsr(struct vcpu *vcpu, u32 msr);
void fake_guest_cpuid(struct vcpu *vcpu, u32 leaf, u32 subleaf);
void fake_guest_write_cr(struct vcpu *vcpu, u8 cr, u64 value);
/* Any exit, as it stands. */
void fake_guest_exit(struct vcpu *vcpu, const struct vm_exit *exit);

/* Of the last load, in, rdmsr (RDX:RAX in one) and cpuid (EAX); of cpuid all registers: vcpu->regs. */
u64 fake_guest_result(const struct vcpu *vcpu);
/* How many actions are left. */
u32 fake_guest_left(const struct vcpu *vcpu);
/* How often an event of this vector was delivered; the last exception's error code and CR2. */
u32 fake_guest_events(const struct vcpu *vcpu, u8 vector);
u32 fake_guest_error_code(const struct vcpu *vcpu);
u64 fake_guest_cr2(const struct vcpu *vcpu);
/* How often its TLB was flushed, and how often it was entered. */
u64 fake_guest_flushes(const struct vcpu *vcpu);
u64 fake_guest_entries(const struct vcpu *vcpu);
/* request_nmi_window() is on. */
bool fake_guest_nmi_window(const struct vcpu *vcpu);

/*
 * Called inside the guest window of every entry (in_guest is 1), as if another CPU ran at that
 * moment. NULL: nobody.
 */
void fake_hvm_set_hook(void (*in_guest)(struct vcpu *vcpu));

/* Runs guests on this CPU, and the service work, until nothing more happens. */
void fake_run(void);
/* The service work only: until no guest waits for its memory to be cleared. */
void fake_clear_memory(void);

#endif
