/* SPDX-License-Identifier: Apache-2.0 */
/* The pair of 8259A interrupt controllers with the ELCRs (ports 0x20, 0xa0, 0x4d0). vm->lock held. */
#ifndef DEVICES_PIC_H
#define DEVICES_PIC_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"

#define PIC_LINES 16
#define PIC_CASCADE 2

struct pic_chip {
	u8 lines;      /* as driven */
	u8 irr, imr, isr;
	u8 base;       /* vector of input 0: ICW2, a multiple of 8 */
	u8 elcr;       /* bit: level-triggered */
	u8 lowest;     /* the input of lowest priority: rotation */
	u8 expect;     /* the next ICW awaited at port 1: 0 (none), 2, 3, 4 */
	u8 wants_icw4;
	u8 single;
	u8 auto_eoi, rotate_aeoi;
	u8 special_mask, special_nested;
	u8 read_isr;   /* OCW3 */
	u8 poll;
};
static_assert(sizeof(struct pic_chip) == 16, "wire layout");

struct pic_state {
	struct pic_chip chip[2]; /* master, slave */
};

struct pic {
	struct device dev;
	struct pic_state s;
	bool intr;
};

void pic_init(struct pic *pic, struct vm *vm);
io_handler pic_master_io, pic_slave_io, pic_elcr_io; /* ctx: the pic */
/* line < 16 */
void pic_set_line(struct pic *pic, u32 line, bool level);
/* The vector that INTA would give now. Pure, and from the vCPU's CPU also without the lock. */
u8 pic_peek(const struct pic *pic);
/* The INTA cycle. */
u8 pic_intack(struct pic *pic);

#endif
