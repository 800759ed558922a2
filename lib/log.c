/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: a ring of whole, time-stamped lines. Written from any CPU under log_lock (the last in
 * the lock order); read by whoever keeps a cursor.
 */
#include "lib/log.h"

#include "compiler.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "spinlock.h"

#define LINE_BYTES 320

static struct spinlock log_lock;
/* Under log_lock: positions count bytes ever written; tail is always the start of a line. */
static char ring[LOG_RING_BYTES];
static u64 head;
static u64 tail;
static u64 read_until; /* as far as any reader came */
/* Set once while one CPU runs, or in a panic. */
static void (*early_sink)(const char *text, size_t len);
static void (*panic_sink)(const char *text, size_t len);
static u64 (*clock_ns)(void);
static bool panicking;

void log_set_early_sink(void (*put)(const char *text, size_t len))
{
	WRITE_ONCE(early_sink, put);
}

void log_set_clock(u64 (*now_ns)(void))
{
	WRITE_ONCE(clock_ns, now_ns);
}

void log_set_panic_sink(void (*put)(const char *text, size_t len))
{
	WRITE_ONCE(panic_sink, put);
}

/* In a panic the owner of the lock may have been stopped: then go on without it. */
static bool log_acquire(void)
{
	if (!READ_ONCE(panicking)) {
		spin_lock(&log_lock);
		return true;
	}
	return spin_trylock(&log_lock);
}

static char ring_at(u64 pos)
{
	return ring[pos % LOG_RING_BYTES];
}

/* The position after the end of the line at pos. */
static u64 line_end(u64 pos)
{
	while (pos < head && ring_at(pos) != '\n')
		pos++;
	return MIN(pos + 1, head);
}

static void append(const char *line, size_t n)
{
	while (head + n - tail > LOG_RING_BYTES)
		tail = line_end(tail);
	for (size_t i = 0; i < n; i++)
		ring[(head + i) % LOG_RING_BYTES] = line[i];
	head += n;
}

static const char *level_word(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error: ";
	case LOG_WARN:
		return "warning: ";
	case LOG_DEBUG:
		return "debug: "; /* the console leaves these to dmesg */
	case LOG_INFO:
		break;
	}
	return "";
}

static void log_vwrite(enum log_level level, const char *fmt, va_list ap)
{
	void (*sink)(const char *text, size_t len) = READ_ONCE(early_sink);
	u64 (*clock)(void) = READ_ONCE(clock_ns);
	u64 now_us = clock ? clock() / NS_PER_US : 0;
	char line[LINE_BYTES];
	size_t n;
	bool locked;

	n = (size_t)str_format(line, sizeof(line), "[%4llu.%06llu] %s",
			       (unsigned long long)(now_us / 1000000),
			       (unsigned long long)(now_us % 1000000), level_word(level));
	n += (size_t)str_vformat(line + n, sizeof(line) - n, fmt, ap);
	n = MIN(n, sizeof(line) - 2);
	/* A line is one line, whatever was formatted into it. */
	for (size_t i = 0; i < n; i++)
		if ((u8)line[i] < ' ' && line[i] != '\t')
			line[i] = ' ';
	line[n++] = '\n';
	locked = log_acquire();
	append(line, n);
	if (sink) {
		sink(line, n);
		read_until = head;
	}
	if (locked)
		spin_unlock(&log_lock);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(level, fmt, ap);
	va_end(ap);
}

int log_trace(int error, const char *file, int line)
{
	log_write(LOG_DEBUG, "%s at %s:%d", error_name(error), file, line);
	return error;
}

size_t log_read(u64 *cursor, char *buf, size_t size)
{
	size_t done = 0;
	bool locked = log_acquire();

	if (*cursor < tail || *cursor > head)
		*cursor = tail;
	while (*cursor < head && done < size) {
		u64 end = line_end(*cursor);
		u64 n = end - *cursor;

		if (n > size - done) {
			if (done)
				break;
			n = size; /* a line that is longer than all of buf: its beginning */
		}
		for (u64 i = 0; i < n; i++)
			buf[done++] = ring_at(*cursor + i);
		buf[done - 1] = '\n';
		*cursor = end;
	}
	read_until = MAX(read_until, *cursor);
	if (locked)
		spin_unlock(&log_lock);
	return done;
}

u64 log_end(void)
{
	return READ_ONCE(head);
}

void log_set_panicking(void)
{
	char line[LINE_BYTES];
	u64 cursor = read_until;
	size_t n;

	WRITE_ONCE(panicking, true);
	if (!READ_ONCE(panic_sink) || READ_ONCE(early_sink) == panic_sink)
		return;
	WRITE_ONCE(early_sink, panic_sink);
	/* What nobody has read yet may be what explains the panic. */
	while ((n = log_read(&cursor, line, sizeof(line))) != 0)
		panic_sink(line, n);
}
