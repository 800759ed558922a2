/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the program by name; what the programs share. */
#include "programs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
	(void)number;
	stop_asked = 1;
}

uint64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void sleep_ns(uint64_t ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	nanosleep(&t, NULL);
}

uint64_t number_argument(int argc, char **argv, int index, uint64_t value)
{
	char *end;

	if (index >= argc)
		return value;
	value = strtoull(argv[index], &end, 10);
	if (*argv[index] == '\0' || *end != '\0') {
		fprintf(stderr, "%s: \"%s\" is no number\n", argv[0], argv[index]);
		exit(2);
	}
	return value;
}

void *get_pages(uint64_t pages)
{
	void *p = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	struct sigaction action = { .sa_handler = on_signal };

	name = name ? name + 1 : argv[0];
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(name, "clocks"))
		return clocks_main(argc, argv);
	if (!strcmp(name, "count"))
		return count_main(argc, argv);
	if (!strcmp(name, "dirty"))
		return dirty_main(argc, argv);
	if (!strcmp(name, "memcheck"))
		return memcheck_main(argc, argv);
	if (!strcmp(name, "frame"))
		return frame_main(argc, argv);
	fprintf(stderr, "%s: call me clocks, count, dirty, frame or memcheck\n", name);
	return 2;
}
