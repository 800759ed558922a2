/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VT-x and SVM backends have in common, for their files only:
 *	event.c     which events there can be, and what two in a row make
 *	state.c     which states a CPU would take
 *	switch.asm  debug registers; host interrupts that wait
 */
#ifndef HVM_COMMON_H
#define HVM_COMMON_H

#include "types.h"
#include "vmm/cr.h"
#include "vmm/hvm.h"

enum guest_msr {
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_DEBUGCTL = 0x1d9,
};
enum { MSR_PRED_CMD = 0x49, PRED_CMD_IBPB = 1 };
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_NT BIT(14)
#define RFLAGS_RF BIT(16)
#define RFLAGS_VM BIT(17)

#define CPUID_7_EBX_INVPCID BIT(10)
#define DR6_BREAKPOINTS 0xfull
#define DR6_BS BIT(14)
#define DR7_BREAKPOINTS 0xffull /* any of these set: a breakpoint is on */

enum exception_vector { VECTOR_DB = 1, VECTOR_NMI = 2, VECTOR_BP = 3, VECTOR_OF = 4, VECTOR_DF = 8, VECTOR_PF = 14,
			VECTOR_AC = 17, VECTOR_MC = 18 };
/* Vectors below it are exceptions. */
#define FIRST_IRQ_VECTOR 32

/* Bits whose change makes cached translations wrong (APM 2 5.5.3, SDM 3 4.10.4.1). */
#define CR0_PAGING (CR0_PE | CR0_PG | CR0_WP)
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)
#define DEBUGCTL_KNOWN 3ull /* LBR, BTF */
#define HIGH_HALF 0xffffffff00000000ull

/* event.c. The CPU would refuse others at the entry. */
bool must_check hvm_event_valid(const struct vm_event *event);
/*
 * An exception while another event waits (its delivery was interrupted by the exit): what waits
 * then. It never gets lost, but where an instruction or delivery that comes again raises it again.
 */
void hvm_event_merge(struct vm_event *waiting, struct vm_event event);

/* state.c */
bool hvm_canonical(u64 address);
bool hvm_pat_valid(u64 pat);
bool must_check hvm_state_valid(const struct cpu_state *state, bool rdtscp);

/* switch.asm */
void hvm_dr_load(const u64 dr[4]);
void hvm_dr_save(u64 dr[4]);
/* Host interrupts that wait are taken now. */
void hvm_serve_interrupts(void);

#endif
