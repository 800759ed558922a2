/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine control structure: SDM 3 appendix B (the fields' encodings), and the words in
 * it (chapter 25). Only vmcs.c, run.c, exit.c and event.c read or write fields.
 */
#ifndef VMX_VMCS_H
#define VMX_VMCS_H

#include "types.h"
#include "vmm/hvm.h"

enum vmcs_field {
	VMCS_VPID = 0x0000,
	VMCS_GUEST_SELECTOR = 0x0800, /* + 2 * enum vmcs_segment; so are the other guest segment fields */
	VMCS_INTERRUPT_STATUS = 0x0810,
	VMCS_PML_INDEX = 0x0812,
	VMCS_HOST_ES = 0x0c00,
	VMCS_HOST_CS = 0x0c02,
	VMCS_HOST_SS = 0x0c04,
	VMCS_HOST_DS = 0x0c06,
	VMCS_HOST_FS = 0x0c08,
	VMCS_HOST_GS = 0x0c0a,
	VMCS_HOST_TR = 0x0c0c,

	VMCS_IO_BITMAPS = 0x2000, /* ports below 0x8000; + 2: from there on */
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_PML_ADDRESS = 0x200e,
	VMCS_TSC_OFFSET = 0x2010,
	VMCS_VIRTUAL_APIC = 0x2012,
	VMCS_EPTP = 0x201a,
	VMCS_EOI_EXITS = 0x201c, /* + 2 * n */
	VMCS_TSC_MULTIPLIER = 0x2032,
	VMCS_GUEST_PHYSICAL = 0x2400,
	VMCS_LINK_POINTER = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_GUEST_PDPTE = 0x280a, /* + 2 * n */
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,

	VMCS_PIN_CONTROLS = 0x4000,
	VMCS_PRIMARY_CONTROLS = 0x4002,
	VMCS_EXCEPTION_BITMAP = 0x4004,
	VMCS_PF_MASK = 0x4006,
	VMCS_PF_MATCH = 0x4008,
	VMCS_CR3_TARGETS = 0x400a,
	VMCS_EXIT_CONTROLS = 0x400c,
	VMCS_EXIT_MSR_STORES = 0x400e,
	VMCS_EXIT_MSR_LOADS = 0x4010,
	VMCS_ENTRY_CONTROLS = 0x4012,
	VMCS_ENTRY_MSR_LOADS = 0x4014,
	VMCS_ENTRY_EVENT = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018,
	VMCS_ENTRY_INSN_BYTES = 0x401a,
	VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_SECONDARY_CONTROLS = 0x401e,
	VMCS_PLE_GAP = 0x4020,
	VMCS_PLE_WINDOW = 0x4022,
	VMCS_INSTRUCTION_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_EVENT = 0x4404,
	VMCS_EXIT_EVENT_ERROR = 0x4406,
	VMCS_IDT_EVENT = 0x4408,
	VMCS_IDT_EVENT_ERROR = 0x440a,
	VMCS_EXIT_INSN_BYTES = 0x440c,
	VMCS_GUEST_LIMIT = 0x4800,
	VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_RIGHTS = 0x4814,
	VMCS_INTERRUPTIBILITY = 0x4824,
	VMCS_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	VMCS_PREEMPTION_TIMER = 0x482e,
	VMCS_HOST_SYSENTER_CS = 0x4c00,

	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_EXIT_QUALIFICATION = 0x6400,
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_BASE = 0x6806,
	VMCS_GUEST_GDTR_BASE = 0x6816,
	VMCS_GUEST_IDTR_BASE = 0x6818,
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_PENDING_DEBUG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14, /* also in run.asm */
	VMCS_HOST_RIP = 0x6c16,
};

enum vmcs_segment { VMCS_ES, VMCS_CS, VMCS_SS, VMCS_DS, VMCS_FS, VMCS_GS, VMCS_LDTR, VMCS_TR, VMCS_SEGMENTS };

/* 25.6.1 */
enum pin_controls {
	PIN_EXTERNAL_INTERRUPT = 1 << 0,
	PIN_NMI = 1 << 3,
	PIN_VIRTUAL_NMIS = 1 << 5,
	PIN_PREEMPTION_TIMER = 1 << 6,
};

/* 25.6.2 */
enum primary_controls {
	PRIMARY_INTERRUPT_WINDOW = 1 << 2,
	PRIMARY_TSC_OFFSET = 1 << 3,
	PRIMARY_HLT = 1 << 7,
	PRIMARY_MWAIT = 1 << 10,
	PRIMARY_RDPMC = 1 << 11,
	PRIMARY_CR3_LOAD = 1 << 15,
	PRIMARY_CR3_STORE = 1 << 16,
	PRIMARY_CR8_LOAD = 1 << 19,
	PRIMARY_TPR_SHADOW = 1 << 21,
	PRIMARY_NMI_WINDOW = 1 << 22,
	PRIMARY_MOV_DR = 1 << 23,
	PRIMARY_IO_BITMAPS = 1 << 25,
	PRIMARY_MSR_BITMAP = 1 << 28,
	PRIMARY_MONITOR = 1 << 29,
};
#define PRIMARY_SECONDARY (1u << 31)

enum secondary_controls {
	SECONDARY_EPT = 1 << 1,
	SECONDARY_RDTSCP = 1 << 3,
	SECONDARY_X2APIC = 1 << 4,
	SECONDARY_VPID = 1 << 5,
	SECONDARY_WBINVD = 1 << 6,
	SECONDARY_UNRESTRICTED = 1 << 7,
	SECONDARY_APIC_REGISTERS = 1 << 8,
	SECONDARY_VIRTUAL_INTERRUPTS = 1 << 9,
	SECONDARY_PAUSE_LOOP = 1 << 10,
	SECONDARY_INVPCID = 1 << 12,
	SECONDARY_PML = 1 << 17,
	SECONDARY_TSC_SCALING = 1 << 25,
};
#define SECONDARY_APICV (SECONDARY_X2APIC | SECONDARY_APIC_REGISTERS | SECONDARY_VIRTUAL_INTERRUPTS)

/* 25.7.1 */
enum exit_controls {
	EXIT_CTL_SAVE_DEBUG = 1 << 2,
	EXIT_CTL_HOST_64 = 1 << 9,
	EXIT_CTL_SAVE_PAT = 1 << 18,
	EXIT_CTL_LOAD_PAT = 1 << 19,
	EXIT_CTL_SAVE_EFER = 1 << 20,
	EXIT_CTL_LOAD_EFER = 1 << 21,
};

/* 25.8.1 */
enum entry_controls {
	ENTRY_CTL_LOAD_DEBUG = 1 << 2,
	ENTRY_CTL_IA32E = 1 << 9,
	ENTRY_CTL_LOAD_PAT = 1 << 14,
	ENTRY_CTL_LOAD_EFER = 1 << 15,
};

/* Interruption information at entries (25.8.3), exits and deliveries (25.9.2, 25.9.3). */
enum event_info_type { INFO_IRQ = 0, INFO_NMI = 2, INFO_EXCEPTION = 3, INFO_SOFT_INT = 4, INFO_PRIVILEGED = 5,
		       INFO_SOFT_EXCEPTION = 6 };
#define INFO_VECTOR 0xffu
#define INFO_TYPE(v) ((v) >> 8 & 7)
#define INFO_HAS_ERROR (1u << 11)
#define INFO_UNBLOCKED_NMI (1u << 12) /* of an exit: an IRET had just ended the blocking of NMIs */
#define INFO_VALID (1u << 31)

/* 25.4.2 */
enum interruptibility {
	BLOCKED_BY_STI = 1 << 0,
	BLOCKED_BY_MOV_SS = 1 << 1,
	BLOCKED_BY_NMI = 1 << 3,
};
#define BLOCKED_SHADOW (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)
#define PENDING_DEBUG_BS BIT(14)

/* A segment's access rights (25.4.1): those of a descriptor with a gap in bits 8-11, and this. */
#define RIGHTS_UNUSABLE (1u << 16)

/* Appendix C */
enum exit_reason {
	EXIT_EXCEPTION_NMI = 0,
	EXIT_EXTERNAL_INTERRUPT = 1,
	EXIT_TRIPLE_FAULT = 2,
	EXIT_INIT = 3,
	EXIT_INTERRUPT_WINDOW = 7,
	EXIT_NMI_WINDOW = 8,
	EXIT_TASK_SWITCH = 9,
	EXIT_CPUID = 10,
	EXIT_GETSEC = 11,
	EXIT_HLT = 12,
	EXIT_INVD = 13,
	EXIT_RDPMC = 15,
	EXIT_RSM = 17,
	EXIT_VMCALL = 18,
	EXIT_VMCLEAR = 19,
	EXIT_VMLAUNCH = 20,
	EXIT_VMPTRLD = 21,
	EXIT_VMPTRST = 22,
	EXIT_VMREAD = 23,
	EXIT_VMRESUME = 24,
	EXIT_VMWRITE = 25,
	EXIT_VMXOFF = 26,
	EXIT_VMXON = 27,
	EXIT_CR = 28,
	EXIT_DR = 29,
	EXIT_IO = 30,
	EXIT_RDMSR = 31,
	EXIT_WRMSR = 32,
	EXIT_BAD_GUEST_STATE = 33,
	EXIT_BAD_MSR_LOAD = 34,
	EXIT_MWAIT = 36,
	EXIT_MONITOR = 39,
	EXIT_PAUSE = 40,
	EXIT_BAD_MACHINE_CHECK = 41,
	EXIT_TPR_BELOW_THRESHOLD = 43,
	EXIT_VIRTUAL_EOI = 45,
	EXIT_EPT_VIOLATION = 48,
	EXIT_EPT_MISCONFIGURATION = 49,
	EXIT_INVEPT = 50,
	EXIT_PREEMPTION_TIMER = 52,
	EXIT_INVVPID = 53,
	EXIT_WBINVD = 54,
	EXIT_XSETBV = 55,
	EXIT_PML_FULL = 62,
};
#define EXIT_REASON(v) ((v) & 0xffff)
#define EXIT_ENTRY_FAILED (1u << 31)

/* Exit qualifications: of I/O (table 28-5), control registers (28-3), EPT violations (28-7). */
enum { IO_SIZE = 7, IO_IN = 1 << 3, IO_STRING = 1 << 4, IO_REP = 1 << 5, IO_PORT_SHIFT = 16 };
#define CR_NUMBER(v) ((v) & 0xf)
#define CR_ACCESS(v) ((v) >> 4 & 3)
#define CR_GPR(v) ((v) >> 8 & 0xf)
enum { CR_ACCESS_MOV_TO = 0 };
enum { EPT_WRITE = 1 << 1, EPT_FETCH = 1 << 2, EPT_LINEAR_VALID = 1 << 7, EPT_FINAL = 1 << 8 };
#define QUALIFICATION_UNBLOCKED_NMI BIT(12)
/* Of #DB (table 28-1): what goes into DR6. */
#define DB_DR6 0x600full

/* A bit a port, in two bitmaps (25.6.4). */
#define IO_BITMAP_BYTES 4096
/* The page-modification log (29.3.6): written from the last entry down. */
#define PML_ENTRIES 512
/* The virtual-APIC page (30.1): the only register of it that the rest does not write itself. */
#define VIRTUAL_APIC_TPR (0x80 / sizeof(u32))
/* Guest interrupt status (25.4.2): SVI, RVI. */
#define INTERRUPT_STATUS(in_service, requested) ((u64)(in_service) << 8 | (requested))

/* Of the current VMCS. Where the CPU refuses, because the field does not exist, they panic. */
#ifndef GODWIT_HOST_TEST
noreturn void vmcs_access_failed(u64 field);

static inline u64 vmcs_read(u64 field)
{
	u64 value;

	__asm__ goto volatile("vmread %1, %0; jbe %l2" : "=r"(value) : "r"(field) : "cc" : failed);
	return value;
failed:
	vmcs_access_failed(field);
}

static inline void vmcs_write(u64 field, u64 value)
{
	__asm__ goto volatile("vmwrite %1, %0; jbe %l2" : : "r"(field), "r"(value) : "cc" : failed);
	return;
failed:
	vmcs_access_failed(field);
}
#else
u64 vmcs_read(u64 field);
void vmcs_write(u64 field, u64 value);
#endif

#endif
