/* SPDX-License-Identifier: Apache-2.0 */
/* The console's output queue and its line: see terminal.h. Service CPU. */
#include "console/terminal.h"

#include "arch/x86_64/cpu.h"
#include "lib/format.h"
#include "lib/ring.h"
#include "lib/string.h"

static const struct console_io *line;
static u8 queue_data[TERMINAL_QUEUE_BYTES];
static struct ring queue;

void terminal_init(const struct console_io *io)
{
	line = io;
	ring_init(&queue, queue_data, sizeof(queue_data));
}

void terminal_write(const char *text, size_t len)
{
	/* A full queue means that nobody has drained 128 KiB: the newest is what is lost. */
	ring_put(&queue, text, len);
}

void terminal_puts(const char *text)
{
	terminal_write(text, strlen(text));
}

void terminal_printf(const char *fmt, ...)
{
	char text[2560];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	terminal_write(text, MIN((size_t)n, sizeof(text) - 1));
}

size_t terminal_read(u8 *buf, size_t size)
{
	return line->read(buf, size);
}

size_t terminal_room(void)
{
	return ring_room(&queue);
}

bool terminal_flush(void)
{
	char chunk[256];
	size_t n;

	while (ring_used(&queue) && (n = line->room()) > 0) {
		n = ring_get(&queue, chunk, MIN(n, sizeof(chunk)));
		line->write(chunk, n);
	}
	return ring_used(&queue) > 0;
}

void terminal_drain(void)
{
	u64 end = time_ns() + NS_PER_S;

	for (;;) {
		bool queued = terminal_flush();
		bool on_its_way = line->drain();

		if ((!queued && !on_its_way) || time_ns() >= end)
			return;
		cpu_relax();
	}
}
