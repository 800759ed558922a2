/* SPDX-License-Identifier: Apache-2.0 */
/* What the emulate*.c share. */
#ifndef VMM_EMULATE_INTERNAL_H
#define VMM_EMULATE_INTERNAL_H

#include "types.h"
#include "vmm/decode.h"
#include "vmm/hvm.h"

enum { VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14 };

/* One instruction on its way. */
struct emulation {
	struct vcpu *vcpu;
	struct vm *vm;
	struct paging_mode mode;
	enum insn_mode insn_mode;
	u8 bytes[INSN_BYTES_MAX];
	u32 count;
	struct insn insn;
	bool device_written;
	/*
	 * The CPU said where the operand in memory is, and may be written if gpa_write is set; a walk is
	 * not needed. Only that: the bytes may be other ones than those that the CPU executed.
	 */
	bool has_gpa, gpa_write;
	gpa_t gpa;
};

/*
 * Starts: the vCPU's mode, and the bytes at RIP (those that the CPU gave, or read from the guest;
 * up to the end of the page). Nonzero: a fault was injected.
 */
int must_check emulation_fetch(struct emulation *e, struct vcpu *vcpu, const u8 *bytes, u32 count);
/* Decodes; nonzero: a fault was injected or the guest stopped. */
int must_check emulation_decode(struct emulation *e);
/* The guest gets an exception; it stops, because the instruction is unknown. Both return nonzero. */
int emulation_raise(struct emulation *e, u8 vector, bool has_error_code, u32 error_code);
int emulation_undecodable(struct emulation *e);
/* RIP to the next instruction. */
void emulation_finish(struct emulation *e);

/* Guest memory by linear address, RAM or device; nonzero: a fault was injected. */
int must_check emulation_read(struct emulation *e, u64 linear, u32 size, u64 *value);
int must_check emulation_write(struct emulation *e, u64 linear, u32 size, u64 value);
/* Would a write fault? Then it has been injected: nonzero. */
int must_check emulation_probe_write(struct emulation *e, u64 linear, u32 size);

static inline u64 emulation_mask(u32 size)
{
	return size >= 8 ? ~0ull : BIT(8 * size) - 1;
}
u64 emulation_get_reg(const struct emulation *e, u8 reg, u32 size, bool high_byte);
void emulation_set_reg(struct emulation *e, u8 reg, u32 size, bool high_byte, u64 value);
u64 emulation_segment_base(const struct emulation *e, enum insn_segment segment);
/* segment:offset as a linear address, cut as the mode wants it. */
u64 emulation_linear(const struct emulation *e, enum insn_segment segment, u64 offset);

/*
 * Arithmetic on size bytes: the result of op, and RFLAGS' arithmetic bits in *rflags. a is the
 * destination.
 */
u64 alu_compute(enum insn_op op, u32 size, u64 a, u64 b, u64 *rflags);

/* One iteration of a string instruction; nonzero: a fault was injected. */
int must_check emulate_string(struct emulation *e);

#endif
