; SPDX-License-Identifier: Apache-2.0
;
; The ways into the hypervisor that C can't write: one stub for each vector, the change from the
; firmware's stack to ours, and loading the GDT with its selectors.

bits 64
default rel

global isr_stubs
global gdt_load
extern trap_dispatch

GDT_CODE equ 0x08		; percpu.h
GDT_DATA equ 0x10

; Vectors 8, 10 to 14, 17, 21, 29 and 30 (SDM 3 6.3.1, APM 2 8.2).
%define VECTORS_WITH_ERROR_CODE 0x60227d00

section .text

; 256 stubs, 16 bytes each. The CPU pushes an error code for some vectors; the others push 0.
align 16
isr_stubs:
%assign vector 0
%rep 256
align 16
%if vector >= 32
	push	0
%elif ((VECTORS_WITH_ERROR_CODE >> vector) & 1) == 0
	push	0
%endif
	push	dword vector
	jmp	isr_common
%assign vector vector + 1
%endrep

; struct trap_frame of traps.h. The CPU aligned the stack to 16, and the frame is 11 times that.
align 16
isr_common:
	push	rax
	push	rcx
	push	rdx
	push	rbx
	push	rbp
	push	rsi
	push	rdi
	push	r8
	push	r9
	push	r10
	push	r11
	push	r12
	push	r13
	push	r14
	push	r15
	cld
	mov	rdi, rsp
	call	trap_dispatch
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	r11
	pop	r10
	pop	r9
	pop	r8
	pop	rdi
	pop	rsi
	pop	rbp
	pop	rbx
	pop	rdx
	pop	rcx
	pop	rax
	add	rsp, 16			; vector and error code
	iretq

; void stack_switch(void (*next)(void *), void *arg, void *stack_top)
global stack_switch
stack_switch:
	mov	rsp, rdx
	xor	ebp, ebp		; the end of every backtrace
	mov	rax, rdi
	mov	rdi, rsi
	call	rax
	ud2

; void gdt_load(const struct table_pointer *gdt): and all selectors of ours.
gdt_load:
	lgdt	[rdi]
	mov	eax, GDT_DATA
	mov	ds, eax
	mov	es, eax
	mov	ss, eax
	xor	eax, eax
	mov	fs, eax
	mov	gs, eax
	pop	rcx			; return far, into our code selector
	push	GDT_CODE
	push	rcx
	retfq
