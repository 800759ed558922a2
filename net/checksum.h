/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum (RFC 1071). Sums are in memory order: store them as they are. */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include "types.h"

/* Adds bytes of data to sum, folded to 16 bits; pieces but the last have even lengths. */
u16 checksum_add(u16 sum, const void *data, size_t bytes);
/* The sum over a TCP or UDP pseudo-header of IPv4; addresses point into the IP header (source, destination). */
u16 checksum_pseudo(const u8 addresses[8], u8 protocol, u16 bytes);

#endif
