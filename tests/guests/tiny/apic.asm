; SPDX-License-Identifier: Apache-2.0
;
; What a kernel wants of its local APIC, in x2APIC mode ("x" on the command line) or xAPIC mode: the
; timer, priorities, interrupts in interrupts, NMIs in an NMI's handler, a level interrupt by way of the
; I/O APIC. Prints what it finds, and what an interrupt costs in TSC ticks; then the timer goes on for
; ever, so that it can be moved.
%include "tiny.inc"

APIC_ID equ 0x02
APIC_TPR equ 0x08
APIC_PPR equ 0x0a
APIC_EOI equ 0x0b
APIC_SVR equ 0x0f
APIC_ISR equ 0x10
APIC_IRR equ 0x20
APIC_ESR equ 0x28
APIC_ICR equ 0x30
APIC_LVT_TIMER equ 0x32
APIC_LVT_LINT0 equ 0x35
APIC_INITIAL equ 0x38
APIC_DIVIDE equ 0x3e
IOAPIC equ 0xfec00000
UART_GSI equ 4
TIMER equ 0x41
LEVEL equ 0x51
NMI equ 2
LOW equ 0x61
HIGH equ 0x91
TICK_NS equ 1000000
COST_TURNS equ 1000

%macro get 1				; eax = register
	mov ecx, %1
	call apic_get
%endmacro
%macro put 2
	mov ecx, %1
	mov eax, %2
	call apic_put
%endmacro
%macro self 1				; an interrupt to itself
	put APIC_ICR, 0x40000 | %1
%endmacro
%macro handler 2			; vector, code
	mov edi, %1
	mov eax, %2
	call gate
%endmacro
%macro note 1				; a letter into the journal
	push rdi
	mov edi, [journal_end]
	mov byte [rdi], %1
	inc dword [journal_end]
	pop rdi
%endmacro

main:
	mov al, [rbx]
	mov [x2apic], al
	mov al, 0xff			; the PICs say nothing
	out 0x21, al
	out 0xa1, al
	lidt [long_idtr]
	handler TIMER, on_timer
	handler LEVEL, on_level
	handler LOW, on_low
	handler HIGH, on_high
	handler NMI, on_nmi
	mov ecx, 0x1b
	rdmsr
	or eax, 0x800
	cmp byte [x2apic], 'x'
	jne .mode
	or eax, 0x400
.mode:	wrmsr
	put APIC_SVR, 0x1ff
	put APIC_LVT_LINT0, 0x10000
	put APIC_DIVIDE, 0xb

	print "apic: id "
	get APIC_ID
	call put_hex
	print_line ""

	; The timer, woken from HLT.
	put APIC_LVT_TIMER, 0x20000 | TIMER
	put APIC_INITIAL, TICK_NS
.wait:	sti
	hlt
	cli
	cmp dword [ticks], 20
	jb .wait
	put APIC_INITIAL, 0
	print_line "apic: timer"

	; Two wait; TPR lets one through, CR8 the other.
	mov dword [journal_end], journal
	put APIC_TPR, 0x70
	self LOW
	self HIGH
	get APIC_IRR + LOW / 32
	mov [irr], eax
	sti
	nop
	note '-'
	mov rax, cr8
	cmp eax, 7
	je .cr8
	note '?'
.cr8:	xor eax, eax
	mov cr8, rax
	nop
	cli
	note '.'
	call show_journal		; H-L.
	print "apic: irr "
	mov eax, [irr]
	call put_hex			; bit 1 of 0x61
	print " isr in it "
	mov eax, [isr]
	call put_hex
	print " ppr "
	mov eax, [ppr]
	call put_hex			; 0x60
	print_line ""

	; A higher one interrupts a lower one's handler; the same the other way round waits.
	mov dword [journal_end], journal
	mov byte [nest], 1
	self LOW
	sti
	nop
	cli
	note '.'
	mov byte [nest], 2
	self HIGH
	sti
	nop
	cli
	note '.'
	mov byte [nest], 0
	call show_journal		; LHl.HhL.

	; An NMI that comes in another one's handler comes at the end of that, though IF is 0 all the time.
	mov dword [journal_end], journal
	put APIC_ICR, 0x400
	note '.'
	call show_journal		; NnN.

	; A level interrupt comes again and again until its line is low, but only after the EOI is heard of.
	mov dword [journal_end], journal
	mov edi, IOAPIC
	mov dword [rdi], 0x10 + 2 * UART_GSI + 1
	mov dword [rdi + 0x10], 0
	mov dword [rdi], 0x10 + 2 * UART_GSI
	mov dword [rdi + 0x10], 0x8000 | LEVEL
	mov dx, COM1 + 4		; OUT2: the UART drives its line
	mov al, 8
	out dx, al
	mov dx, COM1 + 1		; the transmitter is empty
	mov al, 2
	out dx, al
.level:	sti
	nop
	cli
	cmp dword [levels], 3
	jb .level
	note '.'
	call show_journal		; EEE.

	; What an interrupt costs, with its EOI.
	mov dword [journal_end], journal
	mov byte [quiet], 1
	call cost
	call cost
	print "apic: ticks "
	call put_hex
	print_line ""
	mov byte [quiet], 0

	get APIC_ESR
	print "apic: esr "
	call put_hex
	print_line ""
	mov dword [ticks], 0
	put APIC_INITIAL, TICK_NS
.ever:	sti
	hlt
	cli
	cmp dword [ticks], 200
	jb .ever
	mov dword [ticks], 0
	print_line "apic: ticking"
	jmp .ever

cost:					; rax = TSC ticks of COST_TURNS interrupts
	rdtsc
	shl rdx, 32
	or rax, rdx
	mov r12, rax
	mov r13d, COST_TURNS
	sti
.turn:	self LOW
	dec r13d
	jnz .turn
	cli
	rdtsc
	shl rdx, 32
	or rax, rdx
	sub rax, r12
	ret

show_journal:
	mov edi, [journal_end]
	mov byte [rdi], 0
	print "apic: order "
	mov esi, journal
	call puts
	print_line ""
	ret

; --- the APIC's registers: ecx = number, eax = value ---
apic_get:
	cmp byte [x2apic], 'x'
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
apic_put:
	cmp byte [x2apic], 'x'
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

; --- handlers ---
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
	put APIC_EOI, 0
	pop rdi
	pop rdx
	pop rcx
	pop rax
	iretq
%endmacro

on_timer:
	begin
	inc dword [ticks]
	end

on_low:
	begin
	cmp byte [quiet], 0
	jne .done
	note 'L'
	get APIC_ISR + LOW / 32
	mov [isr], eax
	get APIC_PPR
	mov [ppr], eax
	cmp byte [nest], 1
	jne .done
	self HIGH
	sti
	nop
	cli
	note 'l'
.done:	end

on_high:
	begin
	note 'H'
	cmp byte [nest], 2
	jne .done
	self LOW
	sti
	nop
	cli
	note 'h'
.done:	end

on_nmi:
	push rax
	push rcx
	note 'N'
	xor byte [nested], 1
	jz .done
	put APIC_ICR, 0x400
	note 'n'
.done:	pop rcx
	pop rax
	iretq

on_level:
	begin
	note 'E'
	inc dword [levels]
	cmp dword [levels], 3
	jb .done
	mov dx, COM1 + 1
	xor eax, eax
	out dx, al
.done:	end

	align 8
long_idtr: dw 256 * 16 - 1
	dq idt
ticks:	dd 0
levels:	dd 0
irr:	dd 0
isr:	dd 0
ppr:	dd 0
journal_end: dd 0
x2apic:	db 0
nest:	db 0
nested:	db 0
quiet:	db 0
journal: times 64 db 0

%include "end.inc"
