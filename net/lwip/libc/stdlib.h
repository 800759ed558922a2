/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's stdlib.h for lwIP: included by its sources, nothing of it is used as they are configured. */
#ifndef NET_LIBC_STDLIB_H
#define NET_LIBC_STDLIB_H

#include <stddef.h>

#endif
