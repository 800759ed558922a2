/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a CPU without decode assists (QEMU) leaves to us: which register a MOV to CRn names. On the
 * vCPU's CPU.
 */
#include "arch/x86_64/svm/svm.h"
#include "errors.h"
#include "lib/string.h"
#include "mm/gmem.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

#define INSN_MAX 15

static bool is_prefix(u8 byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0: /* LOCK MOV CR0 is MOV CR8 outside of 64-bit mode (APM 3, MOV CRn) */
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return false;
	}
}

/* The bytes at rip, as many as there are; they may lie in two pages. */
static u32 fetch(const struct vcpu *vcpu, const struct paging_mode *mode, u8 bytes[INSN_MAX])
{
	bool is_64 = mode->cs.attr & SEGMENT_L;
	u64 linear = is_64 ? vcpu->regs.rip : (u32)(mode->cs.base + vcpu->regs.rip);
	u32 got = 0;

	while (got < INSN_MAX) {
		u32 step = (u32)MIN(INSN_MAX - got, PAGE_SIZE - (linear + got) % PAGE_SIZE);
		gpa_t gpa;
		u32 error_code;

		if (walk_translate(vcpu->vm, mode, vcpu->regs.rflags, linear + got, WALK_FETCH, &gpa, &error_code))
			break;
		if (gmem_read(&vcpu->vm->gmem, gpa, bytes + got, step))
			break;
		got += step;
	}
	return got;
}

/* [prefixes] [REX] 0F 22 /r; mod is ignored, r/m is the register (APM 3, MOV CRn). */
int svm_mov_to_cr(const struct vcpu *vcpu, u8 cr, enum gpr *gpr)
{
	struct paging_mode mode;
	u8 bytes[INSN_MAX] = { 0 };
	bool lock = false;
	u8 rex = 0;
	u32 at = 0;
	u32 count;
	u32 number;

	svm_get_mode(vcpu, &mode);
	count = fetch(vcpu, &mode, bytes);
	while (at < count && is_prefix(bytes[at]))
		lock |= bytes[at++] == 0xf0;
	if (mode.cs.attr & SEGMENT_L && at < count && (bytes[at] & 0xf0) == 0x40)
		rex = bytes[at++];
	if (at + 3 > count)
		return count == INSN_MAX ? -E_INVAL : -E_AGAIN;
	if (bytes[at] != 0x0f || bytes[at + 1] != 0x22)
		return -E_INVAL;
	number = (bytes[at + 2] >> 3 & 7) | (rex & 4 || lock ? 8 : 0);
	if (number != cr)
		return -E_INVAL;
	*gpr = (enum gpr)((bytes[at + 2] & 7) | (rex & 1 ? 8 : 0));
	return 0;
}
