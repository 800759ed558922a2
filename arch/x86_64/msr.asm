; SPDX-License-Identifier: Apache-2.0
;
; MSR accesses that may fault. traps.c knows the labels: a #GP at *_at continues at *_fault.

bits 64
default rel

global msr_try_read
global msr_try_read_at
global msr_try_write
global msr_try_write_at
global msr_try_fault

section .text

; bool msr_try_read(u32 msr, u64 *value)
msr_try_read:
	mov	ecx, edi
msr_try_read_at:
	rdmsr
	shl	rdx, 32
	or	rax, rdx
	mov	[rsi], rax
	mov	eax, 1
	ret

; bool msr_try_write(u32 msr, u64 value)
msr_try_write:
	mov	ecx, edi
	mov	eax, esi
	mov	rdx, rsi
	shr	rdx, 32
msr_try_write_at:
	wrmsr
	mov	eax, 1
	ret

msr_try_fault:
	xor	eax, eax
	ret
