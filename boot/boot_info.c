/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in what the UEFI application left. Any CPU: nothing changes it any more. */
#include "boot/boot_info.h"

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_name(const char *a, const char *b)
{
	while (*a && fold(*a) == fold(*b)) {
		a++;
		b++;
	}
	return fold(*a) == fold(*b);
}

const struct boot_file *boot_file_find(const struct boot_info *info, const char *name)
{
	for (u32 i = 0; i < info->file_count; i++)
		if (same_name(info->files[i].name, name))
			return &info->files[i];
	return NULL;
}
