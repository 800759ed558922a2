/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side of a migration. One at a time; service CPU. */
#ifndef MIGRATE_SEND_H
#define MIGRATE_SEND_H

#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "types.h"

int must_check send_start(struct vm *vm, const struct migrate_peer *peer, const struct migrate_options *options,
			  char *why, size_t why_bytes);
int must_check send_cancel(void);
bool send_poll(void);
u64 send_next_deadline(void);
void send_get_progress(struct migrate_progress *progress);
bool send_busy(const struct vm *vm);
/* COMMIT has left for it: only the peer's answer decides what becomes of it. */
bool send_committed(const struct vm *vm);
/* The guest that is on its way in just this try; NULL: none. */
const struct vm *send_moving(const struct handover *handover);

#endif
