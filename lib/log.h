/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log ("dmesg"): a ring of lines with their times, written from any CPU. The service CPU
 * prints new lines to the console; before it runs, and in a panic, lines go straight to the
 * early sink. trace_error() prints where an error was born.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define LOG_RING_BYTES KIB(64)

void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#ifdef GODWIT_DEBUG
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#else
#define log_debug(...) ((void)0)
#endif

/* Returns error; in debug builds says where it was born. */
#ifdef GODWIT_DEBUG
#define trace_error(error) log_trace(error, __FILE__, __LINE__)
#else
#define trace_error(error) (error)
#endif
int log_trace(int error, const char *file, int line);

/* Until it is set NULL, every line also goes to this function at once (firmware console, COM1). */
void log_set_early_sink(void (*put)(const char *text, size_t len));
/* The clock that stamps lines; without one they are stamped 0. */
void log_set_clock(u64 (*now_ns)(void));
/* Where lines go in a panic, at once. */
void log_set_panic_sink(void (*put)(const char *text, size_t len));
/*
 * Panic only: the panic sink takes over, and nobody waits for the log's lock any more (its owner
 * may have been stopped).
 */
void log_set_panicking(void);

/*
 * Reading: *cursor starts at 0 (the oldest line kept) and moves on; returns the bytes copied,
 * whole lines only, each ending in '\n', 0 when there is nothing newer.
 */
size_t log_read(u64 *cursor, char *buf, size_t size);
/* The cursor of who wants only what comes from now on. */
u64 log_end(void);

noreturn void panic(const char *fmt, ...) printf_like(1, 2);
/* On in release builds too: for what only we can have got wrong. */
#define assert(cond) ((cond) ? (void)0 : panic("assertion failed: %s (%s:%d)", #cond, __FILE__, __LINE__))

#endif
