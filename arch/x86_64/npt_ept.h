/* SPDX-License-Identifier: Apache-2.0 */
/* The entry format of Intel's extended page tables. */
#ifndef ARCH_NPT_EPT_H
#define ARCH_NPT_EPT_H

#include "mm/npt.h"

/* ad_bits: the CPU keeps accessed and dirty bits, and they are switched on in the EPTP. */
const struct npt_format *npt_ept_format(bool ad_bits, bool pages_1g);

#endif
