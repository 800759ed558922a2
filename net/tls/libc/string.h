/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ISO C's string.h for mbedTLS, as far as lib/string.c has it. Not lib/string.h: mbedTLS uses words
 * that are macros there.
 */
#ifndef TLS_LIBC_STRING_H
#define TLS_LIBC_STRING_H

#include <stddef.h>

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strstr(const char *s, const char *needle);

#endif
