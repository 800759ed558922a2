/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest on its way in: its memory, its state, and what is known to be complete. MIGRATE_IN_MAX at once;
 * receive.c drives them, on the service CPU. Until arrival_commit() it is no guest that anybody sees, but
 * its memory, name and MACs are taken.
 */
#ifndef MIGRATE_ARRIVAL_H
#define MIGRATE_ARRIVAL_H

#include "migrate/hello.h"
#include "migrate/owner.h"
#include "migrate/stream.h"
#include "types.h"

struct arrival;

/* Is there a place for one more? */
bool arrival_possible(void);
/* The guest with this uuid that is arriving; NULL: it is not. */
struct arrival *arrival_find(const u8 uuid[16]);
/* Where that is possible: the guest is created here as HELLO says. -E_REFUSED: why names what is missing. */
int must_check arrival_begin(const struct hello *hello, struct arrival **in, char *why, size_t why_bytes);
/* Where VCPU, DEVICE... bodies are to be gathered until END. */
void *arrival_area(struct arrival *in, u32 *bytes);
/* A PAGE record began; its length was checked to be in bounds. */
int must_check arrival_pages(struct arrival *in, const struct wire_page *page, u32 length, char *why, size_t why_bytes);
/* The pages' bytes, as they come; never more than were announced. */
void arrival_bytes(struct arrival *in, const void *data, size_t bytes);
int must_check arrival_zeros(struct arrival *in, const struct wire_zero *zero, char *why, size_t why_bytes);
/* A record of state; its body stays in the area. */
int must_check arrival_state(struct arrival *in, u16 type, const void *body, u32 bytes, char *why, size_t why_bytes);
/* Digests of all memory are wanted, by this key. */
int must_check arrival_verify(struct arrival *in, const struct wire_verify *verify, char *why, size_t why_bytes);
/* After arrival_prepare(): the body of the next VERIFIED record, WIRE_VERIFIED_MAX bytes at most; 0: there is none. */
u32 must_check arrival_digests(struct arrival *in, struct wire_verified *body);
/* Is all there? Then loads it. */
int must_check arrival_prepare(struct arrival *in, const struct wire_end *end, char *why, size_t why_bytes);
/* It is ours: it runs, or stays paused by its user. since_hello_ns bounds what the source may say of the time. */
const struct vm *arrival_commit(struct arrival *in, const struct wire_commit *commit, u64 since_hello_ns);
/* It will not come: all is given back. */
void arrival_drop(struct arrival *in);
bool arrival_is(const struct arrival *in, const struct handover *handover);
const char *arrival_name(const struct arrival *in);
/* All but the peer. */
void arrival_describe(const struct arrival *in, struct migrate_arrival *arrival);

#endif
