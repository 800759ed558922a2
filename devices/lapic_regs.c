/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's registers as MMIO (SDM 3 10.4.1) and MSRs (10.12.1), the ICR, and the switch
 * between the two by IA32_APIC_BASE. On the vCPU's own CPU; MMIO with vm->lock held.
 */
#include "compiler.h"
#include "devices/irqchip.h"
#include "devices/lapic.h"
#include "errors.h"
#include "vmm/board.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

enum { DEST_LOGICAL = BIT(11), ICR_LEVEL_ASSERT = BIT(14), ICR_TRIGGER_LEVEL = BIT(15) };
enum icr_shorthand { ICR_DEST, ICR_SELF, ICR_ALL, ICR_OTHERS };
#define ICR_BITS 0xccfffu /* without 12, delivery status, which always reads idle */

/* Delivery status and remote IRR (SDM 3 10.5.1). */
#define LVT_READ_ONLY (BIT(12) | BIT(14))

/* The bits of a register that a write changes; in x2APIC mode any other one is a #GP (SDM 3 10.12.1.2). */
static u32 writable_bits(u32 reg)
{
	switch (reg) {
	case LAPIC_TPR:
	case LAPIC_SELF_IPI:
		return 0xff;
	case LAPIC_SVR:
		return 0x3ff;
	case LAPIC_LVT_TIMER:
		return 0x700ff;
	case LAPIC_LVT_THERMAL:
	case LAPIC_LVT_PERF:
		return 0x107ff;
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1:
		return 0x1a7ff;
	case LAPIC_LVT_ERROR:
		return 0x100ff;
	case LAPIC_TIMER_INITIAL:
		return 0xffffffff;
	case LAPIC_TIMER_DIVIDE:
		return 0xb;
	case LAPIC_ICR:
		return ICR_BITS;
	case LAPIC_ICR_HIGH:
	case LAPIC_LDR:
		return 0xff000000;
	case LAPIC_DFR:
		return 0xf0000000;
	default:
		return 0; /* EOI, ESR: the value has no meaning */
	}
}

/* Read as they are, in both modes. */
static bool is_plain(u32 reg)
{
	switch (reg) {
	case LAPIC_ID:
	case LAPIC_VERSION:
	case LAPIC_TPR:
	case LAPIC_LDR:
	case LAPIC_SVR:
	case LAPIC_TIMER_INITIAL:
	case LAPIC_TIMER_DIVIDE:
		return true;
	}
	return (reg >= LAPIC_ISR && reg <= LAPIC_ESR) || (reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR);
}

int lapic_read(struct lapic *lapic, u32 reg, u64 *value)
{
	bool x2apic = lapic_x2apic(lapic);

	lapic_gather(lapic);
	if (is_plain(reg)) {
		*value = lapic_get(lapic, reg);
		return 0;
	}
	switch (reg) {
	case LAPIC_PPR:
		*value = lapic_ppr(lapic);
		return 0;
	case LAPIC_ICR:
		*value = lapic_get(lapic, reg);
		if (x2apic)
			*value |= (u64)lapic_get(lapic, LAPIC_ICR_HIGH) << 32;
		return 0;
	case LAPIC_TIMER_CURRENT:
		*value = lapic_timer_count(lapic);
		return 0;
	}
	if (x2apic)
		return -E_INVAL;
	switch (reg) {
	case LAPIC_APR:
	case LAPIC_RRD:
	case LAPIC_EOI:
		*value = 0;
		return 0;
	case LAPIC_DFR:
	case LAPIC_ICR_HIGH:
		*value = lapic_get(lapic, reg);
		return 0;
	}
	return -E_INVAL;
}

static void send_ipi(struct lapic *lapic)
{
	u32 icr = lapic_get(lapic, LAPIC_ICR);
	u32 high = lapic_get(lapic, LAPIC_ICR_HIGH);
	bool x2apic = lapic_x2apic(lapic);
	enum icr_shorthand shorthand = icr >> 18 & 3;
	struct irq_message message = {
		.dest = x2apic ? high : high >> 24,
		.logical = icr & DEST_LOGICAL,
		.vector = (u8)icr,
		.mode = icr >> 8 & 7,
		.broadcast = shorthand == ICR_ALL || shorthand == ICR_OTHERS,
		.except = shorthand == ICR_OTHERS ? lapic : NULL,
	};

	/* INIT level de-assert: only the Pentium's APICs listened to it (SDM 3 10.6.1). */
	if (message.mode == LAPIC_INIT && !(icr & ICR_LEVEL_ASSERT) && (icr & ICR_TRIGGER_LEVEL))
		return;
	if ((message.mode == LAPIC_FIXED || message.mode == LAPIC_LOWEST) && message.vector < 16) {
		lapic_error(lapic, LAPIC_ESR_SEND_VECTOR);
		return;
	}
	if (shorthand == ICR_SELF) {
		/* Only fixed ones may go to self (SDM 3 table 10-3). */
		if (message.mode == LAPIC_FIXED)
			lapic_receive(lapic, LAPIC_FIXED, message.vector, false);
		return;
	}
	if (shorthand == ICR_DEST)
		message.broadcast = message.dest == (x2apic ? 0xffffffff : 0xff);
	irqchip_deliver(lapic->vcpu->vm, &message);
}

static void write_svr(struct lapic *lapic, u32 value)
{
	lapic_put(lapic, LAPIC_SVR, value);
	if (value & LAPIC_SVR_ENABLE)
		return;
	/* SDM 3 10.4.7.2: all LVT entries are masked, and stay so. */
	for (u32 i = 0; i < LAPIC_LVTS; i++)
		*lapic_at(lapic, LAPIC_LVT_TIMER + i) |= LAPIC_LVT_MASKED;
}

static void write_lvt(struct lapic *lapic, u32 reg, u32 value)
{
	if (!(lapic_get(lapic, LAPIC_SVR) & LAPIC_SVR_ENABLE))
		value |= LAPIC_LVT_MASKED;
	if (reg == LAPIC_LVT_TIMER)
		lapic_timer_set_lvt(lapic, value);
	else
		lapic_put(lapic, reg, value);
	if (reg == LAPIC_LVT_LINT0 && READ_ONCE(lapic->intr) && (value >> 8 & 7) != LAPIC_EXTINT)
		lapic_lvt_event(lapic, LAPIC_LVT_LINT0);
}

/* What both modes have. */
static int write_common(struct lapic *lapic, u32 reg, u32 value)
{
	switch (reg) {
	case LAPIC_TPR:
		lapic_set_tpr(lapic, value);
		return 0;
	case LAPIC_SVR:
		write_svr(lapic, value);
		return 0;
	case LAPIC_ESR:
		/* SDM 3 10.5.3: a write brings what happened since the last one into view. */
		lapic_put(lapic, reg, atomic_swap(&lapic->errors, 0));
		return 0;
	case LAPIC_ICR:
		lapic_put(lapic, reg, value);
		send_ipi(lapic);
		return 0;
	case LAPIC_LVT_TIMER:
	case LAPIC_LVT_THERMAL:
	case LAPIC_LVT_PERF:
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1:
	case LAPIC_LVT_ERROR:
		write_lvt(lapic, reg, value);
		return 0;
	case LAPIC_TIMER_INITIAL:
		lapic_timer_set_initial(lapic, value);
		return 0;
	case LAPIC_TIMER_DIVIDE:
		lapic_timer_set_divide(lapic, value);
		return 0;
	}
	return -E_INVAL;
}

static int write_x2apic(struct lapic *lapic, u32 reg, u64 value)
{
	u64 allowed = writable_bits(reg);

	if (reg == LAPIC_ICR)
		allowed |= 0xffffffff00000000;
	/* Linux's disconnect_bsp_APIC sets them; the CPUs ignore that. */
	if (reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR)
		value &= ~LVT_READ_ONLY;
	if (value & ~allowed)
		return -E_INVAL;
	switch (reg) {
	case LAPIC_LDR:
	case LAPIC_DFR:
	case LAPIC_ICR_HIGH:
		return -E_INVAL;
	case LAPIC_ICR:
		lapic_put(lapic, LAPIC_ICR_HIGH, (u32)(value >> 32));
		break;
	case LAPIC_SELF_IPI:
		if (value < 16)
			lapic_error(lapic, LAPIC_ESR_SEND_VECTOR);
		else
			lapic_receive(lapic, LAPIC_FIXED, (u8)value, false);
		return 0;
	}
	return write_common(lapic, reg, (u32)value);
}

static int write_xapic(struct lapic *lapic, u32 reg, u64 value)
{
	u32 bits = (u32)value & writable_bits(reg);

	switch (reg) {
	case LAPIC_LDR:
		lapic_put(lapic, reg, bits);
		return 0;
	case LAPIC_DFR:
		lapic_put(lapic, reg, bits | 0x0fffffff);
		return 0;
	case LAPIC_ICR_HIGH:
		lapic_put(lapic, reg, bits);
		return 0;
	}
	return write_common(lapic, reg, bits);
}

int lapic_write(struct lapic *lapic, u32 reg, u64 value, bool locked)
{
	bool x2apic = lapic_x2apic(lapic);

	/* EOI, TPR, SVR, LVTs... let through what was held back. */
	vcpu_look(lapic->vcpu);
	if (likely(reg == LAPIC_EOI)) {
		if (x2apic && value != 0)
			return -E_INVAL;
		lapic_eoi(lapic, locked);
		return 0;
	}
	return x2apic ? write_x2apic(lapic, reg, value) : write_xapic(lapic, reg, value);
}

void lapic_mmio(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct vcpu *vcpu = vcpu_current();
	struct lapic *lapic = vcpu && vcpu->vm == ctx ? vcpu->lapic : NULL;
	u32 reg = (u32)(offset / 16);
	u64 data = 0;
	int error;

	/* No APIC there for this CPU: the bus floats. */
	if (!lapic || !lapic_hw_enabled(lapic) || lapic_x2apic(lapic)) {
		if (!write)
			*value = size < 8 ? BIT(size * 8) - 1 : ~0ull;
		return;
	}
	/* Registers are 32 bits on 16-byte boundaries; what else one does is undefined (SDM 3 10.4.1): nothing. */
	if (offset % 16 >= 4 || reg >= LAPIC_REGS || (write && size < 4)) {
		if (!write)
			*value = 0;
		return;
	}
	if (write)
		error = lapic_write(lapic, reg, (u32)*value, true);
	else
		error = lapic_read(lapic, reg, &data);
	if (error)
		lapic_error(lapic, LAPIC_ESR_REGISTER);
	if (!write)
		*value = data >> (offset % 4 * 8) & (size < 4 ? BIT(size * 8) - 1 : 0xffffffff);
}

int lapic_set_base(struct lapic *lapic, u64 value)
{
	u64 old = lapic->apic_base;
	u64 old_mode = old & (APIC_BASE_EN | APIC_BASE_EXTD);
	u64 mode = value & (APIC_BASE_EN | APIC_BASE_EXTD);

	/* The page cannot be moved: all vCPUs share one bus. Nobody but firmware of the 1990s did. */
	if ((value & ~(u64)(APIC_BASE_EN | APIC_BASE_EXTD | APIC_BASE_BSP)) != BOARD_LAPIC_BASE)
		return -E_INVAL;
	/* SDM 3 figure 10-27: x2APIC only from xAPIC, and back only through "disabled". */
	if (mode == APIC_BASE_EXTD)
		return -E_INVAL;
	if (mode != old_mode && (mode & APIC_BASE_EXTD) && old_mode != APIC_BASE_EN)
		return -E_INVAL;
	if (mode == APIC_BASE_EN && (old_mode & APIC_BASE_EXTD))
		return -E_INVAL;
	if (mode == 0 && old_mode != 0) {
		/* SDM 3 10.4.3: what the APIC knew is gone. */
		lapic_timer_stop(lapic);
		lapic_clear(lapic);
	}
	lapic_put_base(lapic, BOARD_LAPIC_BASE | mode | (old & APIC_BASE_BSP));
	if (mode != old_mode && (mode & APIC_BASE_EXTD))
		lapic_put(lapic, LAPIC_ICR_HIGH, 0);
	vcpu_look(lapic->vcpu);
	return 0;
}
