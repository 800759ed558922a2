/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of a guest but its memory, to records and back: TIME, VCPUs, DEVICEs, CONSOLE. Loading is in
 * two passes: everything is checked, then everything is loaded. Service CPU; the guest is paused
 * (VM_PAUSE_MIGRATE).
 */
#ifndef MIGRATE_STATE_H
#define MIGRATE_STATE_H

#include "migrate/stream.h"
#include "types.h"

struct vm;

#define STATE_PARTS_MAX 96

/* What the records of state_save take at most, each with its header. */
u32 state_bytes_max(const struct vm *vm);
/* Writes them one after another; returns their size. buffer has state_bytes_max() bytes. */
size_t state_save(struct stream *s, struct vm *vm, void *buffer);

/* For messages: of a device that this host may not know. */
const char *state_device_name(u16 type);
/* What HELLO says of the devices; returns how many (at most max). */
u32 state_devices(const struct vm *vm, struct wire_device *list, u32 max);
/* Has vm just these, in these versions? -E_REFUSED: why names the first that differs. */
int must_check state_devices_check(struct vm *vm, const struct wire_device *list, u32 count, const char *host,
				   char *why, size_t why_bytes);

/* What has arrived: bodies of records, wherever they are kept. */
struct state_parts {
	u32 count;
	struct {
		u16 type;
		u32 bytes;
		const u8 *body;
	} part[STATE_PARTS_MAX];
};

int must_check state_add(struct state_parts *parts, u16 type, const void *body, u32 bytes, char *why,
			 size_t why_bytes);
/*
 * First pass, pure: is all there, once, and can it be loaded? -E_PROTO: why says what is wrong. The
 * lengths were checked against their types' minimum (struct record_rule) before.
 */
int must_check state_check(const struct state_parts *parts, struct vm *vm, char *why, size_t why_bytes);
/* Second pass, of what state_check passed; can only fail where the CPU itself refuses (vcpu_load). */
int must_check state_load(const struct state_parts *parts, struct vm *vm, char *why, size_t why_bytes);
/* The TIME record of parts that state_check passed. */
struct wire_time state_time(const struct state_parts *parts);

#endif
