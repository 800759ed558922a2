/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for a vCPU's registers. Pure. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/hvm/common.h"
#include "lib/string.h"

bool hvm_canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

bool hvm_pat_valid(u64 pat)
{
	for (u32 i = 0; i < 64; i += 8) {
		u64 type = pat >> i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* What makes VMRUN (APM 2 15.5.1) or a VM entry (SDM 3 27.3.1.1) fail. */
static bool control_registers_valid(const struct cpu_state *s)
{
	bool paging = s->cr0 & CR0_PG;
	bool long_mode = s->efer & EFER_LME && paging;

	if (s->cr0 & HIGH_HALF || s->cr4 & HIGH_HALF || s->cr3 & ~0x000fffffffffffffull || s->cr8 > 15)
		return false;
	if ((s->cr0 & CR0_NW && !(s->cr0 & CR0_CD)) || (paging && !(s->cr0 & CR0_PE)))
		return false;
	if (s->efer & ~(u64)EFER_KNOWN || !(s->efer & EFER_LMA) != !long_mode)
		return false;
	if (long_mode && (!(s->cr4 & CR4_PAE) || (s->cs.attr & SEGMENT_L && s->cs.attr & SEGMENT_DB)))
		return false;
	return !(s->dr6 & HIGH_HALF) && !(s->dr7 & HIGH_HALF);
}

/* What VMRUN and VMLOAD would cut or fault on, and a VM entry refuse. */
static bool addresses_valid(const struct cpu_state *s)
{
	u64 addresses[] = {
		s->gdtr.base, s->idtr.base, s->fs.base, s->gs.base,        s->ldtr.base,     s->tr.base,
		s->lstar,     s->cstar,     s->kernel_gs_base, s->sysenter_esp, s->sysenter_eip,
	};

	for (u32 i = 0; i < ARRAY_SIZE(addresses); i++)
		if (!hvm_canonical(addresses[i]))
			return false;
	return true;
}

bool hvm_state_valid(const struct cpu_state *s, bool rdtscp)
{
	u64 features = fpu_features();

	return control_registers_valid(s) && addresses_valid(s) && hvm_pat_valid(s->pat) &&
	       hvm_event_valid(&s->event) && s->xcr0 & XCR0_X87 && !(s->xcr0 & ~features) && !s->xss && !s->spec_ctrl &&
	       !(s->debugctl & ~DEBUGCTL_KNOWN) && (!s->tsc_aux || rdtscp) && !(s->tsc_aux & HIGH_HALF);
}
