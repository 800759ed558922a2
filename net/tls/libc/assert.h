/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's assert.h for mbedTLS, which only wants static assertions of it. */
#ifndef TLS_LIBC_ASSERT_H
#define TLS_LIBC_ASSERT_H

#endif
