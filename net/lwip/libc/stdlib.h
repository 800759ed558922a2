/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's stdlib.h for lwIP: included by its sources, nothing of it is linked in as they are configured. */
#ifndef NET_LIBC_STDLIB_H
#define NET_LIBC_STDLIB_H

#include <stddef.h>

/* For netif_find(), which nobody calls and the linker drops: there is no such function. */
int atoi(const char *text);

#endif
