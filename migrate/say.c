/* SPDX-License-Identifier: Apache-2.0 */
/* Reasons, for all of migrate/. Service CPU. */
#include "migrate/say.h"

#include "lib/format.h"

int say(int error, char *why, size_t why_bytes, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vformat(why, why_bytes, fmt, ap);
	va_end(ap);
	return error;
}
