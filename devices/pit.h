/* SPDX-License-Identifier: Apache-2.0 */
/* The 8254 timer (ports 0x40-0x43) and port 0x61 with its speaker gate. vm->lock held. */
#ifndef DEVICES_PIT_H
#define DEVICES_PIT_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"
#include "vmm/vtimer.h"

#define PIT_HZ 1193182u
#define PIT_CHANNELS 3

/* How a byte port carries 16 bits. */
enum pit_access { PIT_LATCH, PIT_LOW, PIT_HIGH, PIT_LOW_HIGH };

/* No count yet; has one and waits for the gate (modes 1 and 5); counts. */
enum pit_phase { PIT_EMPTY, PIT_ARMED, PIT_COUNTING };

struct pit_channel {
	u64 start_ns;     /* vm time at which the count was loaded; meaningless before */
	u32 held_ticks;   /* modes 0 and 4 with the gate low: ticks counted before */
	u16 reload;       /* as written: binary or BCD; 0 is the greatest */
	u16 latched;
	u8 mode;          /* 0-5 */
	u8 access;        /* enum pit_access, never PIT_LATCH */
	u8 bcd;
	u8 gate;
	u8 phase;         /* enum pit_phase */
	u8 write_high;    /* the next byte written is the high one */
	u8 write_low_byte;
	u8 read_high;
	u8 count_latched; /* bytes of latched still to be read: 0, 1, 2 */
	u8 status_latched;
	u8 status;
	u8 reserved[5];
};
static_assert(sizeof(struct pit_channel) == 32, "wire layout");

struct pit_state {
	struct pit_channel channel[PIT_CHANNELS];
	u8 speaker;      /* port 0x61, bits 0 and 1 */
	u8 edge_awaited; /* the interrupt of channel 0's next rise is still to come */
	u8 reserved[6];
};
static_assert(sizeof(struct pit_state) == 104, "wire layout");

struct pit {
	struct device dev;
	struct vtimer timer; /* channel 0's next rising edge */
	struct pit_state s;
};

void pit_init(struct pit *pit, struct vm *vm);
io_handler pit_io, pit_speaker_io; /* ctx: the pit */

/* --- pit_channel.c: counting; pure but for load and gate --- */
u16 pit_channel_count(const struct pit_channel *ch, u64 now_ns);
bool pit_channel_out(const struct pit_channel *ch, u64 now_ns);
/* The first time after now_ns at which OUT rises; 0: never. */
u64 pit_channel_next_edge(const struct pit_channel *ch, u64 now_ns);
void pit_channel_load(struct pit_channel *ch, u16 count, u64 now_ns);
void pit_channel_set_gate(struct pit_channel *ch, bool gate, u64 now_ns);

#endif
