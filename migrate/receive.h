/* SPDX-License-Identifier: Apache-2.0 */
/* The peer's side of a migration: connections that come in. Service CPU. */
#ifndef MIGRATE_RECEIVE_H
#define MIGRATE_RECEIVE_H

#include "migrate/migrate.h"
#include "types.h"

/* Listens. -E_IO: there is no network. */
int must_check receive_init(void);
bool receive_poll(void);
u64 receive_next_deadline(void);
/* The index-th guest that is arriving; false: there are not so many. */
bool receive_get_arrival(u32 index, struct migrate_arrival *arrival);

#endif
