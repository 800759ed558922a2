/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about this host: help, info, net, dmesg, files, poweroff, reset. Service CPU. */
#include "console/command.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/power.h"
#include "console/terminal.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacons.h"
#include "migrate/migrate.h"
#include "mm/dirty.h"
#include "mm/pages.h"
#include "net/net.h"
#include "net/tls/tls.h"
#include "net/port.h"
#include "version.h"
#include "vmm/files.h"
#include "vmm/hvm.h"
#include "vmm/vm.h"

static void help_all(void)
{
	const struct command_group *group;

	for (u32 i = 0; (group = command_group_get(i)); i++) {
		if (group->count)
			terminal_printf("%s\n", group->title);
		for (u32 k = 0; k < group->count; k++)
			terminal_printf("  %-10s %s\n", group->commands[k].name, group->commands[k].help);
	}
	terminal_puts("help COMMAND says more. Keys: arrows for history, Tab completes, Ctrl-] leaves a guest's console.\n");
}

static void run_help(u32 argc, char **argv)
{
	const struct command *command;

	if (argc == 1) {
		help_all();
		return;
	}
	command = command_find(argv[1]);
	if (!command) {
		terminal_printf("unknown command '%s': help lists them\n", argv[1]);
		return;
	}
	terminal_printf("%s %s\n  %s\n", command->name, command->usage, command->help);
	if (command->details)
		terminal_printf("%s\n", command->details);
}

static u32 guest_count(void)
{
	u32 n = 0;

	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		n++;
	return n;
}

/* The name that the CPU has for itself (SDM 2, CPUID 0x80000002 to 4). */
static void print_cpu_name(void)
{
	char name[3 * sizeof(struct cpuid_regs) + 1] = "";
	const char *text = name;

	for (u32 i = 0; i < 3 && cpuid_read(0x80000000, 0).eax >= 0x80000004; i++) {
		struct cpuid_regs regs = cpuid_read(0x80000002 + i, 0);

		memcpy(name + i * sizeof(regs), &regs, sizeof(regs));
	}
	while (*text == ' ')
		text++;
	terminal_printf("cpu              : %s\n", text);
}

static u32 guest_cpus(void)
{
	u32 first = cpu_count() > 1 ? SERVICE_CPU + 1 : SERVICE_CPU;
	u32 n = 0;

	for (u32 i = first; hvm && i < cpu_count(); i++)
		n += cpu_get(i)->online;
	return n;
}

static void print_moves(void)
{
	struct migrate_progress out;
	struct migrate_arrival in;

	for (u32 id = 0; (id = migrate_next_id(id));)
		if (migrate_progress_of(id, &out) && !out.check)
			terminal_printf("moving           : %s to %s\n", out.guest, out.peer);
	for (u32 i = 0; migrate_get_arrival(i, &in); i++)
		terminal_printf("arriving         : %s from %s, %u %%\n", in.guest, in.peer, in.percent);
}

static void print_peers(const struct host_config *config)
{
	if (!config->peer_count)
		terminal_puts("peers            : none: guests can't move (peers in godwit.cfg)\n");
	for (u32 i = 0; i < config->peer_count; i++) {
		const struct host_peer *peer = &config->peers[i];
		u64 heard_ns = beacons_heard_ns(peer->ip);
		u64 pages;
		char free[24];

		terminal_printf("peer             : %s %u.%u.%u.%u", peer->name, peer->ip[0], peer->ip[1], peer->ip[2],
				peer->ip[3]);
		if (heard_ns)
			terminal_printf(", heard %llu s ago", (unsigned long long)((time_ns() - heard_ns) / NS_PER_S));
		else
			terminal_puts(beacons_on() ? ", not heard yet" : "");
		/* (It may say what it likes.) */
		if (beacons_free_pages(peer->ip, &pages))
			terminal_printf(", %s free", format_bytes(free, sizeof(free), MIN(pages, BIT(40)) * PAGE_SIZE));
		terminal_puts("\n");
	}
	if (config->peer_count && !beacons_on())
		terminal_puts("beacons          : off: they need keys ('key' says more); without them, two copies of a guest\n"
			      "                   (after unpause --force) are not noticed\n");
}

static void run_info(u32 argc, char **argv)
{
	const struct host_config *config = console_config();
	char total[24], free[24];
	u64 seconds = time_ns() / NS_PER_S;

	(void)argc;
	(void)argv;
	terminal_printf("host             : %s\n", config->name);
	terminal_printf("godwit           : %s\n", godwit_version);
	terminal_printf("up               : %llu:%02llu:%02llu\n", (unsigned long long)(seconds / 3600),
			(unsigned long long)(seconds / 60 % 60), (unsigned long long)(seconds % 60));
	terminal_printf("virtualization   : %s\n", hvm ? hvm->name : "none: guests can't run here (see dmesg)");
	if (hvm)
		terminal_printf("nested paging    : %s, dirty pages by %s\n", hvm->npt_name,
				dirty_method->label);
	if (hvm)
		terminal_printf("guests' APICs    : %s\n", hvm->apic_label ? hvm->apic_label() : "emulated");
	if (hvm)
		terminal_printf("guests' TSCs     : %s\n", hvm->tsc_ratio_bits && hvm->tsc_ratio_bits() ?
				"keep their frequency (scaled by the CPU)" : "have this host's frequency");
	print_cpu_name();
	terminal_printf("nr_cpus          : %u, %u for guests\n", cpu_count(), guest_cpus());
	terminal_printf("cpu_mhz          : %llu\n", (unsigned long long)(tsc_khz() / 1000));
	terminal_printf("total_memory     : %s\n", format_bytes(total, sizeof(total), pages_total_count() * PAGE_SIZE));
	terminal_printf("free_memory      : %s\n", format_bytes(free, sizeof(free), pages_free_count() * PAGE_SIZE));
	terminal_printf("free_pages       : %llu\n", (unsigned long long)pages_free_count());
	terminal_printf("guests           : %u\n", guest_count());
	terminal_printf("proves itself by : %s\n", tls_missing() ? "nothing: see 'key'" : tls_identity());
	print_moves();
	print_peers(config);
}

/* As the switch sees it: what came from a port, what went to it. */
static void print_ports(void)
{
	static const u8 nobody[6];
	struct net_port *port;
	char from[16], to[16], mac[20];

	terminal_printf("%-14s %9s %8s %9s %8s %7s  %s\n", "Port", "frames in", "bytes", "out", "bytes", "dropped",
			"MAC");
	for (u32 i = 0; (port = net_switch_port(i)); i++)
		terminal_printf("%-14s %9llu %8s %9llu %8s %7llu  %s\n", port->name,
				(unsigned long long)port->rx_frames, format_bytes(from, sizeof(from), port->rx_bytes),
				(unsigned long long)port->tx_frames, format_bytes(to, sizeof(to), port->tx_bytes),
				(unsigned long long)port->dropped,
				memcmp(port->mac, nobody, 6) ? format_mac(mac, sizeof(mac), port->mac) : "");
}

static void run_net(u32 argc, char **argv)
{
	struct net_info info;
	char mac[20];

	(void)argc;
	(void)argv;
	net_get_info(&info);
	terminal_printf("NIC      : %s, link %s, MTU %u\n", info.nic, info.link_up ? "up" : "down", info.mtu);
	terminal_printf("MAC      : %s\n", format_mac(mac, sizeof(mac), info.mac));
	if (info.has_address)
		terminal_printf("address  : %u.%u.%u.%u netmask %u.%u.%u.%u gateway %u.%u.%u.%u\n", info.ip[0], info.ip[1],
				info.ip[2], info.ip[3], info.netmask[0], info.netmask[1], info.netmask[2],
				info.netmask[3], info.gateway[0], info.gateway[1], info.gateway[2], info.gateway[3]);
	else
		terminal_puts("address  : none yet\n");
	print_ports();
}

static void run_dmesg(u32 argc, char **argv)
{
	static char text[LOG_RING_BYTES];
	u64 cursor = 0;
	size_t n;

	(void)argc;
	(void)argv;
	while ((n = log_read(&cursor, text, sizeof(text))) > 0)
		terminal_write(text, n);
}

static void run_files(u32 argc, char **argv)
{
	const struct host_file *file;
	char size[24];

	(void)argc;
	(void)argv;
	for (u32 i = 0; (file = files_get(i)); i++)
		terminal_printf("%-32s %s\n", file->name, format_bytes(size, sizeof(size), file->bytes));
}

/* Guests die with the host: that must be meant. */
static bool may_stop(u32 argc, char **argv)
{
	static const char *const options[] = { "--force" };
	int mask = command_options(&argc, argv, options, ARRAY_SIZE(options));

	if (mask < 0)
		return false;
	if (!mask && guest_count()) {
		terminal_printf("%u guest%s here: move or shut down first, or say %s --force\n", guest_count(),
				guest_count() == 1 ? " is" : "s are", argv[0]);
		return false;
	}
	terminal_printf("%s\n", argv[0]);
	terminal_drain();
	return true;
}

static void run_poweroff(u32 argc, char **argv)
{
	if (may_stop(argc, argv))
		power_off();
}

static void run_reset(u32 argc, char **argv)
{
	if (may_stop(argc, argv))
		power_reset();
}

static const struct command host_commands[] = {
	{ "info", "", "this host: version, CPUs, memory, peers", NULL, COMPLETE_NONE, run_info },
	{ "net", "", "the NIC, the address, the switch's ports", NULL, COMPLETE_NONE, run_net },
	{ "files", "", "the files of \\godwit\\ that guests can use", NULL, COMPLETE_NONE, run_files },
	{ "dmesg", "", "the hypervisor's log", NULL, COMPLETE_NONE, run_dmesg },
	{ "help", "[COMMAND]", "this list, or more about one command", NULL, COMPLETE_COMMAND, run_help },
	{ "poweroff", "[--force]", "switch the machine off (--force: although guests are here)", NULL, COMPLETE_NONE,
	  run_poweroff },
	{ "reset", "[--force]", "reset the machine (--force: although guests are here)", NULL, COMPLETE_NONE, run_reset },
};

const struct command_group commands_host = { "Host", host_commands, ARRAY_SIZE(host_commands) };
