/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's small test programs: one static binary, known by the name it is called by (main.c). */
#ifndef PROGRAMS_H
#define PROGRAMS_H

#include <signal.h>
#include <stdint.h>

int clocks_main(int argc, char **argv);
int count_main(int argc, char **argv);
int dirty_main(int argc, char **argv);
int frame_main(int argc, char **argv);
int memcheck_main(int argc, char **argv);

/* Set by SIGINT, SIGTERM and SIGHUP: say the verdict and go. */
extern volatile sig_atomic_t stop_asked;

uint64_t monotonic_ns(void);
void sleep_ns(uint64_t ns);
/* A number of the command line, or the default when there is none; anything else ends the program. */
uint64_t number_argument(int argc, char **argv, int index, uint64_t value);
/* Zeroed memory of whole pages; ends the program when there is none. */
void *get_pages(uint64_t pages);

#define PAGE_BYTES 4096u
#define MIB_PAGES 256u

#endif
