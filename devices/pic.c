/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8259A pair (Intel's data sheet 231468). INTA comes from the vCPU's CPU, lines from whoever
 * drives them; vm->lock held.
 */
#include "devices/pic.h"

#include "devices/irqchip.h"
#include "devices/port8.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

enum { ICW1_ICW4 = BIT(0), ICW1_SINGLE = BIT(1), ICW1 = BIT(4) };
enum { ICW4_AEOI = BIT(1), ICW4_SFNM = BIT(4) };
enum { OCW3 = BIT(3), OCW3_RIS = BIT(0), OCW3_RR = BIT(1), OCW3_POLL = BIT(2), OCW3_SMM = BIT(5), OCW3_ESMM = BIT(6) };
/* OCW2, bits 5-7. */
enum ocw2 {
	OCW2_AEOI_CLEAR, OCW2_EOI, OCW2_NOP, OCW2_EOI_SPECIFIC,
	OCW2_AEOI_ROTATE, OCW2_EOI_ROTATE, OCW2_SET_PRIORITY, OCW2_EOI_SPECIFIC_ROTATE,
};

#define SPURIOUS 7
/* Inputs that can be level-triggered: not the timer, keyboard, cascade; not the RTC and FPU. */
static const u8 elcr_bits[2] = {0xf8, 0xde};

static bool is_master(const struct pic *pic, const struct pic_chip *chip)
{
	return chip == &pic->s.chip[0];
}

/* 0 is the highest priority; 8: no input at all. */
static u32 priority(const struct pic_chip *chip, u8 inputs)
{
	u32 first = (chip->lowest + 1u) & 7;
	/* Turned so that the input of highest priority is bit 0. */
	u32 turned = ((u32)inputs << 8 | inputs) >> first & 0xff;

	return turned ? (u32)__builtin_ctz(turned) : 8;
}

/* The input that the chip asks its INT output for, -1 if none. */
static int request(const struct pic *pic, const struct pic_chip *chip)
{
	u8 in_service = chip->isr;
	u32 asking = priority(chip, chip->irr & (u8)~chip->imr);
	bool cascade;

	if (asking == 8)
		return -1;
	/* Special mask mode: an input in service that is masked holds nobody back. */
	if (chip->special_mask)
		in_service &= (u8)~chip->imr;
	/* Special fully nested mode: the slave may interrupt its own service. */
	cascade = is_master(pic, chip) && chip->special_nested;
	if (cascade && ((chip->lowest + 1 + asking) & 7) == PIC_CASCADE)
		in_service &= (u8)~BIT(PIC_CASCADE);
	if (asking >= priority(chip, in_service))
		return -1;
	return (int)((chip->lowest + 1 + asking) & 7);
}

static void set_input(struct pic_chip *chip, u32 input, bool level)
{
	u8 bit = (u8)BIT(input);
	bool was = chip->lines & bit;

	chip->lines = level ? chip->lines | bit : chip->lines & (u8)~bit;
	if (chip->elcr & bit)
		chip->irr = level ? chip->irr | bit : chip->irr & (u8)~bit;
	else if (level && !was)
		chip->irr |= bit;
	else if (!level)
		chip->irr &= (u8)~bit; /* gone before its INTA: it would have been spurious */
}

static void update(struct pic *pic)
{
	bool intr;

	set_input(&pic->s.chip[0], PIC_CASCADE, request(pic, &pic->s.chip[1]) >= 0);
	intr = request(pic, &pic->s.chip[0]) >= 0;
	if (intr == pic->intr)
		return;
	pic->intr = intr;
	irqchip_pic_intr(pic->dev.vm, intr);
}

void pic_set_line(struct pic *pic, u32 line, bool level)
{
	struct pic_chip *chip;

	if (line >= PIC_LINES || line == PIC_CASCADE)
		return;
	chip = &pic->s.chip[line / 8];
	/* Most calls change nothing. */
	if (level == ((chip->lines >> line % 8 & 1) != 0))
		return;
	set_input(chip, line % 8, level);
	update(pic);
}

static void acknowledge(struct pic_chip *chip, int input)
{
	u8 bit = (u8)BIT(input);

	if (!(chip->elcr & bit))
		chip->irr &= (u8)~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_aeoi)
		chip->lowest = (u8)input;
}

u8 pic_peek(const struct pic *pic)
{
	const struct pic_chip *master = &pic->s.chip[0];
	const struct pic_chip *slave = &pic->s.chip[1];
	int input = request(pic, master);

	if (input != PIC_CASCADE)
		return (u8)(master->base + (input < 0 ? SPURIOUS : input));
	input = request(pic, slave);
	return (u8)(slave->base + (input < 0 ? SPURIOUS : input));
}

u8 pic_intack(struct pic *pic)
{
	u8 vector = pic_peek(pic);
	int input = request(pic, &pic->s.chip[0]);

	if (input >= 0)
		acknowledge(&pic->s.chip[0], input);
	if (input == PIC_CASCADE) {
		input = request(pic, &pic->s.chip[1]);
		if (input >= 0)
			acknowledge(&pic->s.chip[1], input);
		/* The slave's INT drops during INTA: what it asks for next is a new edge. */
		set_input(&pic->s.chip[0], PIC_CASCADE, false);
	}
	update(pic);
	return vector;
}

static void write_icw1(struct pic_chip *chip, u8 value)
{
	chip->imr = 0;
	chip->isr = 0;
	chip->lowest = 7;
	chip->special_mask = 0;
	chip->read_isr = 0;
	chip->poll = 0;
	chip->rotate_aeoi = 0;
	chip->auto_eoi = 0;
	chip->special_nested = 0;
	chip->single = (value & ICW1_SINGLE) != 0;
	chip->wants_icw4 = (value & ICW1_ICW4) != 0;
	chip->expect = 2;
	/* Edges before it are forgotten (data sheet, "ICW1"). */
	chip->irr &= chip->elcr;
}

static void end_of_interrupt(struct pic_chip *chip, u32 input, bool rotate)
{
	chip->isr &= (u8)~BIT(input);
	if (rotate)
		chip->lowest = (u8)input;
}

static void write_ocw2(struct pic_chip *chip, u8 value)
{
	enum ocw2 command = value >> 5;
	u32 input = value & 7;
	u32 first = priority(chip, chip->isr);

	switch (command) {
	case OCW2_AEOI_CLEAR:
	case OCW2_AEOI_ROTATE:
		chip->rotate_aeoi = command == OCW2_AEOI_ROTATE;
		break;
	case OCW2_EOI:
	case OCW2_EOI_ROTATE:
		if (first < 8)
			end_of_interrupt(chip, (chip->lowest + 1 + first) & 7, command == OCW2_EOI_ROTATE);
		break;
	case OCW2_EOI_SPECIFIC:
	case OCW2_EOI_SPECIFIC_ROTATE:
		end_of_interrupt(chip, input, command == OCW2_EOI_SPECIFIC_ROTATE);
		break;
	case OCW2_SET_PRIORITY:
		chip->lowest = (u8)input;
		break;
	case OCW2_NOP:
		break;
	}
}

static void write_ocw3(struct pic_chip *chip, u8 value)
{
	if (value & OCW3_ESMM)
		chip->special_mask = (value & OCW3_SMM) != 0;
	if (value & OCW3_POLL)
		chip->poll = 1;
	else if (value & OCW3_RR)
		chip->read_isr = (value & OCW3_RIS) != 0;
}

/* Port 1: ICW2-4 in their order, then the mask. */
static void write_data(struct pic_chip *chip, u8 value)
{
	switch (chip->expect) {
	case 2:
		chip->base = value & 0xf8;
		if (!chip->single)
			chip->expect = 3;
		else
			chip->expect = chip->wants_icw4 ? 4 : 0;
		break;
	case 3: /* how the two are wired: it cannot be otherwise */
		chip->expect = chip->wants_icw4 ? 4 : 0;
		break;
	case 4:
		chip->auto_eoi = (value & ICW4_AEOI) != 0;
		chip->special_nested = (value & ICW4_SFNM) != 0;
		chip->expect = 0;
		break;
	default:
		chip->imr = value;
		break;
	}
}

static void chip_write(struct pic *pic, struct pic_chip *chip, u32 port, u8 value)
{
	if (port == 1)
		write_data(chip, value);
	else if (value & ICW1)
		write_icw1(chip, value);
	else if (value & OCW3)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
	update(pic);
}

static u8 chip_read(struct pic *pic, struct pic_chip *chip, u32 port)
{
	if (chip->poll) {
		int input = request(pic, chip);

		/* The read after a poll command is an INTA of this chip alone. */
		chip->poll = 0;
		if (input < 0)
			return 0;
		acknowledge(chip, input);
		update(pic);
		return (u8)(0x80 | input);
	}
	if (port == 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

/* Ports 0 and 1 are the master's, 2 and 3 the slave's. */
static u8 pic_read(void *ctx, u32 port)
{
	struct pic *pic = ctx;

	return chip_read(pic, &pic->s.chip[port / 2], port % 2);
}

static void pic_write(void *ctx, u32 port, u8 value)
{
	struct pic *pic = ctx;

	chip_write(pic, &pic->s.chip[port / 2], port % 2, value);
}

static u8 elcr_read(void *ctx, u32 port)
{
	struct pic *pic = ctx;

	return pic->s.chip[port].elcr;
}

static void elcr_write(void *ctx, u32 port, u8 value)
{
	struct pic *pic = ctx;
	struct pic_chip *chip = &pic->s.chip[port];
	u8 was = chip->elcr;

	chip->elcr = value & elcr_bits[port];
	/* IRR of a level input follows its line from now on. */
	chip->irr = (chip->irr & (u8)~(chip->elcr | was)) | (chip->lines & chip->elcr);
	update(pic);
}

void pic_master_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, pic_read, pic_write);
}

void pic_slave_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset + 2, size, write, value, pic_read, pic_write);
}

void pic_elcr_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, elcr_read, elcr_write);
}

static void pic_reset(struct device *dev)
{
	struct pic *pic = container_of(dev, struct pic, dev);

	memset(&pic->s, 0, sizeof(pic->s));
	/* As firmware leaves them: initialised, everything masked. */
	pic->s.chip[0].base = 0x08;
	pic->s.chip[1].base = 0x70;
	for (u32 i = 0; i < 2; i++) {
		pic->s.chip[i].imr = 0xff;
		pic->s.chip[i].lowest = 7;
	}
	update(pic);
}

static void pic_resume(struct device *dev)
{
	struct pic *pic = container_of(dev, struct pic, dev);

	/* Of an arrived guest, the LAPIC has not seen the line yet. */
	pic->intr = false;
	irqchip_pic_intr(pic->dev.vm, false);
	update(pic);
}

static bool chip_valid(const struct pic_chip *chip, u32 index)
{
	if ((chip->base & 7) || (chip->elcr & ~elcr_bits[index]) || chip->lowest > 7)
		return false;
	if (chip->expect == 1 || chip->expect > 4)
		return false;
	return chip->wants_icw4 <= 1 && chip->single <= 1 && chip->auto_eoi <= 1 && chip->rotate_aeoi <= 1 &&
	       chip->special_mask <= 1 && chip->special_nested <= 1 && chip->read_isr <= 1 && chip->poll <= 1;
}

static int pic_check(struct device *dev, const void *state)
{
	const struct pic_state *s = state;

	(void)dev;
	if (!chip_valid(&s->chip[0], 0) || !chip_valid(&s->chip[1], 1))
		return trace_error(-E_INVAL);
	return 0;
}

static const struct device_ops pic_ops = {
	.name = "pic",
	.type = DEVICE_PIC,
	.version = 1,
	DEVICE_STATE(struct pic, s),
	.resume = pic_resume,
	.reset = pic_reset,
	.check = pic_check,
};

void pic_init(struct pic *pic, struct vm *vm)
{
	device_add(vm, &pic->dev, &pic_ops, 0);
	pic_reset(&pic->dev);
}
