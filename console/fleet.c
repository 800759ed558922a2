/* SPDX-License-Identifier: Apache-2.0 */
/* evacuate and migrate --all in words: see fleet.h. progress.c says when. */
#include "console/fleet.h"

#include "console/summary.h"
#include "console/terminal.h"
#include "lib/format.h"
#include "lib/log.h"
#include "migrate/plan.h"
#include "vmm/vm.h"

#define LINE_BYTES 640

static void draw_guest(const struct plan_guest *g)
{
	struct migrate_progress p;

	if (g->state != PLAN_MOVES || !migrate_progress_of(g->move, &p))
		return;
	terminal_printf("  %s -> %s", g->guest, g->peer);
	if (p.step == MIGRATE_ROUNDS && p.live)
		terminal_printf(" round %u", p.round);
	else if (p.step >= MIGRATE_FINAL && p.step <= MIGRATE_COMMIT)
		terminal_puts(" paused");
	if (p.step == MIGRATE_ROUNDS || p.step == MIGRATE_FINAL)
		terminal_printf(" %llu %%", (unsigned long long)((p.pages_total - MIN(p.pages_left, p.pages_total)) * 100 /
								 MAX(p.pages_total, 1)));
}

void fleet_draw(void)
{
	const struct plan_guest *g;
	struct plan_count count;

	plan_count(&count);
	terminal_printf(TERMINAL_CLEAR_LINE TERMINAL_WRAP_OFF "%s: %u of %u gone", plan_name(), count.moved, count.all);
	if (count.stays)
		terminal_printf(", %u stay%s", count.stays, count.stays == 1 ? "s" : "");
	for (u32 i = 0; (g = plan_get(i)); i++)
		draw_guest(g);
	terminal_puts(TERMINAL_WRAP_ON);
}

/* A guest that did not go. */
static const char *state_here(const struct plan_guest *g)
{
	const struct vm *vm = vm_by_id(g->vm_id);

	if (!vm)
		return "is not here any more";
	if (vm->state != VM_LIVE)
		return "stays here, and has ended";
	if (vm->paused & VM_PAUSE_OWNER)
		return "stays here, paused: 'list' says what to do";
	return vm->paused & VM_PAUSE_USER ? "stays here, paused" : "stays here and runs on";
}

static void line_of(const struct plan_guest *g, char *text, size_t size)
{
	char total[16], down[16];

	if (g->state == PLAN_MOVED)
		str_format(text, size, "  %s %s on %s: %s in all, %s down", g->guest, g->paused ? "is paused" : "runs",
			   g->peer, summary_time(total, sizeof(total), g->total_ns),
			   summary_time(down, sizeof(down), g->downtime_ns));
	else if (g->state == PLAN_GONE)
		str_format(text, size, "  %s is not here any more", g->guest);
	else
		str_format(text, size, "  %s %s: %s", g->guest, state_here(g), g->why);
}

static void heading(char *text, size_t size)
{
	struct plan_count count;

	plan_count(&count);
	str_format(text, size, "%s: %u of %u guest%s went", plan_name(), count.moved, count.all,
		   count.all == 1 ? "" : "s");
}

void fleet_report(void)
{
	const struct plan_guest *g;
	char text[LINE_BYTES];

	heading(text, sizeof(text));
	terminal_printf("%s\n", text);
	for (u32 i = 0; (g = plan_get(i)); i++) {
		line_of(g, text, sizeof(text));
		terminal_printf("%s\n", text);
	}
}

void fleet_log(void)
{
	const struct plan_guest *g;
	char text[LINE_BYTES];

	heading(text, sizeof(text));
	log_info("%s", text);
	for (u32 i = 0; (g = plan_get(i)); i++) {
		line_of(g, text, sizeof(text));
		if (g->state == PLAN_STAYS)
			log_warn("%s", text);
		else
			log_info("%s", text);
	}
}
