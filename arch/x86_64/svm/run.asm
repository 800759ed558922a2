; SPDX-License-Identifier: Apache-2.0

; The world switch. On the vCPU's CPU, interrupts off.

bits 64
default rel

global svm_enter
global svm_vmsave

section .text

; void svm_vmsave(hpa_t vmcb)
;
; Saves what VMRUN does not switch (APM 2 15.5.2): FS, GS, TR, LDTR, KernelGSBase, STAR...
svm_vmsave:
	mov	rax, rdi
	vmsave
	ret

; void svm_enter(u64 *gpr, hpa_t vmcb, hpa_t host_vmcb)
;
; gpr[] is in the order of the register encoding: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8...
;
; GIF is 0 from before the guest's TR, GS and the like are loaded until the host's are back: no
; interrupt or NMI of the host is taken with them (15.17). With V_INTR_MASKING the host's IF
; decides whether a host interrupt ends the guest's run, so it is 1 meanwhile (15.21.1); one that
; came since interrupts were turned off ends it at once.
;
; The host's FS, GS, TR... never change after cpu_on(), so they are saved there, once.
svm_enter:
	push	rbp
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	push	rdx
	push	rdi

	clgi
	mov	rax, rsi
	vmload
	mov	rcx, [rdi + 1 * 8]
	mov	rdx, [rdi + 2 * 8]
	mov	rbx, [rdi + 3 * 8]
	mov	rbp, [rdi + 5 * 8]
	mov	rsi, [rdi + 6 * 8]
	mov	r8, [rdi + 8 * 8]
	mov	r9, [rdi + 9 * 8]
	mov	r10, [rdi + 10 * 8]
	mov	r11, [rdi + 11 * 8]
	mov	r12, [rdi + 12 * 8]
	mov	r13, [rdi + 13 * 8]
	mov	r14, [rdi + 14 * 8]
	mov	r15, [rdi + 15 * 8]
	mov	rdi, [rdi + 7 * 8]
	sti
	vmrun				; RAX and RSP are the host's again after it
	cli

	push	rdi
	mov	rdi, [rsp + 8]
	mov	[rdi + 1 * 8], rcx
	mov	[rdi + 2 * 8], rdx
	mov	[rdi + 3 * 8], rbx
	mov	[rdi + 5 * 8], rbp
	mov	[rdi + 6 * 8], rsi
	mov	[rdi + 8 * 8], r8
	mov	[rdi + 9 * 8], r9
	mov	[rdi + 10 * 8], r10
	mov	[rdi + 11 * 8], r11
	mov	[rdi + 12 * 8], r12
	mov	[rdi + 13 * 8], r13
	mov	[rdi + 14 * 8], r14
	mov	[rdi + 15 * 8], r15
	pop	qword [rdi + 7 * 8]
	vmsave
	add	rsp, 8
	pop	rax
	vmload
	stgi

	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	pop	rbp
	ret
