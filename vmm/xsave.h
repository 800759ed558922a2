/* SPDX-License-Identifier: Apache-2.0 */
/* A vCPU's XSAVE area (standard format, SDM 1 13.4.2). */
#ifndef VMM_XSAVE_H
#define VMM_XSAVE_H

#include "types.h"

/* Bytes of the XSAVE area for everything that guests of this host are shown. */
u32 vcpu_xsave_bytes(void);
/* Bytes for these components. */
u32 xsave_bytes(u64 xcr0);
/* Components that a guest shown xcr0 was not shown are the host's own affair: in this copy they are not in use. */
void vcpu_xsave_hide(void *area, u64 xcr0);
/* Would XRSTOR take this area (SDM 1 13.8), for a guest that may be shown xcr0? From a peer: -E_INVAL. */
int must_check vcpu_xsave_check(const void *area, u32 bytes, u64 xcr0);

#endif
