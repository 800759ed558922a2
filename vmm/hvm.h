/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boundary to the virtualization hardware: VT-x, SVM and the host tests' fake implement
 * struct hvm_ops; what the guest did comes back as struct vm_exit, in neither vendor's words.
 */
#ifndef VMM_HVM_H
#define VMM_HVM_H

#include "mm/npt.h"
#include "types.h"

struct cpu;
struct vcpu;

/* The order of the x86 register encoding (SDM 2 table 2-2). */
enum gpr {
	GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
	GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15,
	GPR_COUNT
};

/* The registers that exit handlers touch; true between two runs. */
struct vcpu_regs {
	u64 gpr[GPR_COUNT];
	u64 rip;
	u64 rflags;
};

/* attr as in a VMCB (APM 2 15.5.1): bits 0-7 = descriptor bits 40-47, bits 8-11 = 52-55. */
struct segment {
	u16 selector;
	u16 attr;
	u32 limit;
	u64 base;
};
static_assert(sizeof(struct segment) == 16, "wire layout");

enum {
	SEGMENT_TYPE = 0xf,
	SEGMENT_S = 1 << 4,
	SEGMENT_P = 1 << 7,
	SEGMENT_L = 1 << 9,
	SEGMENT_DB = 1 << 10,
	SEGMENT_G = 1 << 11,
};
#define SEGMENT_DPL(attr) ((attr) >> 5 & 3)

/* An event on its way into the guest. */
enum event_type { EVENT_NONE, EVENT_IRQ, EVENT_NMI, EVENT_EXCEPTION, EVENT_SOFT_INT };
struct vm_event {
	u8 type;
	u8 vector;
	u8 has_error_code;
	u8 reserved;
	u32 error_code;
};
static_assert(sizeof(struct vm_event) == 8, "wire layout");

/*
 * A vCPU whole, but for its XSAVE area and LAPIC. Also the body of the stream's VCPU record:
 * fixed width, no padding; change it only with the record's version.
 */
struct cpu_state {
	u64 gpr[GPR_COUNT];
	u64 rip, rflags;
	u64 cr0, cr2, cr3, cr4, cr8, xcr0, xss;
	u64 dr[4], dr6, dr7;
	struct segment es, cs, ss, ds, fs, gs, ldtr, tr;
	struct segment gdtr, idtr; /* base and limit only */
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, tsc_aux, debugctl, spec_ctrl;
	struct vm_event event;     /* was being delivered at the exit: to be injected again */
	u8 interrupt_shadow;       /* STI or MOV SS just before */
	u8 nmi_blocked;
	u8 reserved[6];
};
/* As after a CPU reset (APM 2 14.1.3, SDM 3 10.1.1); general registers but RDX zero. vmm/cpu_reset.c */
void cpu_state_reset(struct cpu_state *state);

enum vm_exit_kind {
	VM_EXIT_HOST,          /* a host interrupt: nothing to do for the guest */
	VM_EXIT_IRQ_WINDOW,    /* the guest can take an interrupt now */
	VM_EXIT_IO,
	VM_EXIT_MSR_READ,
	VM_EXIT_MSR_WRITE,
	VM_EXIT_CPUID,
	VM_EXIT_HLT,
	VM_EXIT_PAUSE,         /* it spins (PAUSE again and again): the CPU counts them where it can */
	VM_EXIT_NPT,           /* a guest physical address that is not mapped so */
	VM_EXIT_CR_WRITE,      /* CR0, CR4 or CR8 */
	VM_EXIT_XSETBV,
	VM_EXIT_CACHE,         /* INVD, WBINVD, WBNOINVD: nothing to do, memory is coherent */
	VM_EXIT_HYPERCALL,     /* VMMCALL, VMCALL */
	VM_EXIT_UNDEFINED,     /* an instruction that this guest has not got: #UD */
	VM_EXIT_PRIVILEGED,    /* one that is refused: #GP(0) (RDPMC...) */
	VM_EXIT_EXCEPTION,     /* intercepted against endless loops (#DB, #AC): to be reflected */
	VM_EXIT_EOI,           /* the CPU did the EOI of an interrupt that others must hear of (irqchip_view) */
	VM_EXIT_DIRTY_LOG,     /* the CPU's list of written pages was full, and was emptied (mm/dirty.h) */
	VM_EXIT_TRIPLE_FAULT,
	VM_EXIT_ENTRY_FAILED,  /* the CPU refused the state: stops this guest */
	VM_EXIT_UNKNOWN,       /* an exit that we never asked for: stops this guest */
};

struct vm_exit {
	enum vm_exit_kind kind;
	u8 insn_len;           /* 0: not known, decode (or see next_rip) */
	union {
		struct {
			u16 port;
			u8 size;       /* 1, 2, 4 */
			bool in;
			bool string;   /* INS, OUTS: decode */
			bool rep;
			u64 next_rip;
		} io;
		struct {
			u32 index;
			u64 value;     /* of a write */
		} msr;
		struct {
			gpa_t gpa;
			bool write, fetch, table_walk;
			u8 insn[15];   /* the bytes at rip where the CPU gives them */
			u8 insn_bytes; /* 0: read them from the guest */
		} npt;
		struct {
			u8 vector;
		} eoi;
		struct {
			u8 cr;
			u64 value;
		} cr;
		struct {
			u32 index;
			u64 value;
		} xsetbv;
		struct {
			u8 vector;
			bool has_error_code;
			u32 error_code;
		} exception;
		struct {
			u64 code, info1, info2; /* the vendor's own, for the message */
		} raw;
	};
};

/* What the decoder and the page walker need to know about the vCPU's mode. */
struct paging_mode {
	u64 cr0, cr3, cr4, efer;
	struct segment cs, ss, ds, es, fs, gs;
	u8 cpl;
};

struct hvm_ops {
	const char *name;      /* "SVM", "VT-x" */
	const char *npt_name;
	/* NULL if this machine can; else why not and what to do ("SVM is disabled by the firmware: ..."). */
	const char *(*missing)(void);
	/* On each CPU once, before any other call there. */
	int (*cpu_on)(struct cpu *cpu);
	void (*cpu_off)(struct cpu *cpu);

	int (*vcpu_init)(struct vcpu *vcpu);   /* state as after a CPU reset (APM 2 14.1.3) */
	void (*vcpu_fini)(struct vcpu *vcpu);
	/*
	 * Enters the guest and comes back with what it did. On the vCPU's CPU, interrupts off; host
	 * interrupts that ended the stay are served before it returns. Uses and updates vcpu->regs. The
	 * vCPU's FPU registers and XCR0 are in the CPU: vcpu_run() loads them once for all of its entries.
	 */
	void (*vcpu_run)(struct vcpu *vcpu, struct vm_exit *exit);

	/*
	 * On the vCPU's CPU, which won't run it for a while: from here on any CPU may call what
	 * follows (one at a time). NULL where that needs nothing.
	 */
	void (*vcpu_leave)(struct vcpu *vcpu);

	void (*get_state)(const struct vcpu *vcpu, struct cpu_state *state);
	/* state was checked by cpu_state_check(); -E_INVAL if the CPU could not enter with it. */
	int (*set_state)(struct vcpu *vcpu, const struct cpu_state *state);
	void (*get_mode)(const struct vcpu *vcpu, struct paging_mode *mode);
	/* CR0, CR4 or CR8, whose value was checked by vmm/cr.c; CR2: any value. */
	void (*set_cr)(struct vcpu *vcpu, u8 cr, u64 value);
	u64 (*get_cr)(const struct vcpu *vcpu, u8 cr);
	/* EFER, PAT, STAR... that live in the vendor's structure; -E_NOENT: not one of those. */
	int (*get_msr)(const struct vcpu *vcpu, u32 msr, u64 *value);
	int (*set_msr)(struct vcpu *vcpu, u32 msr, u64 value);

	/* IF set, no shadow, no event waiting: an interrupt would be taken at the next entry. */
	bool (*irq_ready)(const struct vcpu *vcpu);
	/* At the next entry. For EVENT_IRQ irq_ready() must hold. */
	void (*inject)(struct vcpu *vcpu, struct vm_event event);
	bool (*event_pending)(const struct vcpu *vcpu);
	/* Exit as soon as the guest could take an interrupt (VM_EXIT_IRQ_WINDOW). */
	void (*request_irq_window)(struct vcpu *vcpu, bool on);
	/* An NMI waits for another one's handler: exit as soon as that has executed its IRET (as VM_EXIT_HOST). */
	void (*request_nmi_window)(struct vcpu *vcpu, bool on);
	/*
	 * The local APIC holds something else than at the last call, or may: before an entry. True: the
	 * CPU itself gives the guest what the APIC (not the PIC) has for it. NULL: it never does.
	 */
	bool (*apic_sync)(struct vcpu *vcpu);
	/* May it do of the APIC's work what it can? Once, before there are guests. */
	void (*apic_assist)(bool allowed);
	/* For people: what that is. */
	const char *(*apic_label)(void);
	/* An instruction was emulated: clears the interrupt shadow. vcpu->regs.rip was moved on. */
	void (*insn_done)(struct vcpu *vcpu);

	/* At the next entry, all of this vCPU's nested and guest translations go (APM 2 15.16). */
	void (*flush_tlb)(struct vcpu *vcpu);
	/* Guest TSC = host TSC * ratio + offset; ratio as below, 0: one to one. The CPU's own arithmetic: lib/ticks.h. */
	void (*set_tsc)(struct vcpu *vcpu, u64 offset, u64 ratio);
	/* How many bits of a ratio are behind the point; 0, or NULL: the CPU does not scale a guest's TSC. */
	u32 (*tsc_ratio_bits)(void);
	const struct npt_format *(*npt_format)(void);
	/* Does a guest that spins with PAUSE exit (VM_EXIT_PAUSE)? NULL: no. */
	bool (*has_pause_exits)(void);
	/* Does the CPU list the pages that it sets D bits for (mm/dirty.h)? NULL: no. */
	bool (*has_dirty_list)(void);
};

/* Chosen once at boot (or by a test). */
extern const struct hvm_ops *hvm;

#endif
