/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: right ones, ones that are wrong in every line, and the round trip of a guest's. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "net/port.h"
#include "vmm/config/config.h"
#include "vmm/vm.h"

struct seen {
	char text[8192];
	u32 lines[64];
	u32 count;
};

static void collect(void *ctx, const char *file, u32 line, bool warning, const char *text)
{
	struct seen *seen = ctx;
	size_t used = strlen(seen->text);

	snprintf(seen->text + used, sizeof(seen->text) - used, "%s:%u: %s%s\n", file, line, warning ? "warning: " : "",
		 text);
	if (!warning && seen->count < 64)
		seen->lines[seen->count++] = line;
}

static struct seen seen;

static struct cfg_report fresh_report(void)
{
	memset(&seen, 0, sizeof(seen));
	return (struct cfg_report){ .line = collect, .ctx = &seen };
}

static int parse_guest(struct vm_config *config, const char *text)
{
	struct cfg_report report = fresh_report();

	return vm_config_parse(config, "web.cfg", text, strlen(text), &report);
}

static const char good_guest[] = "# a guest\n"
				 "name = \"web\"\n"
				 "memory = 256\n"
				 "vcpus = 2\n"
				 "weight = 512\n"
				 "cap = 150\n"
				 "cpus = '1-3'\n"
				 "cpu = 'x86-64-v3'\n"
				 "kernel = 'vmlinuz'\n"
				 "ramdisk = 'initrd.img'\n"
				 "extra = 'console=ttyS0 quiet'\n"
				 "root = '/dev/ram0'\n"
				 "vif = ['mac=52:54:00:aa:bb:01, mtu=9000',\n"
				 "       'bridge=xenbr0']   # two\n"
				 "on_crash = 'preserve'\n";

static void test_guest_good(void **state)
{
	struct vm_config c;

	(void)state;
	assert_int_equal(parse_guest(&c, good_guest), 0);
	assert_string_equal(c.name, "web");
	assert_int_equal(c.memory_mib, 256);
	assert_int_equal(c.cpu, LEVEL_3);
	assert_string_equal(c.kernel, "vmlinuz");
	assert_string_equal(c.extra, "console=ttyS0 quiet root=/dev/ram0");
	assert_int_equal(c.vcpus, 2);
	assert_int_equal(c.weight, 512);
	assert_int_equal(c.cap, 150);
	assert_int_equal(c.cpus, 0xe);
	assert_int_equal(c.vif_count, 2);
	assert_int_equal(c.vif[0].mtu, 9000);
	assert_int_equal(c.vif[0].mac[5], 1);
	assert_int_equal(c.vif[1].mtu, 1500);
	assert_int_equal(c.on_crash, VM_PRESERVE);
	assert_int_equal(c.on_reboot, VM_RESTART);
	assert_non_null(strstr(seen.text, "web.cfg:13: warning: vif: bridge=xenbr0 is ignored"));
}

static void test_guest_round_trip(void **state)
{
	struct vm_config a, b;
	char text[4096];

	(void)state;
	assert_int_equal(parse_guest(&a, good_guest), 0);
	vm_config_complete(&a);
	assert_int_equal(vm_config_format(&a, text, sizeof(text)), 0);
	assert_int_equal(parse_guest(&b, text), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	for (size_t size = 1; size <= strlen(text); size++) {
		char *small = malloc(size);

		assert_true(vm_config_format(&a, small, size) < 0);
		free(small);
	}
}

static void test_guest_complete(void **state)
{
	static const u8 none[16];
	struct vm_config c;

	(void)state;
	assert_int_equal(parse_guest(&c, good_guest), 0);
	vm_config_complete(&c);
	assert_memory_not_equal(c.uuid, none, 16);
	assert_int_equal(c.vif[1].mac[0], 0x00);
	assert_int_equal(c.vif[1].mac[1], 0x16);
	assert_int_equal(c.vif[0].mac[0], 0x52);
}

/* Each line is wrong; each must be named, with its number. */
static const char *const bad_guest_lines[][2] = {
	{ "name = ''", "letters, digits" },
	{ "memroy = 256", "unknown key 'memroy': did you mean 'memory'?" },
	{ "colour = 'red'", "unknown key 'colour'" },
	{ "memory = 'much'", "'memory' is a number" },
	{ "vcpus = 0", "at least one" },
	{ "vcpus = 4", "set twice" },
	{ "weight = 0", "1 to 65535" },
	{ "cpu_weight = 65536", "1 to 65535" },
	{ "cap = 3201", "3200 at most" },
	{ "cpus = '3-1'", "'1-3', '1,3', '^2'" },
	{ "cpu = 'x86-64-v5'", "write 'host', 'x86-64-v2'" },
	{ "kernel = vmlinuz", "a string needs quotes" },
	{ "ramdisk = 'initrd", "has no end" },
	{ "extra", "needs an = and a value" },
	{ "= 5", "a line begins with a key" },
	{ "vif = 'mac=52:54:00:00:00:01'", "'vif' is a list" },
	{ "uuid = '1234'", "as in '12345678" },
	{ "on_crash = 'explode'", "'restart'" },
	{ "on_reboot = ", "nothing behind the =" },
	{ "on_poweroff = 'destroy' 'restart'", "too much behind" },
	{ "type = 'pv'", "unmodified" },
	{ "root = 'a\x01b'", "control character" },
	{ "cmdline = [\"x\"]", "'cmdline' is a string" },
	{ "\x02\x03", "a line begins with a key" },
};

static void test_guest_wrong_in_every_line(void **state)
{
	char text[4096] = "";
	struct vm_config c;
	u32 n = ARRAY_SIZE(bad_guest_lines);

	(void)state;
	for (u32 i = 0; i < n; i++) {
		strcat(text, bad_guest_lines[i][0]);
		strcat(text, "\n");
	}
	assert_true(parse_guest(&c, text) < 0);
	assert_int_equal(seen.count, n);
	for (u32 i = 0; i < n; i++) {
		assert_int_equal(seen.lines[i], i + 1);
		if (!strstr(seen.text, bad_guest_lines[i][1]))
			fail_msg("line %u (%s): no message with '%s' in\n%s", i + 1, bad_guest_lines[i][0],
				 bad_guest_lines[i][1], seen.text);
	}
}

/* Lists of CPUs: what they mean, how they are written down again, and what is none. */
static void test_guest_cpus(void **state)
{
	static const struct {
		const char *text, *again;
		u64 cpus;
	} good[] = {
		{ "3", "3", BIT(3) }, { "1-3", "1-3", 0xe }, { "1,2,3", "1-3", 0xe }, { "0, 2-3 ,63", "0,2-3,63", BIT(63) | 0xd },
		{ "all", "all", 0 }, { "0-63", "all", 0 }, { "^2", "0-1,3-63", ~4ull }, { "0-7,^2,^4-5", "0-1,3,6-7", 0xcb },
	};
	static const char *const bad[] = { "", "1-", "-1", "3-1", "64", "1 2", "1,", ",1", "1,^1", "^all", "one", "1-2-3", "99999999999" };
	struct vm_config c;
	char text[80], buf[CPUS_TEXT_BYTES];
	u64 cpus;

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(str_to_cpus(good[i].text, &cpus), 0);
		assert_int_equal(cpus, good[i].cpus);
		assert_string_equal(format_cpus(buf, sizeof(buf), cpus), good[i].again);
	}
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!str_to_cpus(bad[i], &cpus))
			fail_msg("'%s' was taken", bad[i]);
		snprintf(text, sizeof(text), "cpus = '%s'", bad[i]);
		assert_true(parse_guest(&c, text) < 0);
		assert_non_null(strstr(seen.text, "host CPUs, as in '1-3', '1,3', '^2' (all but 2) or 'all'; 0 to 63"));
	}
	/* All others, at their worst: the text has room. */
	assert_true(strlen(format_cpus(buf, sizeof(buf), 0x5555555555555555ull)) < sizeof(buf) - 1);
	assert_true(parse_guest(&c, "vcpus = 33") < 0);
	assert_non_null(strstr(seen.text, "a guest has 32 at most"));
}

static void test_guest_vifs(void **state)
{
	static const char *const bad[][2] = {
		{ "vif = ['mac=zz:54:00:00:00:01']", "no MAC address" },
		{ "vif = ['mac=53:54:00:00:00:01']", "group address" },
		{ "vif = ['mtu=20']", "576" },
		{ "vif = ['speed=9']", "unknown 'speed=9'" },
		{ "vif = ['mac=52:54:00:00:00:01', 'mac=52:54:00:00:00:01']", "same MAC" },
		{ "vif = ['', '', '', '', '']", "more than 4 NICs" },
		{ "vif = ['mac=52:54:00:00:00:01' 'mtu=1500']", "comma is missing" },
		{ "vif = [5]", "a list holds strings" },
		{ "vif = ['mtu=1500',\n\n", "has no end: add ]" },
	};
	struct vm_config c;

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(parse_guest(&c, bad[i][0]) < 0);
		if (!strstr(seen.text, bad[i][1]))
			fail_msg("%s: no message with '%s' in\n%s", bad[i][0], bad[i][1], seen.text);
	}
}

static void test_guest_missing_keys(void **state)
{
	struct vm_config c;

	(void)state;
	assert_true(parse_guest(&c, "") < 0);
	assert_non_null(strstr(seen.text, "there is no name"));
	assert_non_null(strstr(seen.text, "there is no kernel"));
	assert_non_null(strstr(seen.text, "there is no memory"));
}

/* All that it can have, and what it begins with; the peer of a move reads the same. */
static void test_guest_maxmem(void **state)
{
	static const char *const bad[][2] = {
		{ "name = 'web'\nkernel = 'k'\nmemory = 256\nmaxmem = 128\n", "maxmem = 128 is less than memory = 256" },
		{ "maxmem = 257\n", "maxmem = 257: an even number" },
		{ "maxmem = 0\n", "maxmem = 0: MiB, 4 at least" },
		{ "maxmem = 1048578\n", "maxmem = 1048578" },
		{ "name = 'web'\nkernel = 'k'\nmaxmem = 128\n", "there is no memory" },
	};
	struct vm_config a, b;
	char text[4096];

	(void)state;
	assert_int_equal(parse_guest(&a, "maxmem = 512\nmemory = 256\nname = 'web'\nkernel = 'k'\n"), 0);
	assert_int_equal(a.memory_mib, 512);
	assert_int_equal(a.balloon_mib, 256);
	assert_int_equal(seen.count, 0);
	vm_config_complete(&a);
	assert_int_equal(vm_config_format(&a, text, sizeof(text)), 0);
	assert_int_equal(parse_guest(&b, text), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(parse_guest(&a, "maxmem = 256\nmemory = 256\nname = 'web'\nkernel = 'k'\n"), 0);
	assert_int_equal(a.memory_mib, 256);
	assert_int_equal(a.balloon_mib, 0);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(parse_guest(&a, bad[i][0]) < 0);
		if (!strstr(seen.text, bad[i][1]))
			fail_msg("%s: no message with '%s' in\n%s", bad[i][0], bad[i][1], seen.text);
	}
}

static void test_host(void **state)
{
	static const char text[] = "\xef\xbb\xbfname = 'alpha'; mtu = 9000\r\n"
				   "address = '10.0.0.1/20'\r\n"
				   "gateway = '10.0.0.254'\n"
				   "peers = ['beta=10.0.0.2', 'gamma=10.0.0.3']\n"
				   "guests = ['web.cfg']\n"
				   "peer_timeout = 30\n"
				   "serial = 'com2'\nbaud = 9600\nnic = '00:03.0'\ndirty_log = 'd-bits'";
	struct cfg_report report = fresh_report();
	struct host_config c;

	(void)state;
	host_config_init(&c);
	host_config_parse(&c, "godwit.cfg", text, strlen(text), &report);
	assert_int_equal(report.errors, 0);
	assert_string_equal(c.name, "alpha");
	assert_int_equal(c.mtu, 9000);
	assert_false(c.dhcp);
	assert_true(c.has_address);
	assert_int_equal(c.netmask[2], 0xf0);
	assert_int_equal(c.peer_count, 2);
	assert_string_equal(c.peers[1].name, "gamma");
	assert_int_equal(c.peers[1].ip[3], 3);
	assert_int_equal(c.serial_port, 0x2f8);
	assert_string_equal(c.dirty_log, "d-bits");
	assert_int_equal(c.peer_timeout_s, 30);
	assert_string_equal(c.guests[0], "web.cfg");
}

static void test_host_wrong_lines(void **state)
{
	static const char text[] = "name = 'bad name'\n"
				   "address = '10.0.0.1'\n"
				   "gateway = '10.0.0'\n"
				   "nic = 'eth0'\n"
				   "mtu = 100\n"
				   "serial = 'ttyS0'\n"
				   "baud = 12345\n"
				   "dirty_log = 'both'\n"
				   "peers = ['beta', 'b=10.0.0.2', 'b=10.0.0.3']\n"
				   "peer_timeout = 1\n"
				   "guests = ['']\n"
				   "pears = ['x']\n"
				   "key = '0123456789abcdef0123456789abcdeg0123456789abcdef0123456789abcdef'\n";
	struct cfg_report report = fresh_report();
	struct host_config c, defaults;

	(void)state;
	host_config_init(&c);
	host_config_init(&defaults);
	host_config_parse(&c, "godwit.cfg", text, strlen(text), &report);
	assert_int_equal(report.errors, 14);
	assert_false(c.has_key);
	assert_string_equal(c.dirty_log, "auto");
	assert_string_equal(c.name, defaults.name);
	assert_int_equal(c.serial_port, defaults.serial_port);
	assert_int_equal(c.peer_count, 1);
	assert_non_null(strstr(seen.text, "godwit.cfg:12: unknown key 'pears': did you mean 'peers'?"));
	assert_non_null(strstr(seen.text, "godwit.cfg:13: key: 64 hexadecimal digits"));
}

static void test_garbage(void **state)
{
	struct vm_config guest;
	struct host_config host;
	char text[300];

	(void)state;
	srand(1);
	for (int i = 0; i < 20000; i++) {
		static const char words[] = "name=memory 'x'\"[],;#\n\n = 0x1 vif kernel";
		struct cfg_report report = fresh_report();
		size_t n = (size_t)rand() % sizeof(text);

		for (size_t k = 0; k < n; k++)
			text[k] = rand() % 8 ? words[(size_t)rand() % (sizeof(words) - 1)] : (char)rand();
		if (vm_config_parse(&guest, "g", text, n, &report) == 0)
			assert_int_equal(report.errors, 0);
		report = fresh_report();
		host_config_parse(&host, "h", text, n, &report);
	}
}

static bool take_nothing(struct net_port *port, const struct net_frame *frame)
{
	(void)port;
	(void)frame;
	return false;
}

static void test_host_mac(void **state)
{
	struct net_port host = { .name = "host", .deliver = take_nothing, .host = true, .mac = { 2, 0, 0, 0, 0, 1 } };
	struct net_port guest = { .name = "x/net0", .deliver = take_nothing, .mac = { 2, 0, 0, 0, 0, 2 } };
	struct vm_config config = { .name = "web", .vif_count = 2 };
	char why[160] = "";

	(void)state;
	assert_int_equal(net_switch_add(&host), 0);
	assert_int_equal(net_switch_add(&guest), 0);
	/* Of guests it is their configuration that counts: one that is moved to localhost has two ports. */
	memcpy(config.vif[0].mac, guest.mac, 6);
	assert_int_equal(vm_config_clash(&config, NULL, why, sizeof(why)), 0);
	memcpy(config.vif[1].mac, host.mac, 6);
	assert_int_equal(vm_config_clash(&config, NULL, why, sizeof(why)), -E_EXIST);
	assert_string_equal(why, "MAC 02:00:00:00:00:01 is this host's own");
	net_switch_remove(&host);
	net_switch_remove(&guest);
}

static void test_uuid(void **state)
{
	u8 uuid[16];
	char text[40];

	(void)state;
	assert_int_equal(str_to_uuid("12345678-9abc-def0-1234-56789ABCDEF0", uuid), 0);
	assert_string_equal(format_uuid(text, sizeof(text), uuid), "12345678-9abc-def0-1234-56789abcdef0");
	assert_true(str_to_uuid("12345678-9abc-def0-1234-56789ABCDEF", uuid) < 0);
	assert_true(str_to_uuid("12345678-9abc-def0-1234-56789ABCDEF00", uuid) < 0);
	assert_true(str_to_uuid("123456789-abc-def0-1234-56789ABCDEF0", uuid) < 0);
	assert_true(str_to_uuid("", uuid) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_good),
		cmocka_unit_test(test_guest_round_trip),
		cmocka_unit_test(test_guest_complete),
		cmocka_unit_test(test_guest_wrong_in_every_line),
		cmocka_unit_test(test_guest_vifs),
		cmocka_unit_test(test_guest_cpus),
		cmocka_unit_test(test_guest_missing_keys),
		cmocka_unit_test(test_guest_maxmem),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_host_wrong_lines),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_host_mac),
		cmocka_unit_test(test_uuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
