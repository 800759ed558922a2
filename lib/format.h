/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printf for the hypervisor: %d %i %u %x %X %o %c %s %p %% with width, precision, '-', '0', '*',
 * h, hh, l, ll, z, t, j. Two of our own, as helpers that write into a caller's buffer:
 * sizes ("256 MiB") and MACs. No floating point.
 */
#ifndef LIB_FORMAT_H
#define LIB_FORMAT_H

#include "types.h"

/* Both return the length that the whole text has (as C99 snprintf does) and always end with NUL. */
int str_format(char *buf, size_t size, const char *fmt, ...) printf_like(3, 4);
int str_vformat(char *buf, size_t size, const char *fmt, va_list ap) printf_like(3, 0);

/* Errors with a reason for a person: return say(-E_..., why, why_bytes, "..."). Writes the reason, returns error. */
int say(int error, char *why, size_t why_bytes, const char *fmt, ...) printf_like(4, 5);

/* Into buf, which is also returned: "4 KiB", "1.5 GiB"; "52:54:00:12:34:56". */
const char *format_bytes(char *buf, size_t size, u64 bytes);
const char *format_mac(char *buf, size_t size, const u8 mac[6]);

#endif
