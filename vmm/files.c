/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of files from the ESP. Filled once by main; read by the service CPU.
 */
#include "vmm/files.h"

#include "lib/log.h"
#include "lib/string.h"

#define FILES_MAX 64

static struct host_file files[FILES_MAX];
static u32 file_count;

static char lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '/' ? '\\' : c;
}

/* As FAT compares, and either slash will do. */
static bool same_name(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b)) {
		a++;
		b++;
	}
	return lower(*a) == lower(*b);
}

/* Without a leading slash and the folder that all files are in. */
static const char *base_name(const char *name)
{
	static const char folder[] = "godwit\\";
	size_t n = 0;

	if (lower(*name) == '\\')
		name++;
	while (n < sizeof(folder) - 1 && lower(name[n]) == folder[n])
		n++;
	return n == sizeof(folder) - 1 ? name + n : name;
}

void files_add(const char *name, const void *data, u64 bytes)
{
	if (file_count == FILES_MAX) {
		log_warn("%s: more than %u files, this one is left out", name, FILES_MAX);
		return;
	}
	files[file_count++] = (struct host_file){ .name = name, .data = data, .bytes = bytes };
}

const struct host_file *files_find(const char *name)
{
	for (u32 i = 0; i < file_count; i++)
		if (same_name(base_name(files[i].name), base_name(name)))
			return &files[i];
	return NULL;
}

const struct host_file *files_get(u32 index)
{
	return index < file_count ? &files[index] : NULL;
}
