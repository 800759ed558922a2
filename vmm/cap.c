/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bucket of time: it fills by percent of the time that goes by, and empties by what the vCPU runs. Who
 * finds it empty waits until it is full, so a vCPU runs and waits in turn and not in crumbs. What it ran
 * too long is owed, but no more than a period of it: the time before it was capped does not count.
 * Called by vmm/sched.c, on the vCPU's CPU.
 */
#include "vmm/cap.h"

#define CRUMB_PART 8 /* so much of a full bucket is not worth an entry */

u64 cap_check(struct cap *cap, u32 percent, u64 now_ns, u64 run_ns, u64 *left_ns)
{
	s64 full_ns = (s64)(CAP_PERIOD_NS * percent / 100);
	s64 earned_ns = (s64)(MIN(now_ns - cap->seen_ns, NS_PER_S) * percent / 100);
	s64 spent_ns = (s64)MIN(run_ns - cap->run_ns, NS_PER_S);

	cap->credit_ns = MIN(cap->credit_ns + earned_ns - spent_ns, full_ns);
	cap->credit_ns = MAX(cap->credit_ns, -(s64)CAP_PERIOD_NS);
	cap->seen_ns = now_ns;
	cap->run_ns = run_ns;
	*left_ns = cap->credit_ns > full_ns / CRUMB_PART ? (u64)cap->credit_ns : 0;
	return *left_ns ? 0 : now_ns + (u64)(full_ns - cap->credit_ns) * 100 / percent;
}
