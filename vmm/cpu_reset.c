/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's registers as after a reset. Pure, but for the CPU's signature. */
#include "arch/x86_64/cpu.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/hvm.h"

#define PAT_AT_RESET 0x0007040600070406ull /* SDM 3 13.12.4 */

static struct segment data_segment(void)
{
	return (struct segment){ .attr = SEGMENT_P | SEGMENT_S | 3, .limit = 0xffff };
}

void cpu_state_reset(struct cpu_state *state)
{
	memset(state, 0, sizeof(*state));
	state->gpr[GPR_RDX] = cpuid_read(1, 0).eax;
	state->es = data_segment();
	state->ss = data_segment();
	state->ds = data_segment();
	state->fs = data_segment();
	state->gs = data_segment();
	state->cs = (struct segment){
		.selector = 0xf000,
		.attr = SEGMENT_P | SEGMENT_S | 0xb,
		.limit = 0xffff,
		.base = 0xffff0000,
	};
	state->gdtr.limit = 0xffff;
	state->idtr.limit = 0xffff;
	state->ldtr = (struct segment){ .attr = SEGMENT_P | 2, .limit = 0xffff };
	state->tr = (struct segment){ .attr = SEGMENT_P | 0xb, .limit = 0xffff };
	state->cr0 = CR0_CD | CR0_NW | CR0_ET;
	state->xcr0 = XCR0_X87;
	state->dr6 = 0xffff0ff0;
	state->dr7 = 0x400;
	state->rflags = BIT(1);
	state->rip = 0xfff0;
	state->pat = PAT_AT_RESET;
}
