/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entering a guest and coming back. On the vCPU's CPU, interrupts off; struct vmx_cpu belongs to
 * its CPU alone.
 *
 * Where a VMCS is (SDM 3 25.11.1): current on the vCPU's CPU from the first entry after the vCPU came
 * to it until vmx_vcpu_leave(), which clears it. So a VMCS is never active on two CPUs, and any CPU
 * may look at the registers (vmcs.c) or free the pages of a vCPU that does not run.
 *
 * The TLB's rules (29.4.3):
 * - Translations are tagged with VPID and EPTP (29.3.2), so entries and exits flush nothing.
 * - A vCPU that comes to another CPU, or back to one, may find translations there from before
 *   (29.4.3.4: "if a logical processor is used by another one..."): INVEPT for its EPTP, which takes
 *   the guest's own translations with it (29.4.3.1). That also covers a new guest whose tables are
 *   where another one's were.
 * - Who changes nested tables, takes rights away or clears D bits calls vmx_flush_tlb(): INVEPT
 *   before the next entry (29.4.3.4).
 * - What we do to the guest's CR0, CR4 or EFER for it that would flush on a bare CPU (4.10.4.1):
 *   INVVPID for its VPID (29.4.3.3).
 *
 * The tick: every entry starts the preemption timer anew, so nothing needs to be written for it. A
 * host interrupt ends the guest's run by itself; but an emulated CPU may not let it (Bochs 3.1: entered
 * with the guest's IF 0, it forgets external interrupts until the guest's STI). For the same reason
 * they are served after each exit, whatever its cause. Not before an entry: the run loop has looked
 * for news already, and would miss what comes there (vcpu.c's head).
 */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"
#include "vmm/vm.h"

enum invalidation { INVALIDATE_SINGLE = 1, INVALIDATE_ALL = 2 };

struct vmx_cpu {
	const struct vmx_vcpu *current; /* whose VMCS is current; NULL: none's */
	const struct vmx_vcpu *last;    /* ran here last: the CPU has its struct vmx_loaded */
};

static struct vmx_cpu cpus[CPUS_MAX];

static void invept(u64 type, u64 eptp)
{
	struct vmx_invalidation what = { .context = eptp };

	if (vmx_invept(type, &what))
		panic("INVEPT failed");
}

static void invvpid(u64 type, u16 vpid)
{
	struct vmx_invalidation what = { .context = vpid };

	if (vmx_invvpid(type, &what))
		panic("INVVPID failed");
}

void vmx_run_cpu_on(struct cpu *cpu)
{
	cpus[cpu->index] = (struct vmx_cpu){ .current = NULL };
	/* Whatever was here before us (29.4.3.4). */
	invept(INVALIDATE_ALL, 0);
	invvpid(INVALIDATE_ALL, 0);
}

void vmx_flush_tlb(struct vcpu *vcpu)
{
	vmx_of(vcpu)->attention |= ATTENTION_FLUSH;
}

/* --- registers that nothing switches ----------------------------------------------------------- */

static void loaded_write(const struct vmx_vcpu *vv)
{
	const struct vmx_loaded *loaded = &vv->loaded;

	vmx_cr_write(2, loaded->cr2);
	msr_write(MSR_STAR, loaded->star);
	msr_write(MSR_LSTAR, loaded->lstar);
	msr_write(MSR_SFMASK, loaded->sfmask);
	msr_write(MSR_KERNEL_GS_BASE, loaded->kernel_gs_base);
	if (vmx_features.rdtscp)
		msr_write(MSR_TSC_AUX, loaded->tsc_aux);
}

void vmx_loaded_save(struct vmx_vcpu *vv)
{
	/* Changed since the last entry: the copy is what counts. */
	if (!vv->current || vv->attention & ATTENTION_LOADED)
		return;
	vv->loaded.cr2 = vmx_cr_read(2);
	vv->loaded.star = msr_read(MSR_STAR);
	vv->loaded.lstar = msr_read(MSR_LSTAR);
	vv->loaded.sfmask = msr_read(MSR_SFMASK);
	vv->loaded.kernel_gs_base = msr_read(MSR_KERNEL_GS_BASE);
}

void vmx_set_dr_live(struct vmx_vcpu *vv, bool live)
{
	if (live) {
		vv->attention |= ATTENTION_DR;
		vv->primary &= ~(u32)PRIMARY_MOV_DR;
	} else {
		vv->attention &= ~(u32)ATTENTION_DR;
		vv->primary |= PRIMARY_MOV_DR;
	}
	vv->attention |= ATTENTION_CONTROLS;
}

static void load_debug_registers(const struct vmx_vcpu *vv)
{
	hvm_dr_load(vv->dr);
	vmx_dr6_write(vv->dr6);
}

/*
 * The VMCS switches DR7 only. The host has no use for the others. No breakpoint is on: back to
 * exits, until the guest touches a debug register again.
 */
static void save_debug_registers(struct vmx_vcpu *vv)
{
	hvm_dr_save(vv->dr);
	vv->dr6 = vmx_dr6_read();
	if (!(vmcs_guest(vv, GROUP_DEBUG)->dr7 & DR7_BREAKPOINTS))
		vmx_set_dr_live(vv, false);
}

/* --- the page-modification log (29.3.6) --------------------------------------------------------- */

void vmx_pml_drain(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	/* Counts down, and is 0xffff when the log is full. */
	u32 index = (u32)(vmcs_read(VMCS_PML_INDEX) + 1) & 0xffff;

	if (index == PML_ENTRIES)
		return;
	assert(index < PML_ENTRIES);
	for (u32 i = index; i < PML_ENTRIES; i++)
		gmem_log_page(&vcpu->vm->gmem, vv->pml[i]);
	vmcs_write(VMCS_PML_INDEX, PML_ENTRIES - 1);
}

/* At every flush: that is how the dirty log is started, kept up to date and stopped (mm/dirty.h). */
static void update_pml(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	u32 wanted = gmem_log_listed(&vcpu->vm->gmem) ? SECONDARY_PML : 0;

	if (vv->secondary & SECONDARY_PML)
		vmx_pml_drain(vcpu);
	if ((vv->secondary & SECONDARY_PML) == wanted)
		return;
	vv->secondary ^= SECONDARY_PML;
	vv->attention |= ATTENTION_CONTROLS;
}

/* --- around the switch -------------------------------------------------------------------------- */

static void make_current(struct vcpu *vcpu, struct vmx_vcpu *vv, struct vmx_cpu *own)
{
	assert(!own->current && vcpu->cpu == cpu_self()->index);
	if (vmx_load(vv->vmcs_hpa))
		panic("VMPTRLD failed");
	own->current = vv;
	vv->current = true;
	vv->attention &= ~(u32)ATTENTION_AWAY;
	if (vv->last_cpu == vcpu->cpu)
		return;
	vmcs_begin(vcpu);
	vv->attention |= ATTENTION_FLUSH;
}

static void prepare_tlb(struct vcpu *vcpu, struct vmx_vcpu *vv)
{
	if (vv->attention & ATTENTION_FLUSH) {
		update_pml(vcpu);
		invept(INVALIDATE_SINGLE, vmx_eptp(vcpu));
	} else if (vv->attention & ATTENTION_FLUSH_GUEST) {
		invvpid(INVALIDATE_SINGLE, vmx_vpid(vcpu));
	}
}

static void prepare_controls(struct vmx_vcpu *vv)
{
	vmcs_write(VMCS_PRIMARY_CONTROLS, vv->primary);
	vmcs_write(VMCS_SECONDARY_CONTROLS, vv->secondary);
	vmcs_write(VMCS_TSC_OFFSET, vv->tsc_offset);
	if (vv->secondary & SECONDARY_TSC_SCALING)
		vmcs_write(VMCS_TSC_MULTIPLIER, vv->tsc_ratio);
}

/* What an entry needs after anything but a usual exit of the same vCPU. */
static noinline void prepare(struct vcpu *vcpu, struct vmx_vcpu *vv, struct vmx_cpu *own)
{
	bool other = own->last != vv || vv->last_cpu != vcpu->cpu;

	if (!vv->current)
		make_current(vcpu, vv, own);
	vv->last_cpu = vcpu->cpu;
	own->last = vv;
	/* What one guest taught the CPU's branch predictor steers no other one. */
	if (other && vmx_features.ibpb)
		msr_write(MSR_PRED_CMD, PRED_CMD_IBPB);
	if (other || vv->attention & ATTENTION_LOADED)
		loaded_write(vv);
	prepare_tlb(vcpu, vv);
	if (vv->attention & ATTENTION_EVENT)
		vmx_event_enter(vcpu);
	if (vv->attention & ATTENTION_APIC)
		vmx_apic_enter(vv);
	if (vv->attention & ATTENTION_CONTROLS)
		prepare_controls(vv);
	if (vv->attention & ATTENTION_IMAGE)
		vmcs_write_dirty(vcpu);
	if (vv->attention & ATTENTION_DR)
		load_debug_registers(vv);
	vv->attention &= ~(u32)(ATTENTION_FLUSH | ATTENTION_FLUSH_GUEST | ATTENTION_LOADED | ATTENTION_CONTROLS |
				ATTENTION_APIC);
}

/* The other side of prepare(). */
static noinline void finish(struct vcpu *vcpu, struct vmx_vcpu *vv, u32 idt_event)
{
	/* An entry that failed on the guest's state does not change the launch state (27.8). */
	if (vv->attention & ATTENTION_LAUNCH && !(vv->exit_reason & EXIT_ENTRY_FAILED)) {
		vv->launched = true;
		vv->attention &= ~(u32)ATTENTION_LAUNCH;
	}
	if (vv->attention & ATTENTION_DR)
		save_debug_registers(vv);
	vmx_event_exit(vcpu, idt_event);
}

/* RIP, RSP and RFLAGS, which nearly every exit changes or nobody does. */
static void registers_write(const struct vcpu_regs *regs, struct vmx_vcpu *vv)
{
	if (vv->rip != regs->rip)
		vmcs_write(VMCS_GUEST_RIP, regs->rip);
	if (vv->rsp != regs->gpr[GPR_RSP])
		vmcs_write(VMCS_GUEST_RSP, regs->gpr[GPR_RSP]);
	if (vv->rflags != regs->rflags)
		vmcs_write(VMCS_GUEST_RFLAGS, regs->rflags);
}

static void registers_read(struct vcpu_regs *regs, struct vmx_vcpu *vv)
{
	u64 rip = vmcs_read(VMCS_GUEST_RIP);
	u64 rsp = vmcs_read(VMCS_GUEST_RSP);
	u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);

	vv->rip = regs->rip = rip;
	vv->rsp = regs->gpr[GPR_RSP] = rsp;
	vv->rflags = regs->rflags = rflags;
}

/* The controls or the host's state were refused: the guest's registers are as they were (27.1, 27.2). */
static noinline void entry_refused(struct vcpu *vcpu, struct vm_exit *exit, enum vmx_result result)
{
	u64 number;

	if (result == VMX_FAIL_INVALID)
		panic("VM entry without a current VMCS");
	number = vmcs_read(VMCS_INSTRUCTION_ERROR);
	log_error("%s: VM entry failed: %s", vcpu->vm->config.name, vmx_instruction_error(number));
	exit->kind = VM_EXIT_ENTRY_FAILED;
	exit->insn_len = 0;
	exit->raw.code = number;
	exit->raw.info1 = vmx_of(vcpu)->primary;
	exit->raw.info2 = vmx_of(vcpu)->secondary;
}

void vmx_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	enum vmx_result result;
	u32 idt_event;

	if (unlikely(vv->attention))
		prepare(vcpu, vv, &cpus[vcpu->cpu]);
	registers_write(&vcpu->regs, vv);

	result = vmx_enter(vcpu->regs.gpr, &vv->host_rsp, vv->launched);

	if (unlikely(result)) {
		entry_refused(vcpu, exit, result);
		return;
	}
	vv->valid = 0;
	vv->exit_reason = vmcs_read(VMCS_EXIT_REASON);
	registers_read(&vcpu->regs, vv);
	idt_event = (u32)vmcs_read(VMCS_IDT_EVENT);
	if (unlikely(vv->attention || idt_event & INFO_VALID))
		finish(vcpu, vv, idt_event);
	vmx_decode_exit(vcpu, exit);
	hvm_serve_interrupts();
}

void vmx_vcpu_leave(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (!vv->current)
		return;
	(void)vmcs_guest(vv, GROUP_ALL);
	vmx_loaded_save(vv);
	if (vv->secondary & SECONDARY_PML)
		vmx_pml_drain(vcpu);
	if (vmx_clear(vv->vmcs_hpa))
		panic("VMCLEAR failed");
	vv->current = false;
	vv->launched = false;
	vv->attention |= ATTENTION_AWAY | ATTENTION_LAUNCH;
	cpus[cpu_self()->index].current = NULL;
}
