/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder (SDM 2 chapters 2 to 5, appendix A). Called by vmm/emulate.c on the vCPU's CPU with
 * bytes that the guest controls: every byte is fetched through fetch(), which knows the end.
 */
#include "vmm/decode.h"

#include "errors.h"
#include "lib/string.h"
#include "vmm/hvm.h"

enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

struct decoder {
	const u8 *bytes;
	u32 count;
	u32 at;
	enum insn_mode mode;
	bool operand_prefix, address_prefix, has_rex;
	bool segment_override;
	u8 rex;
	u8 opcode;
	bool two_bytes; /* 0F xx */
	u8 modrm;
	int error;
};

static u8 fetch(struct decoder *d)
{
	if (d->at >= INSN_BYTES_MAX)
		d->error = -E_INVAL;
	else if (d->at >= d->count && !d->error)
		d->error = -E_AGAIN;
	if (d->error)
		return 0;
	return d->bytes[d->at++];
}

/* Little-endian, sign-extended. */
static u64 fetch_signed(struct decoder *d, u32 size)
{
	u32 shift = 64 - 8 * size;
	u64 value = 0;

	for (u32 i = 0; i < size; i++)
		value |= (u64)fetch(d) << (8 * i);
	return shift ? (u64)((s64)(value << shift) >> shift) : value;
}

/* --- prefixes --------------------------------------------------------------------------------- */

static void set_segment(struct decoder *d, struct insn *insn, enum insn_segment segment)
{
	/* In 64-bit mode only FS and GS count (SDM 1 3.3.7.1). */
	if (d->mode == INSN_MODE_64 && segment != INSN_FS && segment != INSN_GS)
		return;
	insn->segment = segment;
	d->segment_override = true;
}

/* true: it was a prefix, there may be more. */
static bool decode_prefix(struct decoder *d, struct insn *insn, u8 byte)
{
	switch (byte) {
	case 0x26:
		set_segment(d, insn, INSN_ES);
		return true;
	case 0x2e:
		set_segment(d, insn, INSN_CS);
		return true;
	case 0x36:
		set_segment(d, insn, INSN_SS);
		return true;
	case 0x3e:
		set_segment(d, insn, INSN_DS);
		return true;
	case 0x64:
		set_segment(d, insn, INSN_FS);
		return true;
	case 0x65:
		set_segment(d, insn, INSN_GS);
		return true;
	case 0x66:
		d->operand_prefix = true;
		return true;
	case 0x67:
		d->address_prefix = true;
		return true;
	case 0xf0:
		insn->lock = true;
		return true;
	case 0xf2:
	case 0xf3:
		insn->rep = true;
		return true;
	}
	return false;
}

/* Up to the opcode. REX counts only just before it (SDM 2 2.2.1). */
static void decode_prefixes(struct decoder *d, struct insn *insn)
{
	u8 byte = fetch(d);

	while (!d->error) {
		if (decode_prefix(d, insn, byte)) {
			d->has_rex = false;
			d->rex = 0;
		} else if (d->mode == INSN_MODE_64 && (byte & 0xf0) == 0x40) {
			d->has_rex = true;
			d->rex = byte & 0xf;
		} else {
			break;
		}
		byte = fetch(d);
	}
	if (byte == 0x0f) {
		d->two_bytes = true;
		byte = fetch(d);
	}
	d->opcode = byte;
}

/* Of an instruction whose lowest opcode bit does not say "byte". */
static u8 operand_size(const struct decoder *d)
{
	if (d->rex & REX_W)
		return 8;
	if (d->mode == INSN_MODE_16)
		return d->operand_prefix ? 4 : 2;
	return d->operand_prefix ? 2 : 4;
}

static u8 address_size(const struct decoder *d)
{
	switch (d->mode) {
	case INSN_MODE_16:
		return d->address_prefix ? 4 : 2;
	case INSN_MODE_32:
		return d->address_prefix ? 2 : 4;
	case INSN_MODE_64:
		break;
	}
	return d->address_prefix ? 4 : 8;
}

/* --- ModRM and SIB ---------------------------------------------------------------------------- */

static void default_segment(const struct decoder *d, struct insn *insn, enum insn_segment segment)
{
	if (!d->segment_override && d->mode != INSN_MODE_64)
		insn->segment = segment;
}

/* SDM 2 table 2-1. */
static void decode_address_16(struct decoder *d, struct insn *insn)
{
	static const u8 bases[8] = {
		GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP, INSN_NO_REG, INSN_NO_REG, GPR_RBP, GPR_RBX,
	};
	static const u8 indexes[8] = {
		GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI, INSN_NO_REG, INSN_NO_REG,
	};
	u8 mod = d->modrm >> 6;
	u8 rm = d->modrm & 7;

	insn->base = bases[rm];
	insn->index = indexes[rm];
	if (mod == 0 && rm == 6) {
		insn->base = INSN_NO_REG;
		insn->disp = fetch_signed(d, 2);
		return;
	}
	if (insn->base == GPR_RBP)
		default_segment(d, insn, INSN_SS);
	if (mod)
		insn->disp = fetch_signed(d, mod);
}

/* SDM 2 table 2-3; returns the base's number without REX.B. */
static u8 decode_sib(struct decoder *d, struct insn *insn)
{
	u8 sib = fetch(d);
	u8 index = (u8)((sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0));

	insn->scale = sib >> 6;
	if (index != GPR_RSP)
		insn->index = index;
	return sib & 7;
}

/* SDM 2 table 2-2. */
static void decode_address(struct decoder *d, struct insn *insn)
{
	u8 mod = d->modrm >> 6;
	u8 base = d->modrm & 7;
	bool has_sib = base == 4;

	if (has_sib)
		base = decode_sib(d, insn);
	if (mod == 0 && base == 5) {
		/* No base; without a SIB byte in 64-bit mode it is relative to RIP (SDM 2 2.2.1.6). */
		insn->base = !has_sib && d->mode == INSN_MODE_64 ? INSN_RIP : INSN_NO_REG;
		insn->disp = fetch_signed(d, 4);
		return;
	}
	insn->base = (u8)(base | (d->rex & REX_B ? 8 : 0));
	if (base == GPR_RSP || base == GPR_RBP)
		default_segment(d, insn, INSN_SS);
	if (mod == 1)
		insn->disp = fetch_signed(d, 1);
	else if (mod == 2)
		insn->disp = fetch_signed(d, 4);
}

static u8 modrm_reg(const struct decoder *d)
{
	return d->modrm >> 3 & 7;
}

/* The ModRM byte and what belongs to it; only operands in memory are of interest. */
static void decode_modrm(struct decoder *d, struct insn *insn)
{
	d->modrm = fetch(d);
	if (d->error)
		return;
	if (d->modrm >> 6 == 3)
		d->error = -E_INVAL;
	else if (insn->address_size == 2)
		decode_address_16(d, insn);
	else
		decode_address(d, insn);
}

/* The register operand in ModRM.reg. */
static void set_reg(const struct decoder *d, struct insn *insn, u8 size)
{
	insn->operand = INSN_REG;
	insn->reg_size = size;
	insn->reg = (u8)(modrm_reg(d) | (d->rex & REX_R ? 8 : 0));
	/* Without REX, byte registers 4 to 7 are AH, CH, DH, BH (SDM 2 table 3-1). */
	if (size == 1 && !d->has_rex && insn->reg >= 4) {
		insn->reg -= 4;
		insn->high_byte = true;
	}
}

static void set_imm(struct decoder *d, struct insn *insn, u32 bytes)
{
	insn->operand = INSN_IMM;
	insn->imm = fetch_signed(d, bytes);
}

/* The operand size of an instruction whose lowest opcode bit is 0 for bytes. */
static u8 width(const struct decoder *d)
{
	return d->opcode & 1 ? operand_size(d) : 1;
}

/* --- the instructions ------------------------------------------------------------------------- */

/* op rm, reg (bit 1 clear) or op reg, rm. */
static void decode_rm_reg(struct decoder *d, struct insn *insn, enum insn_op op)
{
	insn->op = op;
	insn->size = width(d);
	insn->to_memory = !(d->opcode & 2);
	decode_modrm(d, insn);
	set_reg(d, insn, insn->size);
}

static void decode_group1(struct decoder *d, struct insn *insn)
{
	insn->size = d->opcode == 0x83 ? operand_size(d) : width(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	insn->op = INSN_ADD + modrm_reg(d);
	set_imm(d, insn, d->opcode == 0x83 ? 1 : MIN(insn->size, 4));
}

/* C6, C7, of which /0 is MOV rm, imm. */
static void decode_mov_imm(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_MOV;
	insn->size = width(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	if (modrm_reg(d) != 0 && !d->error)
		d->error = -E_INVAL;
	set_imm(d, insn, MIN(insn->size, 4));
}

/* F6, F7. */
static void decode_group3(struct decoder *d, struct insn *insn)
{
	insn->size = width(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	switch (modrm_reg(d)) {
	case 0:
	case 1:
		insn->op = INSN_TEST;
		set_imm(d, insn, MIN(insn->size, 4));
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
	insn->size = width(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	insn->op = modrm_reg(d) ? INSN_DEC : INSN_INC;
	if (modrm_reg(d) > 1 && !d->error)
		d->error = -E_INVAL;
}

/* A0 to A3: the accumulator and an absolute address of the address size. */
static void decode_moffs(struct decoder *d, struct insn *insn)
{
	u32 shift = 64 - 8 * insn->address_size;

	insn->op = INSN_MOV;
	insn->size = width(d);
	insn->to_memory = (d->opcode & 2) != 0;
	insn->disp = fetch_signed(d, insn->address_size) << shift >> shift;
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
	insn->size = operand_size(d) == 2 ? 2 : 4;
	decode_modrm(d, insn);
	set_reg(d, insn, operand_size(d));
}

static void decode_string(struct decoder *d, struct insn *insn, enum insn_op op)
{
	insn->op = op;
	insn->size = width(d);
	/* There is no 64-bit string I/O (SDM 2, INS). */
	if ((op == INSN_INS || op == INSN_OUTS) && insn->size == 8)
		insn->size = 4;
}

static void decode_one_byte(struct decoder *d, struct insn *insn)
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
	decode_modrm(d, insn);
	set_reg(d, insn, operand_size(d));
}

/* 0F A3, AB, B3, BB: the bit's number in a register. */
static void decode_bit_reg(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_BT + (d->opcode >> 3 & 3);
	insn->size = operand_size(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	set_reg(d, insn, insn->size);
}

/* 0F BA /4 to /7: in a byte. */
static void decode_bit_imm(struct decoder *d, struct insn *insn)
{
	insn->size = operand_size(d);
	insn->to_memory = true;
	decode_modrm(d, insn);
	insn->op = INSN_BT + (modrm_reg(d) & 3);
	if (modrm_reg(d) < 4 && !d->error)
		d->error = -E_INVAL;
	set_imm(d, insn, 1);
}

static void decode_movnti(struct decoder *d, struct insn *insn)
{
	insn->op = INSN_MOV;
	insn->size = operand_size(d) == 8 ? 8 : 4;
	insn->to_memory = true;
	decode_modrm(d, insn);
	set_reg(d, insn, insn->size);
}

static void decode_two_bytes(struct decoder *d, struct insn *insn)
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

static void decoder_init(struct decoder *d, struct insn *insn, const u8 *bytes, u32 count, enum insn_mode mode)
{
	memset(d, 0, sizeof(*d));
	d->bytes = bytes;
	d->count = count;
	d->mode = mode;
	memset(insn, 0, sizeof(*insn));
	insn->segment = INSN_DS;
	insn->base = INSN_NO_REG;
	insn->index = INSN_NO_REG;
}

int insn_decode(const u8 *bytes, u32 count, enum insn_mode mode, struct insn *insn)
{
	struct decoder d;

	decoder_init(&d, insn, bytes, count, mode);
	decode_prefixes(&d, insn);
	insn->address_size = address_size(&d);
	if (!d.error) {
		if (d.two_bytes)
			decode_two_bytes(&d, insn);
		else
			decode_one_byte(&d, insn);
	}
	insn->len = (u8)d.at;
	return d.error;
}

int insn_length(const u8 *bytes, u32 count, enum insn_mode mode, u32 *len)
{
	struct decoder d;
	struct insn insn;

	decoder_init(&d, &insn, bytes, count, mode);
	decode_prefixes(&d, &insn);
	if (!d.error && d.two_bytes) {
		/* 0F 01 (XSETBV, VMMCALL...) and 0F 20 to 23 (MOV CRn, DRn) have a ModRM byte. */
		if (d.opcode == 0x01 || (d.opcode >= 0x20 && d.opcode <= 0x23))
			fetch(&d);
		else if (d.opcode != 0xa2 && d.opcode != 0x30 && d.opcode != 0x32 && d.opcode != 0x08 &&
			 d.opcode != 0x09)
			d.error = -E_INVAL;
	} else if (!d.error && d.opcode != 0xf4 && d.opcode != 0x90) {
		d.error = -E_INVAL;
	}
	*len = d.at;
	return d.error;
}
