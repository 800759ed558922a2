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

/* SDM 3 10.4.7.1. */
void lapic_clear(struct lapic *lapic)
{
	u64 base = lapic->s.apic_base;

	memset(&lapic->s, 0, sizeof(lapic->s));
	lapic->s.apic_base = base;
	lapic->s.dfr = 0xffffffff;
	lapic->s.svr = 0xff;
	for (u32 i = 0; i < LAPIC_LVTS; i++)
		lapic->s.lvt[i] = LAPIC_LVT_MASKED;
	lapic_set_tpr(lapic, 0);
}

static void lapic_reset(struct device *dev)
{
	struct lapic *lapic = container_of(dev, struct lapic, dev);

	lapic_timer_stop(lapic);
	lapic_clear(lapic);
	lapic->s.apic_base = BOARD_LAPIC_BASE | APIC_BASE_EN;
	if (lapic->vcpu->index != 0)
		return;
	/* As firmware leaves the boot CPU's: virtual wire mode (MP specification 3.6.2.2). */
	lapic->s.apic_base |= APIC_BASE_BSP;
	lapic->s.svr |= LAPIC_SVR_ENABLE;
	*lapic_lvt(lapic, LAPIC_LVT_LINT0) = LAPIC_EXTINT << 8;
	*lapic_lvt(lapic, LAPIC_LVT_LINT1) = LAPIC_NMI << 8;
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
	if ((s->icr & ~0xccfffu) || s->nmi > 1 || s->reserved)
		return trace_error(-E_INVAL);
	return 0;
}

static void lapic_load(struct device *dev, const void *state)
{
	struct lapic *lapic = container_of(dev, struct lapic, dev);

	memcpy(&lapic->s, state, sizeof(lapic->s));
	lapic_set_tpr(lapic, lapic->s.tpr);
}

static const struct device_ops lapic_ops = {
	.name = "lapic",
	.type = DEVICE_LAPIC,
	.version = 1,
	DEVICE_STATE(struct lapic, s),
	.pause = lapic_pause,
	.resume = lapic_resume,
	.reset = lapic_reset,
	.check = lapic_check,
	.load = lapic_load,
};

void lapic_init(struct lapic *lapic, struct vcpu *vcpu)
{
	lapic->vcpu = vcpu;
	vcpu->lapic = lapic;
	lapic_timer_init(lapic);
	device_add(vcpu->vm, &lapic->dev, &lapic_ops, (u16)vcpu->index);
	lapic_reset(&lapic->dev);
}
