/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty PAGES_PER_SECOND [MIB [SECONDS]]: writes that many pages a second (0: as many as it can), one after the other
 * through a buffer of MIB (64), and prints every second "dirty: WRITTEN pages in MILLISECONDS ms". How fast a guest
 * works while it is being moved is the ratio of these figures.
 */
#include "programs.h"

#include <stdio.h>

#define TICK_NS 10000000u
#define BATCH_PAGES 64u

/* One store a page; the value changes, so that the page really differs. */
static uint64_t touch(volatile uint64_t *buffer, uint64_t buffer_pages, uint64_t next, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++) {
		buffer[next * (PAGE_BYTES / sizeof(*buffer))]++;
		next = next + 1 == buffer_pages ? 0 : next + 1;
	}
	return next;
}

int dirty_main(int argc, char **argv)
{
	uint64_t per_second = number_argument(argc, argv, 1, 1000);
	uint64_t buffer_pages = number_argument(argc, argv, 2, 64) * MIB_PAGES;
	uint64_t seconds = number_argument(argc, argv, 3, UINT64_MAX);
	volatile uint64_t *buffer = get_pages(buffer_pages);
	uint64_t next = 0;

	for (uint64_t s = 0; s < seconds && !stop_asked; s++) {
		uint64_t start = monotonic_ns();
		uint64_t elapsed = 0;
		uint64_t written = 0;

		while (elapsed < 1000000000u && !stop_asked) {
			uint64_t due = per_second ? per_second * elapsed / 1000000000u : written + BATCH_PAGES;

			if (due > written) {
				next = touch(buffer, buffer_pages, next, due - written);
				written = due;
			} else {
				sleep_ns(TICK_NS);
			}
			elapsed = monotonic_ns() - start;
		}
		printf("dirty: %llu pages in %llu ms\n", (unsigned long long)written,
		       (unsigned long long)(elapsed / 1000000u));
	}
	return 0;
}
