/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SVM this machine has, and switching it on. missing() runs on the boot CPU first; cpu_on()
 * and cpu_off() on each CPU.
 */
#include "arch/x86_64/svm/svm.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/npt_amd.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/cr.h"
#include "vmm/msr.h"

#define CPUID_SVM_LEAF 0x8000000au
enum cpuid_svm_edx {
	CPUID_NPT = 1 << 0,
	CPUID_SVM_LOCK = 1 << 2,
	CPUID_NRIPS = 1 << 3,
	CPUID_TSC_RATIO = 1 << 4,
	CPUID_FLUSH_BY_ASID = 1 << 6,
	CPUID_DECODE_ASSISTS = 1 << 7,
	CPUID_PAUSE_FILTER = 1 << 10,
};
#define CPUID_81_ECX_SVM BIT(2)
#define CPUID_81_EDX_PAGES_1G BIT(26)
#define CPUID_81_EDX_RDTSCP BIT(27)
#define CPUID_88_EBX_IBPB BIT(12)

enum vm_cr { VM_CR_LOCK = 1 << 3, VM_CR_SVMDIS = 1 << 4 };

/* Two bits an MSR: read, write; three ranges of 8192 MSRs and a reserved one (APM 2 15.11). */
#define MSRPM_BYTES (8 * 1024)
#define MSRPM_RANGE_BYTES 2048
/* A bit a port, and some more for accesses that cross the end (15.10.1). */
#define IOPM_BYTES (12 * 1024)

struct svm_features svm_features;
/* Never change after missing(): all vCPUs use the same. */
static u8 msrpm[MSRPM_BYTES] aligned(4096);
static u8 iopm[IOPM_BYTES] aligned(4096);

hpa_t svm_iopm(void)
{
	return page_hpa(iopm);
}

hpa_t svm_msrpm(void)
{
	return page_hpa(msrpm);
}

static void msr_pass_through(u32 msr)
{
	u32 range = msr >= 0xc0010000u ? 2 : msr >= 0xc0000000u ? 1 : 0;
	u32 number = msr & 0xffff;

	assert(number < 8192);
	msrpm[range * MSRPM_RANGE_BYTES + number / 4] &= (u8)~(3u << (2 * (number % 4)));
}

/*
 * All ports exit, and all MSRs but those that VMLOAD and VMSAVE switch (15.5.2). Not EFER (its
 * SVME bit is hidden), not PAT (QEMU does not switch it), not the TSC (there is an offset).
 */
static void maps_init(void)
{
	static const u32 switched[] = {
		MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_STAR,    MSR_LSTAR,
		MSR_CSTAR,       MSR_SFMASK,       MSR_FS_BASE,      MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	};

	memset(iopm, 0xff, sizeof(iopm));
	memset(msrpm, 0xff, sizeof(msrpm));
	for (u32 i = 0; i < ARRAY_SIZE(switched); i++)
		msr_pass_through(switched[i]);
}

static void features_read(void)
{
	struct cpuid_regs extended = cpuid_read(0x80000001u, 0);
	struct cpuid_regs svm = cpuid_read(CPUID_SVM_LEAF, 0);
	struct cpuid_regs speculation = cpuid_read(0x80000008u, 0);

	svm_features = (struct svm_features){
		.asids = svm.ebx,
		.nrips = svm.edx & CPUID_NRIPS,
		.flush_by_asid = svm.edx & CPUID_FLUSH_BY_ASID,
		.decode_assists = svm.edx & CPUID_DECODE_ASSISTS,
		.pause_filter = svm.edx & CPUID_PAUSE_FILTER,
		.tsc_ratio = svm.edx & CPUID_TSC_RATIO,
		.rdtscp = extended.edx & CPUID_81_EDX_RDTSCP,
		.pages_1g = extended.edx & CPUID_81_EDX_PAGES_1G,
		.invpcid = cpuid_read(7, 0).ebx & CPUID_7_EBX_INVPCID,
		.ibpb = speculation.ebx & CPUID_88_EBX_IBPB,
	};
}

/* Why this CPU's SVM can't be switched on (APM 2 15.4); NULL if it can. */
static const char *disabled(void)
{
	u64 vm_cr = 0;

	if (msr_read_safe(MSR_VM_CR, &vm_cr))
		return "SVM can't be switched on: the CPU shows it in CPUID, but has no VM_CR register; "
		       "in a virtual machine, switch on nested virtualization";
	if (!(vm_cr & VM_CR_SVMDIS) || !(vm_cr & VM_CR_LOCK))
		return NULL; /* cpu_on() clears what is not locked */
	if (cpuid_read(CPUID_SVM_LEAF, 0).edx & CPUID_SVM_LOCK)
		return "SVM is disabled by the firmware and locked with a key: "
		       "switch on SVM (AMD-V, virtualization) in the firmware's setup";
	return "SVM is disabled by the firmware: switch on SVM (AMD-V, virtualization) in its setup";
}

static const char *svm_missing(void)
{
	struct cpuid_regs svm;
	const char *why;

	if (cpuid_read(0x80000000u, 0).eax < CPUID_SVM_LEAF ||
	    !(cpuid_read(0x80000001u, 0).ecx & CPUID_81_ECX_SVM))
		return "the CPU has no SVM (AMD-V): a CPU that has it is needed; "
		       "in a virtual machine, switch on nested virtualization";
	why = disabled();
	if (why)
		return why;
	svm = cpuid_read(CPUID_SVM_LEAF, 0);
	if (!(svm.edx & CPUID_NPT))
		return "the CPU has SVM but no nested paging (NPT, RVI): a CPU that has it is needed; "
		       "in a virtual machine, switch on nested paging";
	if (svm.ebx < 2)
		return "the CPU has SVM but no address space identifiers (ASIDs) for guests: another CPU is needed";
	if (!fpu_features())
		return "the CPU has SVM but no XSAVE: a newer CPU is needed; in a virtual machine, show it XSAVE";
	features_read();
	maps_init();
	return NULL;
}

/* A save area for VMRUN, and one for what VMRUN does not save. */
static int must_check cpu_pages_alloc(struct cpu *cpu)
{
	hpa_t hsave = pages_alloc(0);
	hpa_t host_vmcb = pages_alloc(0);

	if (hsave == HPA_NONE || host_vmcb == HPA_NONE) {
		if (hsave != HPA_NONE)
			pages_free(hsave, 0);
		return trace_error(-E_NOMEM);
	}
	cpu->hsave = hsave;
	cpu->hostvmcb = host_vmcb;
	return 0;
}

static int svm_cpu_on(struct cpu *cpu)
{
	const char *why = disabled();
	u64 vm_cr = 0;
	int error;

	if (why) {
		log_error("CPU %u: %s", cpu->index, why);
		return -E_NOSYS;
	}
	if (!msr_read_safe(MSR_VM_CR, &vm_cr) && vm_cr & VM_CR_SVMDIS &&
	    msr_write_safe(MSR_VM_CR, vm_cr & ~(u64)VM_CR_SVMDIS))
		return trace_error(-E_NOSYS);
	error = cpu_pages_alloc(cpu);
	if (error)
		return error;
	msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_SVME);
	msr_write(MSR_VM_HSAVE_PA, cpu->hsave);
	svm_vmsave(cpu->hostvmcb);
	svm_run_cpu_on(cpu);
	return 0;
}

static void svm_cpu_off(struct cpu *cpu)
{
	msr_write(MSR_VM_HSAVE_PA, 0);
	msr_write(MSR_EFER, msr_read(MSR_EFER) & ~(u64)EFER_SVME);
	pages_free(cpu->hsave, 0);
	pages_free(cpu->hostvmcb, 0);
	cpu->hsave = 0;
	cpu->hostvmcb = 0;
}

static const struct npt_format *svm_npt_format(void)
{
	return npt_amd_format(svm_features.pages_1g);
}

static bool svm_has_pause_exits(void)
{
	return svm_features.pause_filter;
}

static u32 svm_tsc_ratio_bits(void)
{
	return svm_features.tsc_ratio ? TSC_RATIO_BITS : 0;
}

const struct hvm_ops svm_ops = {
	.name = "SVM",
	.npt_name = "NPT",
	.missing = svm_missing,
	.cpu_on = svm_cpu_on,
	.cpu_off = svm_cpu_off,
	.vcpu_init = svm_vcpu_init,
	.vcpu_fini = svm_vcpu_fini,
	.vcpu_run = svm_vcpu_run,
	.get_state = svm_get_state,
	.set_state = svm_set_state,
	.get_mode = svm_get_mode,
	.set_cr = svm_set_cr,
	.get_cr = svm_get_cr,
	.get_msr = svm_get_msr,
	.set_msr = svm_set_msr,
	.irq_ready = svm_irq_ready,
	.inject = svm_inject,
	.event_pending = svm_event_pending,
	.request_irq_window = svm_request_irq_window,
	.request_nmi_window = svm_request_nmi_window,
	.insn_done = svm_insn_done,
	.flush_tlb = svm_flush_tlb,
	.set_tsc = svm_set_tsc,
	.tsc_ratio_bits = svm_tsc_ratio_bits,
	.has_pause_exits = svm_has_pause_exits,
	.npt_format = svm_npt_format,
};
