/* SPDX-License-Identifier: Apache-2.0 */
/* Where the UEFI application hands over: the hypervisor's own beginning. */
#ifndef BOOT_MAIN_H
#define BOOT_MAIN_H

#include "boot/boot_info.h"
#include "types.h"

/* Boot CPU, own stack, interrupts off, the firmware's page tables and GDT still in use. */
noreturn void boot_main(void *info);

#endif
