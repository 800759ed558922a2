/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clocks [INTERVAL_US]: do the CPUs agree on the time? A thread on each CPU reads the clock again and again; nobody may
 * read less than anybody has read before. Prints "clocks: ok N readings on C CPUs" every second, or "clocks: BAD ...".
 */
#define _GNU_SOURCE
#include "programs.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define CPUS_MAX 64

static atomic_ullong latest_ns, readings, steps_back, worst_ns;
static uint64_t interval_ns;

static void read_clock(void)
{
	unsigned long long before = atomic_load(&latest_ns);
	unsigned long long now = monotonic_ns();

	atomic_fetch_add(&readings, 1);
	if (now < before) {
		atomic_fetch_add(&steps_back, 1);
		if (before - now > atomic_load(&worst_ns))
			atomic_store(&worst_ns, before - now);
	}
	while (now > before && !atomic_compare_exchange_weak(&latest_ns, &before, now))
		;
}

static void *watch(void *argument)
{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET((unsigned long)argument, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu)) {
		perror("clocks: affinity");
		stop_asked = 1;
	}
	while (!stop_asked) {
		for (int i = 0; i < 10; i++)
			read_clock();
		sleep_ns(interval_ns);
	}
	return NULL;
}

int clocks_main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[CPUS_MAX];

	interval_ns = number_argument(argc, argv, 1, 1000) * 1000u;
	if (cpus > CPUS_MAX)
		cpus = CPUS_MAX;
	for (long i = 0; i < cpus; i++) {
		if (pthread_create(&threads[i], NULL, watch, (void *)i)) {
			fprintf(stderr, "clocks: no thread for CPU %ld\n", i);
			return 2;
		}
	}
	while (!stop_asked) {
		sleep_ns(1000000000u);
		if (atomic_load(&steps_back))
			printf("clocks: BAD %llu steps back, by %llu ns at worst\n", atomic_load(&steps_back),
			       atomic_load(&worst_ns));
		else
			printf("clocks: ok %llu readings on %ld CPUs\n", atomic_load(&readings), cpus);
	}
	for (long i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	return atomic_load(&steps_back) ? 1 : 0;
}
