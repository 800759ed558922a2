/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out instructions whose operand is no memory: the registers of devices, or nothing at
 * all. On the vCPU's CPU, out of the guest. All that it reads comes from the guest, once.
 */
#include "vmm/emulate.h"

#include "errors.h"
#include "vmm/emulate_internal.h"
#include "vmm/irqchip.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* --- the buses -------------------------------------------------------------------------------- */

static inline void bus_access(struct vm *vm, struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value)
{
	int error;

	spin_lock(&vm->lock);
	error = io_bus_access(bus, addr, size, write, value);
	spin_unlock(&vm->lock);
	/* Nobody drives the lines of a real bus then: ones. */
	if (unlikely(error && !write))
		*value = emulation_mask(size);
}

/* One value and no array: checking the stack would be a fiftieth of all that a port exit costs. */
no_stack_protector u64 emulate_port_read(struct vm *vm, u16 port, unsigned int size)
{
	u64 value = 0;

	bus_access(vm, &vm->pio, port, size, false, &value);
	return value;
}

void emulate_port_write(struct vm *vm, u16 port, unsigned int size, u64 value)
{
	bus_access(vm, &vm->pio, port, size, true, &value);
}

void emulate_mmio(struct vm *vm, gpa_t gpa, unsigned int size, bool write, u64 *value)
{
	bus_access(vm, &vm->mmio, gpa, size, write, value);
}

/* --- the instructions ------------------------------------------------------------------------- */

static u64 effective_offset(const struct emulation *e)
{
	const struct insn *insn = &e->insn;
	u64 offset = insn->disp;

	if (insn->base == INSN_RIP)
		offset += e->vcpu->regs.rip + insn->len;
	else if (insn->base != INSN_NO_REG)
		offset += e->vcpu->regs.gpr[insn->base];
	if (insn->index != INSN_NO_REG)
		offset += e->vcpu->regs.gpr[insn->index] << insn->scale;
	return offset & emulation_mask(insn->address_size);
}

static u64 other_operand(const struct emulation *e)
{
	if (e->insn.operand == INSN_IMM)
		return e->insn.imm;
	return emulation_get_reg(e, e->insn.reg, e->insn.reg_size, e->insn.high_byte);
}

static void set_other_operand(struct emulation *e, u64 value)
{
	emulation_set_reg(e, e->insn.reg, e->insn.reg_size, e->insn.high_byte, value);
}

static u64 sign_extend(u64 value, u32 size)
{
	u32 shift = 64 - 8 * size;

	return (u64)((s64)(value << shift) >> shift);
}

static int execute_load(struct emulation *e, u64 linear)
{
	u64 value;

	if (emulation_read(e, linear, e->insn.size, &value))
		return -E_INVAL;
	if (e->insn.op == INSN_MOVSX)
		value = sign_extend(value, e->insn.size);
	set_other_operand(e, value);
	return 0;
}

static int execute_exchange(struct emulation *e, u64 linear)
{
	u64 *rflags = &e->vcpu->regs.rflags;
	u64 flags = *rflags;
	u64 other = other_operand(e);
	u64 old;
	u64 value;

	if (emulation_read(e, linear, e->insn.size, &old))
		return -E_INVAL;
	value = other;
	if (e->insn.op == INSN_XADD)
		value = alu_compute(INSN_XADD, e->insn.size, old, other, &flags);
	if (emulation_write(e, linear, e->insn.size, value))
		return -E_INVAL;
	set_other_operand(e, old);
	*rflags = flags;
	return 0;
}

static int execute_cmpxchg(struct emulation *e, u64 linear)
{
	u32 size = e->insn.size;
	u64 *rflags = &e->vcpu->regs.rflags;
	u64 flags = *rflags;
	u64 expected = emulation_get_reg(e, GPR_RAX, size, false);
	u64 old;

	if (emulation_read(e, linear, size, &old))
		return -E_INVAL;
	alu_compute(INSN_CMP, size, expected, old, &flags);
	/* The destination is written in any case (SDM 2, CMPXCHG). */
	if (emulation_write(e, linear, size, old == expected ? other_operand(e) : old))
		return -E_INVAL;
	if (old != expected)
		emulation_set_reg(e, GPR_RAX, size, false, old);
	*rflags = flags;
	return 0;
}

/* A bit number in a register reaches beyond the operand (SDM 2, BT). */
static u64 bit_address(const struct emulation *e, u64 linear)
{
	u32 size = e->insn.size;
	s64 bit;

	if (e->insn.operand != INSN_REG)
		return linear;
	bit = (s64)sign_extend(other_operand(e), e->insn.reg_size);
	linear += (u64)((bit >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (s64)size);
	return e->insn_mode == INSN_MODE_64 ? linear : (u32)linear;
}

static bool writes_result(enum insn_op op)
{
	return op != INSN_CMP && op != INSN_TEST && op != INSN_BT;
}

static int execute_alu(struct emulation *e, u64 linear)
{
	u32 size = e->insn.size;
	u64 *rflags = &e->vcpu->regs.rflags;
	u64 flags = *rflags;
	u64 memory;
	u64 result;

	if (emulation_read(e, linear, size, &memory))
		return -E_INVAL;
	if (!e->insn.to_memory) {
		result = alu_compute(e->insn.op, size, other_operand(e), memory, &flags);
		if (writes_result(e->insn.op))
			set_other_operand(e, result);
		*rflags = flags;
		return 0;
	}
	result = alu_compute(e->insn.op, size, memory, other_operand(e), &flags);
	if (writes_result(e->insn.op) && emulation_write(e, linear, size, result))
		return -E_INVAL;
	*rflags = flags;
	return 0;
}

/* 0; nonzero: a fault was injected and nothing has changed. */
static int execute(struct emulation *e)
{
	u64 linear = emulation_linear(e, e->insn.segment, effective_offset(e));

	switch (e->insn.op) {
	case INSN_MOV:
		if (e->insn.to_memory)
			return emulation_write(e, linear, e->insn.size, other_operand(e));
		return execute_load(e, linear);
	case INSN_MOVZX: case INSN_MOVSX:
		return execute_load(e, linear);
	case INSN_XCHG: case INSN_XADD:
		return execute_exchange(e, linear);
	case INSN_CMPXCHG:
		return execute_cmpxchg(e, linear);
	case INSN_BT: case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return execute_alu(e, bit_address(e, linear));
	case INSN_ADD: case INSN_OR: case INSN_ADC: case INSN_SBB:
	case INSN_AND: case INSN_SUB: case INSN_XOR: case INSN_CMP:
	case INSN_TEST: case INSN_NOT: case INSN_NEG: case INSN_INC: case INSN_DEC:
		return execute_alu(e, linear);
	case INSN_MOVS: case INSN_STOS: case INSN_LODS: case INSN_INS: case INSN_OUTS:
		break;
	}
	return emulation_undecodable(e);
}

static bool is_string(enum insn_op op)
{
	return op >= INSN_MOVS;
}

void emulate_npt(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct emulation e;

	/* It was the CPU's own access, on the way of an event: no instruction wants to be carried out. */
	if (unlikely(hvm->event_pending(vcpu))) {
		vm_fail(vcpu->vm, "an interrupt or exception at rip %#llx needs memory that is not there (%#llx)",
			(unsigned long long)vcpu->regs.rip, (unsigned long long)exit->npt.gpa);
		return;
	}
	if (emulation_fetch(&e, vcpu, exit->npt.insn, exit->npt.insn_bytes))
		return;
	/* Code where no memory is: as in fetch_more(). */
	if (exit->npt.fetch && !exit->npt.table_walk) {
		emulation_raise(&e, VECTOR_UD, false, 0);
		return;
	}
	if (emulation_decode(&e))
		return;
	/* Those exit for their port first: the code was changed meanwhile, and nobody checked that access. */
	if (e.insn.op == INSN_INS || e.insn.op == INSN_OUTS)
		return;
	if (is_string(e.insn.op)) {
		if (emulate_string(&e))
			return;
	} else {
		/* A walk of the guest's tables that ended outside of memory faults in our walk as well. */
		e.has_gpa = !exit->npt.table_walk;
		e.gpa_write = exit->npt.write;
		e.gpa = exit->npt.gpa;
		if (execute(&e))
			return;
		emulation_finish(&e);
	}
	/* It may have written the APIC's TPR, which CR8 shows. */
	if (e.device_written)
		hvm->set_cr(vcpu, 8, irqchip_get_tpr(vcpu));
}
