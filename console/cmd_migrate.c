/* SPDX-License-Identifier: Apache-2.0 */
/* The migrate command. Service CPU. */
#include "console/command.h"

#include "console/progress.h"
#include "console/terminal.h"
#include "errors.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "vmm/vm.h"

#define DOWNTIME_MS_MAX 60000

struct request {
	struct migrate_options options;
	bool cancel, status;
	const char *words[2];
	u32 word_count;
};

static bool parse(u32 argc, char **argv, struct request *request)
{
	u64 ms;

	for (u32 i = 1; i < argc; i++) {
		if (str_equal(argv[i], "-l") || str_equal(argv[i], "--live")) {
			request->options.live = true;
		} else if (str_equal(argv[i], "--cancel")) {
			request->cancel = true;
		} else if (str_equal(argv[i], "--status")) {
			request->status = true;
		} else if (str_equal(argv[i], "--max-downtime")) {
			if (i + 1 == argc || str_to_u64(argv[i + 1], &ms) || !ms || ms > DOWNTIME_MS_MAX) {
				terminal_printf("migrate: --max-downtime wants milliseconds, 1 to %u\n", DOWNTIME_MS_MAX);
				return false;
			}
			request->options.max_downtime_ms = (u32)ms;
			i++;
		} else if (argv[i][0] == '-') {
			terminal_printf("migrate: unknown option %s\n", argv[i]);
			return false;
		} else if (request->word_count < 2) {
			request->words[request->word_count++] = argv[i];
		} else {
			command_usage(command_find("migrate"));
			return false;
		}
	}
	return true;
}

static void cancel(void)
{
	switch (migrate_cancel()) {
	case 0:
		terminal_puts("migrate: cancelled\n");
		break;
	case -E_BUSY:
		terminal_puts("migrate: too late to cancel: the hand-over is committed\n");
		break;
	default:
		terminal_puts("migrate: no guest is being moved\n");
		break;
	}
}

static void run_migrate(u32 argc, char **argv)
{
	struct request request = { .word_count = 0 };
	char why[256];
	struct vm *vm;

	if (!parse(argc, argv, &request))
		return;
	if (request.cancel) {
		cancel();
		return;
	}
	if (request.status) {
		progress_print();
		return;
	}
	if (request.word_count != 2) {
		command_usage(command_find("migrate"));
		return;
	}
	vm = command_guest(request.words[0]);
	if (!vm)
		return;
	if (migrate_start(vm, request.words[1], &request.options, why, sizeof(why))) {
		terminal_printf("migrate: %s\n", why);
		return;
	}
	shell_watch_migration();
}

static const struct command migrate_commands[] = {
	{ "migrate", "[-l|--live] [--max-downtime MS] GUEST HOST | --cancel | --status",
	  "move a guest to another host",
	  "HOST is the name or the address of a peer of godwit.cfg, or localhost (a self-check).\n"
	  "Without --live the guest is paused while its memory is copied. With it, it runs until the rest can be\n"
	  "copied within --max-downtime (50 ms). While the progress is shown, Ctrl-C cancels, and any other key gives\n"
	  "the prompt back. Until the hand-over is committed, whatever fails leaves the guest running here.",
	  COMPLETE_GUEST, run_migrate },
};

const struct command_group commands_migrate = { "Migration", migrate_commands, ARRAY_SIZE(migrate_commands) };
