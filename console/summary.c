/* SPDX-License-Identifier: Apache-2.0 */
/* A move in words: see summary.h. progress.c says when. */
#include "console/summary.h"

#include "console/terminal.h"
#include "lib/format.h"
#include "lib/string.h"

#define BAR_CELLS 12

static const char *step_name(enum migrate_step step)
{
	switch (step) {
	case MIGRATE_IDLE:
		return "idle";
	case MIGRATE_CONNECT:
		return "connecting";
	case MIGRATE_HELLO:
		return "asking the peer";
	case MIGRATE_ROUNDS:
		return "copying";
	case MIGRATE_FINAL:
		return "paused, last pages";
	case MIGRATE_PREPARED:
		return "handing over";
	case MIGRATE_COMMIT:
		return "committed";
	case MIGRATE_DONE:
		return "done";
	case MIGRATE_FAILED:
		return "failed";
	case MIGRATE_CHECK:
		return "measuring";
	}
	return "?";
}

bool summary_ended(const struct migrate_progress *p)
{
	return p->step == MIGRATE_IDLE || p->step == MIGRATE_DONE || p->step == MIGRATE_FAILED;
}

/* "1.1k", "340": short numbers for rates. */
static const char *format_count(char *buf, size_t size, u64 n)
{
	if (n >= 10000)
		str_format(buf, size, "%lluk", (unsigned long long)(n / 1000));
	else if (n >= 1000)
		str_format(buf, size, "%llu.%lluk", (unsigned long long)(n / 1000), (unsigned long long)(n % 1000 / 100));
	else
		str_format(buf, size, "%llu", (unsigned long long)n);
	return buf;
}

static void draw_bar(u64 done, u64 total)
{
	char bar[BAR_CELLS + 1];
	u64 cells = total ? MIN(done * BAR_CELLS / total, (u64)BAR_CELLS) : 0;

	memset(bar, ' ', BAR_CELLS);
	memset(bar, '=', cells);
	if (cells < BAR_CELLS)
		bar[cells] = '>';
	bar[BAR_CELLS] = 0;
	terminal_printf("  [%s]", bar);
}

static void draw_text(const struct migrate_progress *p)
{
	char rate[16];
	u64 done_mib = (p->pages_total - MIN(p->pages_left, p->pages_total)) * PAGE_SIZE / MIB(1);
	u64 total_mib = p->pages_total * PAGE_SIZE / MIB(1);

	terminal_printf("%s -> %s  ", p->guest, p->peer);
	if (p->step == MIGRATE_PREPARED && p->pages_verified) {
		terminal_printf("paused, verifying  %llu/%llu MiB",
				(unsigned long long)(p->pages_verified * PAGE_SIZE / MIB(1)),
				(unsigned long long)total_mib);
		draw_bar(p->pages_verified, p->pages_total);
		return;
	}
	if (p->step != MIGRATE_ROUNDS && (p->live || p->step != MIGRATE_FINAL)) {
		terminal_puts(step_name(p->step));
		return;
	}
	if (p->live)
		terminal_printf("round %u  ", p->round);
	else
		terminal_puts("paused  ");
	terminal_printf("%llu/%llu MiB  %llu MB/s", (unsigned long long)done_mib, (unsigned long long)total_mib,
			(unsigned long long)(p->bytes_per_s / 1000000));
	/* Both are measured at a round's end. */
	if (p->live && p->round > 1)
		terminal_printf("  dirty %s pages/s  downtime est. %llu ms",
				format_count(rate, sizeof(rate), p->dirty_pages_per_s),
				(unsigned long long)(p->downtime_estimate_ns / NS_PER_MS));
	if (p->throttled)
		terminal_printf("  slowed by %u %%", p->throttled);
	draw_bar(p->pages_total - MIN(p->pages_left, p->pages_total), p->pages_total);
}

void summary_draw(const struct migrate_progress *p)
{
	terminal_puts(TERMINAL_CLEAR_LINE TERMINAL_WRAP_OFF);
	draw_text(p);
	terminal_puts(TERMINAL_WRAP_ON);
}

static printf_like(3, 4) void append(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	str_vformat(text + used, size - used, fmt, ap);
	va_end(ap);
}

/* What --verify has cost. */
static void summary_verified(const struct migrate_progress *p, char *text, size_t size)
{
	if (p->pages_verified)
		append(text, size, ", %llu pages verified in %llu ms",
			   (unsigned long long)p->pages_verified, (unsigned long long)(p->verify_ns / NS_PER_MS));
}

/* What the guest had to put up with. */
static void summary_limits(const struct migrate_progress *p, char *text, size_t size)
{
	if (p->throttled)
		append(text, size, "; slowed by %u %% at last", p->throttled);
	if (p->forced && p->step == MIGRATE_DONE)
		append(text, size, "; paused for all that was left, as %s", p->forced);
}

/* "2.9 s", "340 ms". */
const char *summary_time(char *buf, size_t size, u64 ns)
{
	if (ns >= 10 * NS_PER_S)
		str_format(buf, size, "%llu s", (unsigned long long)(ns / NS_PER_S));
	else if (ns >= NS_PER_S)
		str_format(buf, size, "%llu.%llu s", (unsigned long long)(ns / NS_PER_S),
			   (unsigned long long)(ns % NS_PER_S / (100 * NS_PER_MS)));
	else
		str_format(buf, size, "%llu ms", (unsigned long long)DIV_UP(ns, NS_PER_MS));
	return buf;
}

static const char *forecast_note(const struct forecast *f)
{
	switch (f->end) {
	case FORECAST_GOOD:
		return "";
	case FORECAST_WRITES:
		return "; longer than --max-downtime, as it writes too fast";
	case FORECAST_LINK:
		return "; longer than --max-downtime, as the link is too slow";
	case FORECAST_TOTAL:
		return "; --max-total is over before it could be paused for less";
	}
	return "";
}

static void forecast_summary(const struct migrate_progress *p, char *text, size_t size)
{
	const struct forecast *live = &p->forecast.live, *offline = &p->forecast.offline;
	const struct forecast_input *in = &p->forecast.measured;
	u64 written = in->dirty.count ? in->dirty.pages[in->dirty.count - 1] : 0;
	u64 during = in->dirty.count ? in->dirty.ns[in->dirty.count - 1] : 0;
	char total[16], down[16], window[16];

	str_format(text, size, "%s fits on %s\n  measured: %llu of %llu MiB to send, %llu MB/s", p->guest, p->peer,
		   (unsigned long long)(in->used_pages * PAGE_SIZE / MIB(1)),
		   (unsigned long long)(p->memory_bytes / MIB(1)), (unsigned long long)(in->bytes_per_s / 1000000));
	if (live->rounds) {
		append(text, size, ", %llu pages written in %s\n  live:     ",
			   (unsigned long long)written, summary_time(window, sizeof(window), during));
		append(text, size, "about %s in all, %s down, %u rounds, %llu MB sent",
			   summary_time(total, sizeof(total), live->total_ns),
			   summary_time(down, sizeof(down), live->downtime_ns), live->rounds,
			   (unsigned long long)(live->bytes / 1000000));
		if (live->throttle)
			append(text, size, "; slowed by %u %%", live->throttle);
		append(text, size, "%s", forecast_note(live));
	}
	append(text, size, "\n  offline:  about %s in all, %s down, %llu MB sent",
		   summary_time(total, sizeof(total), offline->total_ns),
		   summary_time(down, sizeof(down), offline->downtime_ns),
		   (unsigned long long)(offline->bytes / 1000000));
}

static void check_summary(const struct migrate_progress *p, char *text, size_t size)
{
	if (p->step == MIGRATE_DONE)
		forecast_summary(p, text, size);
	else if (p->refused)
		str_format(text, size, "%s does not fit on %s: %s", p->guest, p->peer, p->why);
	else
		str_format(text, size, "whether %s fits on %s could not be found out: %s", p->guest, p->peer,
			   p->why);
}

void summary_text(const struct migrate_progress *p, char *text, size_t size)
{
	u64 total_ms = p->total_ns / NS_PER_MS;

	if (p->check) {
		check_summary(p, text, size);
		return;
	}
	if (p->step == MIGRATE_DONE)
		str_format(text, size,
			   "%s %s on %s: %llu.%02llu s in all, %llu.%llu ms down, %u round%s, "
			   "%llu.%llu MB sent for %llu MiB",
			   p->guest, p->user_pause ? "is paused" : "runs", p->peer,
			   (unsigned long long)(total_ms / 1000),
			   (unsigned long long)(total_ms % 1000 / 10), (unsigned long long)(p->downtime_ns / NS_PER_MS),
			   (unsigned long long)(p->downtime_ns % NS_PER_MS / (NS_PER_MS / 10)), p->round,
			   p->round == 1 ? "" : "s", (unsigned long long)(p->bytes_sent / 1000000),
			   (unsigned long long)(p->bytes_sent % 1000000 / 100000),
			   (unsigned long long)(p->memory_bytes / MIB(1)));
	else
		str_format(text, size, "%s was not moved to %s: %s", p->guest, p->peer, p->why);
	if (p->step == MIGRATE_DONE)
		summary_verified(p, text, size);
	summary_limits(p, text, size);
}
