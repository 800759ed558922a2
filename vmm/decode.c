/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder (SDM 2 chapters 2 to 5, appendix A). Called by vmm/emulate.c on the vCPU's CPU with
 * bytes that the guest controls: every byte is fetched through decoder_fetch(), which knows the end.
 */
#include "vmm/decode.h"

#include "errors.h"
#include "lib/string.h"
#include "vmm/decode_internal.h"
#include "vmm/hvm.h"

u8 decoder_fetch(struct decoder *d)
{
	if (d->at >= INSN_BYTES_MAX)
		d->error = -E_INVAL;
	else if (d->at >= d->count && !d->error)
		d->error = -E_AGAIN;
	if (d->error)
		return 0;
	return d->bytes[d->at++];
}

u64 decoder_signed(struct decoder *d, u32 size)
{
	u32 shift = 64 - 8 * size;
	u64 value = 0;

	for (u32 i = 0; i < size; i++)
		value |= (u64)decoder_fetch(d) << (8 * i);
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
	u8 byte = decoder_fetch(d);

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
		byte = decoder_fetch(d);
	}
	if (byte == 0x0f) {
		d->two_bytes = true;
		byte = decoder_fetch(d);
	}
	d->opcode = byte;
}

u8 decoder_operand_size(const struct decoder *d)
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
		insn->disp = decoder_signed(d, 2);
		return;
	}
	if (insn->base == GPR_RBP)
		default_segment(d, insn, INSN_SS);
	if (mod)
		insn->disp = decoder_signed(d, mod);
}

/* SDM 2 table 2-3; returns the base's number without REX.B. */
static u8 decode_sib(struct decoder *d, struct insn *insn)
{
	u8 sib = decoder_fetch(d);
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
		insn->disp = decoder_signed(d, 4);
		return;
	}
	insn->base = (u8)(base | (d->rex & REX_B ? 8 : 0));
	if (base == GPR_RSP || base == GPR_RBP)
		default_segment(d, insn, INSN_SS);
	if (mod == 1)
		insn->disp = decoder_signed(d, 1);
	else if (mod == 2)
		insn->disp = decoder_signed(d, 4);
}

u8 decoder_reg(const struct decoder *d)
{
	return d->modrm >> 3 & 7;
}

void decoder_modrm(struct decoder *d, struct insn *insn)
{
	d->modrm = decoder_fetch(d);
	if (d->error)
		return;
	if (d->modrm >> 6 == 3)
		d->error = -E_INVAL;
	else if (insn->address_size == 2)
		decode_address_16(d, insn);
	else
		decode_address(d, insn);
}

void decoder_set_reg(const struct decoder *d, struct insn *insn, u8 size)
{
	insn->operand = INSN_REG;
	insn->reg_size = size;
	insn->reg = (u8)(decoder_reg(d) | (d->rex & REX_R ? 8 : 0));
	/* Without REX, byte registers 4 to 7 are AH, CH, DH, BH (SDM 2 table 3-1). */
	if (size == 1 && !d->has_rex && insn->reg >= 4) {
		insn->reg -= 4;
		insn->high_byte = true;
	}
}

void decoder_set_imm(struct decoder *d, struct insn *insn, u32 bytes)
{
	insn->operand = INSN_IMM;
	insn->imm = decoder_signed(d, bytes);
}

u8 decoder_width(const struct decoder *d)
{
	return d->opcode & 1 ? decoder_operand_size(d) : 1;
}

/* --- from outside ----------------------------------------------------------------------------- */

static void decoder_init(struct decoder *d, struct insn *insn, const u8 *bytes, u32 count, enum insn_mode mode)
{
	*d = (struct decoder){ .bytes = bytes, .count = count, .mode = mode };
	*insn = (struct insn){ .segment = INSN_DS, .base = INSN_NO_REG, .index = INSN_NO_REG };
}

int insn_decode(const u8 *bytes, u32 count, enum insn_mode mode, struct insn *insn)
{
	struct decoder d;

	decoder_init(&d, insn, bytes, count, mode);
	decode_prefixes(&d, insn);
	insn->address_size = address_size(&d);
	if (!d.error) {
		if (d.two_bytes)
			decoder_two_bytes(&d, insn);
		else
			decoder_one_byte(&d, insn);
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
			decoder_fetch(&d);
		else if (d.opcode != 0xa2 && d.opcode != 0x30 && d.opcode != 0x32 && d.opcode != 0x08 &&
			 d.opcode != 0x09)
			d.error = -E_INVAL;
	} else if (!d.error && d.opcode != 0xf4 && d.opcode != 0x90) {
		d.error = -E_INVAL;
	}
	*len = d.at;
	return d.error;
}
