/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual board: which devices a guest has and where. devices/board.c implements it.
 * vm->lock need not be held: the vCPUs do not run.
 */
#ifndef VMM_BOARD_H
#define VMM_BOARD_H

#include "types.h"

struct vm;

/* Where the board's things are, for ACPI tables and the boot loader. */
#define BOARD_LAPIC_BASE 0xfee00000u
#define BOARD_IOAPIC_BASE 0xfec00000u
#define BOARD_MCFG_BASE 0xe0000000u /* one bus: 1 MiB */
#define BOARD_PCI_MMIO_BASE 0xc0000000u
#define BOARD_PCI_MMIO_BYTES 0x20000000u
#define BOARD_PM_PORT 0x600        /* PM1a_EVT 0x600, PM1a_CNT 0x604, PM_TMR 0x608, GPE0 0x620 */
#define BOARD_RESET_PORT 0xcf9
#define BOARD_UART_PORT 0x3f8
#define BOARD_SCI_GSI 9
#define BOARD_PCI_INTA_GSI 16      /* INTA..INTD: 16..19 */

/* Describes the board to migration's pre-checks: changes when a guest could see a difference. */
#define BOARD_VERSION 1

int must_check board_init(struct vm *vm);
void board_fini(struct vm *vm);
void board_reset(struct vm *vm);
/* Presses the ACPI power button. */
void board_power_button(struct vm *vm);
/* Bytes typed at the guest's console were put into vm->input. */
void board_console_input(struct vm *vm);

#endif
