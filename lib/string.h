/* SPDX-License-Identifier: Apache-2.0 */
/* Strings and memory. The ISO C names have their ISO C meaning (gcc emits calls to some of them). */
#ifndef LIB_STRING_H
#define LIB_STRING_H

#include "types.h"

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
/* Are they all 0 (reserved fields)? */
bool mem_is_zero(const void *data, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strstr(const char *s, const char *needle);

/* Copies at most size - 1 characters and always ends with NUL; false if it had to cut. */
bool str_copy(char *dst, size_t size, const char *src);
bool str_equal(const char *a, const char *b);
bool str_starts(const char *s, const char *prefix);

/* Parses a whole unsigned number (decimal, or hex with 0x); -E_INVAL or -E_RANGE. */
int must_check str_to_u64(const char *s, u64 *value);

/* "aa:bb:cc:dd:ee:ff" and "a.b.c.d" (bytes in wire order); -E_INVAL. */
int must_check str_to_mac(const char *s, u8 mac[6]);
int must_check str_to_ipv4(const char *s, u8 ip[4]);

#endif
