/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's console on ours: see attach.h. The guest is remembered by its ID, for it may end or move away
 * while somebody watches.
 */
#include "console/attach.h"

#include "console/terminal.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/vm.h"

#define LEAVE 0x1d /* Ctrl-] */

static u32 attached_id;
static bool attached;

void attach_start(struct vm *vm)
{
	attached_id = vm->id;
	attached = true;
	terminal_printf("(console of %s: Ctrl-] leaves)\n", vm->config.name);
}

bool attach_active(void)
{
	return attached;
}

static void leave(const char *why)
{
	attached = false;
	/* Colours and modes that the guest had set must not stay on our prompt. */
	terminal_printf("\x1b[0m\n%s\n", why);
}

bool attach_input(const u8 *bytes, size_t n)
{
	const u8 *end = memchr(bytes, LEAVE, n);
	struct vm *vm = vm_by_id(attached_id);
	size_t length = end ? (size_t)(end - bytes) : n;

	if (vm && length) {
		spin_lock(&vm->lock);
		ring_put(&vm->input, bytes, length);
		board_console_input(vm);
		spin_unlock(&vm->lock);
	}
	if (end)
		leave("(left)");
	return !end;
}

bool attach_poll(void)
{
	struct vm *vm = vm_by_id(attached_id);
	char chunk[1024];
	size_t n;

	if (!vm) {
		leave("(the guest is not here any more)");
		return false;
	}
	do {
		/* "\n" becomes "\r\n" on the way, so a chunk may grow. */
		size_t room = MIN(terminal_room() / 2, sizeof(chunk));

		spin_lock(&vm->lock);
		n = ring_peek(&vm->console, &vm->console_seen, chunk, room);
		spin_unlock(&vm->lock);
		terminal_write(chunk, n);
	} while (n);
	return true;
}

void attach_last_look(const struct vm *vm)
{
	if (attached && attached_id == vm->id)
		attach_poll();
}
