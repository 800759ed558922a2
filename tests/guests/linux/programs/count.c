/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count [INTERVAL_MS [HOW_MANY]]: prints "count N SECONDS.MILLISECONDS" (a rising number and the guest's clock) every
 * 100 ms, and complains when a clock steps backwards. In an ssh session it shows how a move feels.
 */
#include "programs.h"

#include <stdio.h>
#include <time.h>

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int count_main(int argc, char **argv)
{
	uint64_t interval_ns = number_argument(argc, argv, 1, 100) * 1000000u;
	uint64_t how_many = number_argument(argc, argv, 2, UINT64_MAX);
	uint64_t monotonic_before = 0;
	uint64_t wall_before = 0;
	int steps_back = 0;

	for (uint64_t n = 1; n <= how_many && !stop_asked; n++) {
		uint64_t monotonic = monotonic_ns();
		uint64_t wall = wall_ns();

		if (monotonic < monotonic_before || wall < wall_before) {
			printf("count: ERROR the clock stepped back\n");
			steps_back++;
		}
		monotonic_before = monotonic;
		wall_before = wall;
		if (printf("count %llu %llu.%03llu\n", (unsigned long long)n,
			   (unsigned long long)(wall / 1000000000u),
			   (unsigned long long)(wall / 1000000u % 1000u)) < 0)
			return 1;
		sleep_ns(interval_ns);
	}
	return steps_back ? 1 : 0;
}
