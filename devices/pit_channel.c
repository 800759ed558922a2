/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a counter of the 8254 shows at a time (Intel's data sheet 231164, "Mode definitions").
 * Nothing ticks: count and OUT follow from the vm time of the load. A new count takes effect at
 * once also in modes 2 and 3, where the chip would finish its period first.
 */
#include "devices/clock.h"
#include "devices/pit.h"

static u32 from_bcd(u16 value)
{
	return (value & 15) + (value >> 4 & 15) * 10u + (value >> 8 & 15) * 100u + (value >> 12) * 1000u;
}

static u16 to_bcd(u32 value)
{
	return (u16)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}

/* The count N that the modes talk of. */
static u32 full_count(const struct pit_channel *ch)
{
	u32 n = ch->bcd ? from_bcd(ch->reload) : ch->reload;

	if (n == 0)
		n = ch->bcd ? 10000 : 65536;
	/* Modes 2 and 3 cannot do 1: the output would have no edges. */
	if (n == 1 && (ch->mode == 2 || ch->mode == 3))
		n = 2;
	return n;
}

static bool gate_pauses(const struct pit_channel *ch)
{
	return ch->mode == 0 || ch->mode == 4;
}

static u64 elapsed(const struct pit_channel *ch, u64 now_ns)
{
	if (gate_pauses(ch) && !ch->gate)
		return ch->held_ticks;
	return now_ns > ch->start_ns ? clock_ticks(now_ns - ch->start_ns, PIT_HZ) : 0;
}

/* A gate that is low stops modes 2 and 3 with OUT high. */
static bool stopped(const struct pit_channel *ch)
{
	return ch->phase != PIT_COUNTING || ((ch->mode == 2 || ch->mode == 3) && !ch->gate);
}

u16 pit_channel_count(const struct pit_channel *ch, u64 now_ns)
{
	u32 n = full_count(ch);
	u64 ticks = stopped(ch) ? 0 : elapsed(ch, now_ns);
	u32 in_period = (u32)(ticks % n);
	u32 high = (n + 1) / 2;
	u32 count;

	switch (ch->mode) {
	case 2:
		count = n - in_period;
		break;
	case 3: /* counts down by two, once for each half of the wave */
		count = (n & ~1u) - 2 * (in_period < high ? in_period : in_period - high);
		break;
	default: /* past 0 it goes on from the greatest count */
		count = n - (u32)(ticks % (ch->bcd ? 10000 : 65536));
		break;
	}
	return ch->bcd ? to_bcd(count + 10000) : (u16)count;
}

bool pit_channel_out(const struct pit_channel *ch, u64 now_ns)
{
	u32 n = full_count(ch);
	u64 ticks;

	if (stopped(ch))
		return ch->mode != 0;
	ticks = elapsed(ch, now_ns);
	switch (ch->mode) {
	case 0:
	case 1:
		return ticks >= n;
	case 2:
		return ticks % n != n - 1;
	case 3:
		return ticks % n < (n + 1) / 2;
	default:
		return ticks != n;
	}
}

u64 pit_channel_next_edge(const struct pit_channel *ch, u64 now_ns)
{
	u32 n = full_count(ch);
	u64 ticks;
	u64 edge;

	if (stopped(ch) || (gate_pauses(ch) && !ch->gate))
		return 0;
	ticks = elapsed(ch, now_ns);
	switch (ch->mode) {
	case 0:
	case 1:
		edge = n;
		break;
	case 2:
	case 3:
		edge = (ticks / n + 1) * n;
		break;
	default:
		edge = n + 1;
		break;
	}
	return ticks < edge ? ch->start_ns + clock_ns(edge, PIT_HZ) : 0;
}

void pit_channel_load(struct pit_channel *ch, u16 count, u64 now_ns)
{
	ch->reload = count;
	if (ch->mode == 1 || ch->mode == 5) {
		/* Takes effect at the next trigger. */
		if (ch->phase == PIT_EMPTY)
			ch->phase = PIT_ARMED;
		return;
	}
	ch->phase = PIT_COUNTING;
	ch->start_ns = now_ns;
	ch->held_ticks = 0;
}

void pit_channel_set_gate(struct pit_channel *ch, bool gate, u64 now_ns)
{
	if (ch->gate == gate)
		return;
	if (gate_pauses(ch) && ch->phase == PIT_COUNTING) {
		if (!gate)
			ch->held_ticks = (u32)MIN(elapsed(ch, now_ns), (u64)full_count(ch) + 1);
		else
			ch->start_ns = now_ns - MIN(now_ns, clock_ns(ch->held_ticks, PIT_HZ));
	} else if (gate && ch->phase != PIT_EMPTY) {
		/* The rising edge is the trigger of modes 1 and 5 and restarts 2 and 3. */
		ch->phase = PIT_COUNTING;
		ch->start_ns = now_ns;
	}
	ch->gate = gate;
}
