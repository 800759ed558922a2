/* SPDX-License-Identifier: Apache-2.0 */
/* What decode.c (prefixes, addresses) and decode_insn.c (the instructions) share. */
#ifndef VMM_DECODE_INTERNAL_H
#define VMM_DECODE_INTERNAL_H

#include "types.h"
#include "vmm/decode.h"

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

/* The next byte; 0 and an error past the end. */
u8 decoder_fetch(struct decoder *d);
/* Little-endian, sign-extended. */
u64 decoder_signed(struct decoder *d, u32 size);
/* Of an instruction whose lowest opcode bit does not say "byte"; of one where 0 says so. */
u8 decoder_operand_size(const struct decoder *d);
u8 decoder_width(const struct decoder *d);
/* The ModRM byte and what belongs to it; only operands in memory are of interest. */
void decoder_modrm(struct decoder *d, struct insn *insn);
u8 decoder_reg(const struct decoder *d);
/* The register operand in ModRM.reg; an immediate of so many bytes. */
void decoder_set_reg(const struct decoder *d, struct insn *insn, u8 size);
void decoder_set_imm(struct decoder *d, struct insn *insn, u32 bytes);

/* By d->opcode, without and with 0F. */
void decoder_one_byte(struct decoder *d, struct insn *insn);
void decoder_two_bytes(struct decoder *d, struct insn *insn);

#endif
