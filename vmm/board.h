/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual board: which devices a guest has and where. devices/board.c implements it.
 * vm->lock need not be held for init, fini and reset: the vCPUs do not run. board_init() comes
 * after vcpu_init() of every vCPU, board_fini() before vcpu_fini(). The devices' timers are in the
 * vCPUs' lists: nothing may run these between the two fini.
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
#define BOARD_PM1_EVT_PORT 0x600   /* 4 bytes: PM1_STS, PM1_EN */
#define BOARD_PM1_CNT_PORT 0x604   /* 2 bytes; always in ACPI mode: FADT's SMI_CMD is 0 */
#define BOARD_PM_TMR_PORT 0x608    /* 4 bytes, 32 bits wide: FADT TMR_VAL_EXT */
#define BOARD_GPE0_PORT 0x620      /* 4 bytes: 2 of GPE0_STS, 2 of GPE0_EN; nothing is wired to it */
#define BOARD_S5_SLEEP_TYPE 5      /* what DSDT's \_S5 says */
#define BOARD_RESET_PORT 0xcf9
#define BOARD_RESET_VALUE 0x06     /* FADT RESET_VALUE */
#define BOARD_RTC_CENTURY 0x32     /* FADT CENTURY: the CMOS byte */
#define BOARD_UART_PORT 0x3f8
/* MADT overrides: ISA 0 (PIT) is GSI 2; ISA 9 (SCI) is level, active high. ISA 4 is the UART. */
#define BOARD_PIT_GSI 2
#define BOARD_SCI_GSI 9
#define BOARD_UART_GSI 4
#define BOARD_PCI_INTA_GSI 16      /* INTA..INTD: 16..19 */

/* Describes the board to migration's pre-checks: changes when a guest could see a difference. */
#define BOARD_VERSION 2

int must_check board_init(struct vm *vm);
void board_fini(struct vm *vm);
void board_reset(struct vm *vm);
/* Presses the ACPI power button. vm->lock held: the vCPUs may run. */
void board_power_button(struct vm *vm);
/* Bytes typed at the guest's console were put into vm->input. vm->lock held. */
void board_console_input(struct vm *vm);

#endif
