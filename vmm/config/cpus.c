/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of host CPUs as xl writes them: "1-3,5", "all", "^2" for all but 2. */
#include "vmm/config/config.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"

#define MASK_ALL (~0ull >> (64 - CPUS_MAX))

static bool take_number(const char **text, u32 *number)
{
	if (**text < '0' || **text > '9')
		return false;
	for (*number = 0; **text >= '0' && **text <= '9'; (*text)++) {
		*number = *number * 10 + (u32)(**text - '0');
		if (*number >= CPUS_MAX)
			return false;
	}
	return true;
}

/* "3", "1-3", "all", "^2", "^1-2". */
static bool take_range(const char **text, u64 *mask)
{
	bool without = **text == '^';
	u64 range;
	u32 first, last;

	if (without)
		(*text)++;
	if (str_starts(*text, "all")) {
		*text += 3;
		range = MASK_ALL;
	} else {
		if (!take_number(text, &first))
			return false;
		last = first;
		if (**text == '-' && ((*text)++, !take_number(text, &last) || last < first))
			return false;
		range = (~0ull >> (63 - (last - first))) << first;
	}
	*mask = without ? *mask & ~range : *mask | range;
	return true;
}

int str_to_cpus(const char *text, u64 *cpus)
{
	/* What is only taken away is taken from all. */
	u64 mask = *text == '^' ? MASK_ALL : 0;

	for (;;) {
		while (*text == ' ')
			text++;
		if (!take_range(&text, &mask))
			return -E_INVAL;
		while (*text == ' ')
			text++;
		if (!*text)
			break;
		if (*text++ != ',')
			return -E_INVAL;
	}
	if (!mask)
		return -E_INVAL;
	*cpus = mask == MASK_ALL ? 0 : mask;
	return 0;
}

const char *format_cpus(char *buf, size_t size, u64 cpus)
{
	size_t n = 0;

	if (!cpus)
		cpus = MASK_ALL;
	if (cpus == MASK_ALL) {
		str_copy(buf, size, "all");
		return buf;
	}
	buf[0] = 0;
	for (u32 i = 0; i < CPUS_MAX && n < size; i++) {
		u32 last = i;

		if (!(cpus & BIT(i)))
			continue;
		while (last + 1 < CPUS_MAX && cpus & BIT(last + 1))
			last++;
		n += (size_t)str_format(buf + n, size - n, i == last ? "%s%u" : "%s%u-%u", n ? "," : "", i, last);
		i = last;
	}
	return buf;
}
