/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as they are typed, and what they print: about guests, and about a guest that moves. */
#include "migrate_bed.h"

#include "arch/x86_64/power.h"
#include "console/console.h"
#include "fake/fake_hvm.h"
#include "lib/log.h"
#include "migrate/owner.h"
#include "net/net.h"
#include "net/port.h"
#include "version.h"
#include "vmm/files.h"

const char godwit_version[] = "test";

void net_get_info(struct net_info *info)
{
	memset(info, 0, sizeof(*info));
}

noreturn void power_off(void)
{
	abort();
}

noreturn void power_reset(void)
{
	abort();
}

/* --- the line --------------------------------------------------------------------------------- */

static const char *typed;
static char shown[1 << 16];
static size_t shown_bytes;

static size_t io_read(u8 *buf, size_t size)
{
	size_t n = MIN(strlen(typed), size);

	memcpy(buf, typed, n);
	typed += n;
	return n;
}

static size_t io_room(void)
{
	return 4096;
}

static void io_write(const char *text, size_t len)
{
	assert_true(shown_bytes + len < sizeof(shown));
	memcpy(shown + shown_bytes, text, len);
	shown_bytes += len;
	shown[shown_bytes] = 0;
}

static bool io_drain(void)
{
	return false;
}

static const struct console_io io = { io_read, io_room, io_write, io_drain };
static struct host_config host;

static void poll_console(void)
{
	for (u32 i = 0; i < 4; i++) {
		console_poll();
		vm_service();
	}
}

/* What has been printed since the last command. */
static const char *printed(void)
{
	poll_console();
	return shown;
}

/* What is printed from the command on. */
static const char *command(const char *text)
{
	shown_bytes = 0;
	shown[0] = 0;
	typed = text;
	while (*typed)
		poll_console();
	typed = "\r";
	poll_console();
	return shown;
}

static void expect(const char *text, const char *wanted)
{
	const char *got = command(text);

	if (!strstr(got, wanted))
		fprintf(stderr, "%s: wanted '%s', got '%s'\n", text, wanted, got);
	assert_non_null(strstr(got, wanted));
}

static int set_up(void **state)
{
	bed_set_up(state);
	bed_stores_per_step = 0;
	bed_boots = true;
	typed = "";
	shown_bytes = 0;
	host_config_init(&host);
	console_init(&io, &host);
	vm_set_listener(console_guest_event);
	if (!files_find("web.cfg"))
		files_add("web.cfg", bed_config_text, strlen(bed_config_text));
	return 0;
}

static int tear_down(void **state)
{
	vm_set_listener(NULL);
	bed_boots = false;
	return bed_tear_down(state);
}

/* --- guests ----------------------------------------------------------------------------------- */

static void test_create(unused void **state)
{
	expect("create web", "started: 16 MiB, 1 vCPU\n");
	fake_clear_memory();
	assert_int_equal(bed_owners(), 1);
	expect("list", "running");
	vm_pause(vm_find("web"), VM_PAUSE_CLEAR);
	gmem_forget(&vm_find("web")->gmem);
	expect("list", "starting");
	fake_clear_memory();
	expect("list", "running");
	expect("create web.cfg", "there is a guest named web here already");
	expect("create nothing", "there is no such file");
	expect("create --swiftly web", "unknown option --swiftly");
}

static void test_create_paused(unused void **state)
{
	static const char *const ways[] = { "create --paused web", "create -p web", "create -p -c web" };

	for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
		expect(ways[i], i == 2 ? "console of web" : "created, paused: 16 MiB");
		command("\x1d");
		assert_non_null(vm_find("web"));
		assert_int_equal(vm_find("web")->paused, VM_PAUSE_USER);
		assert_int_equal(bed_owners(), 0);
		expect("list", "  paused\n");
		expect("shutdown web", "paused and can't hear it");
		command("unpause web");
		assert_int_equal(bed_owners(), 1);
		expect("unpause web", "web is not paused");
		command("destroy web");
		assert_null(vm_find("web"));
	}
}

/* A guest that is kept for a look obeys no command but destroy, and says so. */
static void test_ended(unused void **state)
{
	struct vm *vm = bed_create();

	vm->config.on_crash = VM_PRESERVE;
	vm_fail(vm, "for a test");
	poll_console();
	expect("list", "crashed: for a test");
	expect("reboot web", "has ended (crashed): destroy it");
	expect("shutdown web", "has ended");
	expect("pause web", "has ended");
	expect("migrate web localhost", "does not run");
	command("destroy web");
	assert_null(vm_next(NULL));
}

/* What a guest prints at its very end is shown to who watches it. */
static void test_last_words(unused void **state)
{
	struct vm *vm = bed_create();

	command("console web");
	spin_lock(&vm->lock);
	ring_push(&vm->console, "Power down", 10);
	spin_unlock(&vm->lock);
	vm_want(vm, VM_WANT_SHUTDOWN);
	vm_service();
	assert_null(vm_next(NULL));
	expect("", "Power down");
	assert_non_null(strstr(shown, "(the guest is not here any more)"));
}

/* --- its memory ------------------------------------------------------------------------------- */

static void test_memory(unused void **state)
{
	struct vm *vm = bed_create();
	u64 total;

	expect("mem-set", "usage: mem-set GUEST MB");
	expect("mem-set web", "usage: mem-set GUEST MB");
	expect("mem-set nobody 8", "there is no guest 'nobody'");
	expect("mem-set web 18", "web can have 4 to 16 MiB");
	vm->config.memory_mib = 64;
	expect("mem-set web 2", "web can have 4 to 64 MiB");
	expect("mem-set web much", "web can have 4 to 64 MiB");
	expect("mem-set web -1", "web can have 4 to 64 MiB");
	expect("mem-set web 31", "web is to do with 32 MiB; it has no driver");
	assert_int_equal(vm->config.balloon_mib, 32);
	expect("mem-stat web", "web: 32 of 64 MiB; in the balloon 0 bytes, of these 0 bytes are this host's again");
	assert_non_null(strstr(shown, "the guest has no driver for its balloon"));
	/* More again only if there is room for what was given back. */
	assert_true(gmem_give_back(&vm->gmem, 4));
	vm_doorbell(vm);
	vm_service();
	total = pages_total_count();
	fake_pages_set_total(fake_pages_used() + 256);
	expect("mem-set web 34", "no room: web needs 2 MiB more of this host's memory, 1 MiB are free");
	assert_int_equal(vm->config.balloon_mib, 32);
	fake_pages_set_total(total);
	expect("mem-set web 64", "web is to do with 64 MiB");
	assert_int_equal(vm->config.balloon_mib, 0);
	vm->config.memory_mib = BED_MIB;
	/* A guest on its way has what it had. */
	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(20);
	expect("mem-set web 16", "web is being moved");
	assert_int_equal(migrate_cancel(), 0);
}

/* --- a guest that moves ----------------------------------------------------------------------- */

static void test_moving(unused void **state)
{
	struct vm *vm = bed_create();

	vm_pause(vm, VM_PAUSE_USER);
	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(20);
	expect("list", "arriving from alpha, 0 %");
	expect("info", "moving           : web to alpha");
	expect("info", "arriving         : web from alpha, 0 %");
	expect("pause web", "is being moved");
	expect("destroy web", "is being moved");
	expect("reboot web", "is being moved");
	/* --force is for a copy whose owner is unknown, not for one that is on its way. */
	expect("unpause --force web", "is being moved");
	assert_int_equal(vm->paused, VM_PAUSE_USER);
	expect("migrate --cancel", "cancelled");
	bed_settle();
	expect("migrate --cancel", "no guest is being moved");
	assert_null(strstr(command("list"), "arriving"));
	assert_ptr_equal(vm_find("web"), vm);
	fault_clear_all();
	bed_start(vm, false);
	assert_int_equal(bed_run(200000), MIGRATE_DONE);
	expect("migrate --status", "web is paused on alpha: ");
	vm = vm_find("web");
	command("unpause web");
	bed_move(vm, true);
	expect("migrate --status", "web runs on alpha: ");
}

/* It runs on without its kernel's file and at another frequency, but it is said. */
static void test_warned_on_arrival(unused void **state)
{
	struct vm *vm = bed_create();

	bed_move(vm, true);
	assert_non_null(strstr(printed(), "web can't restart here: there is no file vmlinuz on this host"));
	assert_null(strstr(shown, "TSC"));
}

/* Drawn again and again, the line must not wrap on a narrow terminal. */
static void test_progress_line(unused void **state)
{
	struct vm *vm = bed_create();
	const char *at;

	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(20);
	at = strstr(command("migrate --status"), "web -> alpha");
	assert_non_null(at);
	assert_memory_equal(at - 5, "\x1b[?7l", 5);
	assert_non_null(strstr(at, "]\x1b[?7h"));
	/* Nothing is known of these in the first round: no figure, rather than a wrong one. */
	assert_null(strstr(at, "dirty"));
	fault_clear_all();
	assert_int_equal(fault_set("send.final", FAULT_FOREVER), 0);
	for (u32 i = 0; i < 20000 && !strstr(at, "round 2"); i++) {
		bed_step();
		at = command("migrate --status");
	}
	assert_non_null(strstr(at, "pages/s  downtime est. "));
}

/* Rates are of the second between two screens; keys but q are nothing; messages wait until it has left. */
static void test_top(unused void **state)
{
	struct vm *vm = bed_create();
	const char *screen;

	screen = strstr(command("top"), "top\n");
	assert_non_null(screen);
	assert_null(strchr(screen, '>'));
	vm->vcpus[0]->run_ns += 100 * NS_PER_MS;
	vm->vcpus[0]->exits_by_kind[VM_EXIT_HLT] += 40;
	vm->vcpus[0]->exits_by_kind[VM_EXIT_NPT] += 2;
	fake_time_advance(200 * NS_PER_MS);
	assert_null(strstr(printed(), "most often"));
	fake_time_advance(200 * NS_PER_MS);
	screen = strstr(printed(), "\x1b[H\x1b[J");
	assert_non_null(screen);
	assert_non_null(strstr(screen, "CPU(%)    0 (service): "));
	assert_non_null(strstr(screen, " 25.0        0      105        - hlt 100 mmio 5\n"));
	shown_bytes = 0;
	typed = "xl";
	log_info("something happened");
	fake_time_advance(NS_PER_S);
	screen = printed();
	assert_non_null(strstr(screen, "  0.0        0        0        -\n"));
	assert_null(strstr(screen, "happened"));
	shown_bytes = 0;
	typed = "q";
	screen = printed();
	assert_non_null(strstr(screen, "something happened"));
	assert_non_null(strstr(screen, "> "));
	fake_time_advance(NS_PER_S);
	shown_bytes = 0;
	shown[0] = 0;
	assert_string_equal(printed(), "");
}

static bool shows(const char *text)
{
	for (u32 i = 0; i < 20000 && !strstr(shown, text); i++) {
		bed_step();
		poll_console();
	}
	if (!strstr(shown, text))
		fprintf(stderr, "wanted '%s', got '%s'\n", text, shown);
	return strstr(shown, text) != NULL;
}

static void key(const char *text)
{
	shown_bytes = 0;
	shown[0] = 0;
	typed = text;
	poll_console();
}

/* Whoever left the progress line hears of the end; who comes back to it, of another move. */
static void test_moves_unwatched(unused void **state)
{
	bed_create();
	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	expect("migrate --live web alpha", "");
	assert_true(shows("web -> alpha"));
	key("\r");
	assert_non_null(strstr(shown, "(goes on; "));
	expect("migrate web alpha", "web is on its way to alpha already");
	expect("migrate --cancel db", "there is no guest 'db' here");
	expect("migrate --cancel web", "cancelled");
	assert_true(shows("web was not moved to alpha: canceled"));
	expect("migrate --cancel web", "web is not being moved");
}

static void test_evacuate(unused void **state)
{
	struct vm *vm;

	expect("evacuate", "evacuate: there is no guest here");
	vm = bed_create();
	expect("evacuate alpha", "usage: evacuate");
	expect("evacuate --check", "evacuate: unknown option --check");
	expect("evacuate --bandwidth x", "evacuate: --bandwidth wants MB/s");
	expect("migrate --offline web alpha", "migrate: unknown option --offline");
	expect("migrate --all", "usage: migrate");
	expect("migrate --all web alpha", "usage: migrate");
	expect("migrate --all --check alpha", "--check is for one guest");
	expect("migrate --all delta", "migrate: delta is no peer");
	/* alpha itself is in its list, and does not count; "beta" is this very host too, and says so. */
	command("evacuate");
	assert_true(shows("evacuate: 0 of 1 guest went\n  web stays here and runs on: the host at that address is not beta"));
	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	command("migrate --all --live alpha");
	assert_true(shows("\x1b[?7lmigrate --all alpha: 0 of 1 gone  web -> alpha round 1 0 %"));
	key("\x03");
	assert_true(shows("migrate --all alpha: 0 of 1 guest went\n  web stays here and runs on: canceled\n"));
	assert_ptr_equal(bed_running(), vm);
	command("migrate --all --live alpha");
	assert_true(shows("web -> alpha"));
	key("\r");
	assert_non_null(strstr(shown, "(goes on; "));
	expect("evacuate", "migrate --all alpha is under way ('migrate --cancel' stops it)");
	expect("migrate --status", "migrate --all alpha: 0 of 1 gone");
	fault_clear_all();
	shown_bytes = 0;
	assert_true(shows("  web runs on alpha: "));
	expect("migrate --status", "web runs on alpha: ");
	/* Once more, and watched to the end. */
	command("migrate --all alpha");
	assert_true(shows("migrate --all alpha: 1 of 1 guest went\n  web runs on alpha: "));
}

static void test_owner_unknown(unused void **state)
{
	struct migrate_peer peer = { .name = "beta", .ip = { 10, 0, 0, 2 } };
	struct handover handover = { .epoch = 1 };
	struct vm *vm = bed_create();

	fake_pipe.link_down = true;
	vm_pause(vm, VM_PAUSE_MIGRATE);
	owner_unknown(vm, &peer, &handover, 1, "the connection to beta broke");
	expect("list", "paused, owner unknown: it may run on beta");
	expect("unpause web", "unpause --force");
	expect("reboot web", "it may run on beta");
	expect("migrate web localhost", "web is in doubt");
	assert_int_equal(vm->state, VM_LIVE);
	assert_int_equal(bed_owners(), 0);
	command("unpause --force web");
	assert_ptr_equal(bed_running(), vm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create), TEST(test_create_paused), TEST(test_ended), TEST(test_last_words), TEST(test_memory), TEST(test_moving),
		TEST(test_warned_on_arrival), TEST(test_progress_line), TEST(test_top), TEST(test_moves_unwatched), TEST(test_evacuate),
		TEST(test_owner_unknown),
	};

	return cmocka_run_group_tests_name("console_shell", tests, NULL, NULL);
}
