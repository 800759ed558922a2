/* SPDX-License-Identifier: Apache-2.0 */
/* The files that came from the ESP (kernels, initrds, guests' configurations), by name. */
#ifndef VMM_FILES_H
#define VMM_FILES_H

#include "types.h"

struct host_file {
	const char *name;
	const void *data;
	u64 bytes;
};

/* Called by main for each; the memory stays. */
void files_add(const char *name, const void *data, u64 bytes);
/* By name, ignoring case and a leading "\\godwit\\"; NULL if there is none. */
const struct host_file *files_find(const char *name);
/* The index-th file, NULL past the end. */
const struct host_file *files_get(u32 index);

#endif
