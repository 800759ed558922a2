/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SVM backend. To the outside: svm_ops. Among its own files: a vCPU's state, and who does what
 *	svm.c    what the CPU has, switching it on and off, the permission maps
 *	vmcb.c   making a vCPU and its VMCB
 *	run.c    entering the guest: ASIDs, TLB, what must be loaded; run.asm is the switch itself
 *	exit.c   VMCB -> struct vm_exit
 *	insn.c   instructions that the CPU does not decode for us
 *	event.c  interrupts and exceptions on their way in
 *	state.c  registers: struct cpu_state, control registers, MSRs
 */
#ifndef SVM_SVM_H
#define SVM_SVM_H

#include "arch/x86_64/hvm/backends.h"
#include "arch/x86_64/hvm/common.h"
#include "arch/x86_64/svm/vmcb.h"
#include "types.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"

#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
/* Of the guest that runs (APM 2 15.30.5): the host's own RDTSC reads the TSC as it is. */
#define MSR_TSC_RATIO 0xc0000104u
#define TSC_RATIO_BITS 32
#define TSC_RATIO_ONE BIT(TSC_RATIO_BITS)

/* CPUID 8000000Ah (APM 3 E.4.9) and what else decides; the same on all CPUs. */
struct svm_features {
	u32 asids; /* 0 .. asids - 1; 0 is the host's */
	bool nrips;
	bool flush_by_asid;
	bool decode_assists;
	bool pause_filter;
	bool tsc_ratio;
	bool rdtscp;
	bool pages_1g;
	bool invpcid;
	bool ibpb;
};
extern struct svm_features svm_features;

/* The seldom things, in one word, so that the usual entry and exit look at one. */
enum svm_attention {
	ATTENTION_EVENT = 1 << 0,    /* event is to be injected */
	ATTENTION_INJECTED = 1 << 1, /* injected was */
	ATTENTION_FLUSH = 1 << 2,    /* svm_flush_tlb() */
	ATTENTION_DR = 1 << 3,       /* the guest may use DR0-3: no intercepts, loaded around each run */
	ATTENTION_NMI_IRET = 1 << 4, /* an NMI's handler is about to execute its IRET */
	ATTENTION_SWITCH = 1 << 5,   /* something that the CPU must load has changed */
	ATTENTION_FLUSHED = 1 << 6,  /* tlb_control is not TLB_KEEP: to be cleared after the run */
	ATTENTION_STEP = 1 << 7,     /* the run is of one instruction, that IRET: see event.c */
};

struct svm_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_hpa;
	u32 attention;            /* enum svm_attention: what the next entry or exit must look at */
	struct vm_event event;    /* goes in at the next entry */
	struct vm_event injected; /* went in at the last one */
	/* TLB: see run.c */
	u32 last_cpu;             /* CPUS_MAX: none */
	u64 asid_generation;      /* 0: needs a new ASID */
	/* An NMI's handler runs until its IRET: see event.c. */
	bool nmi_blocked;
	u64 nmi_iret_rip;         /* of that IRET, with ATTENTION_NMI_IRET */
	bool nmi_waits;           /* another NMI does, for its end */
	bool step_refused;        /* that IRET raises something */
	u64 step_dr6;             /* from before ATTENTION_STEP */
	/* Not in the VMCB. */
	u64 dr[4];                /* true between two runs */
	u64 tsc_aux;
	u64 tsc_ratio;
	u64 debugctl;
};

static inline struct svm_vcpu *svm_of(const struct vcpu *vcpu)
{
	return vcpu->vendor;
}

/* Every change of a field that the CPU may have cached goes with this (APM 2 15.15). */
static inline void vmcb_touched(struct vmcb *vmcb, u32 clean_bits)
{
	vmcb->control.clean &= ~clean_bits;
}

/* svm.c */
hpa_t svm_iopm(void);
hpa_t svm_msrpm(void);

/* vmcb.c */
int must_check svm_vcpu_init(struct vcpu *vcpu);
void svm_vcpu_fini(struct vcpu *vcpu);
/* All of it as after a reset; the hypervisor's part too. */
void svm_vmcb_reset(struct vcpu *vcpu);

/* run.c */
void svm_vcpu_run(struct vcpu *vcpu, struct vm_exit *exit);
void svm_flush_tlb(struct vcpu *vcpu);
void svm_run_cpu_on(struct cpu *cpu);
void svm_set_dr_live(struct svm_vcpu *sv, bool live);

/* exit.c: decodes what the VMCB says; also keeps the books that an exit itself changes. */
void svm_decode_exit(struct vcpu *vcpu, struct vm_exit *exit);

/* insn.c: the register operand of the MOV to CRn at rip; -E_AGAIN: can't be read now, -E_INVAL. */
int must_check svm_mov_to_cr(const struct vcpu *vcpu, u8 cr, enum gpr *gpr);

/* event.c */
void svm_inject(struct vcpu *vcpu, struct vm_event event);
bool svm_event_pending(const struct vcpu *vcpu);
bool svm_irq_ready(const struct vcpu *vcpu);
void svm_request_irq_window(struct vcpu *vcpu, bool on);
void svm_request_nmi_window(struct vcpu *vcpu, bool on);
void svm_insn_done(struct vcpu *vcpu);
void svm_set_nmi_blocked(struct svm_vcpu *sv, bool blocked);
/* Before an entry with an event: writes EVENTINJ. */
void svm_event_enter(struct vcpu *vcpu);
/* After an exit: what was not delivered waits again. */
void svm_event_exit(struct vcpu *vcpu);
void svm_iret_exit(struct vcpu *vcpu);
/* Before an entry with ATTENTION_NMI_IRET. */
void svm_step_begin(struct vcpu *vcpu);
/* After one with ATTENTION_STEP. True: the exit was of our making, and is VM_EXIT_HOST. */
bool svm_step_end(struct vcpu *vcpu);
/* EVENT_NONE clears it. */
void svm_set_event(struct svm_vcpu *sv, struct vm_event event);

/* state.c */
/* The save area's part of state, taken as it is. */
void svm_state_to_area(struct vmcb_state *to, const struct cpu_state *state);
void svm_get_state(const struct vcpu *vcpu, struct cpu_state *state);
int must_check svm_set_state(struct vcpu *vcpu, const struct cpu_state *state);
void svm_get_mode(const struct vcpu *vcpu, struct paging_mode *mode);
void svm_set_cr(struct vcpu *vcpu, u8 cr, u64 value);
u64 svm_get_cr(const struct vcpu *vcpu, u8 cr);
int must_check svm_get_msr(const struct vcpu *vcpu, u32 msr, u64 *value);
int must_check svm_set_msr(struct vcpu *vcpu, u32 msr, u64 value);
void svm_set_tsc(struct vcpu *vcpu, u64 offset, u64 ratio);

/* run.asm: enters the guest with these registers (all but RAX and RSP, which the VMCB has). */
void svm_enter(u64 *gpr, hpa_t vmcb, hpa_t host_vmcb);
void svm_vmsave(hpa_t vmcb);

#endif
