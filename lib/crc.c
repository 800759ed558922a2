/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C eight bytes at a step (slicing by 8): tables[k][b] is what byte b does to the remainder
 * when k zero bytes follow it. Any CPU; the tables are made at the first use, and two CPUs that
 * make them at once write the same.
 */
#include "lib/crc.h"

#include "compiler.h"

#define CRC32C_POLYNOMIAL 0x82f63b78u /* reflected */

static u32 tables[8][256];
static bool tables_made;

static void make_tables(void)
{
	for (u32 b = 0; b < 256; b++) {
		u32 crc = b;

		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
		tables[0][b] = crc;
	}
	for (u32 k = 1; k < 8; k++)
		for (u32 b = 0; b < 256; b++) {
			u32 before = tables[k - 1][b];

			tables[k][b] = before >> 8 ^ tables[0][before & 0xff];
		}
	store_release(&tables_made, true);
}

u32 crc32c(u32 crc, const void *data, size_t n)
{
	const u8 *p = data;

	if (!load_acquire(&tables_made))
		make_tables();
	crc = ~crc;
	for (; n >= 8; n -= 8, p += 8) {
		u64 word;

		__builtin_memcpy(&word, p, 8);
		word ^= crc;
		crc = tables[7][word & 0xff] ^ tables[6][word >> 8 & 0xff] ^
		      tables[5][word >> 16 & 0xff] ^ tables[4][word >> 24 & 0xff] ^
		      tables[3][word >> 32 & 0xff] ^ tables[2][word >> 40 & 0xff] ^
		      tables[1][word >> 48 & 0xff] ^ tables[0][word >> 56];
	}
	for (; n; n--, p++)
		crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
	return ~crc;
}
