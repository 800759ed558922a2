/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every target of libFuzzer here has: an input that is taken apart piece by piece, and its negative
 * control. A target defines fuzz_start() and fuzz_one(); fuzz.c calls them.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "types.h"

struct fuzz {
	const u8 *at;
	size_t left;
};

/* Once. */
void fuzz_start(void);
/* An input. Whatever it does, nothing of it may be left for the next one. */
void fuzz_one(struct fuzz *in);

/* Little-endian; at the end of the input: zeros. */
u64 fuzz_take(struct fuzz *in, u32 bytes);
/* The next bytes as they are, at most max. */
const u8 *fuzz_bytes(struct fuzz *in, size_t max, size_t *bytes);
/* A length, mostly small, at most max. */
static inline u32 fuzz_below(struct fuzz *in, u32 limit)
{
	return limit <= 256 ? (u32)fuzz_take(in, 1) % limit : (u32)fuzz_take(in, 4) % limit;
}

/*
 * The deep place that this target is there for has been reached. When tools/fuzz asks for the negative
 * control (FUZZ_CONTROL=1), there is a bug there, and the run must find it.
 */
void fuzz_reached(void);

#endif
