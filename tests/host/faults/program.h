/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts as programs inside of a test: image.c's shared object, loaded once for each of them. Included once by each test program,
 * which the Makefile gives build/host/fault_host.so.
 */
#ifndef FAULTS_PROGRAM_H
#define FAULTS_PROGRAM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, dl_iterate_phdr */
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults/image.h"

struct program {
	const struct image_api *api;
	u8 *data, *data_copy; /* its statics, and as they were when it was loaded */
	size_t data_bytes;
	void *memory;
};

/* Past the sanitizer's eyes: the gaps between variables are copied too. */
static void program_copy(void *to, const void *from, size_t bytes)
{
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static int program_find_data(struct dl_phdr_info *info, unused size_t size, void *ctx)
{
	struct program *program = ctx;
	u64 begin = 0, end = 0, code = (u64)(uintptr_t)program->api;
	bool mine = false;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		u64 base = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD)
			continue;
		mine |= code >= base && code < base + p->p_memsz;
		if (p->p_flags & PF_W) {
			begin = base;
			end = base + p->p_memsz;
		}
	}
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO)
			begin = ALIGN_DOWN(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz, PAGE_SIZE);
	if (!mine)
		return 0;
	program->data = (u8 *)(uintptr_t)begin;
	program->data_bytes = end - begin;
	return 1;
}

/* A copy of the file is another program to the loader, with statics of its own. */
static void program_load(struct program *program)
{
	const struct image_api *(*api)(void);
	char file[512], path[64];
	ssize_t n = readlink("/proc/self/exe", file, sizeof(file) - 32);
	int from, to;
	void *image;

	assert_true(n > 0);
	file[n] = 0;
	strcpy(strrchr(file, '/') + 1, "fault_host.so");
	from = open(file, O_RDONLY);
	to = memfd_create("fault_host", 0);
	while (sendfile(to, from, NULL, 1 << 24) > 0)
		;
	close(from);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
	image = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!image)
		fprintf(stderr, "%s: %s\n", file, dlerror());
	assert_non_null(image);
	*(void **)&api = dlsym(image, "image_api");
	program->api = api();
	assert_true(dl_iterate_phdr(program_find_data, program));
	program->data_copy = malloc(program->data_bytes);
	program_copy(program->data_copy, program->data, program->data_bytes);
	program->memory = mmap(NULL, 2 * IMAGE_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(program->memory != MAP_FAILED);
	program->memory = (void *)ALIGN_UP((u64)program->memory, IMAGE_MEMORY_BYTES);
}

static void program_unload(struct program *program)
{
	free(program->data_copy);
}

/* As it was when it was loaded: image_api.boot comes next. */
static void program_reset(struct program *program)
{
	program_copy(program->data, program->data_copy, program->data_bytes);
}

#endif
