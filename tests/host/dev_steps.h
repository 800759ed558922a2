/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may happen to a board: accesses, lines, messages, keys, and time. The program that includes it (once)
 * says by rnd() what does: test_dev_fuzz.c at random, tests/fuzz/fuzz_devices.c as its input wants.
 */
#ifndef DEV_STEPS_H
#define DEV_STEPS_H

#include "dev_world.h"

static u64 rnd(void);

static const u16 ports[] = {
	0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x64, 0x92,
	0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x600, 0x601, 0x602, 0x603, 0x604, 0x605,
	0x608, 0x620, 0x622, 0xe0, 0xe3, 0xf4, 0x8900,
};

/* What happened, so that two guests can be given the same. */
struct step {
	u32 kind;
	u64 addr, value;
	unsigned int size;
	bool write;
};

static struct step random_step(void)
{
	struct step s = {
		.kind = (u32)(rnd() % 16),
		.value = rnd() >> (rnd() % 64),
		.size = 1u << rnd() % 3,
		.write = rnd() & 1,
	};

	switch (s.kind) {
	case 0:
	case 1:
	case 2:
		s.addr = BOARD_LAPIC_BASE + (rnd() % 0x44) * 16 + (rnd() % 8 ? 0 : rnd() % 16);
		s.size = rnd() % 8 ? 4 : s.size;
		/* Mostly on and open, or nothing more ever happens. */
		if (s.addr == BOARD_LAPIC_BASE + 16 * LAPIC_SVR && rnd() % 8)
			s.value |= LAPIC_SVR_ENABLE;
		if (s.addr == BOARD_LAPIC_BASE + 16 * LAPIC_TPR)
			s.value &= 0x3f;
		break;
	case 3:
	case 4:
		s.addr = BOARD_IOAPIC_BASE + (rnd() & 1) * 16 + (rnd() % 16 ? 0 : 0x40);
		break;
	default:
		s.addr = ports[rnd() % ARRAY_SIZE(ports)];
		break;
	}
	return s;
}

/* Everything that the guest can see of it. */
static u64 run_step(struct world *w, const struct step *s)
{
	u64 value = s->value;
	u64 seen = 0;

	running_world = w;
	switch (s->kind) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (s->addr % 4096 + s->size > 4096)
			return 0;
		return world_access(w, &w->vm.mmio, s->addr, s->size, s->write, value);
	case 5:
		set_line(w, (u32)(s->value % 26), s->write);
		return 0;
	case 6:
		irqchip_msi(&w->vm, 0xfee00000 | (s->value & 0xff00c), (u32)(s->value >> 20));
		return 0;
	case 7:
		if (irqchip_nmi_pending(&w->vcpu))
			irqchip_nmi_take(&w->vcpu);
		irqchip_set_tpr(&w->vcpu, (u8)(s->value % 4));
		return irqchip_get_tpr(&w->vcpu);
	case 8:
		spin_lock(&w->vm.lock);
		ring_put(&w->vm.input, &value, 1 + s->value % 8);
		board_console_input(&w->vm);
		if (s->value % 16 == 0)
			board_power_button(&w->vm);
		spin_unlock(&w->vm.lock);
		return 0;
	case 9: {
		static const u32 msrs[] = {0x1b, 0x6e0, 0x80b, 0x830, 0x832, 0x838, 0x83f, 0x808, 0x80f, 0x10};
		u32 msr = s->write ? msrs[s->addr % ARRAY_SIZE(msrs)] : 0x800 + (u32)(s->value & 0xff);

		if (msr == 0x1b)
			value = BOARD_LAPIC_BASE | (s->value & 0x70000 ? 0x900 : s->value & 0xd00);
		if (msr == 0x80f)
			value = 0x1ff;
		if (msr == 0x6e0)
			value = vcpu_tsc(&w->vcpu) + (s->value & 0xfffff);
		if (s->value & 0x1000)
			return (u64)irqchip_msr_write(&w->vcpu, msr, value);
		value = 0;
		return (u64)irqchip_msr_read(&w->vcpu, msr, &value) + value;
	}
	case 10:
		return (u64)(s64)take(w);
	case 11:
		seen = (u64)(s64)take(w);
		lapic_eoi(w->vcpu.lapic, false);
		return seen;
	default:
		if (io_bus_access(&w->vm.pio, s->addr, s->size, s->write, &value) == -E_NOENT)
			return 0;
		return value;
	}
}

static void advance(struct world *w, u64 ns)
{
	/* Two guests share the fake clock: each sees it as its own through its offset. */
	u64 host = time_ns();

	world_advance(w, ns);
	w->vm.time_offset_ns += (s64)(time_ns() - host);
	w->vm.tsc_offset += time_ns() - host;
	fake_time_set(host);
}

#endif
