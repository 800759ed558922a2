/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler and the platform, as lwIP wants to know them. */
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <stddef.h>
#include <stdint.h>

/* No hosted headers: what lwIP takes from them is here. */
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define INT_MAX __INT_MAX__
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"

#define BYTE_ORDER LITTLE_ENDIAN
/* As lwIP has it for gcc, but safe from types.h, where packed is a macro. */
#define PACK_STRUCT_STRUCT __attribute__((__packed__))

/* net/lwip_port.c */
__attribute__((__noreturn__)) void lwip_port_assert_failed(const char *what, const char *file, int line);
void lwip_port_complain(const char *what);
uint32_t lwip_port_random(void);
uint16_t lwip_port_checksum(const void *data, int bytes);

#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(what) lwip_port_assert_failed(what, __FILE__, __LINE__)
/* An argument that makes no sense is refused, and no reason to stop the machine. */
#define LWIP_ERROR(what, expression, handler) \
	do { \
		if (!(expression)) { \
			lwip_port_complain(what); \
			handler; \
		} \
	} while (0)
#define LWIP_RAND() lwip_port_random()
#define LWIP_CHKSUM lwip_port_checksum

#endif
