/* SPDX-License-Identifier: Apache-2.0 */
/* The 8254's registers and channel 0's interrupt. On the vCPU's CPU with vm->lock held. */
#include "devices/pit.h"

#include "devices/clock.h"
#include "devices/port8.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

enum { PORT_CONTROL = 3 };
/* The read-back command: a 0 bit asks for it. */
enum { READ_BACK_NO_COUNT = BIT(5), READ_BACK_NO_STATUS = BIT(4) };
enum { STATUS_OUT = BIT(7), STATUS_NULL_COUNT = BIT(6) };
/* Port 0x61. */
enum { SPEAKER_GATE = BIT(0), SPEAKER_DATA = BIT(1), SPEAKER_REFRESH = BIT(4), SPEAKER_OUT = BIT(5) };

/* Channel 1 of the first PCs refreshed memory every 15 us; software timed itself by this bit. */
#define REFRESH_NS 15085

/* For channel 0's next edge; those that repeat are held to a bearable rate. */
static void arm(struct pit *pit, u64 now)
{
	const struct pit_channel *ch = &pit->s.channel[0];
	u64 edge = pit_channel_next_edge(ch, now);

	pit->s.edge_awaited = edge != 0;
	if (edge && (ch->mode == 2 || ch->mode == 3))
		edge = MAX(edge, now + CLOCK_PERIOD_MIN_NS);
	vtimer_set(&pit->timer, edge);
}

/* Channel 0 changed: its line, and when it rises next. */
static void channel0_update(struct pit *pit, u64 now)
{
	irqchip_set_line(pit->dev.vm, 0, pit_channel_out(&pit->s.channel[0], now));
	arm(pit, now);
}

static void raise_edge(struct pit *pit)
{
	irqchip_set_line(pit->dev.vm, 0, false);
	irqchip_set_line(pit->dev.vm, 0, true);
}

static void fire(struct vtimer *timer, u64 now_ns)
{
	struct pit *pit = container_of(timer, struct pit, timer);

	raise_edge(pit);
	channel0_update(pit, now_ns);
}

static void latch_count(struct pit_channel *ch, u64 now)
{
	if (ch->count_latched)
		return;
	ch->latched = pit_channel_count(ch, now);
	ch->count_latched = ch->access == PIT_LOW_HIGH ? 2 : 1;
}

static void latch_status(struct pit_channel *ch, u64 now)
{
	if (ch->status_latched)
		return;
	ch->status = (u8)(ch->access << 4 | ch->mode << 1 | ch->bcd);
	if (pit_channel_out(ch, now))
		ch->status |= STATUS_OUT;
	if (ch->phase == PIT_EMPTY)
		ch->status |= STATUS_NULL_COUNT;
	ch->status_latched = 1;
}

static void write_control(struct pit *pit, u8 value, u64 now)
{
	u32 select = value >> 6;
	struct pit_channel *ch;

	if (select == 3) {
		for (u32 i = 0; i < PIT_CHANNELS; i++) {
			if (!(value & BIT(i + 1)))
				continue;
			if (!(value & READ_BACK_NO_COUNT))
				latch_count(&pit->s.channel[i], now);
			if (!(value & READ_BACK_NO_STATUS))
				latch_status(&pit->s.channel[i], now);
		}
		return;
	}
	ch = &pit->s.channel[select];
	if ((value >> 4 & 3) == PIT_LATCH) {
		latch_count(ch, now);
		return;
	}
	ch->access = value >> 4 & 3;
	ch->mode = value >> 1 & 7;
	if (ch->mode > 5)
		ch->mode -= 4;
	ch->bcd = value & 1;
	ch->phase = PIT_EMPTY;
	ch->write_high = 0;
	ch->read_high = 0;
	ch->count_latched = 0;
	ch->status_latched = 0;
	if (select == 0)
		channel0_update(pit, now);
}

static void write_count(struct pit *pit, u32 channel, u8 value, u64 now)
{
	struct pit_channel *ch = &pit->s.channel[channel];

	if (ch->access == PIT_LOW_HIGH && !ch->write_high) {
		ch->write_low_byte = value;
		ch->write_high = 1;
		/* Mode 0: the first byte stops the count. */
		if (ch->mode == 0)
			ch->phase = PIT_EMPTY;
	} else if (ch->access == PIT_LOW_HIGH) {
		ch->write_high = 0;
		pit_channel_load(ch, (u16)(value << 8 | ch->write_low_byte), now);
	} else {
		pit_channel_load(ch, ch->access == PIT_HIGH ? (u16)(value << 8) : value, now);
	}
	if (channel == 0)
		channel0_update(pit, now);
}

static u8 read_count(struct pit_channel *ch, u64 now)
{
	u16 count = ch->count_latched ? ch->latched : pit_channel_count(ch, now);
	bool high = ch->access == PIT_HIGH;

	if (ch->status_latched) {
		ch->status_latched = 0;
		return ch->status;
	}
	if (ch->access == PIT_LOW_HIGH) {
		high = ch->read_high;
		ch->read_high ^= 1;
	}
	if (ch->count_latched)
		ch->count_latched--;
	return (u8)(high ? count >> 8 : count);
}

static u8 pit_read(void *ctx, u32 port)
{
	struct pit *pit = ctx;

	if (port == PORT_CONTROL)
		return 0xff;
	return read_count(&pit->s.channel[port], vm_time_ns(pit->dev.vm));
}

static void pit_write(void *ctx, u32 port, u8 value)
{
	struct pit *pit = ctx;
	u64 now = vm_time_ns(pit->dev.vm);

	if (port == PORT_CONTROL)
		write_control(pit, value, now);
	else
		write_count(pit, port, value, now);
}

void pit_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, pit_read, pit_write);
}

void pit_speaker_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct pit *pit = ctx;
	u64 now = vm_time_ns(pit->dev.vm);

	(void)offset;
	(void)size; /* one port: no wider access gets here */
	if (write) {
		pit->s.speaker = (u8)*value & (SPEAKER_GATE | SPEAKER_DATA);
		pit_channel_set_gate(&pit->s.channel[2], *value & SPEAKER_GATE, now);
		return;
	}
	*value = pit->s.speaker;
	if (now / REFRESH_NS & 1)
		*value |= SPEAKER_REFRESH;
	if (pit_channel_out(&pit->s.channel[2], now))
		*value |= SPEAKER_OUT;
}

static void pit_pause(struct device *dev)
{
	vtimer_set(&container_of(dev, struct pit, dev)->timer, 0);
}

static void pit_resume(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	u64 now = vm_time_ns(dev->vm);

	/*
	 * The only edge of a one-shot mode may have been due while the guest stood still: a kernel that waits for it
	 * would wait for ever. Else the line stays as it came with the interrupt controllers.
	 */
	if (pit->s.edge_awaited && !pit_channel_next_edge(&pit->s.channel[0], now))
		raise_edge(pit);
	arm(pit, now);
}

static void pit_reset(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, dev);

	vtimer_set(&pit->timer, 0);
	memset(&pit->s, 0, sizeof(pit->s));
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		pit->s.channel[i].access = PIT_LOW_HIGH;
		pit->s.channel[i].gate = i != 2;
	}
}

static bool channel_valid(const struct pit_channel *ch)
{
	if (ch->mode > 5 || ch->access == PIT_LATCH || ch->access > PIT_LOW_HIGH || ch->phase > PIT_COUNTING)
		return false;
	if (ch->start_ns > CLOCK_NS_MAX || ch->held_ticks > 65537 || ch->count_latched > 2)
		return false;
	if (ch->bcd > 1 || ch->gate > 1 || ch->write_high > 1 || ch->read_high > 1 || ch->status_latched > 1)
		return false;
	return mem_is_zero(ch->reserved, sizeof(ch->reserved));
}

static int pit_check(struct device *dev, const void *state)
{
	const struct pit_state *s = state;

	(void)dev;
	for (u32 i = 0; i < PIT_CHANNELS; i++) {
		if (!channel_valid(&s->channel[i]))
			return trace_error(-E_INVAL);
	}
	/* The gates of 0 and 1 are wired high, that of 2 to port 0x61. */
	if (!s->channel[0].gate || !s->channel[1].gate || s->channel[2].gate != (s->speaker & SPEAKER_GATE))
		return trace_error(-E_INVAL);
	if ((s->speaker & ~(SPEAKER_GATE | SPEAKER_DATA)) || s->edge_awaited > 1 ||
	    !mem_is_zero(s->reserved, sizeof(s->reserved)))
		return trace_error(-E_INVAL);
	return 0;
}

static const struct device_ops pit_ops = {
	.name = "pit",
	.type = DEVICE_PIT,
	.version = 2,
	DEVICE_STATE(struct pit, s),
	.pause = pit_pause,
	.resume = pit_resume,
	.reset = pit_reset,
	.check = pit_check,
};

void pit_init(struct pit *pit, struct vm *vm)
{
	vtimer_init(&pit->timer, vm->vcpus[0], true, fire);
	device_add(vm, &pit->dev, &pit_ops, 0);
	pit_reset(&pit->dev);
}
