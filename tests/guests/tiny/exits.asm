; SPDX-License-Identifier: Apache-2.0
;
; Measures exits in the deterministic lane, where the TSC counts instructions (times 2^shift): prints
; the TSC ticks of 50 turns of each loop, and of the empty loop to subtract. The least of 40 tries: an
; exit, without the host's timer that now and then comes between.
%include "tiny.inc"

TURNS equ 50			; also in bench.py
TRIES equ 40

; measure "name", body...: runs the body TURNS times, prints name and ticks
%macro measure 2
	print "ticks "
	print %1
	print " "
	mov r14, -1
	mov r15d, TRIES
%%try:	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	call %%loop
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r12
	cmp rax, r14
	cmovb r14, rax
	dec r15d
	jnz %%try
	mov rax, r14
	call put_hex
	print_line ""
	jmp %%over
%%loop:	mov r13d, TURNS
%%turn:	%2
	dec r13d
	jnz %%turn
	ret
%%over:
%endmacro

%macro do_nothing 0
	nop
%endmacro
%macro do_cpuid 0
	mov eax, 1
	xor ecx, ecx
	cpuid
%endmacro
%macro do_port 0
	mov dx, COM1 + 7		; the scratch register
	in al, dx
%endmacro
%macro do_mmio 0
	mov edi, 0xfec00000		; IOREGSEL of the IOAPIC
	mov eax, [rdi]
%endmacro
%macro do_msr 0
	mov ecx, 0x1b			; IA32_APIC_BASE
	rdmsr
%endmacro

main:
	measure "nothing", do_nothing
	measure "cpuid", do_cpuid
	measure "port", do_port
	measure "mmio", do_mmio
	measure "msr", do_msr
	print_line "exits: done"
	ret

%include "end.inc"
