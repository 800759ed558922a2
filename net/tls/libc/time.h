/* SPDX-License-Identifier: Apache-2.0 */
/* ISO C's time.h for mbedTLS, as far as it uses it. */
#ifndef TLS_LIBC_TIME_H
#define TLS_LIBC_TIME_H

typedef long long time_t;

struct tm {
	int tm_sec, tm_min, tm_hour;
	int tm_mday, tm_mon, tm_year; /* month from 0, year from 1900 */
	int tm_wday, tm_yday, tm_isdst;
};

#endif
