/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI's fixed hardware. On the vCPU's CPU, the button on the service CPU; vm->lock held. */
#include "devices/acpi_pm.h"

#include "devices/clock.h"
#include "devices/port8.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/irqchip.h"
#include "vmm/vm.h"

#define STATUS_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_WAK)
/* RTC_EN can be set, as Linux does in spite of FADT's FIX_RTC; the event never comes. */
#define ENABLE_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)
enum { CONTROL_SCI_EN = BIT(0), CONTROL_SLP_EN = BIT(13), CONTROL_SLP_SHIFT = 10, CONTROL_BITS = 0x1c06 };
enum { PM1_STATUS = 0, PM1_ENABLE = 2, GPE_ENABLE = 2 };

/* TMR_STS rises whenever the timer's top bit (31) changes (ACPI 6.5 4.8.2.1). */
#define TIMER_HALF_SHIFT 31

static u64 ticks_at(u64 now)
{
	return clock_ticks(now, ACPI_PM_TIMER_HZ);
}

/* After any change: status of the timer, the SCI, and when to look again. */
static void update(struct acpi_pm *pm)
{
	struct acpi_pm_state *s = &pm->s;
	u64 now = vm_time_ns(pm->dev.vm);
	u64 ticks = ticks_at(now);
	u64 next = 0;

	if (ticks >> TIMER_HALF_SHIFT != s->timer_seen >> TIMER_HALF_SHIFT)
		s->status |= PM1_TMR;
	s->timer_seen = ticks;
	irqchip_set_line(pm->dev.vm, BOARD_SCI_GSI, s->status & s->enable & ENABLE_BITS);
	if ((s->enable & PM1_TMR) && !(s->status & PM1_TMR))
		next = clock_ns(((ticks >> TIMER_HALF_SHIFT) + 1) << TIMER_HALF_SHIFT, ACPI_PM_TIMER_HZ);
	vtimer_set(&pm->timer, next);
}

static void fire(struct vtimer *timer, u64 now_ns)
{
	(void)now_ns;
	update(container_of(timer, struct acpi_pm, timer));
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->s.status |= PM1_PWRBTN;
	update(pm);
}

static u8 event_read(void *ctx, u32 port)
{
	struct acpi_pm *pm = ctx;

	update(pm);
	return (u8)((port < PM1_ENABLE ? pm->s.status : pm->s.enable) >> (port % 2 * 8));
}

static void event_write(void *ctx, u32 port, u8 value)
{
	struct acpi_pm *pm = ctx;
	u16 bits = (u16)(value << (port % 2 * 8));
	u16 byte = (u16)(0xff << (port % 2 * 8));

	update(pm);
	if (port < PM1_ENABLE)
		pm->s.status &= (u16)~bits; /* written ones clear */
	else
		pm->s.enable = (u16)((pm->s.enable & ~byte) | (bits & ENABLE_BITS));
	update(pm);
}

void acpi_pm_event_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, event_read, event_write);
}

static u8 control_read(void *ctx, u32 port)
{
	struct acpi_pm *pm = ctx;

	/* There is no SMM to switch ACPI on: it always is. SLP_EN reads 0. */
	return (u8)((pm->s.control | CONTROL_SCI_EN) >> (port * 8));
}

static void control_write(void *ctx, u32 port, u8 value)
{
	struct acpi_pm *pm = ctx;
	u16 bits = (u16)(value << (port * 8));
	u16 byte = (u16)(0xff << (port * 8));

	pm->s.control = (u16)((pm->s.control & ~byte) | (bits & CONTROL_BITS));
	if (!(bits & CONTROL_SLP_EN))
		return;
	/* Other sleep types are not in the DSDT: nothing happens. */
	if ((pm->s.control >> CONTROL_SLP_SHIFT & 7) == BOARD_S5_SLEEP_TYPE)
		vm_want(pm->dev.vm, VM_WANT_SHUTDOWN);
}

void acpi_pm_control_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, control_read, control_write);
}

void acpi_pm_timer_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct acpi_pm *pm = ctx;
	u32 ticks = (u32)ticks_at(vm_time_ns(pm->dev.vm));

	if (!write)
		*value = ticks >> (offset * 8) & (BIT(size * 8) - 1);
}

static u8 gpe_read(void *ctx, u32 port)
{
	struct acpi_pm *pm = ctx;

	return port < GPE_ENABLE ? 0 : (u8)(pm->s.gpe_enable >> (port % 2 * 8));
}

static void gpe_write(void *ctx, u32 port, u8 value)
{
	struct acpi_pm *pm = ctx;
	u32 shift = port % 2 * 8;

	if (port >= GPE_ENABLE)
		pm->s.gpe_enable = (u16)((pm->s.gpe_enable & ~(0xff << shift)) | value << shift);
}

void acpi_pm_gpe_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	port8_access(ctx, offset, size, write, value, gpe_read, gpe_write);
}

static void acpi_pm_pause(struct device *dev)
{
	vtimer_set(&container_of(dev, struct acpi_pm, dev)->timer, 0);
}

static void acpi_pm_resume(struct device *dev)
{
	update(container_of(dev, struct acpi_pm, dev));
}

static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);

	memset(&pm->s, 0, sizeof(pm->s));
	pm->s.timer_seen = ticks_at(vm_time_ns(dev->vm));
	update(pm);
}

static int acpi_pm_check(struct device *dev, const void *state)
{
	const struct acpi_pm_state *s = state;

	(void)dev;
	if ((s->status & ~STATUS_BITS) || (s->enable & ~ENABLE_BITS) || (s->control & ~CONTROL_BITS))
		return trace_error(-E_INVAL);
	return 0;
}

static const struct device_ops acpi_pm_ops = {
	.name = "acpi_pm",
	.type = DEVICE_ACPI_PM,
	.version = 1,
	DEVICE_STATE(struct acpi_pm, s),
	.pause = acpi_pm_pause,
	.resume = acpi_pm_resume,
	.reset = acpi_pm_reset,
	.check = acpi_pm_check,
};

void acpi_pm_init(struct acpi_pm *pm, struct vm *vm)
{
	vtimer_init(&pm->timer, vm->vcpus[0], true, fire);
	device_add(vm, &pm->dev, &acpi_pm_ops, 0);
	acpi_pm_reset(&pm->dev);
}
