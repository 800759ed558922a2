/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out instructions whose operand is no memory: the registers of devices, or nothing at
 * all. On the vCPU's CPU, out of the guest. All that it reads comes from the guest, once.
 */
#include "vmm/emulate.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/emulate_internal.h"
#include "vmm/irqchip.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

enum { VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14 };

/* --- the buses -------------------------------------------------------------------------------- */

static void bus_access(struct vm *vm, struct io_bus *bus, u64 addr, unsigned int size, bool write, u64 *value)
{
	int error;

	spin_lock(&vm->lock);
	error = io_bus_access(bus, addr, size, write, value);
	spin_unlock(&vm->lock);
	/* Nobody drives the lines of a real bus then: ones. */
	if (error && !write)
		*value = ~0ull;
	if (!write)
		*value &= emulation_mask(size);
}

void emulate_port(struct vm *vm, u16 port, unsigned int size, bool write, u64 *value)
{
	bus_access(vm, &vm->pio, port, size, write, value);
}

void emulate_mmio(struct vm *vm, gpa_t gpa, unsigned int size, bool write, u64 *value)
{
	bus_access(vm, &vm->mmio, gpa, size, write, value);
}

/* --- faults ----------------------------------------------------------------------------------- */

static int raise(struct emulation *e, u8 vector, bool has_error_code, u32 error_code)
{
	vcpu_inject_exception(e->vcpu, vector, has_error_code, error_code);
	return -E_INVAL;
}

static int raise_page_fault(struct emulation *e, u64 linear, u32 error_code)
{
	struct cpu_state state;

	vcpu_save(e->vcpu, &state);
	state.cr2 = linear;
	/* The state was good a moment ago, and CR2 takes any value. */
	if (hvm->set_state(e->vcpu, &state)) {
		vm_fail(e->vm, "its CPU state could not be loaded again");
		return -E_INVAL;
	}
	return raise(e, VECTOR_PF, true, error_code);
}

static int translate(struct emulation *e, u64 linear, enum walk_access access, gpa_t *gpa)
{
	u32 error_code = 0;
	int error = walk_translate(e->vm, &e->mode, e->vcpu->regs.rflags, linear, access, gpa, &error_code);

	if (!error)
		return 0;
	if (error == -E_RANGE)
		return raise(e, VECTOR_GP, true, 0);
	return raise_page_fault(e, linear, error_code);
}

/* --- registers and addresses ------------------------------------------------------------------ */

u64 emulation_get_reg(const struct emulation *e, u8 reg, u32 size, bool high_byte)
{
	u64 value = e->vcpu->regs.gpr[reg & 15];

	return (high_byte ? value >> 8 : value) & emulation_mask(size);
}

void emulation_set_reg(struct emulation *e, u8 reg, u32 size, bool high_byte, u64 value)
{
	u64 *gpr = &e->vcpu->regs.gpr[reg & 15];
	u32 shift = high_byte ? 8 : 0;
	u64 mask = emulation_mask(size) << shift;

	/* 32-bit results clear the upper half (SDM 1 3.4.1.1). */
	if (size == 4)
		*gpr = (u32)value;
	else
		*gpr = (*gpr & ~mask) | (value << shift & mask);
}

u64 emulation_segment_base(const struct emulation *e, enum insn_segment segment)
{
	switch (segment) {
	case INSN_FS:
		return e->mode.fs.base;
	case INSN_GS:
		return e->mode.gs.base;
	case INSN_ES:
		return e->insn_mode == INSN_MODE_64 ? 0 : e->mode.es.base;
	case INSN_CS:
		return e->insn_mode == INSN_MODE_64 ? 0 : e->mode.cs.base;
	case INSN_SS:
		return e->insn_mode == INSN_MODE_64 ? 0 : e->mode.ss.base;
	case INSN_DS:
		return e->insn_mode == INSN_MODE_64 ? 0 : e->mode.ds.base;
	}
	return 0;
}

/* Segment limits are not checked: the CPU did, before it found that there is no memory. */
u64 emulation_linear(const struct emulation *e, enum insn_segment segment, u64 offset)
{
	u64 linear = emulation_segment_base(e, segment) + offset;

	return e->insn_mode == INSN_MODE_64 ? linear : (u32)linear;
}

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

/* --- memory ----------------------------------------------------------------------------------- */

/* Within one page. Odd sizes come from accesses that cross a page. */
static void access_gpa(struct emulation *e, gpa_t gpa, u32 size, bool write, u64 *value)
{
	u64 page;

	if (!gmem_page_of(&e->vm->gmem, gpa, &page)) {
		int error = write ? gmem_write(&e->vm->gmem, gpa, value, size) :
				    gmem_read(&e->vm->gmem, gpa, value, size);

		if (error)
			*value = ~0ull;
		return;
	}
	if (size == 1 || size == 2 || size == 4 || size == 8) {
		emulate_mmio(e->vm, gpa, size, write, value);
		return;
	}
	for (u32 i = 0; i < size; i++) {
		u64 byte = *value >> (8 * i) & 0xff;

		emulate_mmio(e->vm, gpa + i, 1, write, &byte);
		*value = (*value & ~(0xffull << (8 * i))) | byte << (8 * i);
	}
}

static int access_linear(struct emulation *e, u64 linear, u32 size, bool write, u64 *value)
{
	enum walk_access access = write ? WALK_WRITE : WALK_READ;
	u32 first = (u32)MIN(size, PAGE_SIZE - linear % PAGE_SIZE);
	gpa_t gpa, gpa_rest = 0;
	u64 rest;

	if (first == size && e->has_gpa && linear % PAGE_SIZE == e->gpa % PAGE_SIZE) {
		access_gpa(e, e->gpa, size, write, value);
		return 0;
	}
	if (translate(e, linear, access, &gpa))
		return -E_INVAL;
	if (first == size) {
		access_gpa(e, gpa, size, write, value);
		return 0;
	}
	if (translate(e, linear + first, access, &gpa_rest))
		return -E_INVAL;
	rest = *value >> (8 * first);
	access_gpa(e, gpa, first, write, value);
	access_gpa(e, gpa_rest, size - first, write, &rest);
	*value = (*value & emulation_mask(first)) | rest << (8 * first);
	return 0;
}

int emulation_read(struct emulation *e, u64 linear, u32 size, u64 *value)
{
	*value = 0;
	if (access_linear(e, linear, size, false, value))
		return -E_INVAL;
	*value &= emulation_mask(size);
	return 0;
}

int emulation_write(struct emulation *e, u64 linear, u32 size, u64 value)
{
	return access_linear(e, linear, size, true, &value);
}

int emulation_probe_write(struct emulation *e, u64 linear, u32 size)
{
	gpa_t gpa;

	if (translate(e, linear, WALK_WRITE, &gpa))
		return -E_INVAL;
	if (linear % PAGE_SIZE + size <= PAGE_SIZE)
		return 0;
	return translate(e, linear + size - 1, WALK_WRITE, &gpa);
}

/* --- fetching and decoding -------------------------------------------------------------------- */

/* The bytes after those that are there, up to the end of a page. */
static int fetch_more(struct emulation *e)
{
	u64 linear = emulation_linear(e, INSN_CS, e->vcpu->regs.rip + e->count);
	u32 room = INSN_BYTES_MAX - e->count;
	u32 bytes = (u32)MIN(room, PAGE_SIZE - linear % PAGE_SIZE);
	gpa_t gpa;

	if (translate(e, linear, WALK_FETCH, &gpa))
		return -E_INVAL;
	/* Where nothing is, ones are read, and FF FF is no instruction. */
	if (gmem_read(&e->vm->gmem, gpa, e->bytes + e->count, bytes))
		return raise(e, VECTOR_UD, false, 0);
	e->count += bytes;
	return 0;
}

static enum insn_mode mode_of(const struct paging_mode *mode)
{
	if (mode->efer & EFER_LMA && mode->cs.attr & SEGMENT_L)
		return INSN_MODE_64;
	return mode->cs.attr & SEGMENT_DB ? INSN_MODE_32 : INSN_MODE_16;
}

int emulation_fetch(struct emulation *e, struct vcpu *vcpu, const u8 *bytes, u32 count)
{
	memset(e, 0, sizeof(*e));
	e->vcpu = vcpu;
	e->vm = vcpu->vm;
	hvm->get_mode(vcpu, &e->mode);
	e->insn_mode = mode_of(&e->mode);
	e->count = MIN(count, INSN_BYTES_MAX);
	if (!e->count)
		return fetch_more(e);
	memcpy(e->bytes, bytes, e->count);
	return 0;
}

static int undecodable(struct emulation *e)
{
	char text[3 * INSN_BYTES_MAX + 1] = "";

	for (u32 i = 0; i < e->count; i++)
		str_format(text + 3 * i, sizeof(text) - 3 * i, " %02x", e->bytes[i]);
	vm_fail(e->vm, "can't emulate at rip %#llx (cs base %#llx):%s", (unsigned long long)e->vcpu->regs.rip,
		(unsigned long long)e->mode.cs.base, text);
	return -E_INVAL;
}

int emulation_decode(struct emulation *e)
{
	int error = insn_decode(e->bytes, e->count, e->insn_mode, &e->insn);

	while (error == -E_AGAIN && e->count < INSN_BYTES_MAX) {
		if (fetch_more(e))
			return -E_INVAL;
		error = insn_decode(e->bytes, e->count, e->insn_mode, &e->insn);
	}
	return error ? undecodable(e) : 0;
}

int emulate_length(struct vcpu *vcpu, u32 *len)
{
	struct emulation e;
	int error;

	if (emulation_fetch(&e, vcpu, NULL, 0))
		return -E_INVAL;
	error = insn_length(e.bytes, e.count, e.insn_mode, len);
	while (error == -E_AGAIN && e.count < INSN_BYTES_MAX) {
		if (fetch_more(&e))
			return -E_INVAL;
		error = insn_length(e.bytes, e.count, e.insn_mode, len);
	}
	return error ? undecodable(&e) : 0;
}

void emulation_finish(struct emulation *e)
{
	u64 rip = e->vcpu->regs.rip + e->insn.len;

	e->vcpu->regs.rip = e->insn_mode == INSN_MODE_64 ? rip : (u32)rip;
	hvm->insn_done(e->vcpu);
}

/* --- the instructions ------------------------------------------------------------------------- */

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
	return undecodable(e);
}

static bool is_string(enum insn_op op)
{
	return op >= INSN_MOVS;
}

void emulate_npt(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct emulation e;

	if (emulation_fetch(&e, vcpu, exit->npt.insn, exit->npt.insn_bytes))
		return;
	/* Code where no memory is: as in fetch_more(). */
	if (exit->npt.fetch && !exit->npt.table_walk) {
		raise(&e, VECTOR_UD, false, 0);
		return;
	}
	if (emulation_decode(&e))
		return;
	if (is_string(e.insn.op)) {
		if (emulate_string(&e))
			return;
	} else {
		/* A walk of the guest's tables that ended outside of memory faults in our walk as well. */
		e.has_gpa = !exit->npt.table_walk;
		e.gpa = exit->npt.gpa;
		if (execute(&e))
			return;
		emulation_finish(&e);
	}
	/* It may have written the APIC's TPR, which CR8 shows. */
	hvm->set_cr(vcpu, 8, irqchip_get_tpr(vcpu));
}
