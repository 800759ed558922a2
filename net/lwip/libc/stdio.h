/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's stdio.h for lwIP: included by its sources, nothing of it is used as they are configured. */
#ifndef NET_LIBC_STDIO_H
#define NET_LIBC_STDIO_H

#include <stddef.h>

#endif
