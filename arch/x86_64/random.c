/* SPDX-License-Identifier: Apache-2.0 */
/* RDSEED and RDRAND (SDM 1 7.3.17). random_u64() on any CPU; random_seed() on the service CPU. */
#include "arch/x86_64/random.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "errors.h"
#include "lib/fault.h"
#include "lib/health.h"
#include "lib/string.h"

#define CPUID_1_ECX_RDRAND BIT(30)
#define CPUID_7_EBX_RDSEED BIT(18)
/*
 * RDRAND fails ten times in a row only if it is broken; RDSEED may run dry for a while when others
 * draw on it.
 */
#define RDRAND_TRIES 10
#define RDSEED_TRIES 100000
/* Drawn and looked at before the first that is used (SP 800-90B 4.3: 1024 samples). */
#define START_UP_WORDS 128

static struct health health;
static bool started;

static bool rdrand(u64 *value)
{
	bool ok;

	__asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(ok));
	return ok;
}

static bool rdseed(u64 *value)
{
	bool ok;

	__asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(ok));
	return ok;
}

static bool has_rdrand(void)
{
	return cpuid_read(1, 0).ecx & CPUID_1_ECX_RDRAND;
}

static bool has_rdseed(void)
{
	return cpuid_read(0, 0).eax >= 7 && cpuid_read(7, 0).ebx & CPUID_7_EBX_RDSEED;
}

static int draw(u64 *value)
{
	bool seed = has_rdseed();

	if (!seed && !has_rdrand())
		return -E_NOSYS;
	for (u32 i = 0; i < (seed ? RDSEED_TRIES : RDRAND_TRIES); i++) {
		if (seed ? rdseed(value) : rdrand(value)) {
			if (fault_hit("random.stuck"))
				*value = 0;
			return health_feed(&health, value, sizeof(*value)) ? 0 : -E_IO;
		}
		cpu_relax();
	}
	return -E_IO;
}

int random_seed(u64 seed[4])
{
	u64 unused_word;
	int error = 0;

	for (u32 i = 0; !started && !error && i < START_UP_WORDS; i++)
		error = draw(&unused_word);
	for (u32 i = 0; !error && i < 4; i++)
		error = draw(&seed[i]);
	started = !error;
	if (error) {
		/* The next try begins with the start-up test again. */
		memset(&health, 0, sizeof(health));
		memset(seed, 0, 4 * sizeof(u64));
	}
	return error;
}

const char *random_trouble(int error)
{
	if (error == -E_NOSYS)
		return "this CPU has neither RDSEED nor RDRAND: keys can't be made or used; a newer CPU is "
		       "needed (in a virtual machine, show it RDRAND)";
	return "this CPU's random number generator is broken (it fails, or repeats itself): keys can't be made or "
	       "used; update the firmware, or use another machine";
}

/* Without RDRAND: the low bits of how long a few CPUIDs take, stirred into what was there. */
static u64 jitter(void)
{
	static u64 state;
	u64 v = atomic_add(&state, tsc_read() | 1);

	for (int i = 0; i < 64; i++) {
		v = v << 7 | v >> 57;
		v ^= tsc_read();
		(void)cpuid_read(0, 0);
		v *= 0x9e3779b97f4a7c15ull;
	}
	return v ^ v >> 32;
}

u64 random_u64(void)
{
	u64 value;

	if (has_rdrand())
		for (u32 i = 0; i < RDRAND_TRIES; i++)
			if (rdrand(&value))
				return value;
	return jitter();
}
