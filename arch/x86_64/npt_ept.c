/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of Intel's extended page tables (SDM 3 29.3.2, tables 29-1 to 29-6). There is no present
 * bit: an entry that allows nothing is not there. The memory type, write-back, is in the leaf and is
 * combined with the guest's PAT (29.3.7.2: "ignore PAT" is off). The guest's MTRRs have no effect.
 */
#include "arch/x86_64/npt_ept.h"

enum {
	EPTE_READ = 1 << 0,
	EPTE_WRITE = 1 << 1,
	EPTE_EXEC = 1 << 2,
	EPTE_WRITE_BACK = 6 << 3,
	EPTE_LARGE = 1 << 7,
	EPTE_ACCESSED = 1 << 8,
	EPTE_DIRTY = 1 << 9,
};
#define EPTE_ADDRESS 0x000ffffffffff000ull

#define FORMAT(ad, one_g)                                          \
	{                                                          \
		.name = "EPT",                                     \
		.table_bits = EPTE_READ | EPTE_WRITE | EPTE_EXEC,  \
		.leaf_bits = EPTE_READ | EPTE_WRITE_BACK,          \
		.write_bit = EPTE_WRITE,                           \
		.exec_bit = EPTE_EXEC,                             \
		.large_bit = EPTE_LARGE,                           \
		.present_mask = EPTE_READ | EPTE_WRITE | EPTE_EXEC, \
		.accessed_bit = (ad) ? EPTE_ACCESSED : 0,          \
		.dirty_bit = (ad) ? EPTE_DIRTY : 0,                \
		.address_mask = EPTE_ADDRESS,                      \
		.pages_1g = one_g,                                 \
	}

static const struct npt_format formats[2][2] = {
	{ FORMAT(false, false), FORMAT(false, true) },
	{ FORMAT(true, false), FORMAT(true, true) },
};

const struct npt_format *npt_ept_format(bool ad_bits, bool pages_1g)
{
	return &formats[ad_bits][pages_1g];
}
