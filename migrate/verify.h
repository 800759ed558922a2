/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate --verify: are both copies of a paused guest's memory the same? The source makes up a key, the
 * peer sends digests of all that it got, the source compares them with its own. Service CPU.
 */
#ifndef MIGRATE_VERIFY_H
#define MIGRATE_VERIFY_H

#include "migrate/stream.h"
#include "mm/gmem.h"
#include "types.h"

/* A keyed hash. 0, or the library's error. */
typedef int (*page_digest_fn)(const u8 key[32], const void *data, size_t bytes, u8 digest[16]);

/* One side of it. */
struct verify {
	bool on;
	u64 next;   /* the first page that is not done */
	u8 key[32];
};

/* boot/main.c says whose; without one there is no --verify. */
void verify_init(page_digest_fn digest);
bool verify_available(void);

void verify_start(struct verify *v, const u8 key[32]);
/* Nothing (more) is to be verified. */
bool verify_whole(const struct verify *v, const struct gmem *gm);
/* The body of a VERIFIED record for the next pages, at most WIRE_VERIFIED_MAX bytes; returns its length. */
u32 must_check verify_next(struct verify *v, const struct gmem *gm, struct wire_verified *body);
/*
 * What the peer says of the next pages, against memory here. -E_PROTO: it is no such record;
 * -E_REFUSED: *page is the first that differs.
 */
int must_check verify_compare(struct verify *v, const struct gmem *gm, const struct wire_verified *theirs, u32 bytes,
			      u64 *page);

#endif
