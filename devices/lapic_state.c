/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC as a device: reset, and its state to and from the stream. vm->lock held. */
#include "compiler.h"
#include "devices/clock.h"
#include "devices/lapic.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Version 0x14 of an integrated APIC, 6 LVT entries, no EOI-broadcast suppression. */
#define VERSION (0x14u | (LAPIC_LVTS - 1) << 16)

void lapic_put_base(struct lapic *lapic, u64 value)
{
	u32 id = lapic->vcpu->index;
	bool x2apic = value & APIC_BASE_EXTD;

	/* SDM 3 10.12.5.1: what x2APIC mode makes of LDR follows from the ID. */
	if (x2apic)
		lapic_put(lapic, LAPIC_LDR, id >> 4 << 16 | 1u << (id & 15));
	lapic_put(lapic, LAPIC_ID, x2apic ? id : id << 24);
	lapic->apic_base = value;
	lapic->vcpu->apic_off = !(value & APIC_BASE_EN);
}

/* SDM 3 10.4.7.1. */
void lapic_clear(struct lapic *lapic)
{
	memset(lapic->page, 0, PAGE_SIZE);
	memset(lapic->posted, 0, sizeof(lapic->posted));
	memset(lapic->posted_level, 0, sizeof(lapic->posted_level));
	lapic->tsc_deadline = 0;
	lapic->timer_deadline_ns = 0;
	lapic->errors = 0;
	lapic->nmi = 0;
	lapic_put(lapic, LAPIC_VERSION, VERSION);
	lapic_put(lapic, LAPIC_DFR, 0xffffffff);
	lapic_put(lapic, LAPIC_SVR, 0xff);
	for (u32 i = 0; i < LAPIC_LVTS; i++)
		lapic_put(lapic, LAPIC_LVT_TIMER + i, LAPIC_LVT_MASKED);
	lapic_put_base(lapic, lapic->apic_base);
	lapic_set_tpr(lapic, 0);
}

static void lapic_reset(struct device *dev)
{
	struct lapic *lapic = container_of(dev, struct lapic, dev);

	lapic_timer_stop(lapic);
	lapic_clear(lapic);
	lapic_put_base(lapic, BOARD_LAPIC_BASE | APIC_BASE_EN);
	if (lapic->vcpu->index != 0)
		return;
	/* As firmware leaves the boot CPU's: virtual wire mode (MP specification 3.6.2.2). */
	lapic->apic_base |= APIC_BASE_BSP;
	*lapic_at(lapic, LAPIC_SVR) |= LAPIC_SVR_ENABLE;
	lapic_put(lapic, LAPIC_LVT_LINT0, LAPIC_EXTINT << 8);
	lapic_put(lapic, LAPIC_LVT_LINT1, LAPIC_NMI << 8);
}

static void lapic_pause(struct device *dev)
{
	lapic_timer_stop(container_of(dev, struct lapic, dev));
}

static void lapic_resume(struct device *dev)
{
	lapic_timer_arm(container_of(dev, struct lapic, dev));
}

static bool base_valid(const struct device *dev, u64 base)
{
	u64 mode = base & (APIC_BASE_EN | APIC_BASE_EXTD);
	u64 bsp = dev->instance == 0 ? APIC_BASE_BSP : 0;

	return (base & ~mode) == (BOARD_LAPIC_BASE | bsp) && mode != APIC_BASE_EXTD;
}

static bool lvts_valid(const struct lapic_state *s)
{
	static const u32 bits[LAPIC_LVTS] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

	for (u32 i = 0; i < LAPIC_LVTS; i++) {
		if (s->lvt[i] & ~bits[i])
			return false;
		if (!(s->svr & LAPIC_SVR_ENABLE) && !(s->lvt[i] & LAPIC_LVT_MASKED))
			return false;
	}
	return true;
}

static int lapic_check(struct device *dev, const void *state)
{
	const struct lapic_state *s = state;
	u32 esr_bits = LAPIC_ESR_SEND_VECTOR | LAPIC_ESR_RECEIVE_VECTOR | LAPIC_ESR_REGISTER;

	if (!base_valid(dev, s->apic_base) || !lvts_valid(s))
		return trace_error(-E_INVAL);
	/* Vectors 0-15 do not exist. */
	if ((s->irr[0] | s->isr[0]) & 0xffff)
		return trace_error(-E_INVAL);
	if (s->timer_deadline_ns > CLOCK_NS_MAX || (s->timer_divide & ~0xbu))
		return trace_error(-E_INVAL);
	if (s->tpr > 0xff || (s->svr & ~0x3ffu) || (s->dfr & 0x0fffffff) != 0x0fffffff)
		return trace_error(-E_INVAL);
	if ((s->esr | s->errors) & ~esr_bits)
		return trace_error(-E_INVAL);
	if ((s->icr & ~0xccfffu) || s->nmi > (LAPIC_NMI_WAITS | LAPIC_NMI_ANOTHER) || s->reserved)
		return trace_error(-E_INVAL);
	return 0;
}

void lapic_map_save(const struct lapic *lapic, enum lapic_reg map, u64 words[4])
{
	for (u32 i = 0; i < 4; i++)
		words[i] = lapic_get(lapic, map + 2 * i) | (u64)lapic_get(lapic, map + 2 * i + 1) << 32;
}

static void map_load(struct lapic *lapic, enum lapic_reg map, const u64 words[4])
{
	for (u32 i = 0; i < 4; i++) {
		lapic_put(lapic, map + 2 * i, (u32)words[i]);
		lapic_put(lapic, map + 2 * i + 1, (u32)(words[i] >> 32));
	}
}

/* The registers that are in the state as they are. */
static const struct {
	u16 reg, offset;
} plain[] = {
	{ LAPIC_TPR, offsetof(struct lapic_state, tpr) },
	{ LAPIC_LDR, offsetof(struct lapic_state, ldr) },
	{ LAPIC_DFR, offsetof(struct lapic_state, dfr) },
	{ LAPIC_SVR, offsetof(struct lapic_state, svr) },
	{ LAPIC_ESR, offsetof(struct lapic_state, esr) },
	{ LAPIC_ICR, offsetof(struct lapic_state, icr) },
	{ LAPIC_ICR_HIGH, offsetof(struct lapic_state, icr_high) },
	{ LAPIC_TIMER_INITIAL, offsetof(struct lapic_state, timer_initial) },
	{ LAPIC_TIMER_DIVIDE, offsetof(struct lapic_state, timer_divide) },
};

static void lapic_save(struct device *dev, void *state)
{
	struct lapic *lapic = container_of(dev, struct lapic, dev);
	struct lapic_state *s = state;

	lapic_gather(lapic);
	*s = (struct lapic_state){
		.apic_base = lapic->apic_base,
		.tsc_deadline = lapic->tsc_deadline,
		.timer_deadline_ns = lapic->timer_deadline_ns,
		.errors = lapic->errors,
		.nmi = lapic->nmi,
	};
	lapic_map_save(lapic, LAPIC_IRR, s->irr);
	lapic_map_save(lapic, LAPIC_ISR, s->isr);
	lapic_map_save(lapic, LAPIC_TMR, s->tmr);
	for (u32 i = 0; i < LAPIC_LVTS; i++)
		s->lvt[i] = lapic_get(lapic, LAPIC_LVT_TIMER + i);
	for (u32 i = 0; i < ARRAY_SIZE(plain); i++)
		*(u32 *)((u8 *)s + plain[i].offset) = lapic_get(lapic, plain[i].reg);
}

static void lapic_load(struct device *dev, const void *state)
{
	struct lapic *lapic = container_of(dev, struct lapic, dev);
	const struct lapic_state *s = state;

	lapic_clear(lapic);
	lapic->tsc_deadline = s->tsc_deadline;
	lapic->timer_deadline_ns = s->timer_deadline_ns;
	lapic->errors = s->errors;
	lapic->nmi = s->nmi;
	map_load(lapic, LAPIC_IRR, s->irr);
	map_load(lapic, LAPIC_ISR, s->isr);
	map_load(lapic, LAPIC_TMR, s->tmr);
	for (u32 i = 0; i < LAPIC_LVTS; i++)
		lapic_put(lapic, LAPIC_LVT_TIMER + i, s->lvt[i]);
	for (u32 i = 0; i < ARRAY_SIZE(plain); i++)
		lapic_put(lapic, plain[i].reg, *(const u32 *)((const u8 *)s + plain[i].offset));
	lapic_put_base(lapic, s->apic_base);
	vcpu_look(lapic->vcpu);
}

static const struct device_ops lapic_ops = {
	.name = "lapic",
	.type = DEVICE_LAPIC,
	.version = 1,
	.state_bytes = sizeof(struct lapic_state),
	.pause = lapic_pause,
	.resume = lapic_resume,
	.reset = lapic_reset,
	.check = lapic_check,
	.save = lapic_save,
	.load = lapic_load,
};

void lapic_init(struct lapic *lapic, struct vcpu *vcpu)
{
	lapic->vcpu = vcpu;
	vcpu->lapic = lapic;
	lapic->page = vcpu->apic_page;
	lapic_timer_init(lapic);
	device_add(vcpu->vm, &lapic->dev, &lapic_ops, (u16)vcpu->index);
	lapic_reset(&lapic->dev);
}
