/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of debug builds: arming fault points for tests, breaking this host on purpose, and what a round of the dirty log
 * and a handshake cost. All but "crash" are also in the release build that make bench measures. Service CPU.
 */
#include "console/command.h"

#include "arch/x86_64/cpu.h"
#include "console/terminal.h"
#include "console/top.h"
#include "lib/bitmap.h"
#include "lib/fault.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "net/tls/tls.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#if defined(GODWIT_DEBUG) || defined(GODWIT_MEASURE)

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

#if defined(GODWIT_DEBUG) && !defined(GODWIT_HOST_TEST)

/* On purpose, and so that the compiler does not see it. */
static noinline void fill(volatile u8 *bytes, u32 count)
{
	for (u32 i = 0; i < count; i++)
		bytes[i] = 0x41;
}

static noinline void overflow_stack(u32 count)
{
	u8 bytes[16];

	fill(bytes, count);
}

static noinline s32 undefined_behaviour(s32 number, u32 places)
{
	return number << places;
}

/* The host stops: for tests of what it says then. */
static void run_crash(u32 argc, char **argv)
{
	if (argc == 2 && str_equal(argv[1], "stack"))
		overflow_stack(argc * 20);
	else if (argc == 2 && str_equal(argv[1], "undefined"))
		terminal_printf("%d\n", undefined_behaviour((s32)argc, argc * 16));
	else
		command_usage(command_find(argv[0]));
}

#endif

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

/* What top shows, to the nanosecond. */
static void run_cpus(unused u32 argc, unused char **argv)
{
	for (u32 i = 0; i < cpu_count(); i++) {
		u64 now_ns = time_ns();
		u64 idle_ns = top_idle_ns(i);

		terminal_printf("%u: busy %llu ns at %llu ns\n", i, (unsigned long long)(now_ns - MIN(idle_ns, now_ns)),
				(unsigned long long)now_ns);
	}
}

static void run_tls(unused u32 argc, unused char **argv)
{
	u64 aes, chacha;

	tls_cipher_ticks(&aes, &chacha);
	terminal_printf("the last handshake: %llu TSC ticks of computing here\n",
			(unsigned long long)tls_handshake_ticks());
	terminal_printf("4 KiB: %lld ticks by AES-GCM, %lld by ChaCha20-Poly1305\n", (long long)aes, (long long)chacha);
}

static const struct command debug_commands[] = {
#if defined(GODWIT_DEBUG) && !defined(GODWIT_HOST_TEST)
	{ "crash", "stack|undefined", "overrun the stack, or do what C does not define: this host stops", NULL,
	  COMPLETE_NONE, run_crash },
#endif
	{ "cpus", "", "how long each CPU was not idle", NULL, COMPLETE_NONE, run_cpus },
	{ "dirty", "start|round|stop GUEST", "log what a guest writes, and say what a round costs", NULL, COMPLETE_NONE,
	  run_dirty },
	{ "fault", "[NAME [COUNT] | --clear [NAME]]", "arm a fault point (for tests of Godwit itself)", NULL, COMPLETE_NONE,
	  run_fault },
	{ "tls", "", "what the last handshake has cost", NULL, COMPLETE_NONE, run_tls },
};

const struct command_group commands_debug = { "Debug build", debug_commands, ARRAY_SIZE(debug_commands) };

#else

const struct command_group commands_debug = { "Debug build", NULL, 0 };

#endif
