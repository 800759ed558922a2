; SPDX-License-Identifier: Apache-2.0
;
; A tiny multiboot kernel (multiboot 0.6.96, by its address fields): looks whether all is as the specification says,
; prints what it was given, and ends itself through port 0xf4 with 0, or with the number of what is wrong.
	bits 32
	org 0x200000

COM1 equ 0x3f8
TEST_LATCH equ 0xe0
TEST_EXIT equ 0xf4

MAGIC equ 0x1badb002
FLAGS equ 0x00010003			; modules at pages, memory, addresses
INFO_WANTED equ 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9

image_start:
	jmp near entry
	align 4
header:
	dd MAGIC, FLAGS, -(MAGIC + FLAGS)
	dd header, image_start, image_end, bss_end, entry

; check NUMBER, CONDITION: of the flags; the kernel ends with the number unless it holds
%macro check 2
	j%2 %%good
	mov eax, %1
	jmp end_with
%%good:
%endmacro

entry:
	mov esp, stack_top
	cmp eax, 0x2badb002
	check 1, e
	mov ebp, ebx			; the boot information
	mov eax, cr0
	and eax, 0x80000001
	cmp eax, 1			; protected, not paged
	check 2, e
	pushfd
	pop eax
	test eax, 1 << 9 | 1 << 17
	check 3, z
	mov eax, [ebp]
	and eax, INFO_WANTED
	cmp eax, INFO_WANTED
	check 4, e
	cmp dword [ebp + 4], 639	; mem_lower, mem_upper
	check 5, e
	cmp dword [ebp + 8], 15 * 1024
	check 6, e
	cmp dword [bss], 0
	check 7, e

	mov esi, text_cmdline
	call puts
	mov esi, [ebp + 16]
	call puts
	mov esi, text_loader
	call puts
	mov esi, [ebp + 64]
	call puts

	cmp dword [ebp + 20], 1		; one module
	check 8, e
	mov ebx, [ebp + 24]
	test dword [ebx], 0xfff
	check 9, z
	cmp dword [ebx], bss_end
	check 10, ae
	mov esi, text_module
	call puts
	mov esi, [ebx + 8]
	call puts
	mov esi, text_is
	call puts
	mov esi, [ebx]
.module:
	cmp esi, [ebx + 4]
	jae .memory
	lodsb
	call putc
	jmp .module

; The usable memory of the map, as a sum.
.memory:
	xor edx, edx
	mov esi, [ebp + 48]
	mov edi, esi
	add edi, [ebp + 44]
.entry:	cmp dword [esi + 20], 1
	jne .next
	add edx, [esi + 12]
.next:	add esi, [esi]
	add esi, 4
	cmp esi, edi
	jb .entry
	check 11, e
	cmp edx, (15 << 20) + 0x9fc00
	check 12, e

	mov eax, 0x12345678
	out TEST_LATCH, eax
	mov al, 0xab
	out TEST_LATCH, al
	in eax, TEST_LATCH
	cmp eax, 0x123456ab
	check 13, e
	mov esi, text_end
	call puts
	xor eax, eax

end_with:
	out TEST_EXIT, eax
.halt:	hlt
	jmp .halt

; --- output: the 16550, polled ---
putc:					; al
	push edx
	push eax
	mov edx, COM1 + 5
.wait:	in al, dx
	test al, 0x20
	jz .wait
	mov edx, COM1
	pop eax
	out dx, al
	pop edx
	ret

puts:					; esi: text, NUL at the end
.next:	lodsb
	test al, al
	jz .done
	call putc
	jmp .next
.done:	ret

text_cmdline: db "tiny: cmdline [", 0
text_loader: db "] loader [", 0
text_module: db "] module [", 0
text_is: db "] [", 0
text_end: db "]", 13, 10, 0
	align 4
image_end:

	absolute image_end
bss:	resb 0x4000
stack_top:
bss_end:
