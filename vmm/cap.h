/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of a CPU's time a vCPU may have, in per cent. Pure: times in, a decision out. The scheduler
 * (vmm/sched.c) asks before each run, on the vCPU's CPU.
 */
#ifndef VMM_CAP_H
#define VMM_CAP_H

#include "types.h"

/* What a capped vCPU gets at once; then it waits. */
#define CAP_PERIOD_NS (10 * NS_PER_MS)

/* Zeroed at first. */
struct cap {
	s64 credit_ns; /* that it may still run; below 0: it ran longer than it might */
	u64 seen_ns;   /* when it was counted last, and how long it had run until then */
	u64 run_ns;
};

/*
 * May it run at now_ns, with percent of a CPU (1 .. 100), having run run_ns in its life? 0: for *left_ns.
 * Otherwise until when it waits.
 */
u64 cap_check(struct cap *cap, u32 percent, u64 now_ns, u64 run_ns, u64 *left_ns);

#endif
