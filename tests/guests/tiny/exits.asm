; SPDX-License-Identifier: Apache-2.0
;
; Measures exits in the deterministic lane, where the TSC counts instructions (times 2^shift): prints
; the TSC ticks of 1000 turns of each loop, and of the empty loop to subtract.
%include "tiny.inc"

TURNS equ 1000

; measure "name", body...: runs the body TURNS times, prints name and ticks
%macro measure 2
	print "ticks "
	print %1
	print " "
	call %%warm
	call %%warm
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	call %%warm
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r12
	call put_hex
	print_line ""
	jmp %%over
%%warm:	mov r13d, TURNS
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
