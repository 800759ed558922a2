/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' x87, SSE, AVX... registers. The hypervisor itself is built with general registers
 * only, so a vCPU's stay in the CPU between its runs, and go to its XSAVE area only when another
 * vCPU runs on this CPU (fpu_load does that) or when somebody needs them (fpu_flush).
 *
 * A vCPU is known by its XSAVE area. Everything here is about the CPU that calls: before a vCPU
 * moves to another CPU, is saved, or is destroyed, its own CPU must have called fpu_flush().
 */
#ifndef ARCH_FPU_H
#define ARCH_FPU_H

#include "types.h"

/* The XCR0 bits that this CPU and this file can switch; 0: this CPU has no XSAVE. */
u64 fpu_features(void);
/* Bytes of an area for all of fpu_features() (standard format); the area is aligned to 64. */
u32 fpu_area_bytes(void);
/* The state after a CPU reset. */
void fpu_area_init(void *area);

/* The vCPU's registers and XCR0 are in the CPU when it returns. Before its first entry of a stay there. */
void fpu_load(void *area, u64 xcr0);
/* The guest executed XSETBV with a value that was checked. Its registers are loaded. */
void fpu_set_xcr0(void *area, u64 xcr0);
/*
 * The caller uses vector registers itself, and no vCPU's are in this CPU: returns XCR0, 0 where there is
 * no XSAVE (SSE works there, too). They are its own until a guest's are loaded.
 */
u64 fpu_use(void);
/* If this CPU holds the vCPU's registers: to the area with them. */
void fpu_flush(void *area);

#endif
