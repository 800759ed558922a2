; SPDX-License-Identifier: Apache-2.0
;
; Stores to a few pages in turn, as fast as it can and almost without an exit, and sees at the next turn
; when one of them has lost its last store: what a live migration does that reads a page while the CPU
; still has a translation of it that is marked dirty. Who types something hears that it is alive.
%include "tiny.inc"

BUFFER equ 0x400000
PAGES equ 64
LISTEN_TURNS equ 1 << 14

main:
	print_line "race: running"
	xor r8d, r8d			; turn
	xor r9d, r9d			; pages that were found behind
.turn:	mov edi, BUFFER
	mov ecx, PAGES
	lea rax, [r8 + 1]
.page:	cmp [rdi], r8
	jne .behind
.store:	mov [rdi], rax
	add edi, 4096
	dec ecx
	jnz .page
	mov r8, rax
	test r9d, r9d
	jnz .report
	test r8d, LISTEN_TURNS - 1
	jnz .turn
	mov dx, COM1 + 5
	in al, dx
	test al, 1
	jz .turn
	mov dx, COM1
	in al, dx
	print_line "race: alive"
	jmp .turn
.behind:
	inc r9d
	jmp .store
.report:
	mov rax, r9
	print "race: lost "
	call put_hex
	print_line ""
	xor r9d, r9d
	jmp .turn

%include "end.inc"
