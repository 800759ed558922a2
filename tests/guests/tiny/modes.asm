; SPDX-License-Identifier: Apache-2.0
;
; Goes through the CPU's modes and back: 64-bit, 32-bit without paging, PAE paging, real mode with an
; interrupt of its own, and up again. Prints a letter in each.
%include "tiny.inc"

LOW equ 0x60000				; where the real-mode code goes: RAM that the boot protocol leaves alone
CODE_32 equ 0x20
CODE_16 equ 0x28
DATA_16 equ 0x30
CR0_PE equ 1
CR0_PG equ 1 << 31
EFER equ 0xc0000080
EFER_LME equ 1 << 8

%macro letter 1
	mov dx, COM1
	mov al, %1
	out dx, al
%endmacro

main:
	print "tiny: modes "
	mov [old_rsp], rsp
	mov rax, cr3
	mov [old_cr3], eax
	; PDPTEs for PAE paging have a present bit and an address; the tables below are the same.
	mov esi, [rax]
	and esi, 0xfffff000
	mov edi, pdptes
	mov ecx, 4
.pdpte:	mov rax, [rsi]
	and eax, 0xfffff000
	or eax, 1
	mov [rdi], rax
	add esi, 8
	add edi, 8
	loop .pdpte
	mov esi, low_begin
	mov edi, LOW
	mov ecx, low_end - low_begin
	rep movsb
	lgdt [modes_gdtr]
	push CODE_32
	push legacy
	retfq

	bits 32
legacy:
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax			; leaves long mode
	mov ecx, EFER
	rdmsr
	and eax, ~EFER_LME
	wrmsr
	letter '3'
	; PAE paging: the PDPTEs are loaded by this MOV, and again when a bit of CR0 changes that we own.
	mov eax, pdptes
	mov cr3, eax
	mov eax, cr0
	or eax, CR0_PG
	mov cr0, eax
	mov dword [scratch], 0x12345678
	xor eax, eax
	cpuid
	mov eax, cr0
	or eax, 1 << 30			; CD: exits on VT-x
	mov cr0, eax
	and eax, ~(1 << 30)
	mov cr0, eax
	cmp dword [scratch], 0x12345678
	jne .bad
	letter 'P'
.bad:	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax
	jmp CODE_16:protected_16 - low_begin

	bits 16
low_begin:
protected_16:
	mov ax, DATA_16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov fs, ax
	mov gs, ax
	mov eax, cr0
	and eax, ~CR0_PE
	mov cr0, eax
	jmp LOW >> 4:real - low_begin
real:	mov ax, LOW >> 4
	mov ds, ax
	mov ss, ax
	mov sp, 0xf000
	xor ax, ax
	mov es, ax
	lidt [real_idtr - low_begin]
	letter 'R'
	; INT 60h, whose handler prints.
	mov word [es:0x60 * 4], handler - low_begin
	mov word [es:0x60 * 4 + 2], LOW >> 4
	int 0x60
	xor eax, eax
	cpuid				; an exit in real mode
	o32 lgdt [low_gdtr - low_begin]
	mov eax, cr0
	or eax, CR0_PE
	mov cr0, eax
	jmp dword CODE_32:back

handler:
	letter 'I'
	iret

real_idtr:
	dw 0x3ff
	dd 0
low_gdtr:
	dw modes_gdt_end - modes_gdt - 1
	dd modes_gdt
low_end:

	bits 32
back:	mov eax, 0x18
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov eax, [old_cr3]
	mov cr3, eax
	mov ecx, EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, cr0
	or eax, CR0_PG
	mov cr0, eax			; long mode again
	jmp 0x10:back_64

	bits 64
back_64:
	mov rsp, [old_rsp]
	lidt [idtr]
	print_line " came back"
	ret

	align 32
pdptes:	dq 0, 0, 0, 0
old_rsp: dq 0
old_cr3: dd 0
scratch: dd 0
	align 8
modes_gdt:
	dq 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
	dq 0x00009b000000ffff | LOW << 16, 0x000093000000ffff | LOW << 16
modes_gdt_end:
modes_gdtr:
	dw modes_gdt_end - modes_gdt - 1
	dq modes_gdt
%include "end.inc"
