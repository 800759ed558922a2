/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware's screen, as a place for the log: for machines whose serial port nobody watches. */
#ifndef DRIVERS_FRAMEBUFFER_H
#define DRIVERS_FRAMEBUFFER_H

#include "types.h"

/* 32 bits a pixel; base 0: there is none, and writing does nothing. Service CPU. */
void framebuffer_init(hpa_t base, u32 width, u32 height, u32 pitch_bytes);
/* Service CPU, or a panic on any CPU. */
void framebuffer_write(const char *text, size_t len);

#endif
