/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is typed at the console: the line editor, and the commands with any arguments, on a host with a guest. Bytes below
 * 0x40 that begin a piece stand for a command of the table and a choice of words; the others are keys as they are.
 */
#include "fuzz.h"

#define BED_MIB 4 /* rounds look at all of it */

#include "migrate_bed.h"

#include "arch/x86_64/power.h"
#include "console/command.h"
#include "console/console.h"
#include "net/net.h"
#include "net/port.h"
#include "version.h"
#include "vmm/files.h"

const char godwit_version[] = "test";
static jmp_buf off;

void net_get_info(struct net_info *info)
{
	memset(info, 0, sizeof(*info));
}

noreturn void power_off(void)
{
	longjmp(off, 1);
}

noreturn void power_reset(void)
{
	longjmp(off, 1);
}

static u8 typed[4096];
static size_t typed_bytes, typed_at;
static u64 shown;

static size_t io_read(u8 *buf, size_t size)
{
	size_t n = MIN(typed_bytes - typed_at, size);

	memcpy(buf, typed + typed_at, n);
	typed_at += n;
	return n;
}

static size_t io_room(void)
{
	return 4096;
}

static void io_write(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		shown += (u8)((const volatile char *)text)[i] != 0;
}

static bool io_drain(void)
{
	return false;
}

static const struct console_io io = { io_read, io_room, io_write, io_drain };
static struct host_config host;

void fuzz_start(void)
{
	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	bed_set_up(NULL);
	bed_boots = true;
	bed_stores_per_step = 0;
	host_config_init(&host);
	vm_set_listener(console_guest_event);
	files_add("web.cfg", bed_config_text, strlen(bed_config_text));
	files_add("bad.cfg", "name = \n\001", 9);
}

static void type(const void *bytes, size_t n)
{
	n = MIN(n, sizeof(typed) - typed_bytes);
	memcpy(typed + typed_bytes, bytes, n);
	typed_bytes += n;
}

static void type_command(struct fuzz *in, u8 first)
{
	static const char *const words[] = {
		"web", "web.cfg", "bad.cfg", "localhost", "alpha", "beta", "10.0.0.2", "--live", "--force", "--cancel", "--paused",
		"-p", "-c", "-f", "0", "1", "4294967296", "-1", "0x", "", "nothing", "new", "show", "\t", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	const struct command *command = command_get(first % 64u);
	u32 count = (u32)fuzz_take(in, 1) % 5;

	if (!command)
		return;
	type(command->name, strlen(command->name));
	while (count--) {
		const char *word = words[fuzz_take(in, 1) % ARRAY_SIZE(words)];

		type(" ", 1);
		type(word, strlen(word));
	}
	type("\r", 1);
}

static void play(struct fuzz *in)
{
	for (u32 i = 0; i < 40 && in->left; i++) {
		u8 first = (u8)fuzz_take(in, 1);
		size_t n;
		const u8 *keys;

		typed_bytes = typed_at = 0;
		if (first < 0x80) {
			type_command(in, first);
		} else if (first < 0xf0) {
			keys = fuzz_bytes(in, first & 31, &n);
			type(keys, n);
		} else {
			fake_time_advance(fuzz_take(in, 4));
		}
		for (u32 j = 0; j < 4 || typed_at < typed_bytes; j++) {
			console_poll();
			bed_step();
		}
	}
}

void fuzz_one(struct fuzz *in)
{
	struct vm_config config;

	fake_random_seed(1);
	fake_time_set(1000 * NS_PER_S);
	fault_clear_all();
	fake_pipe_reset();
	migrate_init(&bed_host, &fake_network);
	console_init(&io, &host);
	bed_config(&config);
	bed_create_of(&config);
	shown = 0;
	if (!setjmp(off))
		play(in);
	if (shown > 500)
		fuzz_reached();
	fault_clear_all();
	if (migrate_cancel() == 0)
		bed_step();
	fake_pipe.link_down = true;
	bed_settle();
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
	bed_settle();
	assert_int_equal(fake_pages_used(), 0);
}
