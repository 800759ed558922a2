; SPDX-License-Identifier: Apache-2.0
;
; Does what no well-behaved guest does, one thing by the first letter of its command line, and prints
; what it saw. The host must do what hardware would, or stop this guest with a reason.
%include "tiny.inc"

main:
	print "tiny: faults "
	mov al, [rbx]
	call putc
	print_line ""
	cmp al, 't'
	je triple_fault
	cmp al, 'm'
	je wild_mmio
	cmp al, 'r'
	je unknown_msr
	cmp al, 'p'
	je unknown_port
	cmp al, 'c'
	je bad_control_registers
	cmp al, 'u'
	je undecodable
	cmp al, 'h'
	je halt_for_good
	cmp al, 'v'
	je virtualization
	cmp al, 's'
	je spin
	cmp al, 'l'
	je debug_loop
	cmp al, 'x'
	je bad_xcr0
	print_line "tiny: unknown letter"
	ret

triple_fault:
	lidt [no_idt]
	ud2
no_idt:	dw 0
	dq 0

; Reads all ones, takes writes and ignores them: as a bus where nobody answers.
wild_mmio:
	mov rdi, 0xd8000000
	mov eax, [rdi]
	mov dword [rdi], 0x12345678
	mov ecx, [rdi]
	movzx edx, byte [rdi + 5]
	print "tiny: mmio "
	call put_hex
	mov eax, ecx
	print " "
	call put_hex
	mov eax, edx
	print " "
	call put_hex
	print_line ""
	mov rdi, 0x0000007000000000	; far beyond RAM and window: not in our page tables either
	expect_exception .fault
	mov eax, [rdi]
	print_line "tiny: far read done"
	ret
.fault:	movzx eax, al
	print "tiny: far fault "
	call put_hex
	print_line ""
	ret

unknown_msr:
	mov ecx, 0x12345
	expect_exception .read
	rdmsr
	print_line "tiny: rdmsr came back"
	ret
.read:	movzx eax, al
	print "tiny: rdmsr exception "
	call put_hex
	print_line ""
	mov ecx, 0x12345
	xor eax, eax
	xor edx, edx
	expect_exception .write
	wrmsr
	print_line "tiny: wrmsr came back"
	ret
.write:	movzx eax, al
	print "tiny: wrmsr exception "
	call put_hex
	print_line ""
	ret

unknown_port:
	mov dx, 0x5658
	in eax, dx
	mov dx, 0x5658
	out dx, eax
	print "tiny: port "
	mov eax, eax
	call put_hex
	print_line ""
	ret

; Each must be #GP (13), as on hardware. (QEMU forgets the upper half of CR0 before it looks.)
bad_control_registers:
	mov rax, cr4
	bts rax, 40
	expect_exception .cr4
	mov cr4, rax
	print_line "tiny: cr4 came back"
	ret
.cr4:	movzx eax, al
	print "tiny: cr4 exception "
	call put_hex
	print_line ""
	mov ecx, 0xc0000080
	rdmsr
	bts eax, 12			; SVME, which this guest has not got
	expect_exception .efer
	wrmsr
	print_line "tiny: efer came back"
	ret
.efer:	movzx eax, al
	print "tiny: efer exception "
	call put_hex
	print_line ""
	mov rax, cr0
	bts rax, 40
	expect_exception .cr0
	mov cr0, rax
	print_line "tiny: cr0 came back"
	ret
.cr0:	movzx eax, al
	print "tiny: cr0 exception "
	call put_hex
	print_line ""
	ret

; An instruction on MMIO that no emulator of MMIO knows: stops this guest with a reason.
undecodable:
	mov rdi, 0xd8000000
	fxsave [rdi]
	print_line "tiny: fxsave came back"
	ret

halt_for_good:
	cli
	hlt
	print_line "tiny: woke up"
	ret

virtualization:
	expect_exception .vmrun
	mov eax, 0x200000
	vmrun
	print_line "tiny: vmrun came back"
	ret
.vmrun:	movzx eax, al
	print "tiny: vmrun exception "
	call put_hex
	print_line ""
	expect_exception .vmxon
	vmxon [no_idt]
	print_line "tiny: vmxon came back"
	ret
.vmxon:	movzx eax, al
	print "tiny: vmxon exception "
	call put_hex
	print_line ""
	ret

; Runs for ever without an exit.
spin:	print_line "tiny: spinning"
.loop:	jmp .loop

; #DB whose delivery raises #DB again (a data breakpoint on the stack): on hardware without an
; intercept this never ends and never exits.
debug_loop:
	lea rax, [rsp - 0x28]
	mov dr0, rax
	mov eax, 0x00090401		; L0, on writes, 8 bytes (SDM 3 17.2.4)
	mov dr7, rax
	push rax
	push rax
	push rax
	push rax
	push rax
	push rax
	print_line "tiny: debug came back"
	ret

bad_xcr0:
	mov rax, cr4
	bts rax, 18			; OSXSAVE
	mov cr4, rax
	xor ecx, ecx
	xor edx, edx
	mov eax, 6			; SSE and AVX without x87
	expect_exception .fault
	xsetbv
	print_line "tiny: xsetbv came back"
	ret
.fault:	movzx eax, al
	print "tiny: xsetbv exception "
	call put_hex
	print_line ""
	ret

%include "end.inc"
