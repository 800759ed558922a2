; SPDX-License-Identifier: Apache-2.0

; What both world switches need. On the vCPU's CPU, interrupts off.

bits 64
default rel

global hvm_dr_load
global hvm_dr_save
global hvm_serve_interrupts

section .text

; void hvm_dr_load(const u64 dr[4])
hvm_dr_load:
	mov	rax, [rdi]
	mov	rcx, [rdi + 8]
	mov	rdx, [rdi + 16]
	mov	rsi, [rdi + 24]
	mov	dr0, rax
	mov	dr1, rcx
	mov	dr2, rdx
	mov	dr3, rsi
	ret

; void hvm_dr_save(u64 dr[4])
hvm_dr_save:
	mov	rax, dr0
	mov	rcx, dr1
	mov	rdx, dr2
	mov	rsi, dr3
	mov	[rdi], rax
	mov	[rdi + 8], rcx
	mov	[rdi + 16], rdx
	mov	[rdi + 24], rsi
	ret

; void hvm_serve_interrupts(void)
;
; STI holds interrupts back for one more instruction.
hvm_serve_interrupts:
	sti
	nop
	cli
	ret
