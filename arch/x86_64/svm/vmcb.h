/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine control block: APM 2 appendix B, table B-1 (control area) and B-2 (state save
 * area), and the words in it (15.5 to 15.25).
 */
#ifndef SVM_VMCB_H
#define SVM_VMCB_H

#include "types.h"
#include "vmm/hvm.h"

/* intercept_cr and intercept_dr: reads in bits 0-15, writes in 16-31. */
#define INTERCEPT_CR_WRITE(n) (1u << (16 + (n)))
#define INTERCEPT_DR_ALL 0xffffffffu

enum intercept_misc1 {
	INTERCEPT_INTR = 1 << 0,
	INTERCEPT_NMI = 1 << 1,
	INTERCEPT_SMI = 1 << 2,
	INTERCEPT_INIT = 1 << 3,
	INTERCEPT_VINTR = 1 << 4,
	INTERCEPT_RDPMC = 1 << 15,
	INTERCEPT_CPUID = 1 << 18,
	INTERCEPT_RSM = 1 << 19,
	INTERCEPT_IRET = 1 << 20,
	INTERCEPT_INVD = 1 << 22,
	INTERCEPT_PAUSE = 1 << 23,
	INTERCEPT_HLT = 1 << 24,
	INTERCEPT_INVLPGA = 1 << 26,
	INTERCEPT_IOIO = 1 << 27,
	INTERCEPT_MSR = 1 << 28,
	INTERCEPT_FERR_FREEZE = 1 << 30,
};
#define INTERCEPT_SHUTDOWN (1u << 31)

enum intercept_misc2 {
	INTERCEPT_VMRUN = 1 << 0,
	INTERCEPT_VMMCALL = 1 << 1,
	INTERCEPT_VMLOAD = 1 << 2,
	INTERCEPT_VMSAVE = 1 << 3,
	INTERCEPT_STGI = 1 << 4,
	INTERCEPT_CLGI = 1 << 5,
	INTERCEPT_SKINIT = 1 << 6,
	INTERCEPT_WBINVD = 1 << 9,
	INTERCEPT_MONITOR = 1 << 10,
	INTERCEPT_MWAIT = 1 << 11,
	INTERCEPT_XSETBV = 1 << 13,
	INTERCEPT_RDPRU = 1 << 14,
};

enum intercept_misc3 {
	INTERCEPT_INVPCID = 1 << 2,
};

/*
 * #DB and #AC: a guest can make their delivery raise them again, for ever and without an exit (APM 2 15.12).
 * #MC is about the host's hardware.
 */
#define INTERCEPT_EXCEPTIONS (1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC)

enum tlb_control {
	TLB_KEEP = 0,
	TLB_FLUSH_ALL = 1,   /* every ASID's entries */
	TLB_FLUSH_GUEST = 3, /* this ASID's; needs CPUID's FlushByAsid */
};

/* vintr: APM 2 15.21. */
#define VINTR_TPR 0xffull
#define VINTR_IRQ BIT(8)
#define VINTR_PRIO(n) ((u64)(n) << 16)
#define VINTR_IGNORE_TPR BIT(20)
#define VINTR_MASKING BIT(24)

#define SHADOW_ACTIVE BIT(0)
#define NP_ENABLE BIT(0)

/* event_inj (15.20) and exit_int_info (15.7.2) */
enum event_inj_type { INJ_INTR = 0, INJ_NMI = 2, INJ_EXCEPTION = 3, INJ_SOFT_INT = 4 };
#define INJ_VECTOR 0xffull
#define INJ_TYPE(v) ((v) >> 8 & 7)
#define INJ_HAS_ERROR BIT(11)
#define INJ_VALID BIT(31)

/* VMCB clean bits (15.15.3): a set bit says that these fields are as the CPU last saw them. */
enum vmcb_clean {
	CLEAN_I = 1 << 0,    /* intercepts, TSC offset, pause filter */
	CLEAN_IOPM = 1 << 1,
	CLEAN_ASID = 1 << 2,
	CLEAN_TPR = 1 << 3,  /* all of vintr */
	CLEAN_NP = 1 << 4,   /* N_CR3, G_PAT, NP_ENABLE */
	CLEAN_CRX = 1 << 5,  /* CR0, CR3, CR4, EFER */
	CLEAN_DRX = 1 << 6,
	CLEAN_DT = 1 << 7,   /* GDT, IDT */
	CLEAN_SEG = 1 << 8,  /* CS, DS, SS, ES, CPL */
	CLEAN_CR2 = 1 << 9,
	CLEAN_ALL = 0x3ff,
};

enum exit_code {
	EXIT_CR_WRITE = 0x10, /* + n */
	EXIT_DR_READ = 0x20,
	EXIT_DR_WRITE_LAST = 0x3f,
	EXIT_EXCEPTION = 0x40, /* + vector */
	EXIT_EXCEPTION_LAST = 0x5f,
	EXIT_INTR = 0x60,
	EXIT_NMI = 0x61,
	EXIT_SMI = 0x62,
	EXIT_INIT = 0x63,
	EXIT_VINTR = 0x64,
	EXIT_RDPMC = 0x6f,
	EXIT_CPUID = 0x72,
	EXIT_RSM = 0x73,
	EXIT_IRET = 0x74,
	EXIT_INVD = 0x76,
	EXIT_PAUSE = 0x77,
	EXIT_HLT = 0x78,
	EXIT_INVLPGA = 0x7a,
	EXIT_IOIO = 0x7b,
	EXIT_MSR = 0x7c,
	EXIT_FERR_FREEZE = 0x7e,
	EXIT_SHUTDOWN = 0x7f,
	EXIT_VMRUN = 0x80,
	EXIT_VMMCALL = 0x81,
	EXIT_VMLOAD = 0x82,
	EXIT_VMSAVE = 0x83,
	EXIT_STGI = 0x84,
	EXIT_CLGI = 0x85,
	EXIT_SKINIT = 0x86,
	EXIT_WBINVD = 0x89,
	EXIT_MONITOR = 0x8a,
	EXIT_MWAIT = 0x8b,
	EXIT_XSETBV = 0x8d,
	EXIT_RDPRU = 0x8e,
	EXIT_INVPCID = 0xa2,
	EXIT_NPF = 0x400,
};
#define EXIT_INVALID 0xffffffffu /* -1; QEMU 10.0 writes its low half only */

/* exit_info_1 of IOIO (15.10.2) and NPF (15.25.6); of a CR write with decode assists (15.8.1). */
enum { IOIO_IN = 1 << 0, IOIO_STRING = 1 << 2, IOIO_REP = 1 << 3, IOIO_SIZE_SHIFT = 4, IOIO_PORT_SHIFT = 16 };
enum { NPF_WRITE = 1 << 1, NPF_RESERVED = 1 << 3, NPF_FETCH = 1 << 4 };
#define NPF_TABLE_WALK BIT(33)
#define CR_IS_MOV BIT(63)
#define CR_GPR 0xfull

struct vmcb_control {
	u32 intercept_cr;
	u32 intercept_dr;
	u32 intercept_exceptions;
	u32 intercept_misc1;
	u32 intercept_misc2;
	u32 intercept_misc3;
	u8 reserved_18[0x3c - 0x18];
	u16 pause_threshold;
	u16 pause_count;
	u64 iopm_hpa;
	u64 msrpm_hpa;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved_5d[3];
	u64 vintr;
	u64 shadow;
	u64 exit_code;
	u64 exit_info_1;
	u64 exit_info_2;
	u64 exit_int_info;
	u64 np_enable;
	u8 reserved_98[0xa8 - 0x98];
	u64 event_inj;
	u64 n_cr3;
	u64 lbr_virt;
	u32 clean;
	u32 reserved_c4;
	u64 next_rip;
	u8 insn_count;
	u8 insn[15];
	u8 reserved_e0[0x400 - 0xe0];
};

struct vmcb_state {
	struct segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved_4a0[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x548 - 0x4d8];
	u64 cr4, cr3, cr0;
	u64 dr7, dr6;
	u64 rflags, rip;
	u8 reserved_580[0x5d8 - 0x580];
	u64 rsp;
	u8 reserved_5e0[0x5f8 - 0x5e0];
	u64 rax;
	u64 star, lstar, cstar, sfmask;
	u64 kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved_648[0x668 - 0x648];
	u64 g_pat;
	u64 debugctl;
	u8 reserved_678[0x1000 - 0x678];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_state state;
};

#define VMCB_AT(member, offset) static_assert(offsetof(struct vmcb, member) == (offset), "APM 2 appendix B")
VMCB_AT(control.intercept_cr, 0x000);
VMCB_AT(control.intercept_exceptions, 0x008);
VMCB_AT(control.intercept_misc1, 0x00c);
VMCB_AT(control.intercept_misc2, 0x010);
VMCB_AT(control.pause_threshold, 0x03c);
VMCB_AT(control.pause_count, 0x03e);
VMCB_AT(control.iopm_hpa, 0x040);
VMCB_AT(control.msrpm_hpa, 0x048);
VMCB_AT(control.tsc_offset, 0x050);
VMCB_AT(control.asid, 0x058);
VMCB_AT(control.tlb_control, 0x05c);
VMCB_AT(control.vintr, 0x060);
VMCB_AT(control.shadow, 0x068);
VMCB_AT(control.exit_code, 0x070);
VMCB_AT(control.exit_info_1, 0x078);
VMCB_AT(control.exit_info_2, 0x080);
VMCB_AT(control.exit_int_info, 0x088);
VMCB_AT(control.np_enable, 0x090);
VMCB_AT(control.event_inj, 0x0a8);
VMCB_AT(control.n_cr3, 0x0b0);
VMCB_AT(control.lbr_virt, 0x0b8);
VMCB_AT(control.clean, 0x0c0);
VMCB_AT(control.next_rip, 0x0c8);
VMCB_AT(control.insn_count, 0x0d0);
VMCB_AT(control.insn, 0x0d1);
VMCB_AT(state.es, 0x400);
VMCB_AT(state.gdtr, 0x460);
VMCB_AT(state.ldtr, 0x470);
VMCB_AT(state.idtr, 0x480);
VMCB_AT(state.tr, 0x490);
VMCB_AT(state.cpl, 0x4cb);
VMCB_AT(state.efer, 0x4d0);
VMCB_AT(state.cr4, 0x548);
VMCB_AT(state.cr3, 0x550);
VMCB_AT(state.cr0, 0x558);
VMCB_AT(state.dr7, 0x560);
VMCB_AT(state.dr6, 0x568);
VMCB_AT(state.rflags, 0x570);
VMCB_AT(state.rip, 0x578);
VMCB_AT(state.rsp, 0x5d8);
VMCB_AT(state.rax, 0x5f8);
VMCB_AT(state.star, 0x600);
VMCB_AT(state.lstar, 0x608);
VMCB_AT(state.cstar, 0x610);
VMCB_AT(state.sfmask, 0x618);
VMCB_AT(state.kernel_gs_base, 0x620);
VMCB_AT(state.sysenter_cs, 0x628);
VMCB_AT(state.sysenter_esp, 0x630);
VMCB_AT(state.sysenter_eip, 0x638);
VMCB_AT(state.cr2, 0x640);
VMCB_AT(state.g_pat, 0x668);
VMCB_AT(state.debugctl, 0x670);
static_assert(sizeof(struct vmcb) == PAGE_SIZE, "APM 2 15.5: 4 KiB");
#undef VMCB_AT

#endif
