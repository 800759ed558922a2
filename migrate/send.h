/* SPDX-License-Identifier: Apache-2.0 */
/* The source's side of migrations, MIGRATE_OUT_MAX at once; service CPU. */
#ifndef MIGRATE_SEND_H
#define MIGRATE_SEND_H

#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "types.h"

int must_check send_start(struct vm *vm, const struct migrate_peer *peer, const struct migrate_options *options,
			  char *why, size_t why_bytes);
/* -E_NOENT: it is on no way; -E_BUSY: committed already. Of all: 0 if one could be cancelled at least. */
int must_check send_cancel(const struct vm *vm);
int must_check send_cancel_all(void);
bool send_poll(void);
u64 send_next_deadline(void);
/* How many are under way. */
u32 send_count(void);
/* Under way or ended; false: there was no such move, or it is forgotten. */
bool send_get_progress(u32 id, struct migrate_progress *progress);
/* Of the move that was started last; 0: none ever was. */
u32 send_last_id(void);
/* Of those under way, the first that was started after this one; 0: none. */
u32 send_next_id(u32 after);
bool send_busy(const struct vm *vm);
/* COMMIT has left for it: only the peer's answer decides what becomes of it. */
bool send_committed(const struct vm *vm);
/* The guest that is on its way in just this try; NULL: none. */
const struct vm *send_moving(const struct handover *handover);

#endif
