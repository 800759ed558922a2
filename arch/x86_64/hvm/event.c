/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for interrupts and exceptions on their way into a guest. Pure. */
#include "arch/x86_64/hvm/common.h"

/* APM 2 15.20, SDM 3 27.2.1.3. */
bool hvm_event_valid(const struct vm_event *event)
{
	switch ((enum event_type)event->type) {
	case EVENT_NONE:
	case EVENT_IRQ:
		return !event->has_error_code;
	case EVENT_NMI:
		return !event->has_error_code;
	case EVENT_EXCEPTION:
		return event->vector < FIRST_IRQ_VECTOR && event->vector != VECTOR_NMI;
	case EVENT_SOFT_INT:
		/* Never saved: the INT n is executed again instead. */
		return false;
	}
	return false;
}

/* What two exceptions in a row make (APM 2 8.2.9, table 8-4; SDM 3 table 6-5). */
static bool is_contributory(u8 vector)
{
	return vector == 0 || (vector >= 10 && vector <= 13);
}

static bool makes_double_fault(u8 first, u8 second)
{
	if (first == VECTOR_PF)
		return second == VECTOR_PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

/*
 * Two exceptions make a double fault or the second one wins, as the instruction or the delivery
 * that raised the first comes again. An interrupt would be lost that way, so it stays, and what
 * interrupted its delivery happens again. A fault in a double fault's delivery stays a double
 * fault here: the guest spins in exits until somebody stops it, and hurts only itself.
 */
void hvm_event_merge(struct vm_event *waiting, struct vm_event event)
{
	if (waiting->type != EVENT_EXCEPTION || waiting->vector == VECTOR_DF)
		return;
	if (!makes_double_fault(waiting->vector, event.vector)) {
		*waiting = event;
		return;
	}
	*waiting = (struct vm_event){ .type = EVENT_EXCEPTION, .vector = VECTOR_DF, .has_error_code = 1 };
}
