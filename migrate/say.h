/* SPDX-License-Identifier: Apache-2.0 */
/* Errors with a reason for a person: return say(-E_..., why, why_bytes, "..."). */
#ifndef MIGRATE_SAY_H
#define MIGRATE_SAY_H

#include "types.h"

/* Writes the reason and returns error. */
int say(int error, char *why, size_t why_bytes, const char *fmt, ...) printf_like(4, 5);

#endif
