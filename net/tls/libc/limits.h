/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's limits.h for mbedTLS: the compiler's own wants a libc's. */
#ifndef TLS_LIBC_LIMITS_H
#define TLS_LIBC_LIMITS_H

#define CHAR_BIT 8
#define UCHAR_MAX 0xff
#define INT_MAX __INT_MAX__
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX (2u * INT_MAX + 1)
#define LONG_MAX __LONG_MAX__
#define ULONG_MAX (2ul * LONG_MAX + 1)

#endif
