/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of debug builds: arming fault points for tests. Service CPU. */
#include "console/command.h"

#include "console/terminal.h"
#include "lib/fault.h"
#include "lib/string.h"

#ifdef GODWIT_DEBUG

static void show(void)
{
	const char *name;
	u64 left;

	for (u32 i = 0; (name = fault_get(i, &left)); i++)
		terminal_printf("%-32s hit %llu times, %s\n", name, (unsigned long long)fault_hits(name),
				left ? "armed" : "spent");
}

static void run_fault(u32 argc, char **argv)
{
	u64 count = FAULT_FOREVER;

	if (argc == 1) {
		show();
		return;
	}
	if (str_equal(argv[1], "--clear")) {
		if (argc == 3)
			fault_clear(argv[2]);
		else
			fault_clear_all();
		return;
	}
	if (argc > 3 || argv[1][0] == '-' || (argc == 3 && str_to_u64(argv[2], &count))) {
		command_usage(command_find(argv[0]));
		return;
	}
	if (fault_set(argv[1], count))
		terminal_puts("fault: too many points are armed, or the name is too long\n");
}

static const struct command debug_commands[] = {
	{ "fault", "[NAME [COUNT] | --clear [NAME]]", "arm a fault point (for tests of Godwit itself)", NULL, COMPLETE_NONE,
	  run_fault },
};

const struct command_group commands_debug = { "Debug build", debug_commands, ARRAY_SIZE(debug_commands) };

#else

const struct command_group commands_debug = { "Debug build", NULL, 0 };

#endif
