/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), bit for bit the one of RFC 3720 B.4; start with crc = 0. */
#ifndef LIB_CRC_H
#define LIB_CRC_H

#include "types.h"

u32 crc32c(u32 crc, const void *data, size_t n);

#endif
