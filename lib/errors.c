/* SPDX-License-Identifier: Apache-2.0 */
/* The names of errors, for messages. Any CPU. */
#include "errors.h"

#include "types.h"

const char *error_name(int error)
{
	static const char *const names[] = {
		[0] = "no error",
		[E_INVAL] = "invalid value",
		[E_NOMEM] = "no memory",
		[E_NOENT] = "not found",
		[E_EXIST] = "exists already",
		[E_BUSY] = "busy",
		[E_RANGE] = "out of range",
		[E_AGAIN] = "try again later",
		[E_IO] = "input/output error",
		[E_PROTO] = "protocol error",
		[E_REFUSED] = "refused",
		[E_TIMEOUT] = "timed out",
		[E_CANCELED] = "cancelled",
		[E_NOSYS] = "not supported",
		[E_CLOSED] = "closed by the other end",
	};
	u32 number = error < 0 ? 0u - (u32)error : (u32)error;

	return number < ARRAY_SIZE(names) ? names[number] : "unknown error";
}
