/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the VMCB after an exit to struct vm_exit. On the vCPU's CPU, right after the exit.
 */
#include "arch/x86_64/svm/svm.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"

/*
 * Where the CPU keeps no next RIP (QEMU), these instructions are taken to have no prefixes: none
 * makes sense on them. 0 where one does (WBNOINVD is WBINVD with one): vmm/ decodes those.
 */
enum insn_bytes {
	BYTES_HLT = 1,
	BYTES_CPUID = 2,
	BYTES_MSR = 2,
	BYTES_INVD = 2,
	BYTES_PAUSE = 2,
	BYTES_VMMCALL = 3,
	BYTES_XSETBV = 3,
	BYTES_UNKNOWN = 0,
};

static u8 insn_length(const struct vmcb *vmcb, u8 without_nrips)
{
	u64 length;

	if (!svm_features.nrips)
		return without_nrips;
	length = vmcb->control.next_rip - vmcb->state.rip;
	return length >= 1 && length <= 15 ? (u8)length : BYTES_UNKNOWN;
}

static void exit_of_insn(const struct vmcb *vmcb, struct vm_exit *exit, enum vm_exit_kind kind, u8 without_nrips)
{
	exit->kind = kind;
	exit->insn_len = insn_length(vmcb, without_nrips);
}

static noinline void exit_unknown(const struct vmcb *vmcb, struct vm_exit *exit, enum vm_exit_kind kind)
{
	exit->kind = kind;
	exit->raw.code = vmcb->control.exit_code;
	exit->raw.info1 = vmcb->control.exit_info_1;
	exit->raw.info2 = vmcb->control.exit_info_2;
}

/* APM 2 15.10.2: EXITINFO2 is the next RIP, with or without NRIPS. */
static noinline void exit_io(const struct vmcb *vmcb, struct vm_exit *exit)
{
	u64 info = vmcb->control.exit_info_1;

	exit->kind = VM_EXIT_IO;
	exit->io.port = (u16)(info >> IOIO_PORT_SHIFT);
	exit->io.size = info >> IOIO_SIZE_SHIFT & 7; /* one bit each for 1, 2, 4 */
	exit->io.in = info & IOIO_IN;
	exit->io.string = info & IOIO_STRING;
	exit->io.rep = info & IOIO_REP;
	exit->io.next_rip = vmcb->control.exit_info_2;
	if (exit->io.size != 1 && exit->io.size != 2 && exit->io.size != 4)
		exit_unknown(vmcb, exit, VM_EXIT_UNKNOWN);
}

static noinline void exit_msr(const struct vcpu *vcpu, struct vm_exit *exit)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	const u64 *gpr = vcpu->regs.gpr;
	bool write = vmcb->control.exit_info_1 & 1;

	exit_of_insn(vmcb, exit, write ? VM_EXIT_MSR_WRITE : VM_EXIT_MSR_READ, BYTES_MSR);
	exit->msr.index = (u32)gpr[GPR_RCX];
	exit->msr.value = gpr[GPR_RDX] << 32 | (u32)gpr[GPR_RAX];
}

static noinline void exit_npt(const struct vmcb *vmcb, struct vm_exit *exit)
{
	u64 info = vmcb->control.exit_info_1;

	/* A reserved bit in our own tables: nothing that the guest can do about it. */
	if (unlikely(info & NPF_RESERVED)) {
		exit_unknown(vmcb, exit, VM_EXIT_UNKNOWN);
		return;
	}
	exit->kind = VM_EXIT_NPT;
	exit->npt.gpa = vmcb->control.exit_info_2;
	exit->npt.write = info & NPF_WRITE;
	exit->npt.fetch = info & NPF_FETCH;
	exit->npt.table_walk = info & NPF_TABLE_WALK;
	exit->npt.insn_bytes = 0;
	if (svm_features.decode_assists && vmcb->control.insn_count <= sizeof(exit->npt.insn)) {
		exit->npt.insn_bytes = vmcb->control.insn_count;
		memcpy(exit->npt.insn, vmcb->control.insn, sizeof(exit->npt.insn));
	}
}

static void exit_cr_write(const struct vcpu *vcpu, struct vm_exit *exit)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	u8 cr = (u8)(vmcb->control.exit_code - EXIT_CR_WRITE);
	u64 info = vmcb->control.exit_info_1;
	enum gpr gpr = info & CR_GPR;

	if (!svm_features.decode_assists || !(info & CR_IS_MOV)) {
		switch (svm_mov_to_cr(vcpu, cr, &gpr)) {
		case 0:
			break;
		case -E_AGAIN:
			exit->kind = VM_EXIT_HOST; /* the guest executes it again */
			return;
		default:
			exit_unknown(vmcb, exit, VM_EXIT_UNKNOWN);
			return;
		}
	}
	exit_of_insn(vmcb, exit, VM_EXIT_CR_WRITE, BYTES_UNKNOWN);
	exit->cr.cr = cr;
	exit->cr.value = vcpu->regs.gpr[gpr];
	/* Outside of 64-bit mode the operand is 32 bits (APM 3, MOV CRn). */
	if (!(vmcb->state.cs.attr & SEGMENT_L))
		exit->cr.value = (u32)exit->cr.value;
}

static noinline void exit_xsetbv(const struct vcpu *vcpu, struct vm_exit *exit)
{
	const u64 *gpr = vcpu->regs.gpr;

	exit_of_insn(svm_of(vcpu)->vmcb, exit, VM_EXIT_XSETBV, BYTES_XSETBV);
	exit->xsetbv.index = (u32)gpr[GPR_RCX];
	exit->xsetbv.value = gpr[GPR_RDX] << 32 | (u32)gpr[GPR_RAX];
}

/* DR6, DR7 and RIP in the VMCB are what the guest's handler is to see (15.12.2). */
static void exit_exception(const struct vmcb *vmcb, struct vm_exit *exit)
{
	u8 vector = (u8)(vmcb->control.exit_code - EXIT_EXCEPTION);

	if (vector == VECTOR_MC)
		panic("machine check while a guest ran, at guest rip %#llx", (unsigned long long)vmcb->state.rip);
	if (vector != VECTOR_DB && vector != VECTOR_AC) {
		exit_unknown(vmcb, exit, VM_EXIT_UNKNOWN);
		return;
	}
	exit->kind = VM_EXIT_EXCEPTION;
	exit->exception.vector = vector;
	exit->exception.has_error_code = vector == VECTOR_AC;
	exit->exception.error_code = (u32)vmcb->control.exit_info_1;
}

/* The first access to a debug register: the guest gets them until no breakpoint is on (run.c). */
static void exit_dr(struct vcpu *vcpu, struct vm_exit *exit)
{
	svm_set_dr_live(svm_of(vcpu), true);
	exit->kind = VM_EXIT_HOST;
}

/* Exits that are ranges, or that are none of ours. */
static noinline void exit_other(struct vcpu *vcpu, struct vm_exit *exit)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	u64 code = vmcb->control.exit_code;

	if (code == EXIT_CR_WRITE + 4 || code == EXIT_CR_WRITE + 8)
		exit_cr_write(vcpu, exit);
	else if (code >= EXIT_DR_READ && code <= EXIT_DR_WRITE_LAST)
		exit_dr(vcpu, exit);
	else if (code >= EXIT_EXCEPTION && code <= EXIT_EXCEPTION_LAST)
		exit_exception(vmcb, exit);
	else if ((u32)code == EXIT_INVALID)
		exit_unknown(vmcb, exit, VM_EXIT_ENTRY_FAILED);
	else
		exit_unknown(vmcb, exit, VM_EXIT_UNKNOWN);
}

/* The exits that their code alone describes. */
enum simple_how {
	NOT_SIMPLE, /* decode_more() */
	EVENT,      /* no instruction, or one that will not be done */
	INSN,
};
static const struct {
	u8 how;   /* enum simple_how */
	u8 kind;
	u8 bytes; /* enum insn_bytes */
} aligned(4) simple_exits[] = {
	[EXIT_INTR] = { EVENT, VM_EXIT_HOST, 0 },
	[EXIT_NMI] = { EVENT, VM_EXIT_HOST, 0 },
	[EXIT_INIT] = { EVENT, VM_EXIT_HOST, 0 },
	[EXIT_VINTR] = { EVENT, VM_EXIT_IRQ_WINDOW, 0 },
	[EXIT_RDPMC] = { EVENT, VM_EXIT_PRIVILEGED, 0 },
	[EXIT_CPUID] = { INSN, VM_EXIT_CPUID, BYTES_CPUID },
	[EXIT_RSM] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_INVD] = { INSN, VM_EXIT_CACHE, BYTES_INVD },
	[EXIT_PAUSE] = { INSN, VM_EXIT_PAUSE, BYTES_PAUSE },
	[EXIT_HLT] = { INSN, VM_EXIT_HLT, BYTES_HLT },
	[EXIT_INVLPGA] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_SHUTDOWN] = { EVENT, VM_EXIT_TRIPLE_FAULT, 0 },
	[EXIT_VMRUN] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_VMMCALL] = { INSN, VM_EXIT_HYPERCALL, BYTES_VMMCALL },
	[EXIT_VMLOAD] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_VMSAVE] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_STGI] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_CLGI] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_SKINIT] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_WBINVD] = { INSN, VM_EXIT_CACHE, BYTES_UNKNOWN },
	[EXIT_MONITOR] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_MWAIT] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_RDPRU] = { EVENT, VM_EXIT_UNDEFINED, 0 },
	[EXIT_INVPCID] = { EVENT, VM_EXIT_UNDEFINED, 0 },
};

/* Those that need a look at the VMCB. */
static noinline void decode_more(struct vcpu *vcpu, struct vm_exit *exit, const struct vmcb *vmcb)
{
	exit->insn_len = 0;
	switch (vmcb->control.exit_code) {
	case EXIT_IOIO:
		exit_io(vmcb, exit);
		return;
	case EXIT_MSR:
		exit_msr(vcpu, exit);
		return;
	case EXIT_NPF:
		exit_npt(vmcb, exit);
		return;
	case EXIT_XSETBV:
		exit_xsetbv(vcpu, exit);
		return;
	case EXIT_IRET:
		svm_iret_exit(vcpu);
		exit->kind = VM_EXIT_HOST;
		return;
	default:
		exit_other(vcpu, exit);
	}
}

void svm_decode_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	u64 code = vmcb->control.exit_code;

	if (code >= ARRAY_SIZE(simple_exits) || simple_exits[code].how == NOT_SIMPLE) {
		decode_more(vcpu, exit, vmcb);
		return;
	}
	exit->kind = simple_exits[code].kind;
	exit->insn_len = simple_exits[code].how == INSN ? insn_length(vmcb, simple_exits[code].bytes) : 0;
}
