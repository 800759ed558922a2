/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about a guest's memory: its balloon. Service CPU. */
#include "console/command.h"

#include "arch/x86_64/cpu.h"
#include "console/terminal.h"
#include "lib/format.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/balloon.h"
#include "vmm/vm.h"

/* Can the host give it so much more? What it has not given back it need not get. */
static bool has_room(const struct vm *vm, u32 more_mib)
{
	u64 needed = MIN(MIB((u64)more_mib), vm->gmem.given_back * LARGE_SIZE);
	u64 free_bytes = pages_free_count() * PAGE_SIZE;
	char need[24], have[24];

	if (needed <= free_bytes)
		return true;
	terminal_printf("no room: %s needs %s more of this host's memory, %s are free\n", vm->config.name,
			format_bytes(need, sizeof(need), needed), format_bytes(have, sizeof(have), free_bytes));
	return false;
}

static void run_mem_set(u32 argc, char **argv)
{
	struct balloon_info info;
	struct vm *vm;
	u32 before_mib, target_mib;
	u64 number;

	if (argc != 3) {
		command_usage(command_find(argv[0]));
		return;
	}
	vm = command_live_guest(argv[1]);
	if (!vm)
		return;
	if (str_to_u64(argv[2], &number) || number < VM_MEMORY_MIN_MIB || number > vm->config.memory_mib) {
		terminal_printf("%s can have %u to %u MiB (maxmem in its file)\n", vm->config.name, VM_MEMORY_MIN_MIB,
				vm->config.memory_mib);
		return;
	}
	target_mib = (u32)ALIGN_UP(number, 2); /* as in a guest's file */
	before_mib = vm->config.memory_mib - vm->config.balloon_mib;
	if (target_mib > before_mib && !has_room(vm, target_mib - before_mib))
		return;
	vm->config.balloon_mib = vm->config.memory_mib - target_mib;
	balloon_changed(vm);
	balloon_info(vm, &info);
	if (info.driver)
		terminal_printf("%s is asked to do with %u MiB: mem-stat %s shows how far it is\n", vm->config.name,
				target_mib, vm->config.name);
	else
		terminal_printf("%s is to do with %u MiB; it has no driver for its balloon yet (virtio-balloon)\n",
				vm->config.name, target_mib);
}

static void print_bytes(const char *what, u64 bytes)
{
	char text[24];

	if (bytes != ~0ull)
		terminal_printf("  %-12s %s\n", what, format_bytes(text, sizeof(text), bytes));
}

static void print_stats(const struct balloon_info *info)
{
	u64 ago_ns = time_ns() - info->told_ns;

	terminal_printf("as the guest said %llu.%llu s ago:\n", (unsigned long long)(ago_ns / NS_PER_S),
			(unsigned long long)(ago_ns % NS_PER_S / (100 * NS_PER_MS)));
	print_bytes("total", info->total_bytes);
	print_bytes("free", info->free_bytes);
	print_bytes("available", info->available_bytes);
	print_bytes("file caches", info->cache_bytes);
	if (info->major_faults != ~0ull)
		terminal_printf("  %-12s %llu\n", "major faults", (unsigned long long)info->major_faults);
}

static void run_mem_stat(u32 argc, char **argv)
{
	struct balloon_info info;
	struct vm *vm;
	char in[24], back[24], reported[24];

	if (argc != 2) {
		command_usage(command_find(argv[0]));
		return;
	}
	vm = command_guest(argv[1]);
	if (!vm)
		return;
	balloon_info(vm, &info);
	terminal_printf("%s: %u of %u MiB; in the balloon %s, of these %s are this host's again\n", vm->config.name,
			vm->config.memory_mib - vm->config.balloon_mib, vm->config.memory_mib,
			format_bytes(in, sizeof(in), info.balloon_bytes),
			format_bytes(back, sizeof(back), info.given_back_bytes));
	terminal_printf("reported as free since its driver came up here: %s, not sent in a move unless used since\n",
			format_bytes(reported, sizeof(reported), info.reported_bytes));
	if (info.waits)
		terminal_puts("it wants memory back, and waits until this host has some\n");
	if (info.told_ns)
		print_stats(&info);
	else
		terminal_puts(info.driver ? "the guest has said nothing of its memory yet\n"
					  : "the guest has no driver for its balloon (virtio-balloon)\n");
	balloon_ask(vm);
}

static const struct command memory_commands[] = {
	{ "mem-set", "GUEST MB", "how much memory the guest may use, in MiB",
	  "No more than its file gives it (memory, or maxmem). The guest's driver (virtio-balloon) gives the rest up,\n"
	  "in its own time; whole 2 MiB of it are this host's again (free_memory in info). More only if the host has it.",
	  COMPLETE_GUEST, run_mem_set },
	{ "mem-stat", "GUEST", "what the guest says of its memory",
	  "As it said it last; it is asked anew, so the next mem-stat is newer.", COMPLETE_GUEST, run_mem_stat },
};

const struct command_group commands_memory = { "Memory", memory_commands, ARRAY_SIZE(memory_commands) };
