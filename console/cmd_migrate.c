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
#define TOTAL_S_MAX 604800 /* a week */

struct request {
	struct migrate_options options;
	bool cancel, status;
	const char *words[2];
	u32 word_count;
};

/* The number behind the option at argv[*at]; false, with a message, if there is none from 1 to max. */
static bool number(u32 argc, char **argv, u32 *at, const char *what, u32 max, u32 *value)
{
	const char *option = argv[*at];
	u64 n;

	if (*at + 1 == argc || str_to_u64(argv[*at + 1], &n) || !n || n > max) {
		terminal_printf("migrate: %s wants %s, 1 to %u\n", option, what, max);
		return false;
	}
	*value = (u32)n;
	(*at)++;
	return true;
}

static bool parse_end(u32 argc, char **argv, u32 *at, bool *cancels)
{
	const char *word = *at + 1 < argc ? argv[*at + 1] : "";

	*cancels = str_equal(word, "cancel");
	if (!*cancels && !str_equal(word, "stop")) {
		terminal_puts("migrate: --on-timeout wants stop (pause it for the rest) or cancel (leave it here)\n");
		return false;
	}
	(*at)++;
	return true;
}

/* An option with a value; false: none of these, or its value is wrong and was complained about. */
static bool parse_limit(u32 argc, char **argv, u32 *at, struct migrate_options *options)
{
	const char *option = argv[*at];

	if (str_equal(option, "--max-downtime"))
		return number(argc, argv, at, "milliseconds", DOWNTIME_MS_MAX, &options->max_downtime_ms);
	if (str_equal(option, "--max-total"))
		return number(argc, argv, at, "seconds", TOTAL_S_MAX, &options->max_total_s);
	if (str_equal(option, "--bandwidth"))
		return number(argc, argv, at, "MB/s", MIGRATE_BANDWIDTH_MAX, &options->bandwidth_mb_s);
	if (str_equal(option, "--on-timeout"))
		return parse_end(argc, argv, at, &options->cancel_on_timeout);
	terminal_printf("migrate: unknown option %s\n", option);
	return false;
}

static bool parse(u32 argc, char **argv, struct request *request)
{
	for (u32 i = 1; i < argc; i++) {
		if (str_equal(argv[i], "-l") || str_equal(argv[i], "--live")) {
			request->options.live = true;
		} else if (str_equal(argv[i], "--check")) {
			request->options.check = true;
		} else if (str_equal(argv[i], "--cancel")) {
			request->cancel = true;
		} else if (str_equal(argv[i], "--status")) {
			request->status = true;
		} else if (str_equal(argv[i], "--verify")) {
			request->options.verify = true;
		} else if (argv[i][0] == '-') {
			if (!parse_limit(argc, argv, &i, &request->options))
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
	{ "migrate", "[-l|--live|--check] [--max-downtime MS] [--max-total S] [--on-timeout stop|cancel]\n"
	  "               [--bandwidth MB/S] [--verify] GUEST HOST | --cancel | --status",
	  "move a guest to another host",
	  "HOST is the name or the address of a peer of godwit.cfg, or localhost (a self-check).\n"
	  "Without --live the guest is paused while its memory is copied. With it, it runs until the rest can be\n"
	  "copied within --max-downtime (50 ms). A guest that writes faster than the link carries is slowed down, by\n"
	  "80 % at most. If that is not enough, or --max-total is over, it is paused for as long as the rest takes\n"
	  "(--on-timeout stop, the default) or stays here (cancel). While the progress is shown, Ctrl-C cancels, and\n"
	  "any other key gives the prompt back. Until the hand-over is committed, whatever fails leaves the guest\n"
	  "running here.\n"
	  "With --verify both hosts then hash all of its memory, while it is paused, and it moves only if both have\n"
	  "the same.\n"
	  "--check moves nothing: it asks HOST whether the guest would fit there, measures the link and for three\n"
	  "seconds what the guest writes, and says what a move would be like.",
	  COMPLETE_GUEST, run_migrate },
};

const struct command_group commands_migrate = { "Migration", migrate_commands, ARRAY_SIZE(migrate_commands) };
