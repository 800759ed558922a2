; SPDX-License-Identifier: Apache-2.0
;
; Writes to 4096 pages, once each, whenever a byte comes in at its serial port, and to no memory at all
; while it waits: for counting what a round of the dirty log costs.
%include "tiny.inc"

BUFFER equ 0x400000
PAGES equ 4096

main:
	print_line "writer: waiting"
.wait:	mov dx, COM1 + 5
	in al, dx
	test al, 1
	jz .wait
	mov dx, COM1
	in al, dx
	mov edi, BUFFER
	mov ecx, PAGES
.page:	inc qword [rdi]
	add edi, 4096
	dec ecx
	jnz .page
	print_line "writer: written"
	jmp .wait

%include "end.inc"
