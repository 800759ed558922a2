; SPDX-License-Identifier: Apache-2.0
;
; void long_idiv(Bit128s *quotient, Bit64s *remainder, const Bit128s *dividend, Bit64s divisor)
;
; What tools/bochs_idiv puts into Bochs. A quotient that does not fit is given as 1 << 64, which the
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
