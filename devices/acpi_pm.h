/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's fixed hardware (ACPI 6.5 4.8): PM1 with the power button and S5, the PM timer, and an
 * empty GPE0 block. vm->lock held.
 */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"
#include "vmm/vtimer.h"

#define ACPI_PM_TIMER_HZ 3579545u

enum {
	PM1_TMR = BIT(0),
	PM1_GBL = BIT(5),
	PM1_PWRBTN = BIT(8),
	PM1_SLPBTN = BIT(9),
	PM1_RTC = BIT(10),
	PM1_WAK = BIT(15),
};

struct acpi_pm_state {
	u64 timer_seen; /* ticks of the PM timer up to which TMR_STS has been noted */
	u16 status, enable, control;
	u16 gpe_enable;
};
static_assert(sizeof(struct acpi_pm_state) == 16, "wire layout");

struct acpi_pm {
	struct device dev;
	struct vtimer timer;
	struct acpi_pm_state s;
};

void acpi_pm_init(struct acpi_pm *pm, struct vm *vm);
io_handler acpi_pm_event_io, acpi_pm_control_io, acpi_pm_timer_io, acpi_pm_gpe_io; /* ctx: the acpi_pm */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
