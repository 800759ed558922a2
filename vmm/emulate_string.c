/* SPDX-License-Identifier: Apache-2.0 */
/*
 * String instructions, one iteration at a time: between two, the guest can take an interrupt, as
 * on a real CPU (SDM 2, REP). On the vCPU's CPU.
 */
#include "vmm/emulate.h"
#include "vmm/emulate_internal.h"

#include "compiler.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define RFLAGS_DF BIT(10)
/* INS and OUTS: so many iterations for one exit. */
#define BATCH 64

static u64 string_reg(const struct emulation *e, u8 reg)
{
	return e->vcpu->regs.gpr[reg] & emulation_mask(e->insn.address_size);
}

static void string_advance(struct emulation *e, u8 reg)
{
	u64 step = e->vcpu->regs.rflags & RFLAGS_DF ? (u64)-(s64)e->insn.size : e->insn.size;

	emulation_set_reg(e, reg, e->insn.address_size, false, string_reg(e, reg) + step);
}

static u64 source(const struct emulation *e)
{
	return emulation_linear(e, e->insn.segment, string_reg(e, GPR_RSI));
}

static u64 destination(const struct emulation *e)
{
	return emulation_linear(e, INSN_ES, string_reg(e, GPR_RDI));
}

static int iterate(struct emulation *e)
{
	u32 size = e->insn.size;
	u16 port = (u16)e->vcpu->regs.gpr[GPR_RDX];
	u64 value = 0;

	switch (e->insn.op) {
	case INSN_MOVS:
		if (emulation_read(e, source(e), size, &value))
			return -1;
		/* The CPU named one of the two places only. */
		if (emulation_write(e, destination(e), size, value))
			return -1;
		string_advance(e, GPR_RSI);
		string_advance(e, GPR_RDI);
		return 0;
	case INSN_STOS:
		if (emulation_write(e, destination(e), size, emulation_get_reg(e, GPR_RAX, size, false)))
			return -1;
		string_advance(e, GPR_RDI);
		return 0;
	case INSN_LODS:
		if (emulation_read(e, source(e), size, &value))
			return -1;
		emulation_set_reg(e, GPR_RAX, size, false, value);
		string_advance(e, GPR_RSI);
		return 0;
	case INSN_INS:
		/* The page is looked up first: a byte taken from the port must not be lost in a fault. */
		if (emulation_probe_write(e, destination(e), size))
			return -1;
		if (emulation_write(e, destination(e), size, emulate_port_read(e->vm, port, size)))
			return -1;
		string_advance(e, GPR_RDI);
		return 0;
	case INSN_OUTS:
		if (emulation_read(e, source(e), size, &value))
			return -1;
		emulate_port_write(e->vm, port, size, value);
		string_advance(e, GPR_RSI);
		return 0;
	default:
		return -1; /* not a string instruction: emulation_decode() lets none through */
	}
}

/* One iteration; RIP moves on after the last. true: there are more. */
static bool step(struct emulation *e, int *error)
{
	u64 count = string_reg(e, GPR_RCX);

	*error = 0;
	if (!e->insn.rep || count) {
		*error = iterate(e);
		if (*error)
			return false;
	}
	if (e->insn.rep && count) {
		count--;
		emulation_set_reg(e, GPR_RCX, e->insn.address_size, false, count);
	}
	if (e->insn.rep && count)
		return true;
	emulation_finish(e);
	return false;
}

int emulate_string(struct emulation *e)
{
	int error;

	step(e, &error);
	return error;
}

void emulate_string_io(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct emulation e;
	int error;

	if (emulation_fetch(&e, vcpu, NULL, 0) || emulation_decode(&e))
		return;
	/*
	 * The guest may have changed its code between the exit and our look: then it executes that. What
	 * the CPU has checked against IOPL and the TSS's bitmap is this access and no other.
	 */
	if (e.insn.op != (exit->io.in ? INSN_INS : INSN_OUTS) || e.insn.size != exit->io.size)
		return;
	for (u32 i = 0; i < BATCH; i++)
		if (!step(&e, &error) || READ_ONCE(vcpu->requests))
			return;
}
