/* SPDX-License-Identifier: Apache-2.0 */
/* What entry.asm and the C handlers agree on. */
#ifndef ARCH_TRAPS_H
#define ARCH_TRAPS_H

#include "types.h"

enum vectors {
	VECTOR_NMI = 2,
	VECTOR_INVALID_OPCODE = 6,
	VECTOR_DOUBLE_FAULT = 8,
	VECTOR_GENERAL_PROTECTION = 13,
	VECTOR_PAGE_FAULT = 14,
	VECTOR_MACHINE_CHECK = 18,
	VECTOR_EXCEPTIONS = 32,
	VECTOR_PIC = 0x20,          /* .. 0x2f: where spurious interrupts of the masked PICs go */
	VECTOR_DEVICE_FIRST = 0x30, /* irq_alloc() gives out these */
	VECTOR_DEVICE_LAST = 0xef,
	VECTOR_KICK = 0xfd,
	VECTOR_TIMER = 0xfe,
	VECTOR_SPURIOUS = 0xff,
};

/* As isr_common in entry.asm pushes it, lowest address first. */
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector;
	u64 error;
	u64 rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(struct trap_frame) == 22 * 8, "entry.asm");

/* From entry.asm, for every vector. */
void trap_dispatch(struct trap_frame *frame);
/* Says all there is to say about a fault of our own, and stops. */
noreturn void panic_trap(const struct trap_frame *frame);
/* From the NMI handler: in a panic this CPU goes no further. */
void panic_nmi(void);
/* What a device's vector does: called with interrupts off, before the EOI. */
void irq_note(u8 vector);

#endif
