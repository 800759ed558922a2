/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC: pins to interrupt messages. On whatever CPU drives a line or a register, vm->lock held. */
#include "devices/ioapic.h"

#include "devices/irqchip.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

enum ioapic_port { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
enum ioapic_reg { IOAPIC_ID = 0, IOAPIC_VERSION = 1, IOAPIC_ARBITRATION = 2, IOAPIC_REDIRECTION = 0x10 };

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)
/* vector, mode, destination mode, polarity, trigger, mask; destination. */
#define ENTRY_WRITABLE 0xff0000000001afffull
#define ENTRY_BITS (ENTRY_WRITABLE | IOAPIC_REMOTE_IRR)

static bool send(struct ioapic *ioapic, u64 entry)
{
	struct irq_message message = {
		.dest = (u32)(entry >> 56),
		.logical = entry & IOAPIC_LOGICAL,
		.level = entry & IOAPIC_LEVEL,
		.vector = (u8)entry,
		.mode = entry >> 8 & 7,
	};

	message.broadcast = message.dest == 0xff && !message.logical;
	return irqchip_deliver(ioapic->dev.vm, &message);
}

/* Level: once per assertion or EOI (data sheet 3.2.4, remote IRR). */
static void service_level(struct ioapic *ioapic, u32 pin)
{
	u64 entry = ioapic->s.redirection[pin];

	if ((entry & (IOAPIC_MASKED | IOAPIC_REMOTE_IRR)) || !(entry & IOAPIC_LEVEL))
		return;
	if ((ioapic->s.lines & BIT(pin)) && send(ioapic, entry))
		ioapic->s.redirection[pin] |= IOAPIC_REMOTE_IRR;
}

void ioapic_set_line(struct ioapic *ioapic, u32 pin, bool level)
{
	/* A GSI without a pin; or nothing new. */
	if (pin >= IOAPIC_PINS || level == ((ioapic->s.lines >> pin & 1) != 0))
		return;
	ioapic->s.lines ^= (u32)BIT(pin);
	if (!level)
		return;
	if (ioapic->s.redirection[pin] & IOAPIC_LEVEL)
		service_level(ioapic, pin);
	else if (!(ioapic->s.redirection[pin] & IOAPIC_MASKED))
		send(ioapic, ioapic->s.redirection[pin]);
}

void ioapic_eoi(struct ioapic *ioapic, u8 vector)
{
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 entry = ioapic->s.redirection[pin];

		if ((u8)entry != vector || !(entry & IOAPIC_REMOTE_IRR))
			continue;
		ioapic->s.redirection[pin] &= ~IOAPIC_REMOTE_IRR;
		service_level(ioapic, pin);
	}
}

static void write_entry(struct ioapic *ioapic, u32 pin, bool high, u32 value)
{
	u64 *entry = &ioapic->s.redirection[pin];
	u64 mask = high ? 0xffffffff00000000 : 0xffffffff;
	u64 new = high ? (u64)value << 32 : value;

	mask &= ENTRY_WRITABLE;
	*entry = (*entry & ~mask) | (new & mask);
	/* An edge entry has no remote IRR; guests use that to get rid of a stuck one. */
	if (!(*entry & IOAPIC_LEVEL))
		*entry &= ~IOAPIC_REMOTE_IRR;
	service_level(ioapic, pin);
}

static u32 read_register(const struct ioapic *ioapic)
{
	u32 reg = ioapic->s.select;
	u32 pin = (reg - IOAPIC_REDIRECTION) / 2;

	if (reg == IOAPIC_ID || reg == IOAPIC_ARBITRATION)
		return ioapic->s.id << 24;
	if (reg == IOAPIC_VERSION)
		return VERSION;
	if (reg < IOAPIC_REDIRECTION || pin >= IOAPIC_PINS)
		return 0xffffffff;
	return (u32)(ioapic->s.redirection[pin] >> (reg % 2 * 32));
}

static void write_register(struct ioapic *ioapic, u32 value)
{
	u32 reg = ioapic->s.select;
	u32 pin = (reg - IOAPIC_REDIRECTION) / 2;

	if (reg == IOAPIC_ID)
		ioapic->s.id = value >> 24 & 0xf;
	else if (reg >= IOAPIC_REDIRECTION && pin < IOAPIC_PINS)
		write_entry(ioapic, pin, reg % 2, value);
}

void ioapic_mmio(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct ioapic *ioapic = ctx;

	(void)size; /* the registers take any width from their first byte; IOREGSEL is one byte */
	if (!write) {
		*value = 0;
		if (offset == IOREGSEL)
			*value = ioapic->s.select;
		else if (offset == IOWIN)
			*value = size < 4 ? read_register(ioapic) & (BIT(size * 8) - 1) : read_register(ioapic);
		return;
	}
	if (offset == IOREGSEL)
		ioapic->s.select = (u8)*value;
	else if (offset == IOWIN)
		write_register(ioapic, (u32)*value);
	else if (offset == IOEOI)
		ioapic_eoi(ioapic, (u8)*value);
}

static void ioapic_reset(struct device *dev)
{
	struct ioapic *ioapic = container_of(dev, struct ioapic, dev);

	memset(&ioapic->s, 0, sizeof(ioapic->s));
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->s.redirection[pin] = IOAPIC_MASKED;
}

static int ioapic_check(struct device *dev, const void *state)
{
	const struct ioapic_state *s = state;

	(void)dev;
	if ((s->lines & ~(u32)(BIT(IOAPIC_PINS) - 1)) || s->id > 0xf || !mem_is_zero(s->reserved, sizeof(s->reserved)))
		return trace_error(-E_INVAL);
	for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 entry = s->redirection[pin];

		if ((entry & ~ENTRY_BITS) || ((entry & IOAPIC_REMOTE_IRR) && !(entry & IOAPIC_LEVEL)))
			return trace_error(-E_INVAL);
	}
	return 0;
}

/* The line states came along, so a level that rises with its device's resume is none. */
static const struct device_ops ioapic_ops = {
	.name = "ioapic",
	.type = DEVICE_IOAPIC,
	.version = 1,
	DEVICE_STATE(struct ioapic, s),
	.reset = ioapic_reset,
	.check = ioapic_check,
};

void ioapic_init(struct ioapic *ioapic, struct vm *vm)
{
	device_add(vm, &ioapic->dev, &ioapic_ops, 0);
	ioapic_reset(&ioapic->dev);
}
