/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who watches what: at most one move (the one that was started last from the prompt) or plan has the terminal's row,
 * which is drawn again a few times a second. What was begun from the prompt and nobody watches any more gets its
 * summary above it, in the log. A plan's moves are the plan's: its report tells of them.
 */
#include "console/progress.h"

#include "arch/x86_64/cpu.h"
#include "console/fleet.h"
#include "console/summary.h"
#include "console/terminal.h"
#include "errors.h"
#include "lib/log.h"
#include "migrate/migrate.h"
#include "migrate/plan.h"
#include "vmm/vm.h"

#define REDRAW_NS (200 * NS_PER_MS)
#define CTRL_C 3
/* As many as can be under way, and those that have ended and wait for their summary. */
#define UNWATCHED_MAX (2 * MIGRATE_OUT_MAX)

static enum { WATCH_NOTHING, WATCH_MOVE, WATCH_PLAN } watching;
static u32 watched;                    /* the move */
static u32 unwatched[UNWATCHED_MAX]; /* that go on; 0: none */
static bool plan_unwatched;
static u64 next_ns;

void progress_watch(u32 id)
{
	watching = WATCH_MOVE;
	watched = id;
	next_ns = 0;
}

void progress_watch_plan(void)
{
	watching = WATCH_PLAN;
	plan_unwatched = false;
	next_ns = 0;
}

bool progress_active(void)
{
	return watching != WATCH_NOTHING;
}

static void cancel(void)
{
	struct migrate_progress p;
	const struct vm *vm;
	int error = -E_NOENT;

	if (watching == WATCH_PLAN) {
		error = plan_cancel();
	} else if (migrate_progress_of(watched, &p) && !summary_ended(&p)) {
		vm = vm_find(p.guest);
		error = vm ? migrate_cancel_guest(vm) : -E_NOENT;
	}
	/* If it has just ended, its summary comes next. */
	if (error == -E_BUSY)
		terminal_puts("\ntoo late to cancel: the hand-over is committed\n");
}

static void leave_alone(u32 id)
{
	for (u32 i = 0; i < UNWATCHED_MAX; i++)
		if (!unwatched[i]) {
			unwatched[i] = id;
			return;
		}
}

bool progress_input(u8 byte)
{
	if (byte == CTRL_C) {
		cancel();
		return false;
	}
	if (watching == WATCH_PLAN)
		plan_unwatched = true;
	else
		leave_alone(watched);
	watching = WATCH_NOTHING;
	terminal_puts("\n(goes on; migrate --status shows it, migrate --cancel ends it)\n");
	return true;
}

void progress_redraw(void)
{
	struct migrate_progress p;

	if (watching == WATCH_PLAN)
		fleet_draw();
	else if (migrate_progress_of(watched, &p))
		summary_draw(&p);
}

static bool watched_ended(void)
{
	struct migrate_progress p;

	if (watching == WATCH_PLAN)
		return !plan_active();
	return !migrate_progress_of(watched, &p) || summary_ended(&p);
}

static void print_summary(u32 id)
{
	struct migrate_progress p;
	char text[SUMMARY_BYTES];

	if (!migrate_progress_of(id, &p))
		return;
	summary_text(&p, text, sizeof(text));
	terminal_printf("%s\n", text);
}

bool progress_poll(void)
{
	if (watched_ended()) {
		terminal_puts(TERMINAL_CLEAR_LINE);
		if (watching == WATCH_PLAN)
			fleet_report();
		else
			print_summary(watched);
		watching = WATCH_NOTHING;
		return false;
	}
	if (time_ns() >= next_ns) {
		progress_redraw();
		next_ns = time_ns() + REDRAW_NS;
	}
	return true;
}

/* True: it has ended. */
static bool log_if_ended(u32 id)
{
	struct migrate_progress p;
	char text[SUMMARY_BYTES];

	if (!migrate_progress_of(id, &p))
		return true;
	if (!summary_ended(&p))
		return false;
	summary_text(&p, text, sizeof(text));
	if (p.step == MIGRATE_FAILED)
		log_warn("%s", text);
	else
		log_info("%s", text);
	return true;
}

void progress_poll_unwatched(void)
{
	for (u32 i = 0; i < UNWATCHED_MAX; i++)
		if (unwatched[i] && log_if_ended(unwatched[i]))
			unwatched[i] = 0;
	if (plan_unwatched && !plan_active()) {
		plan_unwatched = false;
		fleet_log();
	}
}

u64 progress_deadline(void)
{
	bool waits = plan_unwatched;

	if (progress_active())
		return next_ns;
	for (u32 i = 0; i < UNWATCHED_MAX; i++)
		waits |= unwatched[i] != 0;
	return waits ? time_ns() + REDRAW_NS : 0;
}

void progress_print(void)
{
	struct migrate_progress p;
	u32 shown = 0;

	for (u32 id = 0; (id = migrate_next_id(id)); shown++)
		if (migrate_progress_of(id, &p)) {
			summary_draw(&p);
			terminal_puts("\n");
		}
	if (plan_active()) {
		fleet_draw();
		terminal_puts("\n");
		return;
	}
	if (shown)
		return;
	migrate_get_progress(&p);
	if (p.id)
		print_summary(p.id);
	else
		terminal_puts("no guest was moved from here since the host came up\n");
}
