; SPDX-License-Identifier: Apache-2.0

; The world switch, and VT-x's instructions. On the vCPU's CPU, interrupts off.

bits 64
default rel

global vmx_enter
global vmx_exited
global vmx_on
global vmx_off
global vmx_clear
global vmx_load
global vmx_invept
global vmx_invvpid
global vmx_cr_read
global vmx_cr_write
global vmx_dr6_read
global vmx_dr6_write
global vmx_idt_base
global vmx_serve_nmi

VMCS_HOST_RSP	equ	0x6c14

section .text

; After an instruction of VT-x: enum vmx_result (SDM 3 31.2). MOV leaves the flags alone.
%macro result_ret 0
	mov	eax, 1
	jc	%%done
	mov	eax, 2
	jz	%%done
	xor	eax, eax
%%done:
	ret
%endmacro

; enum vmx_result vmx_on(hpa_t region)
vmx_on:
	push	rdi
	vmxon	[rsp]
	pop	rdi
	result_ret

; void vmx_off(void)
vmx_off:
	vmxoff
	ret

; enum vmx_result vmx_clear(hpa_t vmcs)
vmx_clear:
	push	rdi
	vmclear	[rsp]
	pop	rdi
	result_ret

; enum vmx_result vmx_load(hpa_t vmcs)
vmx_load:
	push	rdi
	vmptrld	[rsp]
	pop	rdi
	result_ret

; enum vmx_result vmx_invept(u64 type, const struct vmx_invalidation *what)
vmx_invept:
	invept	rdi, [rsi]
	result_ret

; enum vmx_result vmx_invvpid(u64 type, const struct vmx_invalidation *what)
vmx_invvpid:
	invvpid	rdi, [rsi]
	result_ret

; u64 vmx_cr_read(u8 cr)
vmx_cr_read:
	cmp	dil, 2
	jb	.cr0
	je	.cr2
	cmp	dil, 3
	je	.cr3
	mov	rax, cr4
	ret
.cr0:
	mov	rax, cr0
	ret
.cr2:
	mov	rax, cr2
	ret
.cr3:
	mov	rax, cr3
	ret

; void vmx_cr_write(u8 cr, u64 value): CR2 or CR4
vmx_cr_write:
	cmp	dil, 2
	jne	.cr4
	mov	cr2, rsi
	ret
.cr4:
	mov	cr4, rsi
	ret

; u64 vmx_dr6_read(void)
vmx_dr6_read:
	mov	rax, dr6
	ret

; void vmx_dr6_write(u64 value)
vmx_dr6_write:
	mov	dr6, rdi
	ret

; u64 vmx_idt_base(void)
vmx_idt_base:
	sub	rsp, 16
	sidt	[rsp]
	mov	rax, [rsp + 2]
	add	rsp, 16
	ret

; void vmx_serve_nmi(void)
;
; INT 2 runs the handler, and its IRET unblocks NMIs.
vmx_serve_nmi:
	int	2
	ret

; enum vmx_result vmx_enter(u64 *gpr, u64 *host_rsp, bool launched)
;
; gpr[] is in the order of the register encoding: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8...
;
; Host interrupts are off all the time: with external-interrupt exiting one that comes ends the
; guest's run, whatever the host's or the guest's IF (SDM 3 26.2), and waits.
vmx_enter:
	push	rbp
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	push	rdi

	cmp	[rsi], rsp
	je	.rsp_known
	mov	eax, VMCS_HOST_RSP
	vmwrite	rax, rsp
	mov	[rsi], rsp
.rsp_known:
	test	dl, dl			; what follows leaves the flags alone
	mov	rax, [rdi + 0 * 8]
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
	jz	.launch
	vmresume
	jmp	.refused
.launch:
	vmlaunch
.refused:				; gpr[] is as it was
	mov	eax, 1
	jc	.out
	mov	eax, 2
	jmp	.out

vmx_exited:				; RSP is as it was
	push	rdi
	mov	rdi, [rsp + 8]
	mov	[rdi + 0 * 8], rax
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
	pop	rcx
	mov	[rdi + 7 * 8], rcx
	xor	eax, eax
vmx_enter.out:
	add	rsp, 8
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	pop	rbp
	ret
