/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VT-x backend. To the outside: vmx_ops. Among its own files: a vCPU's state, and who does what
 *	vmx.c    what the CPU has, switching it on and off, the permission maps
 *	vmcs.c   making a vCPU and its VMCS; the guest's registers out of and into the VMCS
 *	run.c    entering the guest: TLB, what must be loaded; run.asm is the switch itself
 *	exit.c   VMCS -> struct vm_exit
 *	event.c  interrupts and exceptions on their way in
 *	apic.c   what the CPU does of the local APIC's work
 *	state.c  registers: struct cpu_state, control registers, MSRs
 *	error.c  the manual's words for what the CPU refuses
 */
#ifndef VMX_VMX_H
#define VMX_VMX_H

#include "arch/x86_64/hvm/backends.h"
#include "arch/x86_64/hvm/common.h"
#include "arch/x86_64/vmx/vmcs.h"
#include "types.h"
#include "vmm/hvm.h"
#include "vmm/irqchip.h"
#include "vmm/vcpu.h"

/* From the capability MSRs (SDM 3 appendix A); the same on all CPUs. */
struct vmx_features {
	u32 revision;
	/* The controls that every VMCS begins with. */
	u32 pin, primary, secondary, exit, entry;
	u64 cr0_fixed0, cr4_fixed0; /* bits that are 1 in VMX operation */
	u64 timer_ticks;            /* the preemption timer's start: run.c */
	bool ad_bits;
	bool pml;
	bool apicv; /* all that apic.c wants */
	bool tsc_scaling;
	bool pages_1g;
	bool rdtscp;
	bool ibpb;
};
extern struct vmx_features vmx_features;

/* Parts of the guest's registers that go between struct vmx_guest and the VMCS together. */
enum vmx_group {
	GROUP_SEGMENTS = 1 << 0, /* with GDTR and IDTR */
	GROUP_DEBUG = 1 << 1,    /* DR7, DEBUGCTL */
	GROUP_MSRS = 1 << 2,     /* SYSENTER's, PAT */
	GROUP_BLOCKING = 1 << 3, /* interruptibility */
	GROUP_CR0 = 1 << 4,
	GROUP_CR3 = 1 << 5,
	GROUP_CR4 = 1 << 6,
	GROUP_EFER = 1 << 7,
	GROUP_CONTROL = GROUP_CR0 | GROUP_CR3 | GROUP_CR4 | GROUP_EFER, /* written together */
	GROUP_ALL = (1 << 8) - 1,
};

/* The guest-state area in the common layout, as the guest sees it; but for RIP, RSP, RFLAGS. */
struct vmx_guest {
	struct segment segments[VMCS_SEGMENTS]; /* enum vmcs_segment */
	struct segment gdtr, idtr;
	u64 cr0, cr3, cr4, efer;
	u64 dr7, debugctl;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, pat;
	u32 interruptibility;
};

/* Registers that nothing switches, and that the host does not use: in the CPU while the vCPU runs there. */
struct vmx_loaded {
	u64 cr2;
	u64 star, lstar, sfmask, kernel_gs_base, tsc_aux;
};

/* The seldom things, in one word, so that the usual entry and exit look at one. */
enum vmx_attention {
	ATTENTION_EVENT = 1 << 0,       /* event is to be injected */
	ATTENTION_INJECTED = 1 << 1,    /* injected was */
	ATTENTION_FLUSH = 1 << 2,       /* vmx_flush_tlb() */
	ATTENTION_FLUSH_GUEST = 1 << 3, /* the guest's own translations only */
	ATTENTION_DR = 1 << 4,          /* the guest may use DR0-3, 6: no exits, loaded around each run */
	ATTENTION_LOADED = 1 << 5,      /* struct vmx_loaded has changed */
	ATTENTION_CONTROLS = 1 << 6,    /* primary, secondary, tsc_offset or tsc_ratio have */
	ATTENTION_IMAGE = 1 << 7,       /* a group of struct vmx_guest has: dirty */
	ATTENTION_APIC = 1 << 8,        /* apic has */
	ATTENTION_AWAY = 1 << 9,        /* not current: always the opposite of that */
	ATTENTION_LAUNCH = 1 << 10,     /* not launched: the same */
};

struct vmx_vcpu {
	hpa_t vmcs_hpa;
	u32 attention;            /* enum vmx_attention: what the next entry or exit must look at */
	struct vm_event event;    /* goes in at the next entry */
	struct vm_event injected; /* went in at the last one */
	/* Which VMCS is where: see run.c. */
	u32 last_cpu;             /* CPUS_MAX: none */
	bool current;             /* on its own CPU; else it is clear (25.1) */
	bool launched;
	bool begun;               /* its constant fields were written */
	u64 host_rsp;             /* what the VMCS has */
	u64 rip, rsp, rflags;     /* what the VMCS has */
	u64 exit_reason;
	/* The controls that change: what the next entry is to have. */
	u32 primary, secondary;
	u64 tsc_offset, tsc_ratio; /* ratio: with SECONDARY_TSC_SCALING */
	u64 cr4_mask;             /* what the VMCS has */
	/* See vmcs.c: groups of guest that are as the vCPU's registers are, and that the VMCS has not. */
	u32 valid, dirty;
	struct vmx_guest guest;
	struct vmx_loaded loaded; /* true while not current, or after vmx_loaded_save() */
	/* Not in the VMCS. */
	u64 dr[4];                /* true between two runs */
	u64 dr6;
	u64 cstar;                /* 32-bit SYSCALL does not exist here */
	u64 *pml;
	/* What the VMCS is to have of the local APIC: apic.c. */
	struct irqchip_view apic;
};

static inline struct vmx_vcpu *vmx_of(const struct vcpu *vcpu)
{
	return vcpu->vendor;
}

/* vmx.c */
/* x2apic: the CPU virtualizes that mode's registers. */
hpa_t vmx_msr_bitmap(bool x2apic);
hpa_t vmx_io_bitmaps(void);

/* vmcs.c */
int must_check vmx_vcpu_init(struct vcpu *vcpu);
void vmx_vcpu_fini(struct vcpu *vcpu);
/* The VMCS has just become current here: what depends on the CPU, and at the first time the rest. */
void vmcs_begin(struct vcpu *vcpu);
/* Reads groups that are not valid. */
void vmcs_fetch(struct vmx_vcpu *vv, u32 groups);
/* The guest's registers, these groups true... */
static inline const struct vmx_guest *vmcs_guest(struct vmx_vcpu *vv, u32 groups)
{
	if (groups & ~vv->valid)
		vmcs_fetch(vv, groups & ~vv->valid);
	return &vv->guest;
}
/* The same for what usual exits ask for. */
static inline u32 vmcs_interruptibility(struct vmx_vcpu *vv)
{
	if (!(vv->valid & GROUP_BLOCKING)) {
		vv->guest.interruptibility = (u32)vmcs_read(VMCS_INTERRUPTIBILITY);
		vv->valid |= GROUP_BLOCKING;
	}
	return vv->guest.interruptibility;
}
static inline u64 vmcs_cr4(struct vmx_vcpu *vv)
{
	struct vmx_guest *guest = &vv->guest;

	if (!(vv->valid & GROUP_CR4)) {
		/* Bits that the guest does not own are as we wrote them last. */
		guest->cr4 = (vmcs_read(VMCS_GUEST_CR4) & ~vv->cr4_mask) | (guest->cr4 & vv->cr4_mask);
		vv->valid |= GROUP_CR4;
	}
	return guest->cr4;
}
/* ...and one group, to be changed. */
struct vmx_guest *vmcs_change(struct vmx_vcpu *vv, enum vmx_group group);
/* Writes the groups that were changed. */
void vmcs_write_dirty(struct vcpu *vcpu);
u64 vmx_eptp(const struct vcpu *vcpu);
u16 vmx_vpid(const struct vcpu *vcpu);

/* run.c */
void vmx_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit);
void vmx_vcpu_leave(struct vcpu *vcpu);
void vmx_flush_tlb(struct vcpu *vcpu);
void vmx_run_cpu_on(struct cpu *cpu);
void vmx_set_dr_live(struct vmx_vcpu *vv, bool live);
/* vv->loaded is true now. */
void vmx_loaded_save(struct vmx_vcpu *vv);
/* Empties the page-modification log into the guest's dirty log. */
void vmx_pml_drain(struct vcpu *vcpu);

/* exit.c: decodes what the VMCS says; also keeps the books that an exit itself changes. */
void vmx_decode_exit(struct vcpu *vcpu, struct vm_exit *exit);

/* event.c */
void vmx_inject(struct vcpu *vcpu, struct vm_event event);
bool vmx_event_pending(const struct vcpu *vcpu);
bool vmx_irq_ready(const struct vcpu *vcpu);
void vmx_request_irq_window(struct vcpu *vcpu, bool on);
void vmx_request_nmi_window(struct vcpu *vcpu, bool on);
void vmx_insn_done(struct vcpu *vcpu);
void vmx_set_nmi_blocked(struct vmx_vcpu *vv, bool blocked);
/* Before an entry with an event. */
void vmx_event_enter(struct vcpu *vcpu);
/* After an exit: what was not delivered waits again. idt_event: VMCS_IDT_EVENT. */
void vmx_event_exit(struct vcpu *vcpu, u32 idt_event);
/* EVENT_NONE clears it. */
void vmx_set_event(struct vmx_vcpu *vv, struct vm_event event);

/* apic.c */
void vmx_apic_assist(bool allowed);
const char *vmx_apic_label(void);
bool vmx_apic_sync(struct vcpu *vcpu);
/* The primary controls that a vCPU begins with. */
u32 vmx_apic_primary(void);
/* Before an entry with ATTENTION_APIC: the VMCS as vv->apic says. */
void vmx_apic_enter(struct vmx_vcpu *vv);

/* state.c */
void vmx_get_state(const struct vcpu *vcpu, struct cpu_state *state);
int must_check vmx_set_state(struct vcpu *vcpu, const struct cpu_state *state);
/* The same, unchecked. */
void vmx_load_state(struct vcpu *vcpu, const struct cpu_state *state);
void vmx_get_mode(const struct vcpu *vcpu, struct paging_mode *mode);
void vmx_set_cr(struct vcpu *vcpu, u8 cr, u64 value);
u64 vmx_get_cr(const struct vcpu *vcpu, u8 cr);
int must_check vmx_get_msr(const struct vcpu *vcpu, u32 msr, u64 *value);
int must_check vmx_set_msr(struct vcpu *vcpu, u32 msr, u64 value);
void vmx_set_tsc(struct vcpu *vcpu, u64 offset, u64 ratio);

/* error.c */
const char *vmx_instruction_error(u64 number);
/* Of a failed entry's exit reason and qualification (SDM 3 27.8). */
const char *vmx_entry_failure(u32 reason, u64 qualification);

/* run.asm */
enum vmx_result { VMX_OK, VMX_FAIL_INVALID, VMX_FAIL_VALID };
/*
 * Enters the guest with these registers (all but RSP, which the VMCS has), by VMLAUNCH or VMRESUME.
 * host_rsp: what the VMCS has for the host's.
 */
enum vmx_result vmx_enter(u64 *gpr, u64 *host_rsp, bool launched);
extern const u8 vmx_exited[]; /* where the CPU goes on after an exit */
enum vmx_result vmx_on(hpa_t region);
void vmx_off(void);
enum vmx_result vmx_clear(hpa_t vmcs);
enum vmx_result vmx_load(hpa_t vmcs);
struct vmx_invalidation {
	u64 context; /* INVEPT: an EPTP; INVVPID: a VPID */
	u64 address;
};
enum vmx_result vmx_invept(u64 type, const struct vmx_invalidation *what);
enum vmx_result vmx_invvpid(u64 type, const struct vmx_invalidation *what);
u64 vmx_cr_read(u8 cr);
void vmx_cr_write(u8 cr, u64 value);
u64 vmx_dr6_read(void);
void vmx_dr6_write(u64 value);
u64 vmx_idt_base(void);
/* The NMI that ended a guest's run, now for the host (SDM 3 28.2: it was not delivered). */
void vmx_serve_nmi(void);

#endif
