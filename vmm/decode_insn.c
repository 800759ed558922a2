/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions that the decoder knows (SDM 2 appendix A), by opcode. Called by decode.c on the
 * vCPU's CPU; every byte comes through decoder_fetch(), which knows the end.
 */
#include "vmm/decode_internal.h"

#include "errors.h"
#include "vmm/hvm.h"

/* op rm, reg (bit 1 clear) or op reg, rm. */
static void decode_rm_reg(struct decoder *d, struct insn *insn, enum insn_op op)
{
	insn->op = op;
	insn->size = decoder_width(d);
	insn->to_memory = !(d->opcode & 2);
	decoder_modrm(d, insn);
	decoder_set_reg(d, insn, insn->size);
}

static void decode_group1(struct decoder *d, struct insn *insn)
{
	insn->size = d->opcode == 0x83 ? decoder_operand_size(d) : decoder_width(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	insn->op = INSN_ADD + decoder_reg(d);
	decoder_set_imm(d, insn, d->opcode == 0x83 ? 1 : MIN(insn->size, 4));
}

/* C6, C7, of which /0 is MOV rm, imm. */
static void decode_mov_imm(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_MOV;
	insn->size = decoder_width(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	if (decoder_reg(d) != 0 && !d->error)
		d->error = -E_INVAL;
	decoder_set_imm(d, insn, MIN(insn->size, 4));
}

/* F6, F7. */
static void decode_group3(struct decoder *d, struct insn *insn)
{
	insn->size = decoder_width(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	switch (decoder_reg(d)) {
	case 0:
	case 1:
		insn->op = INSN_TEST;
		decoder_set_imm(d, insn, MIN(insn->size, 4));
		return;
	case 2:
		insn->op = INSN_NOT;
		return;
	case 3:
		insn->op = INSN_NEG;
		return;
	}
	if (!d->error)
		d->error = -E_INVAL;
}

/* FE, FF. */
static void decode_group45(struct decoder *d, struct insn *insn)
{
	insn->size = decoder_width(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	insn->op = decoder_reg(d) ? INSN_DEC : INSN_INC;
	if (decoder_reg(d) > 1 && !d->error)
		d->error = -E_INVAL;
}

/* A0 to A3: the accumulator and an absolute address of the address size. */
static void decode_moffs(struct decoder *d, struct insn *insn)
{
	u32 shift = 64 - 8 * insn->address_size;

	insn->op = INSN_MOV;
	insn->size = decoder_width(d);
	insn->to_memory = (d->opcode & 2) != 0;
	insn->disp = decoder_signed(d, insn->address_size) << shift >> shift;
	insn->operand = INSN_REG;
	insn->reg = GPR_RAX;
	insn->reg_size = insn->size;
}

/* MOVSXD (only with a 64-bit destination, as compilers emit it, or narrower). */
static void decode_movsxd(struct decoder *d, struct insn *insn)
{
	if (d->mode != INSN_MODE_64) {
		d->error = -E_INVAL;
		return;
	}
	insn->op = INSN_MOVSX;
	insn->size = decoder_operand_size(d) == 2 ? 2 : 4;
	decoder_modrm(d, insn);
	decoder_set_reg(d, insn, decoder_operand_size(d));
}

static void decode_string(struct decoder *d, struct insn *insn, enum insn_op op)
{
	insn->op = op;
	insn->size = decoder_width(d);
	/* There is no 64-bit string I/O (SDM 2, INS). */
	if ((op == INSN_INS || op == INSN_OUTS) && insn->size == 8)
		insn->size = 4;
}

void decoder_one_byte(struct decoder *d, struct insn *insn)
{
	u8 opcode = d->opcode;

	if (opcode < 0x40 && (opcode & 7) < 4) {
		decode_rm_reg(d, insn, INSN_ADD + (opcode >> 3));
		return;
	}
	switch (opcode) {
	case 0x63:
		decode_movsxd(d, insn);
		return;
	case 0x6c: case 0x6d:
		decode_string(d, insn, INSN_INS);
		return;
	case 0x6e: case 0x6f:
		decode_string(d, insn, INSN_OUTS);
		return;
	case 0x80: case 0x81: case 0x83:
		decode_group1(d, insn);
		return;
	case 0x84: case 0x85:
		decode_rm_reg(d, insn, INSN_TEST);
		return;
	case 0x86: case 0x87:
		decode_rm_reg(d, insn, INSN_XCHG);
		insn->to_memory = true;
		return;
	case 0x88: case 0x89: case 0x8a: case 0x8b:
		decode_rm_reg(d, insn, INSN_MOV);
		return;
	case 0xa0: case 0xa1: case 0xa2: case 0xa3:
		decode_moffs(d, insn);
		return;
	case 0xa4: case 0xa5:
		decode_string(d, insn, INSN_MOVS);
		return;
	case 0xaa: case 0xab:
		decode_string(d, insn, INSN_STOS);
		return;
	case 0xac: case 0xad:
		decode_string(d, insn, INSN_LODS);
		return;
	case 0xc6: case 0xc7:
		decode_mov_imm(d, insn);
		return;
	case 0xf6: case 0xf7:
		decode_group3(d, insn);
		return;
	case 0xfe: case 0xff:
		decode_group45(d, insn);
		return;
	}
	d->error = -E_INVAL;
}

/* 0F B6, B7, BE, BF: the lowest bit is the source's width, the destination has the operand size. */
static void decode_extend(struct decoder *d, struct insn *insn, enum insn_op op)
{
	insn->op = op;
	insn->size = d->opcode & 1 ? 2 : 1;
	decoder_modrm(d, insn);
	decoder_set_reg(d, insn, decoder_operand_size(d));
}

/* 0F A3, AB, B3, BB: the bit's number in a register. */
static void decode_bit_reg(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_BT + (d->opcode >> 3 & 3);
	insn->size = decoder_operand_size(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	decoder_set_reg(d, insn, insn->size);
}

/* 0F BA /4 to /7: in a byte. */
static void decode_bit_imm(struct decoder *d, struct insn *insn)
{
	insn->size = decoder_operand_size(d);
	insn->to_memory = true;
	decoder_modrm(d, insn);
	insn->op = INSN_BT + (decoder_reg(d) & 3);
	if (decoder_reg(d) < 4 && !d->error)
		d->error = -E_INVAL;
	decoder_set_imm(d, insn, 1);
}

static void decode_movnti(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_MOV;
	insn->size = decoder_operand_size(d) == 8 ? 8 : 4;
	insn->to_memory = true;
	decoder_modrm(d, insn);
	decoder_set_reg(d, insn, insn->size);
}

void decoder_two_bytes(struct decoder *d, struct insn *insn)
{
	switch (d->opcode) {
	case 0xa3: case 0xab: case 0xb3: case 0xbb:
		decode_bit_reg(d, insn);
		return;
	case 0xb0: case 0xb1:
		decode_rm_reg(d, insn, INSN_CMPXCHG);
		return;
	case 0xb6: case 0xb7:
		decode_extend(d, insn, INSN_MOVZX);
		return;
	case 0xba:
		decode_bit_imm(d, insn);
		return;
	case 0xbe: case 0xbf:
		decode_extend(d, insn, INSN_MOVSX);
		return;
	case 0xc0: case 0xc1:
		decode_rm_reg(d, insn, INSN_XADD);
		insn->to_memory = true;
		return;
	case 0xc3:
		decode_movnti(d, insn);
		return;
	}
	d->error = -E_INVAL;
}
