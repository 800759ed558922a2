; SPDX-License-Identifier: Apache-2.0
;
; void long_idiv(Bit128s *quotient, Bit64s *remainder, const Bit128s *dividend, Bit64s divisor)
;
; What tools/bochs_repair puts into Bochs, in this one's room. A quotient that does not fit is given as 1 << 64, which the
; caller turns into the guest's #DE; the divisor is not 0.
	bits 64

	mov	rax, [rdx]
	mov	rdx, [rdx + 8]
	mov	r8, rdx			; the remainder's sign
	mov	r9, rcx
	xor	r9, rdx			; the quotient's sign
	xor	r10d, r10d		; its upper half
	test	rdx, rdx
	jns	.dividend_positive
	neg	rax
	adc	rdx, 0
	neg	rdx
.dividend_positive:
	test	rcx, rcx
	jns	.divisor_positive
	neg	rcx
.divisor_positive:
	cmp	rdx, rcx
	jae	.too_large
	div	rcx
	test	r9, r9
	jns	.quotient_done
	neg	rax
	adc	r10, 0
	neg	r10
.quotient_done:
	test	r8, r8
	jns	.done
	neg	rdx
.done:
	mov	[rdi], rax
	mov	[rdi + 8], r10
	mov	[rsi], rdx
	ret
.too_large:
	mov	qword [rdi], 0
	mov	qword [rdi + 8], 1
	ret

; HandleExtInterrupt(), rbx: the CPU. NZ: a virtual interrupt is pending and not masked (bit 9). May change rax.
	times 104 - ($ - $$) int3
	mov	eax, [rbx + 0x91e4]	; event_mask
	not	eax
	and	eax, [rbx + 0x91e0]	; pending_event
	test	ah, 2
	ret

; VMX_Deliver_Virtual_Interrupt(), rbp: the CPU, r12: the vector. An external interrupt is type 0, so this is all
; of the IDT-vectoring information but its valid bit. The last line is what was here.
	times 124 - ($ - $$) int3
	mov	[rbp + 0x90b0], r12d	; vmcs.idt_vector_info
	xor	r8d, r8d
	xor	ecx, ecx
	ret
