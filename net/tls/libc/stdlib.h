/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's stdlib.h for mbedTLS: included by its sources, nothing of it is used. */
#ifndef TLS_LIBC_STDLIB_H
#define TLS_LIBC_STDLIB_H

#include <stddef.h>

#endif
