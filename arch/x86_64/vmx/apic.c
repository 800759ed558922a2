/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CPU does of the local APIC's work (SDM 3 chapter 30), on the vCPU's CPU. The APIC's registers
 * are in vcpu->apic_page, which is the VMCS's virtual-APIC page; irqchip_view() says the rest.
 *
 *	APICv       of a guest in x2APIC mode: it reads most registers, raises and lowers TPR, is given its
 *	            interrupts and ends them without an exit. Only the EOI of a level interrupt exits
 *	            afterwards, for the I/O APIC. IRR may be written at any time, but the CPU looks at
 *	            RVI: whoever sets a bit kicks the vCPU, whose next entry writes RVI and SVI anew.
 *	TPR shadow  MOV to CR8 changes TPR without an exit, but where it lets something through that waits.
 *	nothing     if apicv = 'off': MOV to CR8 exits, and so does all the rest.
 *
 * A guest in xAPIC mode exits for each access: Linux changes to x2APIC mode early, and an APIC-access page
 * would have to be mapped, flushed and moved for the little that is left. Posted interrupts would spare the kick
 * of a vCPU on another CPU; no emulator shows what that is worth (Bochs' machines have one CPU here).
 */
#include "arch/x86_64/vmx/vmx.h"

/* Once, at boot. */
static bool assisted;

void vmx_apic_assist(bool allowed)
{
	assisted = allowed;
}

const char *vmx_apic_label(void)
{
	if (!assisted)
		return "emulated";
	return vmx_features.apicv ? "virtualized by the CPU (APICv)" : "emulated, with a TPR shadow";
}

u32 vmx_apic_primary(void)
{
	return assisted ? vmx_features.primary & ~(u32)PRIMARY_CR8_LOAD : vmx_features.primary;
}

bool vmx_apic_sync(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_of(vcpu);

	if (!assisted)
		return false;
	irqchip_view(vcpu, &vv->apic);
	vv->attention |= ATTENTION_APIC;
	return vmx_features.apicv && vv->apic.x2apic;
}

static void switch_apicv(struct vmx_vcpu *vv, bool on)
{
	if (((vv->secondary & SECONDARY_APICV) != 0) == on)
		return;
	vv->secondary ^= SECONDARY_APICV;
	vv->attention |= ATTENTION_CONTROLS;
	vmcs_write(VMCS_MSR_BITMAP, vmx_msr_bitmap(on));
}

void vmx_apic_enter(struct vmx_vcpu *vv)
{
	const struct irqchip_view *apic = &vv->apic;

	switch_apicv(vv, vmx_features.apicv && apic->x2apic);
	if (!(vv->secondary & SECONDARY_APICV)) {
		vmcs_write(VMCS_TPR_THRESHOLD, apic->tpr_threshold);
		return;
	}
	/* The entry itself brings PPR up to date and gives the guest what it can take (30.2.1). */
	vmcs_write(VMCS_INTERRUPT_STATUS, INTERRUPT_STATUS(apic->in_service, apic->requested));
	for (u32 i = 0; i < 4; i++)
		vmcs_write(VMCS_EOI_EXITS + 2 * i, apic->level[i]);
}
