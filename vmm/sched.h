/* SPDX-License-Identifier: Apache-2.0 */
/* Which vCPU runs where and when. */
#ifndef VMM_SCHED_H
#define VMM_SCHED_H

#include "types.h"

struct vcpu;
struct vm;

#define SCHED_SLICE_NS (10 * NS_PER_MS)

/* Does this host CPU run guests? The service CPU does only where it is the only one. */
bool sched_cpu_runs_guests(u32 cpu);
/* Is there a CPU for guests among these (bit n: CPU n; 0: any)? */
bool sched_has_cpu(u64 cpus);
/* From now on it may be woken; it waits until then. sched_has_cpu() of its guest's CPUs was true. */
void sched_add(struct vcpu *vcpu);
void sched_remove(struct vcpu *vcpu);
/* Runnable now (or again): queues it, and tells a CPU that is to run it. Any CPU. */
void sched_wake(struct vcpu *vcpu);
/* The running vCPU waits for somebody else (it spins): others first, of its own guest before all. Its CPU. */
void sched_give_way(struct vcpu *vcpu);
/*
 * Each of its vCPUs gets at most percent of a CPU (1 .. 99; 0: no cap), from now on; a cap of its
 * configuration holds besides. Service CPU. A move that throttles its guest is the only one that calls it.
 */
void sched_set_cap(struct vm *vm, u32 percent);
/* The main loop of the CPUs other than the service CPU. */
void sched_main(void);
/* On a machine with one CPU: runs one slice in the service loop; true if something ran. */
bool sched_run_slice(void);
/* When this CPU has something to run, in time_ns: 1: now; 0: not by itself. */
u64 sched_next_deadline(void);

#endif
