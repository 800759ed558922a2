/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest starts its other CPUs: INIT, then a start-up message (SIPI) with the page to begin at (SDM 3
 * 9.4.4, 11.4.2 of MultiProcessor initialization; APM 2 15.27.8). Sent from any CPU, taken by the vCPU's own.
 */
#ifndef VMM_STARTUP_H
#define VMM_STARTUP_H

#include "types.h"

struct vcpu;

/* The message arrives. Any CPU. Not for the boot CPU, whose INIT is a reset of the guest. */
void startup_init(struct vcpu *vcpu);
/* Counts only while the vCPU waits for it, or is about to; the first one wins. Any CPU. */
void startup_sipi(struct vcpu *vcpu, u8 vector);
/* Does what has arrived. On the vCPU's own CPU, between two entries, or while it does not run. */
void startup_take(struct vcpu *vcpu);

#endif
