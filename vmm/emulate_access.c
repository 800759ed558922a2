/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the emulator needs of the guest: its registers, its memory through its own page tables, the
 * instruction's bytes; and the faults that come of it. On the vCPU's CPU, out of the guest.
 */
#include "vmm/emulate_internal.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/emulate.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

/* --- faults ----------------------------------------------------------------------------------- */

int emulation_raise(struct emulation *e, u8 vector, bool has_error_code, u32 error_code)
{
	vcpu_inject_exception(e->vcpu, vector, has_error_code, error_code);
	return -E_INVAL;
}

static int raise_page_fault(struct emulation *e, u64 linear, u32 error_code)
{
	hvm->set_cr(e->vcpu, 2, linear);
	return emulation_raise(e, VECTOR_PF, true, error_code);
}

static int translate(struct emulation *e, u64 linear, enum walk_access access, gpa_t *gpa)
{
	u32 error_code = 0;
	int error = walk_translate(e->vm, &e->mode, e->vcpu->regs.rflags, linear, access, gpa, &error_code);

	if (!error)
		return 0;
	if (error == -E_RANGE)
		return emulation_raise(e, VECTOR_GP, true, 0);
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
	e->device_written |= write;
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

	if (first == size && e->has_gpa && (!write || e->gpa_write) && linear % PAGE_SIZE == e->gpa % PAGE_SIZE) {
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
		return emulation_raise(e, VECTOR_UD, false, 0);
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
	e->vcpu = vcpu;
	e->vm = vcpu->vm;
	e->has_gpa = false;
	e->device_written = false;
	hvm->get_mode(vcpu, &e->mode);
	e->insn_mode = mode_of(&e->mode);
	e->count = MIN(count, INSN_BYTES_MAX);
	if (!e->count)
		return fetch_more(e);
	memcpy(e->bytes, bytes, e->count);
	return 0;
}

int emulation_undecodable(struct emulation *e)
{
	char text[3 * INSN_BYTES_MAX + 1] = "";

	/* A program in the guest can't stop the guest: it gets what an unknown instruction gets. */
	if (e->mode.cpl)
		return emulation_raise(e, VECTOR_UD, false, 0);
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
	return error ? emulation_undecodable(e) : 0;
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
	return error ? emulation_undecodable(&e) : 0;
}

void emulation_finish(struct emulation *e)
{
	u64 rip = e->vcpu->regs.rip + e->insn.len;

	e->vcpu->regs.rip = e->insn_mode == INSN_MODE_64 ? rip : (u32)rip;
	hvm->insn_done(e->vcpu);
}
