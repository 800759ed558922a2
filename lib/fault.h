/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named fault points, for tests: the code asks at a point, a test (or the console of a debug
 * build) arms it by name. Compiled out in release builds, but not in the one that make bench
 * measures. Any CPU may ask; the service CPU arms.
 */
#ifndef LIB_FAULT_H
#define LIB_FAULT_H

#include "types.h"

#if defined(GODWIT_DEBUG) || defined(GODWIT_MEASURE)

#define FAULT_NAME_BYTES 32
#define FAULT_FOREVER (~0ull)

/* Does the fault happen here and now? Counts down when it does. */
bool fault_hit(const char *name);
/* Stay at this step for now? True as long as the name is armed; does not count down. */
bool fault_hold(const char *name);
/* Arms a point for its next count hits. -E_NOMEM: too many are armed. */
int must_check fault_set(const char *name, u64 count);
void fault_clear(const char *name);
void fault_clear_all(void);
/* The index-th armed point and what is left of its count; NULL past the last. */
const char *fault_get(u32 index, u64 *left);
/* How often the point was hit since it was armed first. */
u64 fault_hits(const char *name);

#else

static inline bool fault_hit(const char *name unused)
{
	return false;
}

static inline bool fault_hold(const char *name unused)
{
	return false;
}

#endif

#endif
