; SPDX-License-Identifier: Apache-2.0
;
; Two CPUs: the first starts the second by INIT and SIPI, then they send each other interrupts, in x2APIC mode
; ("x" on the command line) or xAPIC mode: by physical and logical destination and to all but oneself. Prints
; what one there and back costs in TSC ticks, both woken from HLT each time.
%include "tiny.inc"

APIC_EOI equ 0x0b
APIC_LDR equ 0x0d
APIC_SVR equ 0x0f
APIC_ESR equ 0x28
APIC_ICR equ 0x30
APIC_LVT_LINT0 equ 0x35
PING equ 0x61
PONG equ 0x71
LOW equ 0x60000				; where the second one begins: RAM that the boot protocol leaves alone
TURNS equ 256
INIT equ 0x4500
SIPI equ 0x4600
LOGICAL equ 0x800
OTHERS equ 0xc0000

main:
	mov al, [rbx]
	mov [mode], al
	mov al, 0xff			; the PICs say nothing
	out 0x21, al
	out 0xa1, al
	lidt [long_idtr]
	mov edi, PING
	mov eax, on_ping
	call gate
	mov edi, PONG
	mov eax, on_pong
	call gate
	call apic_on
	mov ecx, APIC_LVT_LINT0
	mov eax, 0x10000
	call apic_put
	mov edx, 1			; logical destination in xAPIC mode; x2APIC's is given
	call set_logical

	mov rax, cr3
	mov [low_cr3], eax
	mov esi, low_begin
	mov edi, LOW
	mov ecx, low_end - low_begin
	rep movsb
	mov edx, 1
	mov eax, INIT
	call send
	mov edx, 1
	mov eax, SIPI | (LOW >> 12)
	call send
	mov edx, 1
	mov eax, SIPI | (LOW >> 12)
	call send
.start:	pause
	cmp dword [started], 0
	je .start
	print_line "ipi: started"

	mov edx, 1
	mov eax, PING
	call turns			; warm
	mov edx, 1
	mov eax, PING
	call turns
	print "ipi: ticks "
	call put_hex
	print_line ""

	mov edx, 2			; of cluster 0 the second; flat model: the second bit
	mov eax, LOGICAL | PING
	call turns
	print_line "ipi: logical"
	xor edx, edx
	mov eax, OTHERS | PING
	call turns
	print_line "ipi: others"

	; Again from the beginning: the second one stops, forgets, and starts.
	mov dword [started], 0
	mov edx, 1
	mov eax, INIT
	call send
	mov edx, 1
	mov eax, SIPI | (LOW >> 12)
	call send
.again:	pause
	cmp dword [started], 0
	je .again
	mov edx, 1
	mov eax, PING
	call turns
	print "ipi: done, strays "
	mov eax, [strays]
	call put_hex
	print " esr "
	mov ecx, APIC_ESR
	call apic_get
	call put_hex
	print_line ""
	ret

; TURNS times there and back; rax = TSC ticks. eax = ICR, edx = destination.
turns:
	mov [icr], eax
	mov [dest], edx
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	mov r13d, TURNS
.turn:	mov r14d, [pongs]
	mov eax, [icr]
	mov edx, [dest]
	call send
.wait:	cmp r14d, [pongs]
	jne .came
	sti
	hlt
	cli
	jmp .wait
.came:	dec r13d
	jnz .turn
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r12
	ret

; --- the APIC: of the CPU that runs this ---
apic_on:
	mov ecx, 0x1b
	rdmsr
	or eax, 0x800
	cmp byte [mode], 'x'
	jne .mode
	or eax, 0x400
.mode:	wrmsr
	mov ecx, APIC_SVR
	mov eax, 0x1ff
	jmp apic_put

set_logical:				; edx = mask
	cmp byte [mode], 'x'
	je .given
	mov eax, edx
	shl eax, 24
	mov ecx, APIC_LDR
	jmp apic_put
.given:	ret

send:					; eax = ICR, edx = destination
	cmp byte [mode], 'x'
	jne .mmio
	mov ecx, 0x800 + APIC_ICR
	wrmsr
	ret
.mmio:	mov edi, 0xfee00000 + APIC_ICR * 16
	shl edx, 24
	mov [rdi + 16], edx
	mov [rdi], eax
	ret

apic_get:				; ecx = number
	cmp byte [mode], 'x'
	jne .mmio
	push rdx
	add ecx, 0x800
	rdmsr
	pop rdx
	ret
.mmio:	shl ecx, 4
	add ecx, 0xfee00000
	mov eax, [rcx]
	ret

apic_put:				; ecx = number, eax = value
	cmp byte [mode], 'x'
	jne .mmio
	push rdx
	add ecx, 0x800
	xor edx, edx
	wrmsr
	pop rdx
	ret
.mmio:	shl ecx, 4
	add ecx, 0xfee00000
	mov [rcx], eax
	ret

gate:					; edi = vector, eax = code
	shl edi, 4
	add edi, idt
	mov [rdi], ax
	mov word [rdi + 2], 0x10
	mov word [rdi + 4], 0x8e00
	shr eax, 16
	mov [rdi + 6], ax
	mov qword [rdi + 8], 0
	ret

%macro begin 0
	push rax
	push rcx
	push rdx
	push rdi
%endmacro
%macro end 0
	mov ecx, APIC_EOI
	xor eax, eax
	call apic_put
	pop rdi
	pop rdx
	pop rcx
	pop rax
	iretq
%endmacro

on_ping:				; the second one's
	begin
	cmp esp, second_stack
	ja .stray
	cmp esp, second_stack - 0x1000
	jb .stray
	xor edx, edx
	mov eax, PONG
	call send
	jmp .end
.stray:	inc dword [strays]
.end:	end

on_pong:				; the first one's
	begin
	inc dword [pongs]
	end

; --- the second one: real mode, at LOW ---
	bits 16
low_begin:
	cli
	mov ax, LOW >> 4
	mov ds, ax
	o32 lgdt [low_gdtr - low_begin]
	mov eax, cr4
	or eax, 1 << 5			; PAE
	mov cr4, eax
	mov eax, [low_cr3 - low_begin]
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 1 << 8			; LME
	wrmsr
	mov eax, cr0
	and eax, ~(1 << 30 | 1 << 29)	; CD, NW
	or eax, 1 << 31 | 1
	mov cr0, eax
	jmp dword 0x10:second
	align 4
low_cr3: dd 0
low_gdtr: dw 31
	dd gdt
low_end:

	bits 64
second:
	mov eax, 0x18
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, second_stack
	lidt [long_idtr]
	call apic_on
	mov edx, 2
	call set_logical
	mov dword [started], 1
.sleep:	sti
	hlt
	cli
	jmp .sleep

	align 8
long_idtr: dw 256 * 16 - 1
	dq idt
started: dd 0
pongs:	dd 0
strays:	dd 0
icr:	dd 0
dest:	dd 0
mode:	db 0

%include "end.inc"
second_stack equ stack_top + 0x2000
