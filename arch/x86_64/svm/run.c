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
#include "arch/x86_64/svm/svm.h"
#include "lib/log.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"

struct svm_cpu {
	const struct svm_vcpu *current; /* ran here last */
	hpa_t host_vmcb;
	u64 generation; /* from 1 */
	u32 next_asid;
	u64 tsc_aux;    /* what the MSR has */
	u64 tsc_ratio;  /* the same */
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
	own->tsc_ratio = TSC_RATIO_ONE;
	if (svm_features.rdtscp)
		msr_write(MSR_TSC_AUX, 0);
	if (svm_features.tsc_ratio)
		msr_write(MSR_TSC_RATIO, TSC_RATIO_ONE);
}

void svm_flush_tlb(struct vcpu *vcpu)
{
	svm_of(vcpu)->attention |= ATTENTION_FLUSH;
}

/* For the next run only. */
static void set_tlb_control(struct svm_vcpu *sv, enum tlb_control what)
{
	sv->vmcb->control.tlb_control = what;
	sv->attention |= ATTENTION_FLUSHED;
}

static void take_asid(struct svm_cpu *own, struct svm_vcpu *sv)
{
	struct vmcb_control *control = &sv->vmcb->control;

	if (own->next_asid >= svm_features.asids) {
		own->generation++;
		own->next_asid = 1;
		set_tlb_control(sv, TLB_FLUSH_ALL);
	}
	control->asid = own->next_asid++;
	sv->asid_generation = own->generation;
	vmcb_touched(sv->vmcb, CLEAN_ASID);
}

/* The vCPU came here from another CPU, or never ran. */
static void change_cpu(const struct vcpu *vcpu, struct svm_vcpu *sv)
{
	assert(vcpu->cpu == cpu_self()->index);
	/* What CPUID does not show is no instruction (15.9). A guest that arrives has its own policy by now. */
	if (svm_features.invpcid && !(cpuid_policy_word(vcpu->vm->cpuid, CPUID_7_EBX) & CPUID_7_EBX_INVPCID))
		sv->vmcb->control.intercept_misc3 |= INTERCEPT_INVPCID;
	sv->last_cpu = vcpu->cpu;
	sv->asid_generation = 0;
	vmcb_touched(sv->vmcb, ~0u);
}

static void prepare_tlb(struct svm_cpu *own, struct svm_vcpu *sv)
{
	bool flush = sv->attention & ATTENTION_FLUSH;

	if (sv->asid_generation != own->generation || (flush && !svm_features.flush_by_asid))
		take_asid(own, sv);
	else if (flush)
		set_tlb_control(sv, TLB_FLUSH_GUEST);
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

/* Nothing switches it either. */
static void load_tsc_ratio(struct svm_cpu *own, const struct svm_vcpu *sv)
{
	if (own->tsc_ratio == sv->tsc_ratio)
		return;
	own->tsc_ratio = sv->tsc_ratio;
	msr_write(MSR_TSC_RATIO, sv->tsc_ratio);
}

/* What an entry needs after anything but a usual exit of the same vCPU. */
static void prepare(struct vcpu *vcpu, struct svm_vcpu *sv, struct svm_cpu *own)
{
	bool other = own->current != sv || sv->last_cpu != vcpu->cpu;

	if (sv->last_cpu != vcpu->cpu)
		change_cpu(vcpu, sv);
	own->current = sv;
	/* What one guest taught the CPU's branch predictor steers no other one. */
	if (other && svm_features.ibpb)
		msr_write(MSR_PRED_CMD, PRED_CMD_IBPB);
	prepare_tlb(own, sv);
	load_tsc_aux(own, sv);
	load_tsc_ratio(own, sv);
	sv->attention &= ~(u32)(ATTENTION_FLUSH | ATTENTION_SWITCH);
	if (sv->attention & ATTENTION_EVENT)
		svm_event_enter(vcpu);
	if (sv->attention & ATTENTION_DR)
		hvm_dr_load(sv->dr);
	if (sv->attention & ATTENTION_NMI_IRET)
		svm_step_begin(vcpu);
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

static void enter(struct vcpu *vcpu, const struct svm_vcpu *sv, const struct svm_cpu *own)
{
	struct vcpu_regs *regs = &vcpu->regs;
	struct vmcb_state *state = &sv->vmcb->state;

	state->rax = regs->gpr[GPR_RAX];
	state->rsp = regs->gpr[GPR_RSP];
	state->rip = regs->rip;
	state->rflags = regs->rflags;
	svm_enter(regs->gpr, sv->vmcb_hpa, own->host_vmcb);
}

static noinline void enter_prepared(struct vcpu *vcpu, struct svm_vcpu *sv, struct svm_cpu *own)
{
	prepare(vcpu, sv, own);
	enter(vcpu, sv, own);
}

/*
 * The way in and the way out are two functions, or the compiler would save registers over
 * svm_enter() that it does by itself.
 */
static noinline void way_in(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct svm_cpu *own = &cpus[vcpu->cpu];

	if (unlikely(own->current != sv || sv->last_cpu != vcpu->cpu || sv->attention))
		enter_prepared(vcpu, sv, own);
	else
		enter(vcpu, sv, own);
}

/* The other side of prepare(), and what else a usual exit does not need. */
static noinline void leave_unusual(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	bool ours = sv->attention & ATTENTION_STEP && svm_step_end(vcpu);

	sv->vmcb->control.tlb_control = TLB_KEEP;
	sv->attention &= ~(u32)ATTENTION_FLUSHED;
	if (sv->attention & ATTENTION_DR)
		save_debug_registers(sv);
	svm_event_exit(vcpu);
	if (sv->vmcb->control.exit_code == EXIT_INTR)
		hvm_serve_interrupts();
	if (ours)
		*exit = (struct vm_exit){ .kind = VM_EXIT_HOST };
	else
		svm_decode_exit(vcpu, exit);
}

/* QEMU fills the save area with the host's state then: nothing of that is the guest's. */
static noinline void leave_failed(struct vcpu *vcpu, struct vm_exit *exit)
{
	svm_decode_exit(vcpu, exit);
	svm_vmcb_reset(vcpu);
}

static bool is_unusual(const struct svm_vcpu *sv, const struct vmcb_control *control)
{
	return sv->attention || control->exit_int_info & INJ_VALID || control->exit_code == EXIT_INTR;
}

void svm_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vcpu_regs *regs = &vcpu->regs;
	const struct svm_vcpu *sv;
	struct vmcb *vmcb;

	way_in(vcpu);
	sv = svm_of(vcpu);
	vmcb = sv->vmcb;
	if (unlikely((u32)vmcb->control.exit_code == EXIT_INVALID)) {
		leave_failed(vcpu, exit);
		return;
	}
	vmcb->control.clean = CLEAN_ALL;
	regs->gpr[GPR_RAX] = vmcb->state.rax;
	regs->gpr[GPR_RSP] = vmcb->state.rsp;
	regs->rip = vmcb->state.rip;
	regs->rflags = vmcb->state.rflags;
	if (unlikely(is_unusual(sv, &vmcb->control)))
		leave_unusual(vcpu, exit);
	else
		svm_decode_exit(vcpu, exit);
}
