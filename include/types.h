/* SPDX-License-Identifier: Apache-2.0 */
/* The words every file is written in: fixed-width types, bit and size helpers. */
#ifndef TYPES_H
#define TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int32_t s32;
typedef int64_t s64;

typedef u64 hpa_t; /* host physical address */
typedef u64 gpa_t; /* guest physical address */

#define BIT(n) (1ull << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGN_DOWN(x, a) ((x) & ~((u64)(a) - 1))
#define ALIGN_UP(x, a) ALIGN_DOWN((x) + ((u64)(a) - 1), a)
#define IS_ALIGNED(x, a) (((x) & ((u64)(a) - 1)) == 0)
#define DIV_UP(x, n) (((x) + (n) - 1) / (n))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define LARGE_SHIFT 21
#define LARGE_SIZE MIB(2)

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

#define must_check __attribute__((warn_unused_result))
#define noreturn __attribute__((noreturn))
#define packed __attribute__((packed))
#define aligned(n) __attribute__((aligned(n)))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define unused __attribute__((unused))
#define noinline __attribute__((noinline))
#define no_stack_protector __attribute__((no_stack_protector))
/* Without the checks of ASan and UBSan: for loops over all memory. */
#define no_sanitize_scan __attribute__((no_sanitize("address"), no_sanitize("undefined")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define static_assert _Static_assert

#endif
