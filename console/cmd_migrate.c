/* SPDX-License-Identifier: Apache-2.0 */
/* The commands migrate and evacuate. Service CPU. */
#include "console/command.h"

#include "console/progress.h"
#include "console/terminal.h"
#include "errors.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "migrate/plan.h"
#include "vmm/vm.h"

#define DOWNTIME_MS_MAX 60000
#define TOTAL_S_MAX 604800 /* a week */

struct request {
	struct migrate_options options;
	bool cancel, status, all;
	const char *words[2];
	u32 word_count;
};

/* The number behind the option at argv[*at]; false, with a message, if there is none from 1 to max. */
static bool number(u32 argc, char **argv, u32 *at, const char *what, u32 max, u32 *value)
{
	const char *option = argv[*at];
	u64 n;

	if (*at + 1 == argc || str_to_u64(argv[*at + 1], &n) || !n || n > max) {
		terminal_printf("%s: %s wants %s, 1 to %u\n", argv[0], option, what, max);
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
		terminal_printf("%s: --on-timeout wants stop (pause it for the rest) or cancel (leave it here)\n", argv[0]);
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
	terminal_printf("%s: unknown option %s\n", argv[0], option);
	return false;
}

/* What only one of the commands knows; false: neither does. */
static bool parse_own(const char *option, bool evacuate, struct request *request)
{
	if (evacuate) {
		if (!str_equal(option, "--offline"))
			return false;
		request->options.live = false;
	} else if (str_equal(option, "--check")) {
		request->options.check = true;
	} else if (str_equal(option, "--cancel")) {
		request->cancel = true;
	} else if (str_equal(option, "--status")) {
		request->status = true;
	} else if (str_equal(option, "--all")) {
		request->all = true;
	} else {
		return false;
	}
	return true;
}

static bool parse(u32 argc, char **argv, struct request *request)
{
	bool evacuate = str_equal(argv[0], "evacuate");

	request->options.live = evacuate;
	for (u32 i = 1; i < argc; i++) {
		if (str_equal(argv[i], "-l") || str_equal(argv[i], "--live")) {
			request->options.live = true;
		} else if (str_equal(argv[i], "--verify")) {
			request->options.verify = true;
		} else if (parse_own(argv[i], evacuate, request)) {
			continue;
		} else if (argv[i][0] == '-') {
			if (!parse_limit(argc, argv, &i, &request->options))
				return false;
		} else if (!evacuate && request->word_count < 2) {
			request->words[request->word_count++] = argv[i];
		} else {
			command_usage(command_find(argv[0]));
			return false;
		}
	}
	return true;
}

static void cancel(const struct request *request)
{
	const struct vm *vm = NULL;

	if (request->word_count) {
		vm = command_guest(request->words[0]);
		if (!vm)
			return;
	}
	switch (vm ? migrate_cancel_guest(vm) : migrate_cancel()) {
	case 0:
		terminal_puts("migrate: cancelled\n");
		break;
	case -E_BUSY:
		terminal_puts("migrate: too late to cancel: the hand-over is committed\n");
		break;
	default:
		terminal_printf("migrate: %s is %sbeing moved\n", vm ? vm->config.name : "no guest", vm ? "not " : "");
		break;
	}
}

static void begin_plan(const char *command, const char *host, const struct migrate_options *options)
{
	char why[256];

	if (plan_start(host, options, why, sizeof(why)))
		terminal_printf("%s: %s\n", command, why);
	else
		shell_watch_plan();
}

static void begin_move(const struct request *request)
{
	struct vm *vm = command_guest(request->words[0]);
	char why[256];

	if (!vm)
		return;
	if (migrate_start(vm, request->words[1], &request->options, why, sizeof(why)))
		terminal_printf("migrate: %s\n", why);
	else
		shell_watch_migration();
}

static void run_migrate(u32 argc, char **argv)
{
	struct request request = { .word_count = 0 };
	u32 words;

	if (!parse(argc, argv, &request))
		return;
	words = request.cancel || request.status ? 0 : request.all ? 1 : 2;
	if (request.word_count != words && !(request.cancel && request.word_count == 1)) {
		command_usage(command_find("migrate"));
		return;
	}
	if (request.cancel)
		cancel(&request);
	else if (request.status)
		progress_print();
	else if (request.all && request.options.check)
		terminal_puts("migrate: --check is for one guest\n");
	else if (request.all)
		begin_plan("migrate", request.words[0], &request.options);
	else
		begin_move(&request);
}

static void run_evacuate(u32 argc, char **argv)
{
	struct request request = { .word_count = 0 };

	if (parse(argc, argv, &request))
		begin_plan("evacuate", NULL, &request.options);
}

static const struct command migrate_commands[] = {
	{ "migrate", "[-l|--live|--check] [--max-downtime MS] [--max-total S] [--on-timeout stop|cancel]\n"
	  "               [--bandwidth MB/S] [--verify] GUEST HOST | --all HOST | --cancel [GUEST] | --status",
	  "move a guest to another host",
	  "HOST is the name or the address of a peer of godwit.cfg, or localhost (a self-check).\n"
	  "Without --live the guest is paused while its memory is copied. With it, it runs until the rest can be\n"
	  "copied within --max-downtime (50 ms). A guest that writes faster than the link carries is slowed down, by\n"
	  "80 % at most. If that is not enough, or --max-total is over, it is paused for as long as the rest takes\n"
	  "(--on-timeout stop, the default) or stays here (cancel). While the progress is shown, Ctrl-C cancels, and\n"
	  "any other key gives the prompt back. Until the hand-over is committed, whatever fails leaves the guest\n"
	  "running here. Several guests can be on their way at once; --cancel without GUEST ends all moves.\n"
	  "With --verify both hosts then hash all of its memory, while it is paused, and it moves only if both have\n"
	  "the same.\n"
	  "--check moves nothing: it asks HOST whether the guest would fit there, measures the link and for three\n"
	  "seconds what the guest writes, and says what a move would be like.\n"
	  "--all moves all guests, some at a time, the largest first; the report says who stays, and why.",
	  COMPLETE_GUEST, run_migrate },
	{ "evacuate", "[--offline] [--max-downtime MS] [--max-total S] [--on-timeout stop|cancel] [--bandwidth MB/S]\n"
	  "                [--verify]", "move all guests to other hosts",
	  "Live, unless --offline says otherwise; the limits are those of migrate, for each guest. They go to the peers of\n"
	  "godwit.cfg that guests may go to, some at a time and the largest first: each to the peer with the most free\n"
	  "memory, or, where that refuses it, to the next. While the progress is shown, Ctrl-C cancels what is under way\n"
	  "and starts no more. In the end a line for each guest says where it is, or why it stays here.",
	  COMPLETE_NONE, run_evacuate },
};

const struct command_group commands_migrate = { "Migration", migrate_commands, ARRAY_SIZE(migrate_commands) };
