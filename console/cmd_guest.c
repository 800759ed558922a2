/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about guests, named as xl names them. Service CPU. */
#include "console/command.h"

#include "console/console.h"
#include "console/terminal.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "migrate/owner.h"
#include "vmm/balloon.h"
#include "vmm/files.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

static const char *state_name(const struct vm *vm)
{
	switch (vm->state) {
	case VM_BUILDING:
		return "building";
	case VM_SHUTDOWN:
		return "shut down";
	case VM_REBOOTING:
		return "rebooting";
	case VM_CRASHED:
		return "crashed";
	case VM_LIVE:
		break;
	}
	if (vm->paused & VM_PAUSE_OWNER)
		return owner_state(vm) == OWNER_DOUBT ? "paused, owner unknown" : "paused, another host has it";
	if (vm->paused & VM_PAUSE_USER)
		return "paused";
	if (vm->paused & ~(u32)VM_PAUSE_CLEAR)
		return "moving";
	return vm->paused ? "starting" : "running";
}

/* Without what is in its balloon, of which the guest may say anything. */
static u32 memory_now_mib(struct vm *vm)
{
	struct balloon_info balloon;

	balloon_info(vm, &balloon);
	return vm->config.memory_mib - (u32)MIN(balloon.balloon_bytes / MIB(1), vm->config.memory_mib);
}

static void list_one(struct vm *vm)
{
	u64 run_ns = 0;

	for (u32 i = 0; i < vm->vcpu_count; i++)
		run_ns += vm->vcpus[i]->run_ns;
	terminal_printf("%-24s %4u %6u %5u %8llu.%llu  %s%s%s\n", vm->config.name, vm->id, memory_now_mib(vm),
			vm->vcpu_count, (unsigned long long)(run_ns / NS_PER_S),
			(unsigned long long)(run_ns % NS_PER_S / (100 * NS_PER_MS)), state_name(vm), vm->why[0] ? ": " : "",
			vm->why);
}

/* How it shares the CPUs with others. */
static void list_shares(const struct vm *vm)
{
	const struct vm_config *c = &vm->config;
	char cpus[CPUS_TEXT_BYTES];

	terminal_printf("%26sweight %u, ", "", c->weight ? c->weight : VM_WEIGHT_DEFAULT);
	if (c->cap)
		terminal_printf("at most %u %% of a CPU, ", c->cap);
	terminal_printf("on CPUs %s\n", format_cpus(cpus, sizeof(cpus), c->cpus));
	if (vm->gmem.giants)
		terminal_printf("%26s%llu GiB of its memory are pages of 1 GiB\n", "", (unsigned long long)vm->gmem.giants);
	if (vm->cap)
		terminal_printf("%26sslowed down: its vCPUs get at most %u %% of a CPU\n", "", vm->cap);
}

static void list_ownership(const struct vm *vm)
{
	char uuid[40], epoch[EPOCH_TEXT_BYTES];

	terminal_printf("%26suuid %s, ownership epoch %s\n", "", format_uuid(uuid, sizeof(uuid), vm->config.uuid),
			migrate_format_epoch(epoch, sizeof(epoch), vm->epoch));
}

/* It has no ID yet and obeys no command, but its memory, name and MACs are taken. */
static void list_arrivals(void)
{
	struct migrate_arrival arrival;

	for (u32 i = 0; migrate_get_arrival(i, &arrival); i++)
		terminal_printf("%-24s %4s %6u %5u %10s  arriving from %s, %u %%\n", arrival.guest, "-",
				arrival.memory_mib, arrival.vcpus, "-", arrival.peer, arrival.percent);
}

static void run_list(u32 argc, char **argv)
{
	const struct vm *only = NULL;

	if (argc > 2) {
		command_usage(command_find(argv[0]));
		return;
	}
	if (argc == 2) {
		only = command_guest(argv[1]);
		if (!only)
			return;
	}
	terminal_printf("%-24s %4s %6s %5s %10s  %s\n", "Name", "ID", "Mem", "VCPUs", "Time(s)", "State");
	for (struct vm *each = vm_next(NULL); each; each = vm_next(each))
		if (!only || each == only)
			list_one(each);
	if (only) {
		list_ownership(only);
		list_shares(only);
	} else {
		list_arrivals();
	}
}

static void show_config_line(void *ctx, const char *file, u32 number, bool warning, const char *text)
{
	(void)ctx;
	if (number)
		terminal_printf("%s line %u: %s%s\n", file, number, warning ? "warning: " : "", text);
	else
		terminal_printf("%s: %s%s\n", file, warning ? "warning: " : "", text);
}

struct vm *console_create_guest(const char *name, bool paused)
{
	static struct vm_config config;
	struct cfg_report report = { .line = show_config_line };
	const struct host_file *file = files_find(name);
	char with_suffix[80];
	char why[256];
	struct vm *vm;

	if (!file) {
		str_format(with_suffix, sizeof(with_suffix), "%s.cfg", name);
		file = files_find(with_suffix);
	}
	if (!file) {
		terminal_printf("%s: there is no such file in \\godwit\\ on the ESP; files lists what is there\n", name);
		return NULL;
	}
	if (vm_config_parse(&config, file->name, file->data, file->bytes, &report)) {
		terminal_printf("%s: the guest was not started\n", file->name);
		return NULL;
	}
	vm_config_complete(&config);
	if (vm_create(&config, &vm, why, sizeof(why))) {
		terminal_printf("%s: %s\n", file->name, why);
		return NULL;
	}
	if (paused)
		vm_pause(vm, VM_PAUSE_USER);
	vm_start(vm);
	log_info("guest %s (ID %u) %s: %u MiB, %u vCPU%s", vm->config.name, vm->id,
		 paused ? "created, paused" : "started", config.memory_mib, config.vcpus,
		 config.vcpus == 1 ? "" : "s");
	return vm;
}

void console_start_guests(void)
{
	const struct host_config *host = console_config();

	for (u32 i = 0; i < host->guest_count; i++)
		console_create_guest(host->guests[i], false);
}

static void run_create(u32 argc, char **argv)
{
	static const char *const options[] = { "-c", "-p", "--paused" };
	int mask = command_options(&argc, argv, options, ARRAY_SIZE(options));
	struct vm *vm;

	if (mask < 0)
		return;
	if (argc != 2) {
		command_usage(command_find(argv[0]));
		return;
	}
	vm = console_create_guest(argv[1], mask & 6);
	if (vm && mask & 1)
		shell_attach(vm);
}

/* The guest of a command that changes it; NULL with a message if it is on its way elsewhere. */
static struct vm *idle_guest_named(const char *name)
{
	struct vm *vm = command_guest(name);

	if (vm && migrate_busy(vm)) {
		terminal_printf("%s is being moved: wait for the end, or migrate --cancel\n", vm->config.name);
		return NULL;
	}
	return vm;
}

static struct vm *idle_guest(u32 argc, char **argv)
{
	if (argc == 2)
		return idle_guest_named(argv[1]);
	command_usage(command_find(argv[0]));
	return NULL;
}

struct vm *command_live_guest(const char *name)
{
	struct vm *vm = idle_guest_named(name);

	if (!vm)
		return NULL;
	if (vm->state != VM_LIVE) {
		terminal_printf("%s has ended (%s): destroy it, then create it again\n", vm->config.name,
				state_name(vm));
		return NULL;
	}
	if (vm->paused & VM_PAUSE_OWNER) {
		terminal_printf("%s: %s\n", vm->config.name, vm->why);
		return NULL;
	}
	return vm;
}

static struct vm *live_guest(u32 argc, char **argv)
{
	if (argc == 2)
		return command_live_guest(argv[1]);
	command_usage(command_find(argv[0]));
	return NULL;
}

static void run_destroy(u32 argc, char **argv)
{
	struct vm *vm = idle_guest(argc, argv);

	if (!vm)
		return;
	log_info("guest %s (ID %u) destroyed", vm->config.name, vm->id);
	vm_destroy(vm);
}

static void run_pause(u32 argc, char **argv)
{
	struct vm *vm = live_guest(argc, argv);

	if (vm && vm->paused & VM_PAUSE_USER)
		terminal_printf("%s is paused already\n", vm->config.name);
	else if (vm)
		vm_pause(vm, VM_PAUSE_USER);
}

static void run_unpause(u32 argc, char **argv)
{
	static const char *const options[] = { "--force" };
	int mask = command_options(&argc, argv, options, ARRAY_SIZE(options));
	struct vm *vm;

	if (mask < 0)
		return;
	vm = idle_guest(argc, argv);
	if (!vm)
		return;
	if (vm->paused & VM_PAUSE_OWNER) {
		if (!mask) {
			terminal_printf("%s: %s\n", vm->config.name, vm->why);
			terminal_puts("Only if you know that it does not run on another host, or is not to: unpause --force\n");
			return;
		}
		if (migrate_force_owner(vm))
			terminal_printf("%s: the hand-over could not be ended; destroy removes the copy here\n",
					vm->config.name);
		return;
	}
	if (!(vm->paused & VM_PAUSE_USER))
		terminal_printf("%s is not paused\n", vm->config.name);
	else
		vm_unpause(vm, VM_PAUSE_USER);
}

static void run_shutdown(u32 argc, char **argv)
{
	struct vm *vm = live_guest(argc, argv);

	if (!vm)
		return;
	if (vm->paused) {
		terminal_printf("%s is paused and can't hear it: unpause it first\n", vm->config.name);
		return;
	}
	vm_power_button(vm);
	terminal_printf("%s was told to shut down (ACPI power button); destroy ends a guest that does not listen\n",
			vm->config.name);
}

static void run_reboot(u32 argc, char **argv)
{
	struct vm *vm = live_guest(argc, argv);

	if (vm)
		vm_want(vm, VM_WANT_REBOOT);
}

static void run_console(u32 argc, char **argv)
{
	struct vm *vm;

	if (argc != 2) {
		command_usage(command_find(argv[0]));
		return;
	}
	vm = command_guest(argv[1]);
	if (vm)
		shell_attach(vm);
}

static void run_top(u32 argc, char **argv)
{
	if (argc != 1)
		command_usage(command_find(argv[0]));
	else
		shell_top();
}

static const struct command guest_commands[] = {
	{ "list", "[GUEST]", "the guests on this host",
	  "With GUEST also its uuid and its ownership epoch: how often it was moved, after a dot if it was also forced;\n"
	  "its weight, cap and CPUs, and whether a move slows it down.",
	  COMPLETE_GUEST, run_list },
	{ "top", "", "who uses the CPUs, drawn again every second (q leaves)",
	  "CPU(%): of one CPU, for all vCPUs of the guest together. Exits/s: how often the hypervisor had to work for it, and\n"
	  "what for most often. Dirty/s: pages written a second, while it moves. The service CPU is the one that serves the\n"
	  "network, migrations and this console.",
	  COMPLETE_NONE, run_top },
	{ "create", "[-c] [-p|--paused] FILE", "start a guest from a configuration file",
	  "FILE is a file of \\godwit\\ on the ESP; .cfg may be left out. -c shows the guest's console at once;\n"
	  "with --paused it is built, and begins with unpause.",
	  COMPLETE_FILE, run_create },
	{ "console", "GUEST", "be at the guest's serial console (Ctrl-] leaves)",
	  "What the guest printed while nobody looked is shown first.", COMPLETE_GUEST, run_console },
	{ "pause", "GUEST", "stop the guest where it is", NULL, COMPLETE_GUEST, run_pause },
	{ "unpause", "[--force] GUEST", "let a paused guest go on",
	  "--force: also one that is paused because it may run on another host. Only if you know that it does not:\n"
	  "two running copies of a guest destroy each other's data. The forced one has the higher epoch from then on.",
	  COMPLETE_GUEST, run_unpause },
	{ "shutdown", "GUEST", "ask the guest to shut down (ACPI power button)", NULL, COMPLETE_GUEST, run_shutdown },
	{ "reboot", "GUEST", "reset the guest and boot it again", "At once: ask the guest itself for a clean reboot.",
	  COMPLETE_GUEST, run_reboot },
	{ "destroy", "GUEST", "end the guest at once and free its memory", NULL, COMPLETE_GUEST, run_destroy },
};

const struct command_group commands_guest = { "Guests", guest_commands, ARRAY_SIZE(guest_commands) };
