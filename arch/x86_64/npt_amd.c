/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page-table entries of AMD: those of long mode (APM 2 5.3.3, 15.25.5). Every nested walk is
 * a user access (APM 2 15.25.6), so the user bit is set everywhere. The memory type is the PAT's
 * entry 0, write-back, combined with the guest's own (APM 2 15.25.8).
 */
#include "arch/x86_64/npt_amd.h"

enum {
	PTE_PRESENT = 1 << 0,
	PTE_WRITE = 1 << 1,
	PTE_USER = 1 << 2,
	PTE_ACCESSED = 1 << 5,
	PTE_DIRTY = 1 << 6,
	PTE_LARGE = 1 << 7,
};
#define PTE_NX BIT(63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define FORMAT(one_g)                                             \
	{                                                         \
		.name = "NPT",                                    \
		.table_bits = PTE_PRESENT | PTE_WRITE | PTE_USER, \
		.leaf_bits = PTE_PRESENT | PTE_USER,              \
		.write_bit = PTE_WRITE,                           \
		.nx_bit = PTE_NX,                                 \
		.large_bit = PTE_LARGE,                           \
		.present_mask = PTE_PRESENT,                      \
		.accessed_bit = PTE_ACCESSED,                     \
		.dirty_bit = PTE_DIRTY,                           \
		.address_mask = PTE_ADDRESS,                      \
		.pages_1g = one_g,                                \
	}

static const struct npt_format with_1g = FORMAT(true);
static const struct npt_format without_1g = FORMAT(false);

const struct npt_format *npt_amd_format(bool pages_1g)
{
	return pages_1g ? &with_1g : &without_1g;
}
