/* SPDX-License-Identifier: Apache-2.0 */
/* Which vCPU runs where and when. */
#ifndef VMM_SCHED_H
#define VMM_SCHED_H

#include "types.h"

struct vcpu;
struct vm;

#define SCHED_SLICE_NS (10 * NS_PER_MS)

/* Is there a CPU for guests? */
bool sched_has_cpu(void);
/* Gives the vCPU a host CPU (the least loaded one); sched_has_cpu() was true. */
void sched_add(struct vcpu *vcpu);
void sched_remove(struct vcpu *vcpu);
/* Runnable now (or again): queues it and kicks its CPU. Any CPU. */
void sched_wake(struct vcpu *vcpu);
/*
 * Each of its vCPUs gets at most percent of a CPU (1 .. 99; 0: no cap), from now on. Service CPU. A move
 * that throttles its guest is the only one that calls it so far.
 */
void sched_set_cap(struct vm *vm, u32 percent);
/* The main loop of the CPUs other than the service CPU. */
void sched_main(void);
/* On a machine with one CPU: runs one slice in the service loop; true if something ran. */
bool sched_run_slice(void);
/* The nearest deadline of this CPU's halted vCPUs, in time_ns; 0: none. */
u64 sched_next_deadline(void);

#endif
