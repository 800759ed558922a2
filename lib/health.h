/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a source of random bytes alive? The two continuous tests of NIST SP 800-90B 4.4, for a source of
 * at least 4 bits of entropy a byte, each with a false alarm in 2^20 at most: a byte that repeats too
 * often in a row, and one that comes too often in a window. They find generators that are stuck or
 * broken, not ones that lie.
 */
#ifndef LIB_HEALTH_H
#define LIB_HEALTH_H

#include "types.h"

struct health {
	u32 window_used;
	u32 window_hits; /* of the window's first byte */
	u32 repeated;    /* the last byte, in a row */
	u8 first, last;
};

/* False: it failed; the source is not to be used. *health all zero: nothing yet. */
bool must_check health_feed(struct health *health, const void *data, size_t bytes);

#endif
