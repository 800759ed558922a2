/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VT-x this machine has, and switching it on. missing() runs on the boot CPU first; cpu_on()
 * and cpu_off() on each CPU.
 */
#include "arch/x86_64/vmx/vmx.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/npt_ept.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/msr.h"

#define CPUID_1_ECX_VMX BIT(5)
#define CPUID_7_EDX_IBRS_IBPB BIT(26)
#define CPUID_81_EDX_RDTSCP BIT(27)
#define CR4_VMXE BIT(13)

enum vmx_msr {
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_VMX_BASIC = 0x480,
	MSR_VMX_PIN = 0x481,
	MSR_VMX_PRIMARY = 0x482,
	MSR_VMX_EXIT = 0x483,
	MSR_VMX_ENTRY = 0x484,
	MSR_VMX_MISC = 0x485,
	MSR_VMX_CR0_FIXED0 = 0x486,
	MSR_VMX_CR0_FIXED1 = 0x487,
	MSR_VMX_CR4_FIXED0 = 0x488,
	MSR_VMX_CR4_FIXED1 = 0x489,
	MSR_VMX_SECONDARY = 0x48b,
	MSR_VMX_EPT_VPID = 0x48c,
	MSR_VMX_TRUE_PIN = 0x48d, /* then primary, exit, entry */
	MSR_VMX_TRUE_PRIMARY = 0x48e,
	MSR_VMX_TRUE_EXIT = 0x48f,
	MSR_VMX_TRUE_ENTRY = 0x490,
};

enum feature_control { FEATURE_CONTROL_LOCK = 1 << 0, FEATURE_CONTROL_VMX = 1 << 2 };
#define BASIC_REVISION 0x7fffffffu
#define BASIC_TRUE_CONTROLS BIT(55)
#define MISC_TIMER_SHIFT 0x1full
enum { MSR_X2APIC = 0x800, X2APIC_TPR = 0x08, X2APIC_EOI = 0x0b };
/* IA32_VMX_EPT_VPID_CAP (A.10). */
#define EPT_CAP_4_LEVELS BIT(6)
#define EPT_CAP_WRITE_BACK BIT(14)
#define EPT_CAP_PAGES_2M BIT(16)
#define EPT_CAP_PAGES_1G BIT(17)
#define EPT_CAP_AD_BITS BIT(21)
#define EPT_CAP_INVEPT (BIT(20) | BIT(25) | BIT(26))  /* single context, all contexts */
#define EPT_CAP_INVVPID (BIT(32) | BIT(41) | BIT(42)) /* the same */

/* How long a guest runs at most without an exit: see run.c. */
#define TICK_NS NS_PER_MS
/* A bit an MSR: reads of the low and high MSRs, then writes (25.6.9). */
#define MSR_BITMAP_BYTES 4096
#define MSR_BITMAP_PART_BYTES 1024

struct vmx_features vmx_features;
/* Never changes after missing(): all vCPUs use the same. */
static u8 msr_bitmap[MSR_BITMAP_BYTES] aligned(4096);
static u8 x2apic_bitmap[MSR_BITMAP_BYTES] aligned(4096);
static u8 io_bitmaps[2 * IO_BITMAP_BYTES] aligned(4096);

hpa_t vmx_msr_bitmap(bool x2apic)
{
	return page_hpa(x2apic ? x2apic_bitmap : msr_bitmap);
}

hpa_t vmx_io_bitmaps(void)
{
	return page_hpa(io_bitmaps);
}

enum msr_access { MSR_ACCESS_READ, MSR_ACCESS_WRITE };

static void msr_pass(u8 *bitmap, u32 msr, enum msr_access access)
{
	u32 part = (msr >= 0xc0000000u ? 1 : 0) + (access == MSR_ACCESS_WRITE ? 2 : 0);
	u32 number = msr & 0x1fff;

	bitmap[part * MSR_BITMAP_PART_BYTES + number / 8] &= (u8)~(1u << (number % 8));
}

/*
 * With the registers virtualized (SDM 3 30.5) a read that does not exit gets what the APIC's page has: not the
 * current count, which is nowhere, nor ICR, whose halves are not side by side there. Writes of TPR and EOI
 * do all that there is to do; any other one that did not exit would reach the host's APIC.
 */
static void x2apic_map_init(void)
{
	static const struct {
		u8 first, last;
	} plain[] = {
		{ 0x02, 0x03 }, { 0x08, 0x08 }, { 0x0a, 0x0a }, { 0x0d, 0x0d }, { 0x0f, 0x28 }, { 0x32, 0x38 },
		{ 0x3e, 0x3e },
	};

	memcpy(x2apic_bitmap, msr_bitmap, sizeof(x2apic_bitmap));
	for (u32 i = 0; i < ARRAY_SIZE(plain); i++)
		for (u32 reg = plain[i].first; reg <= plain[i].last; reg++)
			msr_pass(x2apic_bitmap, MSR_X2APIC + reg, MSR_ACCESS_READ);
	msr_pass(x2apic_bitmap, MSR_X2APIC + X2APIC_TPR, MSR_ACCESS_WRITE);
	msr_pass(x2apic_bitmap, MSR_X2APIC + X2APIC_EOI, MSR_ACCESS_WRITE);
}

/*
 * All MSRs exit but those that the VMCS or run.c switches. Not EFER and PAT, whose values are checked;
 * not TSC_AUX, which the guest hardly writes. All ports exit, too.
 */
static void maps_init(void)
{
	static const u32 switched[] = {
		MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_STAR, MSR_LSTAR, MSR_SFMASK,
		MSR_FS_BASE,     MSR_GS_BASE,      MSR_KERNEL_GS_BASE,
	};

	memset(io_bitmaps, 0xff, sizeof(io_bitmaps));
	memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
	for (u32 i = 0; i < ARRAY_SIZE(switched); i++) {
		msr_pass(msr_bitmap, switched[i], MSR_ACCESS_READ);
		msr_pass(msr_bitmap, switched[i], MSR_ACCESS_WRITE);
	}
	x2apic_map_init();
}

/*
 * A word of controls. Its MSR has the bits that must be 1 in its low half, those that may be in its
 * high half (A.3 to A.5). needed: without them no guest runs; wanted: where there are.
 */
static const struct control_word {
	u32 msr, true_msr;
	u32 needed, wanted;
	u32 must_be_off; /* that some CPUs insist on: no such CPU has the needed ones */
	u32 *value;
	const char *name;
} control_words[] = {
	{
		.msr = MSR_VMX_PIN, .true_msr = MSR_VMX_TRUE_PIN,
		.needed = PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER,
		.value = &vmx_features.pin, .name = "pin-based",
	},
	{
		.msr = MSR_VMX_PRIMARY, .true_msr = MSR_VMX_TRUE_PRIMARY,
		.needed = PRIMARY_TSC_OFFSET | PRIMARY_HLT | PRIMARY_MWAIT | PRIMARY_RDPMC | PRIMARY_CR8_LOAD |
			  PRIMARY_TPR_SHADOW | PRIMARY_MOV_DR | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAP |
			  PRIMARY_MONITOR |
			  PRIMARY_SECONDARY,
		.must_be_off = PRIMARY_CR3_LOAD | PRIMARY_CR3_STORE,
		.value = &vmx_features.primary, .name = "primary processor-based",
	},
	{
		.msr = MSR_VMX_SECONDARY, .true_msr = MSR_VMX_SECONDARY,
		.needed = SECONDARY_EPT | SECONDARY_VPID | SECONDARY_WBINVD | SECONDARY_UNRESTRICTED,
		.wanted = SECONDARY_RDTSCP | SECONDARY_INVPCID | SECONDARY_PAUSE_LOOP,
		.value = &vmx_features.secondary, .name = "secondary processor-based",
	},
	{
		.msr = MSR_VMX_EXIT, .true_msr = MSR_VMX_TRUE_EXIT,
		.needed = EXIT_CTL_SAVE_DEBUG | EXIT_CTL_HOST_64 | EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT |
			  EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER,
		.value = &vmx_features.exit, .name = "VM-exit",
	},
	{
		.msr = MSR_VMX_ENTRY, .true_msr = MSR_VMX_TRUE_ENTRY,
		.needed = ENTRY_CTL_LOAD_DEBUG | ENTRY_CTL_LOAD_PAT | ENTRY_CTL_LOAD_EFER,
		.value = &vmx_features.entry, .name = "VM-entry",
	},
};

static const char *control_word_missing(const struct control_word *word)
{
	static char why[200];
	u64 allowed = 0;
	u32 must;
	u32 may;

	if (msr_read_safe(msr_read(MSR_VMX_BASIC) & BASIC_TRUE_CONTROLS ? word->true_msr : word->msr, &allowed))
		return "the CPU has VT-x but not all of its capability registers: another CPU is needed";
	must = (u32)allowed;
	may = (u32)(allowed >> 32);
	*word->value = must | ((word->needed | word->wanted) & may);
	if (!(word->needed & ~may) && !(must & word->must_be_off))
		return NULL;
	str_format(why, sizeof(why),
		   "the CPU has VT-x but not all %s controls that guests need (%#x must be 1, %#x may be, %#x "
		   "are needed): a newer CPU is needed", word->name, must, may, word->needed);
	return why;
}

/* The two that people know by name, and what memory virtualization is made of. */
static const char *secondary_missing(void)
{
	u64 primary = msr_read(MSR_VMX_PRIMARY) >> 32;
	u64 secondary = 0;
	u64 ept = 0;

	if (!(primary & PRIMARY_SECONDARY) || msr_read_safe(MSR_VMX_SECONDARY, &secondary) ||
	    !(secondary >> 32 & SECONDARY_EPT))
		return "the CPU has VT-x but no extended page tables (EPT): a CPU that has them is needed; "
		       "in a virtual machine, switch on nested EPT";
	if (!(secondary >> 32 & SECONDARY_UNRESTRICTED))
		return "the CPU has VT-x but no unrestricted guest mode: a CPU that has it is needed (2010 or later); "
		       "in a virtual machine, switch on nested \"unrestricted guest\"";
	if (!(secondary >> 32 & SECONDARY_VPID))
		return "the CPU has VT-x but no virtual processor identifiers (VPID): another CPU is needed";
	ept = msr_read(MSR_VMX_EPT_VPID);
	if (!(ept & EPT_CAP_4_LEVELS) || !(ept & EPT_CAP_WRITE_BACK) || !(ept & EPT_CAP_PAGES_2M))
		return "the CPU's extended page tables (EPT) have not 4 levels, write-back memory and 2 MiB pages: "
		       "another CPU is needed";
	if ((ept & EPT_CAP_INVEPT) != EPT_CAP_INVEPT || (ept & EPT_CAP_INVVPID) != EPT_CAP_INVVPID)
		return "the CPU has no INVEPT or INVVPID instruction for single and for all contexts: "
		       "another CPU is needed";
	return NULL;
}

static void features_read(void)
{
	u64 ept = msr_read(MSR_VMX_EPT_VPID);
	u64 ticks = ns_to_tsc(TICK_NS) >> (msr_read(MSR_VMX_MISC) & MISC_TIMER_SHIFT);
	bool has_7 = cpuid_read(0, 0).eax >= 7;

	vmx_features.revision = (u32)msr_read(MSR_VMX_BASIC) & BASIC_REVISION;
	vmx_features.cr0_fixed0 = msr_read(MSR_VMX_CR0_FIXED0);
	vmx_features.cr4_fixed0 = msr_read(MSR_VMX_CR4_FIXED0);
	vmx_features.timer_ticks = MIN(MAX(ticks, 1), ~0u);
	vmx_features.ad_bits = ept & EPT_CAP_AD_BITS;
	vmx_features.pml = vmx_features.ad_bits && msr_read(MSR_VMX_SECONDARY) >> 32 & SECONDARY_PML;
	vmx_features.apicv = (msr_read(MSR_VMX_SECONDARY) >> 32 & SECONDARY_APICV) == SECONDARY_APICV;
	vmx_features.tsc_scaling = msr_read(MSR_VMX_SECONDARY) >> 32 & SECONDARY_TSC_SCALING;
	vmx_features.pages_1g = ept & EPT_CAP_PAGES_1G;
	vmx_features.rdtscp = cpuid_read(0x80000001u, 0).edx & CPUID_81_EDX_RDTSCP &&
			      vmx_features.secondary & SECONDARY_RDTSCP;
	vmx_features.ibpb = has_7 && cpuid_read(7, 0).edx & CPUID_7_EDX_IBRS_IBPB;
}

/* Why this CPU's VT-x can't be switched on (SDM 3 24.7); NULL if it can. */
static const char *disabled(void)
{
	u64 control = 0;

	if (msr_read_safe(MSR_FEATURE_CONTROL, &control))
		return "VT-x can't be switched on: the CPU shows it in CPUID, but has no FEATURE_CONTROL register; "
		       "in a virtual machine, switch on nested virtualization";
	if (!(control & FEATURE_CONTROL_LOCK) || control & FEATURE_CONTROL_VMX)
		return NULL; /* cpu_on() sets what is not locked */
	return "VT-x is disabled by the firmware: switch on \"Intel Virtualization Technology\" (VT-x, VMX) in its "
	       "setup, then turn the machine off and on";
}

static const char *vmx_missing(void)
{
	const char *why;

	if (!(cpuid_read(1, 0).ecx & CPUID_1_ECX_VMX))
		return "the CPU has no VT-x (Intel VMX): a CPU that has it is needed; "
		       "in a virtual machine, switch on nested virtualization";
	why = disabled();
	if (!why)
		why = secondary_missing();
	for (u32 i = 0; !why && i < ARRAY_SIZE(control_words); i++)
		why = control_word_missing(&control_words[i]);
	if (why)
		return why;
	if (!fpu_features())
		return "the CPU has VT-x but no XSAVE: a newer CPU is needed; in a virtual machine, show it XSAVE";
	features_read();
	maps_init();
	return NULL;
}

/* CR0 and CR4 as VMXON wants them (24.8); ours are, but for VMXE. */
static int must_check control_registers_prepare(void)
{
	u64 cr0 = vmx_cr_read(0);
	u64 cr4 = vmx_cr_read(4) | CR4_VMXE;

	if ((cr0 & msr_read(MSR_VMX_CR0_FIXED0)) != msr_read(MSR_VMX_CR0_FIXED0) ||
	    cr0 & ~msr_read(MSR_VMX_CR0_FIXED1) ||
	    (cr4 & msr_read(MSR_VMX_CR4_FIXED0)) != msr_read(MSR_VMX_CR4_FIXED0) ||
	    cr4 & ~msr_read(MSR_VMX_CR4_FIXED1))
		return trace_error(-E_NOSYS);
	vmx_cr_write(4, cr4);
	return 0;
}

static int must_check vmxon(struct cpu *cpu)
{
	hpa_t region = pages_alloc(0);
	int error;

	if (region == HPA_NONE)
		return trace_error(-E_NOMEM);
	*(u32 *)page_ptr(region) = vmx_features.revision;
	error = control_registers_prepare();
	if (!error && vmx_on(region)) {
		vmx_cr_write(4, vmx_cr_read(4) & ~CR4_VMXE);
		error = trace_error(-E_NOSYS);
	}
	if (error)
		pages_free(region, 0);
	else
		cpu->hsave = region;
	return error;
}

static int vmx_cpu_on(struct cpu *cpu)
{
	const char *why = disabled();
	u64 control = 0;
	int error;

	if (why) {
		log_error("CPU %u: %s", cpu->index, why);
		return -E_NOSYS;
	}
	if (!msr_read_safe(MSR_FEATURE_CONTROL, &control) && !(control & FEATURE_CONTROL_LOCK) &&
	    msr_write_safe(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX))
		return trace_error(-E_NOSYS);
	error = vmxon(cpu);
	if (!error)
		vmx_run_cpu_on(cpu);
	return error;
}

static void vmx_cpu_off(struct cpu *cpu)
{
	vmx_off();
	vmx_cr_write(4, vmx_cr_read(4) & ~CR4_VMXE);
	pages_free(cpu->hsave, 0);
	cpu->hsave = 0;
}

static const struct npt_format *vmx_npt_format(void)
{
	return npt_ept_format(vmx_features.ad_bits, vmx_features.pages_1g);
}

/* 25.6.5: the multiplier has 48 bits behind the point. */
static u32 vmx_tsc_ratio_bits(void)
{
	return vmx_features.tsc_scaling ? 48 : 0;
}

static bool vmx_has_pause_exits(void)
{
	return vmx_features.secondary & SECONDARY_PAUSE_LOOP;
}

static bool vmx_has_dirty_list(void)
{
	return vmx_features.pml;
}

const struct hvm_ops vmx_ops = {
	.name = "VT-x",
	.npt_name = "EPT",
	.missing = vmx_missing,
	.cpu_on = vmx_cpu_on,
	.cpu_off = vmx_cpu_off,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_fini = vmx_vcpu_fini,
	.vcpu_run = vmx_vcpu_run,
	.vcpu_leave = vmx_vcpu_leave,
	.get_state = vmx_get_state,
	.set_state = vmx_set_state,
	.get_mode = vmx_get_mode,
	.set_cr = vmx_set_cr,
	.get_cr = vmx_get_cr,
	.get_msr = vmx_get_msr,
	.set_msr = vmx_set_msr,
	.irq_ready = vmx_irq_ready,
	.inject = vmx_inject,
	.event_pending = vmx_event_pending,
	.request_irq_window = vmx_request_irq_window,
	.request_nmi_window = vmx_request_nmi_window,
	.apic_sync = vmx_apic_sync,
	.apic_assist = vmx_apic_assist,
	.apic_label = vmx_apic_label,
	.insn_done = vmx_insn_done,
	.flush_tlb = vmx_flush_tlb,
	.set_tsc = vmx_set_tsc,
	.tsc_ratio_bits = vmx_tsc_ratio_bits,
	.npt_format = vmx_npt_format,
	.has_pause_exits = vmx_has_pause_exits,
	.has_dirty_list = vmx_has_dirty_list,
};
