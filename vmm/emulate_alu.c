/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic as the CPU does it, flags included (SDM 1 3.4.3.1). Pure.
 */
#include "vmm/emulate_internal.h"

#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_OF BIT(11)
#define FLAGS_ALL (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* PF, ZF, SF of a result. */
static u64 flags_of(u64 result, u32 size)
{
	u64 flags = 0;

	if (!(__builtin_popcount((u8)result) & 1))
		flags |= FLAG_PF;
	if (!(result & emulation_mask(size)))
		flags |= FLAG_ZF;
	if (result >> (8 * size - 1) & 1)
		flags |= FLAG_SF;
	return flags;
}

static u64 add(u32 size, u64 a, u64 b, u64 carry, u64 *flags)
{
	u64 mask = emulation_mask(size);
	u64 result = (a + b + carry) & mask;
	u32 top = 8 * size - 1;

	/* The carries out of every bit. */
	u64 carries = (a & b) | ((a | b) & ~result);

	*flags = flags_of(result, size);
	if (carries >> top & 1)
		*flags |= FLAG_CF;
	if (carries >> 3 & 1)
		*flags |= FLAG_AF;
	if ((a ^ result) & (b ^ result) & BIT(top))
		*flags |= FLAG_OF;
	return result;
}

static u64 subtract(u32 size, u64 a, u64 b, u64 borrow, u64 *flags)
{
	u64 mask = emulation_mask(size);
	u64 result = (a - b - borrow) & mask;
	u32 top = 8 * size - 1;
	u64 borrows = (~a & b) | ((~a | b) & result);

	*flags = flags_of(result, size);
	if (borrows >> top & 1)
		*flags |= FLAG_CF;
	if (borrows >> 3 & 1)
		*flags |= FLAG_AF;
	if ((a ^ b) & (a ^ result) & BIT(top))
		*flags |= FLAG_OF;
	return result;
}

static u64 bit_operation(enum insn_op op, u32 size, u64 a, u64 b, u64 *rflags)
{
	u64 bit = BIT(b & (8 * size - 1));

	/* Only CF changes. */
	*rflags = (*rflags & ~FLAG_CF) | (a & bit ? FLAG_CF : 0);
	if (op == INSN_BTS)
		return a | bit;
	if (op == INSN_BTR)
		return a & ~bit;
	return op == INSN_BTC ? a ^ bit : a;
}

u64 alu_compute(enum insn_op op, u32 size, u64 a, u64 b, u64 *rflags)
{
	u64 mask = emulation_mask(size);
	u64 carry = *rflags & FLAG_CF;
	u64 keep = 0;
	u64 flags = 0;
	u64 result;

	a &= mask;
	switch (op) {
	case INSN_BT: case INSN_BTS: case INSN_BTR: case INSN_BTC:
		return bit_operation(op, size, a, b, rflags);
	case INSN_NOT:
		return ~a & mask;
	default:
		break;
	}
	b &= mask;
	switch (op) {
	case INSN_ADD: case INSN_XADD:
		result = add(size, a, b, 0, &flags);
		break;
	case INSN_ADC:
		result = add(size, a, b, carry, &flags);
		break;
	case INSN_SUB: case INSN_CMP: case INSN_CMPXCHG:
		result = subtract(size, a, b, 0, &flags);
		break;
	case INSN_SBB:
		result = subtract(size, a, b, carry, &flags);
		break;
	case INSN_NEG:
		result = subtract(size, 0, a, 0, &flags);
		break;
	case INSN_INC:
		result = add(size, a, 1, 0, &flags);
		keep = FLAG_CF;
		break;
	case INSN_DEC:
		result = subtract(size, a, 1, 0, &flags);
		keep = FLAG_CF;
		break;
	case INSN_OR:
		result = a | b;
		flags = flags_of(result, size);
		break;
	case INSN_AND: case INSN_TEST:
		result = a & b;
		flags = flags_of(result, size);
		break;
	case INSN_XOR:
		result = a ^ b;
		flags = flags_of(result, size);
		break;
	default:
		return b; /* moves and exchanges: no flags */
	}
	*rflags = (*rflags & ~(FLAGS_ALL & ~keep)) | (flags & ~keep);
	return result;
}
