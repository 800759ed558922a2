/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers of the CPU. */
#ifndef ARCH_X86_64_RANDOM_H
#define ARCH_X86_64_RANDOM_H

#include "types.h"

/*
 * 256 bits for keys, from RDSEED where the CPU has it, else RDRAND, checked for health. Service CPU.
 * -E_NOSYS: the CPU has neither; -E_IO: it gives none, or what it gives is not random.
 */
int must_check random_seed(u64 seed[4]);
/* For people, after an error of random_seed(). */
const char *random_trouble(int error);

#endif
