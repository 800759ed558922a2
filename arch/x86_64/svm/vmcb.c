/* SPDX-License-Identifier: Apache-2.0 */
/* Making and unmaking a vCPU's VMCB. While the vCPU does not run. */
#include "arch/x86_64/svm/vmcb.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/svm/svm.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/cr.h"
#include "vmm/vm.h"

#define PAUSE_FILTER_COUNT 3000

/* A page for the VMCB and one for struct svm_vcpu. */
#define VCPU_ORDER 1
static_assert(sizeof(struct svm_vcpu) <= PAGE_SIZE, "VCPU_ORDER");

/*
 * CR0 writes do not exit: the CPU itself checks them and keeps EFER.LMA (and CR0.CD slows down
 * only the guest that sets it). CR4 writes do: QEMU takes reserved bits and fails the next VMRUN,
 * and CPUID's policy hides some. CR8 writes do: they change the LAPIC's TPR. Reads of CR8 give
 * V_TPR.
 */
static void set_intercepts(struct vmcb_control *control)
{
	control->intercept_cr = INTERCEPT_CR_WRITE(4) | INTERCEPT_CR_WRITE(8);
	control->intercept_dr = INTERCEPT_DR_ALL;
	control->intercept_exceptions = INTERCEPT_EXCEPTIONS;
	control->intercept_misc1 = INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_INIT | INTERCEPT_RDPMC | INTERCEPT_CPUID |
				   INTERCEPT_RSM | INTERCEPT_INVD | INTERCEPT_HLT | INTERCEPT_INVLPGA | INTERCEPT_IOIO |
				   INTERCEPT_MSR | INTERCEPT_FERR_FREEZE | INTERCEPT_SHUTDOWN;
	control->intercept_misc2 = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD | INTERCEPT_VMSAVE |
				   INTERCEPT_STGI | INTERCEPT_CLGI | INTERCEPT_SKINIT | INTERCEPT_WBINVD |
				   INTERCEPT_MONITOR | INTERCEPT_MWAIT | INTERCEPT_XSETBV | INTERCEPT_RDPRU;
	/* Without the filter every PAUSE would exit, and most spinning is short. */
	if (svm_features.pause_filter) {
		control->intercept_misc1 |= INTERCEPT_PAUSE;
		control->pause_count = PAUSE_FILTER_COUNT;
	}
}

void svm_vmcb_reset(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);
	struct vmcb *vmcb = sv->vmcb;
	struct cpu_state reset;

	memset(vmcb, 0, sizeof(*vmcb));
	*sv = (struct svm_vcpu){ .vmcb = vmcb, .vmcb_hpa = page_hpa(vmcb), .last_cpu = CPUS_MAX,
				.tsc_ratio = TSC_RATIO_ONE };
	set_intercepts(&vmcb->control);
	vmcb->control.iopm_hpa = svm_iopm();
	vmcb->control.msrpm_hpa = svm_msrpm();
	vmcb->control.vintr = VINTR_MASKING;
	vmcb->control.np_enable = NP_ENABLE;
	vmcb->control.n_cr3 = vcpu->vm->gmem.npt.root;
	cpu_state_reset(&reset);
	svm_state_to_area(&vmcb->state, &reset);
	vmcb->state.rip = reset.rip;
	vmcb->state.rflags = reset.rflags;
}

int svm_vcpu_init(struct vcpu *vcpu)
{
	hpa_t pages = pages_alloc(VCPU_ORDER);
	struct svm_vcpu *sv;

	if (pages == HPA_NONE)
		return trace_error(-E_NOMEM);
	sv = page_ptr(pages + PAGE_SIZE);
	sv->vmcb = page_ptr(pages);
	vcpu->vendor = sv;
	svm_vmcb_reset(vcpu);
	memset(&vcpu->regs, 0, sizeof(vcpu->regs));
	vcpu->regs.gpr[GPR_RDX] = cpuid_read(1, 0).eax;
	vcpu->regs.rip = sv->vmcb->state.rip;
	vcpu->regs.rflags = sv->vmcb->state.rflags;
	return 0;
}

void svm_vcpu_fini(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_of(vcpu);

	pages_free(sv->vmcb_hpa, VCPU_ORDER);
	vcpu->vendor = NULL;
}
