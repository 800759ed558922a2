/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's stdio.h for mbedTLS: a type that its headers name. */
#ifndef TLS_LIBC_STDIO_H
#define TLS_LIBC_STDIO_H

#include <stddef.h>

typedef struct tls_no_file FILE;

#endif
