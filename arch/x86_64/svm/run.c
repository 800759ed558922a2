/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entering a guest and coming back. On the vCPU's CPU, interrupts off; struct svm_cpu belongs to
 * its CPU alone.
 *
 * The TLB's rules (APM 2 15.15.2, 15.16):
 * - Translations are tagged with an ASID, so a vCPU that runs with an ASID that this CPU has not
 *   used since its last whole flush starts with none. ASIDs are given out in order; when they are
 *   used up, a new generation begins with a flush of everything.
 * - An ASID is worth something only on the CPU that gave it and in its generation: a vCPU that
 *   comes to another CPU, or back to one, gets a new one.
 * - Who changes nested tables or takes rights away calls svm_flush_tlb(): the next entry flushes
 *   this ASID's entries (FlushByAsid), or uses a new ASID where the CPU can't.
 * - VMCB clean bits: none when the VMCB was last used on another CPU, or never.
 */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/log.h"

struct svm_cpu {
	const struct svm_vcpu *current; /* ran here last */
	hpa_t host_vmcb;
	u64 generation; /* from 1 */
	u32 next_asid;
	u64 tsc_aux;    /* what the MSR has */
};

static struct svm_cpu cpus[CPUS_MAX];

void svm_run_cpu_on(struct cpu *cpu)
{
	struct svm_cpu *own = &cpus[cpu->index];

	/* Used up: the first entry begins a generation, with a flush, whatever ran here before. */
	own->next_asid = svm_features.asids;
	own->generation = 1;
	own->host_vmcb = cpu->hostvmcb;
	own->current = NULL;
	own->tsc_aux = 0;
	if (svm_features.rdtscp)
		msr_write(MSR_TSC_AUX, 0);
}

void svm_flush_tlb(struct vcpu *vcpu)
{
	svm_of(vcpu)->attention |= ATTENTION_FLUSH;
}

static void take_asid(struct svm_cpu *own, struct svm_vcpu *sv)
{
	struct vmcb_control *control = &sv->vmcb->control;

	if (own->next_asid >= svm_features.asids) {
		own->generation++;
		own->next_asid = 1;
		control->tlb_control = TLB_FLUSH_ALL;
	}
	control->asid = own->next_asid++;
	sv->asid_generation = own->generation;
	vmcb_touched(sv->vmcb, CLEAN_ASID);
}

/* The vCPU came here from another CPU, or never ran. */
static void change_cpu(struct svm_vcpu *sv, u32 cpu)
{
	assert(cpu == cpu_self()->index);
	sv->last_cpu = cpu;
	sv->asid_generation = 0;
	vmcb_touched(sv->vmcb, ~0u);
}

static void prepare_tlb(struct svm_cpu *own, struct svm_vcpu *sv)
{
	bool flush = sv->attention & ATTENTION_FLUSH;

	if (sv->asid_generation != own->generation || (flush && !svm_features.flush_by_asid))
		take_asid(own, sv);
	else if (flush)
		sv->vmcb->control.tlb_control = TLB_FLUSH_GUEST;
	assert(sv->vmcb->control.asid > 0 && sv->vmcb->control.asid < svm_features.asids);
}

/* RDTSCP and RDPID read it; nothing switches it for us (15.5.1 lists what is switched). */
static void load_tsc_aux(struct svm_cpu *own, const struct svm_vcpu *sv)
{
	if (own->tsc_aux == sv->tsc_aux)
		return;
	own->tsc_aux = sv->tsc_aux;
	msr_write(MSR_TSC_AUX, sv->tsc_aux);
}

/* What an entry needs after anything but a usual exit of the same vCPU. */
static void prepare(struct vcpu *vcpu, struct svm_vcpu *sv, struct svm_cpu *own)
{
	bool other = own->current != sv || sv->last_cpu != vcpu->cpu;

	if (sv->last_cpu != vcpu->cpu)
		change_cpu(sv, vcpu->cpu);
	own->current = sv;
	/* What one guest taught the CPU's branch predictor steers no other one. */
	if (other && svm_features.ibpb)
		msr_write(MSR_PRED_CMD, PRED_CMD_IBPB);
	prepare_tlb(own, sv);
	load_tsc_aux(own, sv);
	sv->attention &= ~(u32)(ATTENTION_FLUSH | ATTENTION_SWITCH);
	if (sv->attention & ATTENTION_EVENT)
		svm_event_enter(vcpu);
	if (sv->attention & ATTENTION_DR)
		hvm_dr_load(sv->dr);
}

void svm_set_dr_live(struct svm_vcpu *sv, bool live)
{
	if (live)
		sv->attention |= ATTENTION_DR;
	else
		sv->attention &= ~(u32)ATTENTION_DR;
	sv->vmcb->control.intercept_dr = live ? 0 : INTERCEPT_DR_ALL;
	vmcb_touched(sv->vmcb, CLEAN_I);
}

/*
 * VMRUN switches DR6 and DR7 only. The host has no use for DR0-3. No breakpoint is on: back to
 * intercepting, until the guest touches a debug register again.
 */
static void save_debug_registers(struct svm_vcpu *sv)
{
	hvm_dr_save(sv->dr);
	if (!(sv->vmcb->state.dr7 & DR7_BREAKPOINTS))
		svm_set_dr_live(sv, false);
}

/* The other side of prepare(). */
static void finish(struct vcpu *vcpu, struct svm_vcpu *sv)
{
	sv->vmcb->control.tlb_control = TLB_KEEP;
	if (sv->attention & ATTENTION_DR)
		save_debug_registers(sv);
	svm_event_exit(vcpu);
}

void svm_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct svm_cpu *own = &cpus[vcpu->cpu];
	struct vmcb *vmcb = sv->vmcb;
	struct vcpu_regs *regs = &vcpu->regs;

	fpu_load(vcpu->xsave, vcpu->xcr0);
	if (unlikely(own->current != sv || sv->last_cpu != vcpu->cpu || sv->attention))
		prepare(vcpu, sv, own);
	vmcb->state.rax = regs->gpr[GPR_RAX];
	vmcb->state.rsp = regs->gpr[GPR_RSP];
	vmcb->state.rip = regs->rip;
	vmcb->state.rflags = regs->rflags;

	svm_enter(regs->gpr, sv->vmcb_hpa, own->host_vmcb);

	/* QEMU fills the save area with the host's state then: nothing of that is the guest's. */
	if (unlikely((u32)vmcb->control.exit_code == EXIT_INVALID)) {
		svm_decode_exit(vcpu, exit);
		svm_vmcb_reset(vcpu);
		return;
	}
	vmcb->control.clean = CLEAN_ALL;
	regs->gpr[GPR_RAX] = vmcb->state.rax;
	regs->gpr[GPR_RSP] = vmcb->state.rsp;
	regs->rip = vmcb->state.rip;
	regs->rflags = vmcb->state.rflags;
	if (unlikely(vmcb->control.tlb_control || sv->attention || vmcb->control.exit_int_info & INJ_VALID))
		finish(vcpu, sv);
	svm_decode_exit(vcpu, exit);
	if (exit->kind == VM_EXIT_HOST)
		hvm_serve_interrupts();
}
