/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INIT and SIPI. Both wait in vcpu->startup until the vCPU's own CPU takes them:
 *
 *	INIT:	startup = INIT, whatever was there; kick
 *	SIPI:	only if the vCPU waits for one or startup has INIT: add it; kick
 *	taking:	activity = WAIT_SIPI if startup has INIT; startup = 0 (swap); then do what it was
 *
 * The activity comes before the swap, so a SIPI that comes after an INIT sees one of the two.
 */
#include "vmm/startup.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "vmm/cr.h"
#include "vmm/irqchip.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

enum { STARTUP_SIPI = 1 << 8, STARTUP_INIT = 1 << 9 };

#define CODE_ATTR (SEGMENT_P | SEGMENT_S | 0xb)

void startup_init(struct vcpu *vcpu)
{
	atomic_swap(&vcpu->startup, STARTUP_INIT);
	vcpu_kick(vcpu);
}

void startup_sipi(struct vcpu *vcpu, u8 vector)
{
	u32 old = READ_ONCE(vcpu->startup);

	do {
		if (old & STARTUP_SIPI || (!(old & STARTUP_INIT) && READ_ONCE(vcpu->activity) != VCPU_WAIT_SIPI))
			return;
	} while (!__atomic_compare_exchange_n(&vcpu->startup, &old, old | STARTUP_SIPI | vector, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	vcpu_kick(vcpu);
}

/* SDM 3 table 10-1, APM 2 table 14-1: XCR0, the FPU's registers and the MSRs but EFER stay. */
static void init_state(struct cpu_state *state)
{
	struct cpu_state old = *state;

	cpu_state_reset(state);
	state->cr0 = (old.cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	state->xcr0 = old.xcr0;
	state->star = old.star;
	state->lstar = old.lstar;
	state->cstar = old.cstar;
	state->sfmask = old.sfmask;
	state->kernel_gs_base = old.kernel_gs_base;
	state->sysenter_cs = old.sysenter_cs;
	state->sysenter_esp = old.sysenter_esp;
	state->sysenter_eip = old.sysenter_eip;
	state->pat = old.pat;
	state->tsc_aux = old.tsc_aux;
}

static void load(struct vcpu *vcpu, const struct cpu_state *state, const char *what)
{
	if (vcpu_load(vcpu, state))
		vm_fail(vcpu->vm, "vCPU %u does not take %s: a fault of this hypervisor", vcpu->index, what);
}

static void take_init(struct vcpu *vcpu)
{
	struct cpu_state state;

	vcpu_save(vcpu, &state);
	init_state(&state);
	load(vcpu, &state, "INIT");
	irqchip_init(vcpu);
}

static void take_sipi(struct vcpu *vcpu, u8 vector)
{
	struct cpu_state state;

	vcpu_save(vcpu, &state);
	state.cs = (struct segment){ (u16)(vector << 8), CODE_ATTR, 0xffff, (u64)vector << 12 };
	state.rip = 0;
	load(vcpu, &state, "its start-up message");
	WRITE_ONCE(vcpu->activity, VCPU_ACTIVE);
}

void startup_take(struct vcpu *vcpu)
{
	u32 startup;

	if (likely(!READ_ONCE(vcpu->startup)))
		return;
	if (READ_ONCE(vcpu->startup) & STARTUP_INIT)
		WRITE_ONCE(vcpu->activity, VCPU_WAIT_SIPI);
	startup = atomic_swap(&vcpu->startup, 0);
	if (startup & STARTUP_INIT)
		take_init(vcpu);
	if (startup & STARTUP_SIPI && vcpu->activity == VCPU_WAIT_SIPI)
		take_sipi(vcpu, (u8)startup);
}
