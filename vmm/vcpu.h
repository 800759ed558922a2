/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual CPU and its run loop. Runs on the host CPU that vmm/sched.c gave it. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "compiler.h"
#include "types.h"
#include "vmm/cap.h"
#include "vmm/hvm.h"
#include "vmm/vtimer.h"
#include "vmm/xsave.h"

struct vm;
struct lapic;

/* What an entry must attend to first. An entry that finds none of these looks at nothing else: vcpu.c's head. */
enum vcpu_request {
	VCPU_REQ_FLUSH = 1, /* its translations, before guest code runs again */
	VCPU_REQ_EXIT = 2,  /* leave vcpu_run() */
	VCPU_REQ_LOOK = 4,  /* something else has changed: an interrupt, a timer, a pause bit... */
};
/* Waits for: nothing, an interrupt (HLT), INIT/SIPI. */
enum vcpu_activity { VCPU_ACTIVE, VCPU_HALTED, VCPU_WAIT_SIPI };

#define CPUID_HINTS 32

struct vcpu {
	struct vm *vm;
	u32 index;              /* in the guest; also its APIC ID */
	u32 cpu;                /* the host CPU that runs it */
	struct vcpu_regs regs;
	void *vendor;           /* the backend's own */
	void *xsave;            /* the guest's XSAVE area, compact format never used */
	u64 xcr0;
	u32 activity;           /* enum vcpu_activity */
	u32 requests;           /* enum vcpu_request, set by any CPU, atomically */
	u32 startup;            /* INIT and SIPI that have arrived: vmm/startup.c; set by any CPU, atomically */
	u32 in_guest;           /* 1 from before the last check of requests until after the exit */
	struct lapic *lapic;
	u32 *apic_page;         /* a page: its registers (devices/lapic.h) */
	bool apic_off;          /* its APIC_BASE says so: CPUID shows none */
	struct vtimer *timers;
	u64 next_deadline_ns;   /* cache of vtimer_next */
	u64 tsc_adjust;         /* IA32_TSC_ADJUST: on top of vm->tsc_offset */
	struct msr_file *msrs;  /* MSRs that are mere storage: vmm/msr.c */
	u64 pvclock_msr, pvclock_wall_msr;
	u8 cpuid_hints[CPUID_HINTS]; /* vmm/cpuid.c: where its answers were in the policy */
	u64 exits_by_kind[24];
	u64 run_ns;             /* time given to it */
	bool irq_window;        /* request_irq_window() is on */
	u32 running;            /* 1 while its CPU is in vcpu_run() */
	/* vmm/sched.c, under its lock: */
	struct vcpu *sched_next; /* all vCPUs */
	bool scheduled;
	bool queued;            /* waits to run */
	bool on_cpu;            /* from its choice until after vcpu_run() */
	u64 vtime_ns;           /* time given to it, by its weight */
	struct cap cap;
	u64 cap_left_ns;        /* that it may run now; 0: no cap */
	u64 capped_until_ns;    /* it waits, outside of the queue; 0: it does not */
};

int must_check vcpu_init(struct vcpu *vcpu, struct vm *vm, u32 index);
void vcpu_fini(struct vcpu *vcpu);
/* Runs it until its slice is over, it halts, or it is stopped. true: it could run on. On its own CPU. */
bool vcpu_run(struct vcpu *vcpu, u64 slice_end_ns);
/*
 * Its next entry looks at all there may be: for changes that its own CPU makes between two entries,
 * and for those that may wait until then. The change comes before the call. Any CPU.
 */
static inline void vcpu_look(struct vcpu *vcpu)
{
	atomic_or(&vcpu->requests, VCPU_REQ_LOOK);
}
/* The same at once: wakes it if halted, kicks it if running. Any CPU. */
void vcpu_kick(struct vcpu *vcpu);
/* The vCPU that this host CPU is running right now (set by vcpu_run), NULL outside of it. */
struct vcpu *vcpu_current(void);
/* One exit, in common words. */
void vcpu_handle_exit(struct vcpu *vcpu, struct vm_exit *exit);
/* Queue an exception for the next entry. */
void vcpu_inject_exception(struct vcpu *vcpu, u8 vector, bool has_error_code, u32 error_code);

/* Back to the state after a CPU reset (guest reboot). Its CPU is not running it. */
int must_check vcpu_reset(struct vcpu *vcpu);
/* Could it do something if it ran: active, or halted with something to wake it? Not paused, not ended. */
bool vcpu_runnable(struct vcpu *vcpu);
/* The guest's TSC on this vCPU. */
u64 vcpu_tsc(const struct vcpu *vcpu);
/* vm->tsc_offset or tsc_adjust changed. */
void vcpu_update_tsc(struct vcpu *vcpu);

/* State whole; check is pure. */
void vcpu_save(const struct vcpu *vcpu, struct cpu_state *state);
int must_check cpu_state_check(const struct cpu_state *state);
int must_check vcpu_load(struct vcpu *vcpu, const struct cpu_state *state);

#endif
