/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables that describe vmm/board.h to a guest. Service CPU; no vCPU runs. */
#ifndef VMM_ACPI_TABLES_H
#define VMM_ACPI_TABLES_H

#include "types.h"

struct vm;
struct aml;

/* Where they are in the guest, and where a guest that is not told looks for the RSDP (ACPI 6.5 5.2.5.1). */
#define ACPI_TABLES_GPA 0xe0000u
#define ACPI_TABLES_BYTES 0x10000u
#define ACPI_RSDP_GPA ACPI_TABLES_GPA

/* All of them, from ACPI_TABLES_GPA on, into memory (zeroed, ACPI_TABLES_BYTES): -E_RANGE if they do not fit. */
int must_check acpi_tables_build(u8 *memory, u32 vcpus);
/* The terms of the DSDT (vmm/acpi_dsdt.c). */
void acpi_dsdt_write(struct aml *aml);
/* And into the guest. */
int must_check acpi_tables_load(struct vm *vm);

#endif
