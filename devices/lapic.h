/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC of one vCPU: xAPIC (MMIO) and x2APIC (MSRs), SDM 3 chapter 10.
 *
 * The registers are in a page of their own, laid out as the MMIO page: a CPU that virtualizes the APIC
 * (SDM 3 chapter 30) works on the same page, and there is one truth. While the guest runs there, such a
 * CPU changes TPR, PPR, IRR and ISR, and nothing says that it does so with locked operations (30.2.2): so
 * nobody else may touch the page then. What others send waits in posted, as it would in the CPU's own
 * posted-interrupt descriptor (30.6), until the vCPU's CPU takes it into the page (lapic_gather).
 *
 * posted, errors, nmi and intr are set by any CPU, with atomics; IRR and TMR (TMR before IRR) too, where
 * no CPU virtualizes the APIC. All the rest belongs to the vCPU's own CPU, or to whoever paused the guest.
 */
#ifndef DEVICES_LAPIC_H
#define DEVICES_LAPIC_H

#include "compiler.h"
#include "types.h"
#include "vmm/device.h"
#include "vmm/vtimer.h"

struct vcpu;

/* Register numbers: MMIO offset / 16, x2APIC MSR - 0x800. */
enum lapic_reg {
	LAPIC_ID = 0x02,
	LAPIC_VERSION = 0x03,
	LAPIC_TPR = 0x08,
	LAPIC_APR = 0x09,
	LAPIC_PPR = 0x0a,
	LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c,
	LAPIC_LDR = 0x0d,
	LAPIC_DFR = 0x0e,
	LAPIC_SVR = 0x0f,
	LAPIC_ISR = 0x10,
	LAPIC_TMR = 0x18,
	LAPIC_IRR = 0x20,
	LAPIC_ESR = 0x28,
	LAPIC_ICR = 0x30,
	LAPIC_ICR_HIGH = 0x31,
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_THERMAL = 0x33,
	LAPIC_LVT_PERF = 0x34,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_TIMER_INITIAL = 0x38,
	LAPIC_TIMER_CURRENT = 0x39,
	LAPIC_TIMER_DIVIDE = 0x3e,
	LAPIC_SELF_IPI = 0x3f,
	LAPIC_REGS = 0x40,
};

#define LAPIC_LVTS 6

/* Delivery modes of LVTs, ICR, MSIs and I/O APIC entries, bits 8-10. */
enum lapic_mode {
	LAPIC_FIXED,
	LAPIC_LOWEST,
	LAPIC_SMI,
	LAPIC_RESERVED,
	LAPIC_NMI,
	LAPIC_INIT,
	LAPIC_STARTUP,
	LAPIC_EXTINT,
};

/* IA32_APIC_BASE */
enum { APIC_BASE_BSP = BIT(8), APIC_BASE_EXTD = BIT(10), APIC_BASE_EN = BIT(11) };
enum { LAPIC_SVR_ENABLE = BIT(8) };
enum { LAPIC_LVT_MASKED = BIT(16), LAPIC_LVT_PERIODIC = BIT(17), LAPIC_LVT_DEADLINE = BIT(18) };
enum { LAPIC_ESR_SEND_VECTOR = BIT(5), LAPIC_ESR_RECEIVE_VECTOR = BIT(6), LAPIC_ESR_REGISTER = BIT(7) };

/* The timer's input clock in vm time, the same on every host: 1 GHz, so a tick is a nanosecond. */
#define LAPIC_TIMER_HZ 1000000000u

struct lapic_state {
	u64 apic_base;
	u64 tsc_deadline;      /* guest TSC; 0: not armed */
	u64 timer_deadline_ns; /* vm time of the count's reaching 0; 0: it stands at 0 */
	u64 irr[4], isr[4], tmr[4];
	u32 lvt[LAPIC_LVTS];   /* from LAPIC_LVT_TIMER on */
	u32 timer_initial;
	u32 timer_divide;
	u32 tpr, ldr, dfr, svr;
	u32 esr;               /* what a read gives */
	u32 errors;            /* since the last write to ESR */
	u32 icr, icr_high;
	u32 nmi;
	u32 reserved;
};
static_assert(sizeof(struct lapic_state) == 192, "wire layout");

/*
 * NMIs that were sent and not delivered. A CPU keeps one while it handles another one (SDM 3 6.7.1), so two that come
 * before it takes the first are both delivered; see irqchip_nmi_merge().
 */
#define LAPIC_NMI_WAITS 1u
#define LAPIC_NMI_ANOTHER 2u

struct lapic {
	struct device dev;
	struct vcpu *vcpu;
	struct vtimer timer;
	u32 *page;             /* vcpu->apic_page: the registers, lapic_at() */
	u64 apic_base;
	u64 tsc_deadline;      /* these three as in struct lapic_state */
	u64 timer_deadline_ns;
	u32 errors;
	u32 nmi;               /* LAPIC_NMI_... */
	u32 intr;              /* the PIC's INTR line */
	u32 posted[8];         /* vectors that wait for lapic_gather() */
	u32 posted_level[8];   /* those whose last message was a level one */
	u32 posted_any;        /* posted may have some */
};

/* Registers are 16 bytes apart (SDM 3 table 10-1). */
static inline u32 *lapic_at(const struct lapic *lapic, u32 reg)
{
	return &lapic->page[reg * 4];
}

static inline u32 lapic_get(const struct lapic *lapic, u32 reg)
{
	return READ_ONCE(*lapic_at(lapic, reg));
}

static inline void lapic_put(struct lapic *lapic, u32 reg, u32 value)
{
	WRITE_ONCE(*lapic_at(lapic, reg), value);
}

/* IRR, ISR and TMR have a bit for each vector, in eight registers. */
static inline u32 *lapic_map(const struct lapic *lapic, enum lapic_reg map, u32 vector)
{
	return lapic_at(lapic, map + vector / 32);
}

void lapic_init(struct lapic *lapic, struct vcpu *vcpu);
/* The MMIO page: ctx is the vm; the accessing vCPU is vcpu_current(). */
void lapic_mmio(void *ctx, u64 offset, unsigned int size, bool write, u64 *value);

static inline bool lapic_hw_enabled(const struct lapic *lapic)
{
	return lapic->apic_base & APIC_BASE_EN;
}

static inline bool lapic_x2apic(const struct lapic *lapic)
{
	return lapic->apic_base & APIC_BASE_EXTD;
}

static inline bool lapic_sw_enabled(const struct lapic *lapic)
{
	return lapic_hw_enabled(lapic) && (lapic_get(lapic, LAPIC_SVR) & LAPIC_SVR_ENABLE);
}

/* --- from any CPU --- */
/* Is it one of those that dest means? Broadcasts are the caller's. */
bool lapic_matches(const struct lapic *lapic, u32 dest, bool logical);
/* Its priority for lowest-priority arbitration: racy, and so it is on hardware. */
u32 lapic_priority(const struct lapic *lapic);
/* A message arrives; false if this APIC does not take it. */
bool lapic_receive(struct lapic *lapic, enum lapic_mode mode, u8 vector, bool level);
/* The PIC's INTR line, wired to LINT0. */
void lapic_set_intr(struct lapic *lapic, bool level);

/* --- on its own CPU --- */
/* What others have posted goes to IRR and TMR. Before these are looked at. */
void lapic_gather(struct lapic *lapic);
/* The highest vector in IRR, ISR or TMR, -1 if none. */
int lapic_highest(const struct lapic *lapic, enum lapic_reg map);
/* The processor priority: what is in service, or TPR. */
u32 lapic_ppr(const struct lapic *lapic);
/* The highest vector in IRR above PPR, -1 if none. */
int lapic_pending(const struct lapic *lapic);
/* Would INTR get through to the CPU (SDM 3 10.1: LINT0 as ExtINT, or the APIC is off)? */
bool lapic_extint_pending(const struct lapic *lapic);
u8 lapic_accept(struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, u32 tpr);
/* locked: the caller holds vm->lock (MMIO); level interrupts' EOIs take it otherwise. */
void lapic_eoi(struct lapic *lapic, bool locked);
/* Register reg; -E_INVAL: no such register for this. value is 32 bits, 64 for ICR in x2APIC mode. */
int must_check lapic_read(struct lapic *lapic, u32 reg, u64 *value);
int must_check lapic_write(struct lapic *lapic, u32 reg, u64 value, bool locked);
int must_check lapic_set_base(struct lapic *lapic, u64 value);
/* Something went wrong: ESR, and the error interrupt. Any CPU. */
void lapic_error(struct lapic *lapic, u32 bit);
/* An LVT's event happens. */
void lapic_lvt_event(struct lapic *lapic, enum lapic_reg reg);

/* --- lapic_state.c --- */
/* All but IA32_APIC_BASE as after a reset. */
void lapic_clear(struct lapic *lapic);
/* The eight registers of IRR, ISR or TMR as four words. */
void lapic_map_save(const struct lapic *lapic, enum lapic_reg map, u64 words[4]);
/* IA32_APIC_BASE changes: the ID's and, in x2APIC mode, the LDR's form follow its mode. */
void lapic_put_base(struct lapic *lapic, u64 value);

/* --- lapic_timer.c --- */
void lapic_timer_init(struct lapic *lapic);
/* Arms the vtimer as the state says (after load, resume). */
void lapic_timer_arm(struct lapic *lapic);
void lapic_timer_stop(struct lapic *lapic);
u32 lapic_timer_count(const struct lapic *lapic);
void lapic_timer_set_initial(struct lapic *lapic, u32 count);
void lapic_timer_set_divide(struct lapic *lapic, u32 divide);
void lapic_timer_set_lvt(struct lapic *lapic, u32 value);
void lapic_timer_set_deadline(struct lapic *lapic, u64 tsc);

#endif
