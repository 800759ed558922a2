/* SPDX-License-Identifier: Apache-2.0 */
/* The entry format of AMD's nested page tables. */
#ifndef ARCH_NPT_AMD_H
#define ARCH_NPT_AMD_H

#include "mm/npt.h"

const struct npt_format *npt_amd_format(bool pages_1g);

#endif
