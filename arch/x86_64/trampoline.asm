; SPDX-License-Identifier: Apache-2.0
;
; Where the other CPUs start: in real mode, at the first byte of a page below 1 MiB that smp.c
; copied this to. CS is the page / 16, everything else unknown. smp.c fills in the words at the end.

global trampoline_start
global trampoline_end
global trampoline_cr3
global trampoline_cr4
global trampoline_far32
global trampoline_far64
global trampoline_gdt_base
global trampoline_entry

CR0_PE equ 1 << 0
CR0_PG equ 1 << 31
MSR_EFER equ 0xc0000080
EFER_LME_NXE equ (1 << 8) | (1 << 11)

%define OFFSET(label) ((label) - trampoline_start)

section .rodata

bits 16
trampoline_start:
	cli
	cld
	mov	ax, cs
	mov	ds, ax
	movzx	ebx, ax
	shl	ebx, 4			; the page's address
	o32 lgdt [OFFSET(gdt_pointer)]
	mov	eax, cr0
	or	eax, CR0_PE
	mov	cr0, eax
	o32 jmp	far [OFFSET(trampoline_far32)]

bits 32
protected_mode:
	mov	eax, 0x10
	mov	ds, eax
	mov	ss, eax
	mov	eax, [ebx + OFFSET(trampoline_cr4)]
	mov	cr4, eax
	mov	eax, [ebx + OFFSET(trampoline_cr3)]
	mov	cr3, eax
	mov	ecx, MSR_EFER
	rdmsr
	or	eax, EFER_LME_NXE
	wrmsr
	mov	eax, cr0
	or	eax, CR0_PG
	mov	cr0, eax
	jmp	far [ebx + OFFSET(trampoline_far64)]

bits 64
long_mode:
	mov	rsp, [rbx + OFFSET(trampoline_stack)]
	mov	rdi, [rbx + OFFSET(trampoline_argument)]
	xor	ebp, ebp
	call	[rbx + OFFSET(trampoline_entry)]
	ud2

align 8
gdt:
	dq	0
	dq	0x00cf9b000000ffff	; 0x08: 32-bit code
	dq	0x00cf93000000ffff	; 0x10: data
	dq	0x00af9b000000ffff	; 0x18: 64-bit code
gdt_pointer:
	dw	gdt_pointer - gdt - 1
trampoline_gdt_base:
	dd	OFFSET(gdt)		; + the page's address
trampoline_far32:
	dd	OFFSET(protected_mode)	; + the page's address
	dw	0x08
trampoline_far64:
	dd	OFFSET(long_mode)		; + the page's address
	dw	0x18
trampoline_cr3:
	dd	0
trampoline_cr4:
	dd	0
align 8
trampoline_entry:
	dq	0
global trampoline_stack
trampoline_stack:
	dq	0
global trampoline_argument
trampoline_argument:
	dq	0
trampoline_end:
