/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HELLO record: what a guest needs, as the source says it, and whether this host has it.
 * Service CPU.
 */
#ifndef MIGRATE_HELLO_H
#define MIGRATE_HELLO_H

#include "migrate/migrate.h"
#include "migrate/stream.h"
#include "types.h"
#include "vmm/cpuid.h"
#include "vmm/vm_config.h"

struct vm;

#define HELLO_DEVICES_MAX 64

/* Source: the whole record at buffer (STREAM_HELLO_MAX bytes); its size. -E_RANGE: it does not fit. */
int must_check hello_build(struct stream *s, const struct vm *vm, const struct handover *handover,
			   enum wire_purpose purpose, void *buffer, size_t *bytes);

/* Peer: a HELLO taken apart and found to make sense. */
struct hello {
	struct wire_hello fixed;
	const struct wire_device *devices; /* in the record's body */
	struct cpuid_policy cpuid;
	struct vm_config config;
};

/* -E_PROTO, -E_REFUSED (a version): why says what is wrong. */
int must_check hello_parse(struct hello *hello, const void *body, u32 bytes, char *why, size_t why_bytes);
/*
 * Has this host all that it needs, from this peer? moving: the guest that this host sends to itself
 * right now (NULL: none), which is no clash. -E_REFUSED: why names what is missing.
 */
int must_check hello_check(const struct hello *hello, const struct migrate_peer *peer, const struct vm *moving,
			   char *why, size_t why_bytes);

#endif
