/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's inttypes.h for mbedTLS: formats of messages that are not compiled in. */
#ifndef TLS_LIBC_INTTYPES_H
#define TLS_LIBC_INTTYPES_H

#include <stdint.h>

#define PRIxPTR "lx"
#define PRId64 "lld"
#define PRIu64 "llu"

#endif
