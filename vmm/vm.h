/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests. Created, paused, destroyed and listed by the service CPU only; vm->lock protects the
 * device models, which the vCPUs' CPUs run too.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "lib/ring.h"
#include "mm/gmem.h"
#include "spinlock.h"
#include "lib/ticks.h"
#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"
#include "vmm/vm_config.h"

struct vcpu;

#define VMS_MAX 32
#define VM_CONSOLE_BYTES KIB(64)
#define VM_INPUT_BYTES KIB(4)
#define VM_WHY_BYTES 256

enum vm_state {
	VM_BUILDING,  /* being created or arriving; its vCPUs never ran here */
	VM_LIVE,      /* runs, unless paused */
	VM_SHUTDOWN,  /* switched itself off */
	VM_REBOOTING, /* asked for a reset */
	VM_CRASHED,   /* see why */
};

/* Who holds it paused; it runs when no bit is set. */
enum vm_pause { VM_PAUSE_USER = 1, VM_PAUSE_MIGRATE = 2, VM_PAUSE_OWNER = 4, VM_PAUSE_STATE = 8, VM_PAUSE_CLEAR = 16 };
/* While one of these is set, the devices are paused too and vm_time_ns() and vm_tsc() stand still. */
#define VM_PAUSE_FROZEN (VM_PAUSE_MIGRATE | VM_PAUSE_OWNER | VM_PAUSE_STATE)

struct vm {
	u32 id;                 /* never reused while the host is up */
	struct vm_config config;
	enum vm_state state;
	u32 paused;             /* enum vm_pause */
	char why[VM_WHY_BYTES]; /* of the crash, or of the ownership pause */

	struct gmem gmem;
	struct vcpu *vcpus[VM_VCPUS_MAX];
	u32 vcpu_count;
	u32 cap;                /* per cent of a CPU that each vCPU gets at most while a move throttles; 0: all. By sched_set_cap() */
	u32 active;             /* vCPUs that run or wait to run: vmm/sched.c, under its lock */

	struct spinlock lock;
	/* under lock: */
	struct io_bus pio, mmio;
	struct device *devices;
	void *board;            /* devices/board.c */
	struct ring console;    /* what the guest printed: scroll-back */
	u64 console_seen;       /* of console: shown to somebody up to this position (ring_peek's) */
	struct ring input;      /* typed, not yet read by the guest */
	/* end of lock */

	struct cpuid_policy *cpuid; /* what it was shown: vmm/cpuid.h */
	u32 holds;              /* vm_hold: the policies on_poweroff... wait */
	u64 restarted_ns;       /* in time_ns */
	u32 quick_restarts;     /* one after the other */
	/* Of ownership (migrate/owner.c, docs/ownership.md): */
	u64 epoch;              /* rises with every move, and with every unpause --force */
	u64 attempt;            /* the hand-over by which it came here; 0: none */
	u64 rival_epoch;        /* the highest that another host was heard to have it at */
	u32 doorbell;           /* set by vm_doorbell, atomically */
	u32 want;               /* VM_WANT_*: asked for by a vCPU's CPU, done by the service CPU */
	s64 time_offset_ns;     /* vm_time_ns = time_ns + this */
	u32 tsc_khz;            /* its TSC's frequency where it started: goes with it */
	u64 tsc_ratio;          /* to the host's, where the CPU scales: hvm.h; 0: it is the host's */
	struct ticks_scale tsc_scale; /* from its TSC to ns, as it is here */
	u64 tsc_offset;         /* guest TSC = host TSC (scaled) + this (+ the vCPU's tsc_adjust) */
	u64 clock_tsc, clock_ns; /* a point of the line that all vCPUs' clock pages describe: vmm/pvclock.c */
	u64 frozen_time_ns, frozen_tsc; /* what the clocks show while frozen */
	bool frozen;
	bool published;
	char failure[VM_WHY_BYTES]; /* vm_fail's message; complete once VM_WANT_CRASH is in want */
	u64 end_value;          /* vm_end_with's; with END_VALUE_GIVEN if there is one */
	u32 failing;            /* somebody writes or wrote failure */
	struct vm *next;
};

#define END_VALUE_GIVEN BIT(32)

enum { VM_WANT_SHUTDOWN = 1, VM_WANT_REBOOT = 2, VM_WANT_CRASH = 4 };

/*
 * Builds a guest: memory, vCPUs, board, kernel; not yet running (VM_BUILDING). vm_service() clears its memory, during
 * which it is paused (VM_PAUSE_CLEAR).
 * On an error why says, for a person, what is missing.
 */
int must_check vm_create(const struct vm_config *config, struct vm **vm, char *why, size_t why_bytes);
/*
 * The same without a kernel: for a guest that arrives. Not found by vm_find until vm_publish. Its
 * memory is not zeroed: who brings the guest writes all of it.
 */
int must_check vm_create_incoming(const struct vm_config *config, struct vm **vm, char *why, size_t why_bytes);
/* vm_create has done it already; again does nothing. */
void vm_publish(struct vm *vm);
/* First start, or arrival: VM_BUILDING -> VM_LIVE. */
void vm_start(struct vm *vm);
/* Stops it wherever it is and gives everything back. */
void vm_destroy(struct vm *vm);

/*
 * Sets / clears a pause bit; on return of vm_pause every vCPU is out of the guest and stays out.
 * Service CPU, vm->lock not held (vm_pause waits for the vCPUs, who take it).
 */
void vm_pause(struct vm *vm, enum vm_pause who);
void vm_unpause(struct vm *vm, enum vm_pause who);

/*
 * While held (counted), an end of the guest changes its state, but it is neither destroyed nor
 * restarted: whoever works on it (a migration) looks at vm->state first.
 */
void vm_hold(struct vm *vm);
void vm_release(struct vm *vm);

/* By name or decimal id; published guests only. */
struct vm *vm_find(const char *name);
struct vm *vm_by_id(u32 id);
/* vm_next(NULL) is the first. */
struct vm *vm_next(struct vm *vm);
/* Those that are being built or arrive, too: their names and MACs are taken. */
struct vm *vm_next_any(struct vm *vm);

/* The guest did what cannot go on: it stops, with the reason on the console. Any CPU. */
void vm_fail(struct vm *vm, const char *fmt, ...) printf_like(2, 3);
/* The guest switched itself off / reset itself. Any CPU. */
void vm_want(struct vm *vm, u32 what);
/* The same as VM_WANT_SHUTDOWN, with a value for whoever reads the console. Any CPU. */
void vm_end_with(struct vm *vm, u32 value);
/* Something for the service CPU in one of vm's devices. Any CPU. */
void vm_doorbell(struct vm *vm);
/* Service loop: devices' service(), ended guests by their on_* policy; true if there is more to do. */
bool vm_service(void);
/* Presses the guest's ACPI power button. */
void vm_power_button(struct vm *vm);
/* Told when a guest has ended, restarted or crashed, for the console's message. */
void vm_set_listener(void (*event)(struct vm *vm, const char *what));

u64 vm_time_ns(const struct vm *vm);
u64 vm_tsc(const struct vm *vm);

/* Here: what the guest's RDTSC counts; from its ticks to ns, rounded down. */
u64 vm_tsc_khz(const struct vm *vm);
u64 vm_tsc_to_ns(const struct vm *vm, u64 ticks);
/*
 * The frequency that the guest knows: the CPU makes it so, if it is another one than the host's by more than
 * TSC_TOLERANCE_PPM and the CPU can. Before vm_time_load(). False: the guest's TSC has the host's frequency.
 */
bool vm_tsc_set_khz(struct vm *vm, u32 khz);
/* Two frequencies that are the same for the guest: what its ntpd could correct. */
#define TSC_TOLERANCE_PPM 500
bool tsc_khz_differ(u64 khz, u64 other_khz);

/* For a guest that arrives: its clocks go on from these values, which are true right now. */
void vm_time_load(struct vm *vm, u64 guest_time_ns, u64 guest_tsc);

/* Every vCPU flushes its translations before it runs guest code again; returns when that is sure. */
void vm_flush_tlbs(struct vm *vm);
/*
 * One collection of the dirty log: clear D into bitmap, kick every vCPU and wait for its flush.
 * Only after it may the pages be read. Returns the number of bits newly set.
 */
u64 vm_dirty_collect(struct vm *vm, u64 *bitmap);
int must_check vm_dirty_start(struct vm *vm);
void vm_dirty_stop(struct vm *vm);

#endif
