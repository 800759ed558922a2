; SPDX-License-Identifier: Apache-2.0
;
; Sleeps until a time (TSC deadline), again and again, and says how late it was woken each time, in TSC ticks:
; "wake: " and 256 numbers, a line each.
%include "tiny.inc"

TIMER equ 0x41
TURNS equ 256
SLEEP_TICKS equ 5000000
LVT_DEADLINE equ 2 << 17

main:
	mov al, 0xff			; the PICs say nothing
	out 0x21, al
	out 0xa1, al
	lidt [long_idtr]
	mov edi, idt + TIMER * 16
	mov eax, on_timer
	mov [rdi], ax
	mov word [rdi + 2], 0x10
	mov word [rdi + 4], 0x8e00
	shr eax, 16
	mov [rdi + 6], ax
	mov qword [rdi + 8], 0
	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00			; x2APIC mode
	wrmsr
	mov ecx, 0x80f
	mov eax, 0x1ff
	xor edx, edx
	wrmsr
	mov ecx, 0x835			; LINT0
	mov eax, 0x10000
	wrmsr
	mov ecx, 0x832
	mov eax, LVT_DEADLINE | TIMER
	wrmsr
	xor r14d, r14d
.sleep:	call now
	add rax, SLEEP_TICKS
	mov r12, rax
	mov rdx, rax
	shr rdx, 32
	mov ecx, 0x6e0
	wrmsr
	mov byte [came], 0
.wait:	sti
	hlt
	cli
	cmp byte [came], 0
	je .wait
	sub r13, r12
	mov [late + r14 * 8], r13
	inc r14d
	cmp r14d, TURNS
	jb .sleep
	print_line "wake:"
	xor r14d, r14d
.show:	mov rax, [late + r14 * 8]
	call put_hex
	print_line ""
	inc r14d
	cmp r14d, TURNS
	jb .show
	print_line "wake: done"
	ret

now:					; rax = TSC
	rdtsc
	shl rdx, 32
	or rax, rdx
	ret

on_timer:
	push rax
	push rcx
	push rdx
	call now
	mov r13, rax
	mov byte [came], 1
	mov ecx, 0x80b
	xor eax, eax
	xor edx, edx
	wrmsr
	pop rdx
	pop rcx
	pop rax
	iretq

	align 8
long_idtr: dw 256 * 16 - 1
	dq idt
came:	db 0
	align 8
late:	times TURNS dq 0

%include "end.inc"
