/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual CPU and its run loop. Runs on the host CPU that vmm/sched.c gave it. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "types.h"
#include "vmm/hvm.h"
#include "vmm/vtimer.h"

struct vm;
struct lapic;

enum vcpu_request { VCPU_REQ_FLUSH = 1, VCPU_REQ_EXIT = 2 };
/* Waits for: nothing, an interrupt (HLT), INIT/SIPI. */
enum vcpu_activity { VCPU_ACTIVE, VCPU_HALTED, VCPU_WAIT_SIPI };

struct vcpu {
	struct vm *vm;
	u32 index;              /* in the guest; also its APIC ID */
	u32 cpu;                /* the host CPU that runs it */
	struct vcpu_regs regs;
	void *vendor;           /* the backend's own */
	void *xsave;            /* the guest's XSAVE area, compact format never used */
	u64 xcr0;
	u32 activity;           /* enum vcpu_activity */
	u32 requests;           /* enum vcpu_request, set by any CPU */
	u32 in_guest;           /* 1 from before the last check of requests until after the exit */
	struct lapic *lapic;
	struct vtimer *timers;
	u64 next_deadline_ns;   /* cache of vtimer_next */
	u64 pvclock_msr, pvclock_wall_msr;
	u64 exits;
	u64 exits_by_kind[24];
	u64 run_ns;             /* time given to it */
	struct vcpu *run_next;  /* vmm/sched.c */
	bool queued;
};

int must_check vcpu_init(struct vcpu *vcpu, struct vm *vm, u32 index);
void vcpu_fini(struct vcpu *vcpu);
/* Runs it until its slice is over, it halts, or it is stopped. On its own CPU. */
void vcpu_run(struct vcpu *vcpu, u64 slice_end_ns);
/* It has something new to look at (an interrupt, a request): wakes it if halted, kicks it if running. Any CPU. */
void vcpu_kick(struct vcpu *vcpu);
/* One exit, in common words. */
void vcpu_handle_exit(struct vcpu *vcpu, struct vm_exit *exit);
/* Queue an exception for the next entry. */
void vcpu_inject_exception(struct vcpu *vcpu, u8 vector, bool has_error_code, u32 error_code);

/* State whole; check is pure. */
void vcpu_save(const struct vcpu *vcpu, struct cpu_state *state);
int must_check cpu_state_check(const struct cpu_state *state);
int must_check vcpu_load(struct vcpu *vcpu, const struct cpu_state *state);
/* Bytes of the XSAVE area for everything that guests are shown. */
u32 vcpu_xsave_bytes(void);

#endif
