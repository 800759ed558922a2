; SPDX-License-Identifier: Apache-2.0
;
; Prints, for ever, how many TSC ticks go by in 20 ms of the local APIC's timer, which counts the guest's time: the
; TSC's frequency as a kernel measures it.
%include "tiny.inc"

LAPIC equ 0xfee00000
TIMER_INITIAL equ LAPIC + 0x380
TIMER_CURRENT equ LAPIC + 0x390
TIMER_DIVIDE equ LAPIC + 0x3e0
LAPIC_SVR equ LAPIC + 0xf0
PERIOD_NS equ 20000000

main:
	mov edi, LAPIC_SVR
	mov dword [rdi], 0x1ff
	mov edi, TIMER_DIVIDE
	mov dword [rdi], 0xb		; by 1
.measure:
	mov edi, TIMER_INITIAL
	mov dword [rdi], -1
	call sample
	mov r13, r12
	mov r14d, eax
.wait:	call sample
	mov ecx, r14d
	sub ecx, eax
	cmp ecx, PERIOD_NS
	jb .wait
	; ticks * 1000000 / ns = kHz
	mov rax, r12
	sub rax, r13
	mov edx, 1000000
	mul rdx
	mov ecx, ecx
	div rcx
	print "tsc: khz "
	call put_hex
	print_line ""
	jmp .measure

sample:					; eax = the timer's count, r12 = the TSC
	mov edi, TIMER_CURRENT
	mov ebx, [rdi]
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	mov eax, ebx
	ret

%include "end.inc"
