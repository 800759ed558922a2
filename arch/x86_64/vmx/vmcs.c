/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and unmaking a vCPU's VMCS, and the guest's registers in it.
 *
 * A VMCS can be read and written only on the CPU where it is current (SDM 3 25.11.1), but the
 * registers of a vCPU that does not run are everybody's. So others see struct vmx_guest: while the
 * vCPU runs, groups of it are read when somebody asks (valid), and written back at the next entry
 * if somebody changed them (dirty); when the vCPU leaves its CPU all are read (run.c), and from then
 * on it needs no VMCS until it runs again.
 */
#include "arch/x86_64/vmx/vmcs.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/cpuid.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

/* In TSC ticks: PAUSEs closer than the gap are one loop; a loop that lasts the window exits (25.6.13). */
#define PAUSE_LOOP_GAP 128
#define PAUSE_LOOP_WINDOW 4096

#define EPTP_WRITE_BACK 6ull
#define EPTP_4_LEVELS (3ull << 3)
#define EPTP_AD_BITS BIT(6)

#define DEBUGCTL_BTF BIT(1)

/* Pages for the VMCS, struct vmx_vcpu and the page-modification log; the fourth is spare. */
#define VCPU_ORDER 2
static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "VCPU_ORDER");
static_assert(PML_ENTRIES * sizeof(u64) == PAGE_SIZE, "VCPU_ORDER");

/* --- what the guest's CR0 and CR4 are made of (25.6.6) ----------------------------------------- */

/*
 * CR0's bits that the guest does not own: those that VMX operation wants to be 1 (NE), and the
 * caches', which it would switch off for the host. Its other bits the CPU checks itself, and keeps
 * EFER.LMA and the IA-32e mode control in step with PG (28.2).
 */
static u64 cr0_mask(void)
{
	return (vmx_features.cr0_fixed0 & ~(CR0_PE | CR0_PG)) | CR0_CD | CR0_NW;
}

static u64 cr0_real(u64 cr0)
{
	return (cr0 & ~(CR0_CD | CR0_NW)) | CR0_ET | (vmx_features.cr0_fixed0 & ~(CR0_PE | CR0_PG));
}

/*
 * CR4's: what CPUID hides from it, whose setting exits and is refused; MCE, without which a machine
 * check would shut the machine down.
 */
static u64 cr4_mask(const struct vcpu *vcpu)
{
	return ~cr4_allowed(vcpu->vm->cpuid) | CR4_MCE | vmx_features.cr4_fixed0;
}

/* --- the groups -------------------------------------------------------------------------------- */

/* Table 25-2: descriptor bits 40-47 and 52-55 with 4 bits between, which a struct segment has not. */
static struct segment segment_read(u32 index)
{
	u32 rights = (u32)vmcs_read(VMCS_GUEST_RIGHTS + 2 * index);
	struct segment segment = {
		.selector = (u16)vmcs_read(VMCS_GUEST_SELECTOR + 2 * index),
		.attr = (u16)((rights & 0xff) | (rights >> 4 & 0xf00)),
		.limit = (u32)vmcs_read(VMCS_GUEST_LIMIT + 2 * index),
		.base = vmcs_read(VMCS_GUEST_BASE + 2 * index),
	};

	/* The other bits may be anything then; but SS.DPL is the privilege level (28.3.2). */
	if (rights & RIGHTS_UNUSABLE)
		segment.attr = index == VMCS_SS ? segment.attr & 3 << 5 : 0;
	return segment;
}

static void segment_write(u32 index, const struct segment *segment)
{
	u32 attr = segment->attr;
	u32 rights = (attr & 0xff) | (attr & 0xf00) << 4;

	if (!(attr & SEGMENT_P))
		rights |= RIGHTS_UNUSABLE;
	vmcs_write(VMCS_GUEST_SELECTOR + 2 * index, segment->selector);
	vmcs_write(VMCS_GUEST_RIGHTS + 2 * index, rights);
	vmcs_write(VMCS_GUEST_LIMIT + 2 * index, segment->limit);
	vmcs_write(VMCS_GUEST_BASE + 2 * index, segment->base);
}

static void segments_read(struct vmx_guest *guest)
{
	for (u32 i = 0; i < VMCS_SEGMENTS; i++)
		guest->segments[i] = segment_read(i);
	guest->gdtr.base = vmcs_read(VMCS_GUEST_GDTR_BASE);
	guest->gdtr.limit = (u32)vmcs_read(VMCS_GUEST_GDTR_LIMIT) & 0xffff;
	guest->idtr.base = vmcs_read(VMCS_GUEST_IDTR_BASE);
	guest->idtr.limit = (u32)vmcs_read(VMCS_GUEST_IDTR_LIMIT) & 0xffff;
}

static void segments_write(const struct vmx_guest *guest)
{
	for (u32 i = 0; i < VMCS_SEGMENTS; i++)
		segment_write(i, &guest->segments[i]);
	vmcs_write(VMCS_GUEST_GDTR_BASE, guest->gdtr.base);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, guest->gdtr.limit);
	vmcs_write(VMCS_GUEST_IDTR_BASE, guest->idtr.base);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, guest->idtr.limit);
}

static void control_read(struct vmx_vcpu *vv, u32 groups)
{
	struct vmx_guest *guest = &vv->guest;

	/* As in vmcs_cr4(). */
	if (groups & GROUP_CR0)
		guest->cr0 = (vmcs_read(VMCS_GUEST_CR0) & ~cr0_mask()) | (guest->cr0 & cr0_mask());
	(void)vmcs_cr4(vv);
	if (groups & GROUP_CR3)
		guest->cr3 = vmcs_read(VMCS_GUEST_CR3);
	if (groups & GROUP_EFER)
		guest->efer = vmcs_read(VMCS_GUEST_EFER);
}

/*
 * With PAE paging the CPU has the four PDPTEs in registers (4.4.1), which a MOV to a control register
 * loads, and which a VM entry takes from the VMCS. One with reserved bits, for which the MOV would
 * have faulted, counts as not present.
 */
static void pdptes_write(const struct vcpu *vcpu, u64 cr3)
{
	u64 reserved = ~(BIT(cpuid_read(0x80000008u, 0).eax & 0xff) - 1) | 0x1e6;
	u64 pdptes[4];

	if (gmem_read(&vcpu->vm->gmem, cr3 & 0xffffffe0u, pdptes, sizeof(pdptes)))
		memset(pdptes, 0, sizeof(pdptes));
	for (u32 i = 0; i < 4; i++)
		vmcs_write(VMCS_GUEST_PDPTE + 2 * i, pdptes[i] & 1 && !(pdptes[i] & reserved) ? pdptes[i] : 0);
}

static void control_write(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	const struct vmx_guest *guest = &vv->guest;

	vv->cr4_mask = cr4_mask(vcpu);
	vmcs_write(VMCS_GUEST_CR0, cr0_real(guest->cr0));
	vmcs_write(VMCS_CR0_SHADOW, guest->cr0);
	vmcs_write(VMCS_GUEST_CR4, guest->cr4 | CR4_MCE | vmx_features.cr4_fixed0);
	vmcs_write(VMCS_CR4_MASK, vv->cr4_mask);
	vmcs_write(VMCS_CR4_SHADOW, guest->cr4);
	vmcs_write(VMCS_GUEST_CR3, guest->cr3);
	vmcs_write(VMCS_GUEST_EFER, guest->efer);
	/* 27.3.1.1: the same as EFER.LMA. */
	vmcs_write(VMCS_ENTRY_CONTROLS, vmx_features.entry | (guest->efer & EFER_LMA ? ENTRY_CTL_IA32E : 0));
	if (guest->cr0 & CR0_PG && guest->cr4 & CR4_PAE && !(guest->efer & EFER_LMA))
		pdptes_write(vcpu, guest->cr3);
}

static void msrs_read(struct vmx_guest *guest)
{
	guest->sysenter_cs = vmcs_read(VMCS_GUEST_SYSENTER_CS);
	guest->sysenter_esp = vmcs_read(VMCS_GUEST_SYSENTER_ESP);
	guest->sysenter_eip = vmcs_read(VMCS_GUEST_SYSENTER_EIP);
	guest->pat = vmcs_read(VMCS_GUEST_PAT);
}

static void msrs_write(const struct vmx_guest *guest)
{
	vmcs_write(VMCS_GUEST_SYSENTER_CS, guest->sysenter_cs);
	vmcs_write(VMCS_GUEST_SYSENTER_ESP, guest->sysenter_esp);
	vmcs_write(VMCS_GUEST_SYSENTER_EIP, guest->sysenter_eip);
	vmcs_write(VMCS_GUEST_PAT, guest->pat);
}

/*
 * In an interrupt shadow a pending single-step trap must be there exactly where TF asks for one
 * (27.3.1.5). What else was pending was the shadow's, which whoever changes it ends.
 */
static void blocking_write(const struct vcpu *vcpu, const struct vmx_guest *guest)
{
	bool step = guest->interruptibility & BLOCKED_SHADOW && vcpu->regs.rflags & RFLAGS_TF &&
		    !(guest->debugctl & DEBUGCTL_BTF);

	vmcs_write(VMCS_INTERRUPTIBILITY, guest->interruptibility);
	vmcs_write(VMCS_PENDING_DEBUG, step ? PENDING_DEBUG_BS : 0);
}

void vmcs_fetch(struct vmx_vcpu *vv, u32 groups)
{
	struct vmx_guest *guest = &vv->guest;

	assert(vv->current);
	if (groups & GROUP_SEGMENTS)
		segments_read(guest);
	if (groups & GROUP_CONTROL)
		control_read(vv, groups);
	if (groups & GROUP_DEBUG) {
		guest->dr7 = vmcs_read(VMCS_GUEST_DR7);
		guest->debugctl = vmcs_read(VMCS_GUEST_DEBUGCTL);
	}
	if (groups & GROUP_MSRS)
		msrs_read(guest);
	if (groups & GROUP_BLOCKING)
		(void)vmcs_interruptibility(vv);
	vv->valid |= groups;
}

struct vmx_guest *vmcs_change(struct vmx_vcpu *vv, enum vmx_group group)
{
	(void)vmcs_guest(vv, group);
	vv->dirty |= group;
	vv->attention |= ATTENTION_IMAGE;
	return &vv->guest;
}

void vmcs_write_dirty(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);
	const struct vmx_guest *guest = &vv->guest;

	if (vv->dirty & GROUP_SEGMENTS)
		segments_write(guest);
	if (vv->dirty & GROUP_CONTROL)
		control_write(vcpu);
	if (vv->dirty & GROUP_DEBUG) {
		vmcs_write(VMCS_GUEST_DR7, guest->dr7);
		vmcs_write(VMCS_GUEST_DEBUGCTL, guest->debugctl & DEBUGCTL_BTF);
	}
	if (vv->dirty & GROUP_MSRS)
		msrs_write(guest);
	if (vv->dirty & GROUP_BLOCKING)
		blocking_write(vcpu, vmcs_guest(vv, GROUP_DEBUG));
	vv->dirty = 0;
	vv->attention &= ~(u32)ATTENTION_IMAGE;
}

/* --- the constant fields ----------------------------------------------------------------------- */

u64 vmx_eptp(const struct vcpu *vcpu)
{
	return vcpu->vm->gmem.npt.root | EPTP_WRITE_BACK | EPTP_4_LEVELS | (vmx_features.ad_bits ? EPTP_AD_BITS : 0);
}

/*
 * Translations are tagged with the EPTP as well as with the VPID (29.3.2), so a VPID has to be
 * another one only for each vCPU of the guest. 0 is the host's.
 */
u16 vmx_vpid(const struct vcpu *vcpu)
{
	return (u16)(vcpu->index + 1);
}

static void write_controls(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	vmcs_write(VMCS_VPID, vmx_vpid(vcpu));
	vmcs_write(VMCS_EPTP, vmx_eptp(vcpu));
	vmcs_write(VMCS_IO_BITMAPS, vmx_io_bitmaps());
	vmcs_write(VMCS_IO_BITMAPS + 2, vmx_io_bitmaps() + IO_BITMAP_BYTES);
	vmcs_write(VMCS_MSR_BITMAP, vmx_msr_bitmap(false));
	vmcs_write(VMCS_VIRTUAL_APIC, page_hpa(vcpu->apic_page));
	vmcs_write(VMCS_LINK_POINTER, ~0ull);
	vmcs_write(VMCS_PIN_CONTROLS, vmx_features.pin);
	vmcs_write(VMCS_EXIT_CONTROLS, vmx_features.exit);
	/*
	 * #DB and #AC: a guest can make their delivery raise them again, for ever and without an exit
	 * (SDM 3 6.15, #AC). #MC is about the host's hardware.
	 */
	vmcs_write(VMCS_EXCEPTION_BITMAP, 1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC);
	vmcs_write(VMCS_PF_MASK, 0);
	vmcs_write(VMCS_PF_MATCH, 0);
	vmcs_write(VMCS_CR0_MASK, cr0_mask());
	vmcs_write(VMCS_CR3_TARGETS, 0);
	vmcs_write(VMCS_EXIT_MSR_STORES, 0);
	vmcs_write(VMCS_EXIT_MSR_LOADS, 0);
	vmcs_write(VMCS_ENTRY_MSR_LOADS, 0);
	vmcs_write(VMCS_ENTRY_EVENT, 0);
	vmcs_write(VMCS_TPR_THRESHOLD, 0);
	vmcs_write(VMCS_PREEMPTION_TIMER, vmx_features.timer_ticks);
	vmcs_write(VMCS_ACTIVITY, 0);
	/* As run.c believes. */
	vmcs_write(VMCS_GUEST_RIP, 0);
	vmcs_write(VMCS_GUEST_RSP, 0);
	vmcs_write(VMCS_GUEST_RFLAGS, 0);
	vmcs_write(VMCS_HOST_RSP, 0);
	if (vmx_features.secondary & SECONDARY_PAUSE_LOOP) {
		vmcs_write(VMCS_PLE_GAP, PAUSE_LOOP_GAP);
		vmcs_write(VMCS_PLE_WINDOW, PAUSE_LOOP_WINDOW);
	}
	if (vmx_features.pml) {
		vmcs_write(VMCS_PML_ADDRESS, page_hpa(vv->pml));
		vmcs_write(VMCS_PML_INDEX, PML_ENTRIES - 1);
	}
}

/* Never changes on this CPU after its start. */
static void write_host_state(void)
{
	const struct cpu_area *area = cpu_area_self();

	vmcs_write(VMCS_HOST_ES, GDT_DATA);
	vmcs_write(VMCS_HOST_CS, GDT_CODE);
	vmcs_write(VMCS_HOST_SS, GDT_DATA);
	vmcs_write(VMCS_HOST_DS, GDT_DATA);
	vmcs_write(VMCS_HOST_FS, 0);
	vmcs_write(VMCS_HOST_GS, 0);
	vmcs_write(VMCS_HOST_TR, GDT_TSS);
	vmcs_write(VMCS_HOST_CR0, vmx_cr_read(0));
	vmcs_write(VMCS_HOST_CR3, vmx_cr_read(3));
	vmcs_write(VMCS_HOST_CR4, vmx_cr_read(4));
	vmcs_write(VMCS_HOST_FS_BASE, 0);
	vmcs_write(VMCS_HOST_GS_BASE, (uintptr_t)area);
	vmcs_write(VMCS_HOST_TR_BASE, (uintptr_t)&area->tss);
	vmcs_write(VMCS_HOST_GDTR_BASE, (uintptr_t)area->gdt);
	vmcs_write(VMCS_HOST_IDTR_BASE, vmx_idt_base());
	vmcs_write(VMCS_HOST_SYSENTER_CS, 0);
	vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
	vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
	vmcs_write(VMCS_HOST_PAT, msr_read(MSR_PAT));
	vmcs_write(VMCS_HOST_EFER, msr_read(MSR_EFER));
	vmcs_write(VMCS_HOST_RIP, (uintptr_t)vmx_exited);
}

void vmcs_begin(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	write_host_state();
	if (vv->begun)
		return;
	/* What CPUID does not show is no instruction (SDM 3 25.6.2). A guest that arrives has its own policy by now. */
	if (!(cpuid_policy_word(vcpu->vm->cpuid, CPUID_7_EBX) & CPUID_7_EBX_INVPCID))
		vv->secondary &= ~(u32)SECONDARY_INVPCID;
	write_controls(vcpu);
	vv->begun = true;
}

/* --- making it --------------------------------------------------------------------------------- */

int vmx_vcpu_init(struct vcpu *vcpu)
{
	hpa_t pages = pages_alloc(VCPU_ORDER);
	struct cpu_state reset;
	struct vmx_vcpu *vv;

	if (pages == HPA_NONE)
		return trace_error(-E_NOMEM);
	*(u32 *)page_ptr(pages) = vmx_features.revision;
	vv = page_ptr(pages + PAGE_SIZE);
	*vv = (struct vmx_vcpu){
		.vmcs_hpa = pages,
		.last_cpu = CPUS_MAX,
		.primary = vmx_apic_primary(),
		.secondary = vmx_features.secondary,
		.pml = page_ptr(pages + 2 * PAGE_SIZE),
		.attention = ATTENTION_AWAY | ATTENTION_LAUNCH | ATTENTION_CONTROLS,
		.valid = GROUP_ALL,
	};
	vcpu->vendor = vv;
	cpu_state_reset(&reset);
	vmx_load_state(vcpu, &reset);
	return 0;
}

void vmx_vcpu_fini(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	/* It has left its CPU, so no CPU writes to the VMCS any more. */
	assert(!vv->current);
	pages_free(vv->vmcs_hpa, VCPU_ORDER);
	vcpu->vendor = NULL;
}
