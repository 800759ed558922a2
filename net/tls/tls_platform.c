/* SPDX-License-Identifier: Apache-2.0 */
/* What mbedTLS wants of its platform: random bytes, the time, snprintf, forgetting. Service CPU. */
#include "net/tls/tls_internal.h"

#include "mbedtls/platform.h"
#include "mbedtls/platform_time.h"
#include "mbedtls/platform_util.h"
#include "psa/crypto.h"

#include <time.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/random.h"
#include "errors.h"
#include "lib/drbg.h"
#include "lib/format.h"
#include "lib/string.h"

/* Fresh entropy after so many bytes. */
#define RESEED_BYTES KIB(64)

static struct drbg drbg;
static size_t bytes_left;

static int reseed(void)
{
	u64 seed[4];
	int error = random_seed(seed);

	if (error)
		return error;
	drbg_mix(&drbg, seed);
	mbedtls_platform_zeroize(seed, sizeof(seed));
	bytes_left = RESEED_BYTES;
	return 0;
}

int tls_platform_init(void)
{
	return reseed();
}

psa_status_t mbedtls_psa_external_get_random(unused mbedtls_psa_external_random_context_t *context, uint8_t *output,
					     size_t output_size, size_t *output_length)
{
	*output_length = 0;
	if (bytes_left < output_size && reseed())
		return PSA_ERROR_INSUFFICIENT_ENTROPY;
	drbg_fill(&drbg, output, output_size);
	bytes_left -= MIN(bytes_left, output_size);
	*output_length = output_size;
	return PSA_SUCCESS;
}

/* Not to be optimized away. */
void mbedtls_platform_zeroize(void *buf, size_t len)
{
	memset(buf, 0, len);
	__asm__ volatile("" : : "r"(buf) : "memory");
}

int tls_snprintf(char *text, size_t size, const char *format, ...)
{
	va_list ap;
	int length;

	va_start(ap, format);
	length = str_vformat(text, size, format, ap);
	va_end(ap);
	return length;
}

long long tls_time(long long *seconds)
{
	long long now = (long long)(wall_time_ns() / NS_PER_S);

	if (seconds)
		*seconds = now;
	return now;
}

mbedtls_ms_time_t mbedtls_ms_time(void)
{
	return (mbedtls_ms_time_t)(time_ns() / NS_PER_MS);
}

/* Days since 1970 -> date in the Gregorian calendar, by years that begin in March. */
struct tm *mbedtls_platform_gmtime_r(const mbedtls_time_t *tt, struct tm *tm)
{
	u64 seconds = (u64)*tt;
	u64 days = seconds / 86400 + 719468; /* since 1 March of year 0 */
	u64 era = days / 146097;
	u64 of_era = days % 146097;
	u64 year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	u64 day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	u64 month = (5 * day_of_year + 2) / 153;

	memset(tm, 0, sizeof(*tm));
	tm->tm_mday = (int)(day_of_year - (153 * month + 2) / 5 + 1);
	tm->tm_mon = (int)(month < 10 ? month + 2 : month - 10);
	tm->tm_year = (int)(year_of_era + era * 400 + (month >= 10)) - 1900;
	tm->tm_hour = (int)(seconds / 3600 % 24);
	tm->tm_min = (int)(seconds / 60 % 60);
	tm->tm_sec = (int)(seconds % 60);
	return tm;
}
