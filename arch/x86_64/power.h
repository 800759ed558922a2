/* SPDX-License-Identifier: Apache-2.0 */
/* Switching the machine off or resetting it: ACPI first, then UEFI runtime services, then the emulators' ports. */
#ifndef ARCH_POWER_H
#define ARCH_POWER_H

#include "types.h"

noreturn void power_off(void);
noreturn void power_reset(void);

#endif
