/* SPDX-License-Identifier: Apache-2.0 */
/* The devices that every guest has, in one block of memory: vm->board. */
#ifndef DEVICES_BOARD_H
#define DEVICES_BOARD_H

#include "devices/acpi_pm.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/rtc.h"
#include "devices/test_ports.h"
#include "devices/uart.h"
#include "vmm/vm_config.h"

struct board {
	struct lapic lapics[VM_VCPUS_MAX];
	struct ioapic ioapic;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct acpi_pm acpi_pm;
	struct test_ports test_ports; /* if the configuration wants them */
};

#endif
