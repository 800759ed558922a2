/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's string.h for lwIP, as far as lib/string.h has it. */
#ifndef NET_LIBC_STRING_H
#define NET_LIBC_STRING_H

#include "lib/string.h"

#endif
