/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of debug builds: arming fault points for tests, and what a round of the dirty log costs. Service CPU. */
#include "console/command.h"

#include "arch/x86_64/cpu.h"
#include "console/terminal.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

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

/* The guest whose writes are logged for this command, by its id: it may end meanwhile. */
static u32 watched;

/* Of all its life. */
static u64 full_log_exits(const struct vm *vm)
{
	u64 exits = 0;

	for (u32 i = 0; i < vm->vcpu_count; i++)
		exits += vm->vcpus[i]->exits_by_kind[VM_EXIT_DIRTY_LOG];
	return exits;
}

static void dirty_round(struct vm *vm)
{
	unsigned int order = pages_order(BITMAP_WORDS(vm->gmem.pages) * sizeof(u64));
	hpa_t bitmap = pages_alloc(order);
	u64 begin;
	u64 found;
	u64 ticks;

	if (bitmap == HPA_NONE) {
		terminal_puts("dirty: no memory for the bitmap\n");
		return;
	}
	begin = tsc_read();
	found = vm_dirty_collect(vm, page_ptr(bitmap));
	ticks = tsc_read() - begin;
	pages_free(bitmap, order);
	terminal_printf("round: %llu pages, %llu TSC ticks, %llu exits by a full log until now\n",
			(unsigned long long)found, (unsigned long long)ticks, (unsigned long long)full_log_exits(vm));
}

static void run_dirty(u32 argc, char **argv)
{
	struct vm *vm = argc == 3 ? command_guest(argv[2]) : NULL;
	bool mine = vm && vm->gmem.logging && vm->id == watched;

	if (argc != 3) {
		command_usage(command_find(argv[0]));
	} else if (vm && str_equal(argv[1], "start")) {
		if (vm->gmem.logging || vm_dirty_start(vm))
			terminal_puts("dirty: it is logged already, or there is no memory left for that\n");
		else
			watched = vm->id;
	} else if (mine && str_equal(argv[1], "round")) {
		dirty_round(vm);
	} else if (mine && str_equal(argv[1], "stop")) {
		vm_dirty_stop(vm);
	} else if (vm) {
		terminal_puts("dirty: start, then round, in the end stop\n");
	}
}

static const struct command debug_commands[] = {
	{ "dirty", "start|round|stop GUEST", "log what a guest writes, and say what a round costs", NULL, COMPLETE_NONE,
	  run_dirty },
	{ "fault", "[NAME [COUNT] | --clear [NAME]]", "arm a fault point (for tests of Godwit itself)", NULL, COMPLETE_NONE,
	  run_fault },
};

const struct command_group commands_debug = { "Debug build", debug_commands, ARRAY_SIZE(debug_commands) };

#else

const struct command_group commands_debug = { "Debug build", NULL, 0 };

#endif
