/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder for the instructions that kernels use on device memory, and for string I/O. Pure: bytes
 * in, struct insn out. What it does not know it refuses.
 */
#ifndef VMM_DECODE_H
#define VMM_DECODE_H

#include "types.h"

#define INSN_BYTES_MAX 15

enum insn_op {
	INSN_MOV,    /* also MOVNTI */
	INSN_MOVZX,
	INSN_MOVSX,
	INSN_ADD, INSN_OR, INSN_ADC, INSN_SBB, INSN_AND, INSN_SUB, INSN_XOR, INSN_CMP, /* in the encoding's order */
	INSN_TEST,
	INSN_NOT, INSN_NEG, INSN_INC, INSN_DEC,
	INSN_XCHG, INSN_XADD, INSN_CMPXCHG,
	INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC, /* in the encoding's order */
	INSN_MOVS, INSN_STOS, INSN_LODS,
	INSN_INS, INSN_OUTS,
} packed;

enum insn_segment { INSN_ES, INSN_CS, INSN_SS, INSN_DS, INSN_FS, INSN_GS } packed;

/* The other operand, besides the one in memory. */
enum insn_operand { INSN_NONE, INSN_REG, INSN_IMM } packed;

#define INSN_NO_REG 0xff
#define INSN_RIP 0xfe /* as base: relative to the next instruction */

struct insn {
	u8 len;
	enum insn_op op;
	u8 size;        /* of the operand in memory: 1, 2, 4, 8 */
	u8 reg_size;    /* of the register operand */
	enum insn_operand operand;
	bool to_memory; /* MOV: a store; ALU operations: memory is the destination */
	u8 reg;
	bool high_byte; /* reg is AH, CH, DH or BH: bits 8-15 of reg */
	u64 imm;        /* sign-extended */
	bool rep;       /* F3 or F2 on a string instruction */
	bool lock;
	/* The address: base + (index << scale) + disp in segment, cut to address_size. */
	enum insn_segment segment;
	u8 address_size; /* 2, 4, 8 */
	u8 base, index, scale;
	u64 disp;
};

enum insn_mode { INSN_MODE_16 = 2, INSN_MODE_32 = 4, INSN_MODE_64 = 8 } packed;

/*
 * 0; -E_AGAIN: bytes ends before the instruction does; -E_INVAL: not one of those that we know, or
 * one without a memory operand.
 */
int must_check insn_decode(const u8 *bytes, u32 count, enum insn_mode mode, struct insn *insn);
/*
 * The length of an instruction of the kinds that exit without one (CPUID, HLT, RDMSR, MOV CRn...):
 * prefixes, opcode, ModRM. -E_AGAIN, -E_INVAL as above.
 */
int must_check insn_length(const u8 *bytes, u32 count, enum insn_mode mode, u32 *len);

#endif
