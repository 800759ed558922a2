/* SPDX-License-Identifier: Apache-2.0 */
/* mm/pages.h over the C library, so that the sanitizers watch every block; with counting and failing. */
#ifndef FAKE_PAGES_H
#define FAKE_PAGES_H

#include "types.h"

/* 4 KiB pages that are handed out now: 0 at the end of a test, or it leaks. */
u64 fake_pages_used(void);
/* From now on this many pages_alloc() calls succeed and then all fail; ~0: none fails. */
void fake_pages_fail_after(u64 calls);
/* What pages_total_count() says; pages_alloc() fails beyond it. Default: 4 GiB. */
void fake_pages_set_total(u64 pages);
/* Once, before anything is allocated: large blocks cost nothing until they are touched, and come as zeros. For fuzzing. */
void fake_pages_set_lazy(void);

#endif
