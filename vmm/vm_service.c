/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's vCPUs cannot do themselves: its devices' rings, its end. The vCPUs' CPUs only set
 * flags (vm_doorbell, vm_want, vm_fail: any CPU); the service CPU does the work.
 */
#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/board.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_internal.h"

/* So many restarts, each so soon after the last one, and it is taken for a guest that can't start. */
#define QUICK_RESTART_NS NS_PER_S
#define QUICK_RESTARTS_MAX 10

static void (*listener)(struct vm *vm, const char *what);

void vm_set_listener(void (*event)(struct vm *vm, const char *what))
{
	listener = event;
}

static void tell(struct vm *vm, const char *what)
{
	if (listener)
		listener(vm, what);
	else
		log_info("%s: %s", vm->config.name, what);
}

/* The service loop notices its own flags after the vCPU's slice: cpu_kick() of oneself is not needed. */
static void call_service(void)
{
	if (cpu_self()->index == SERVICE_CPU)
		atomic_or(&cpu_self()->pending, (u32)CPU_PENDING_KICK);
	else
		cpu_kick(SERVICE_CPU);
}

void vm_doorbell(struct vm *vm)
{
	/* Rung already and not yet answered: the service CPU is on its way. */
	if (!atomic_swap(&vm->doorbell, 1))
		call_service();
}

void vm_want(struct vm *vm, u32 what)
{
	atomic_or(&vm->want, what);
	/* None enters the guest again; those that are inside come out when the service CPU stops them. */
	for (u32 i = 0; i < vm->vcpu_count; i++)
		vcpu_look(vm->vcpus[i]);
	call_service();
}

void vm_end_with(struct vm *vm, u32 value)
{
	WRITE_ONCE(vm->end_value, value | END_VALUE_GIVEN);
	vm_want(vm, VM_WANT_SHUTDOWN);
}

void vm_fail(struct vm *vm, const char *fmt, ...)
{
	va_list ap;

	/* The first reason is the one that counts. */
	if (atomic_swap(&vm->failing, 1))
		return;
	va_start(ap, fmt);
	str_vformat(vm->failure, sizeof(vm->failure), fmt, ap);
	va_end(ap);
	vm_want(vm, VM_WANT_CRASH);
}

void vm_power_button(struct vm *vm)
{
	spin_lock(&vm->lock);
	board_power_button(vm);
	spin_unlock(&vm->lock);
}

/* Its first look at a guest that has ended. */
static void vm_note_end(struct vm *vm)
{
	char what[VM_WHY_BYTES + 16];
	u32 want = READ_ONCE(vm->want);

	vm_wait_stopped(vm);
	if (want & VM_WANT_CRASH) {
		str_copy(vm->why, sizeof(vm->why), vm->failure);
		str_format(what, sizeof(what), "crashed: %s", vm->why);
		vm->state = VM_CRASHED;
	} else if (want & VM_WANT_SHUTDOWN) {
		if (vm->end_value)
			str_format(what, sizeof(what), "ended itself with value %u", (u32)vm->end_value);
		else
			str_copy(what, sizeof(what), "switched itself off");
		vm->state = VM_SHUTDOWN;
	} else {
		str_copy(what, sizeof(what), "restarts");
		vm->state = VM_REBOOTING;
	}
	tell(vm, what);
}

static enum vm_action vm_action(const struct vm *vm)
{
	switch (vm->state) {
	case VM_SHUTDOWN:
		return vm->config.on_poweroff;
	case VM_REBOOTING:
		return vm->config.on_reboot;
	case VM_CRASHED:
		return vm->config.on_crash;
	case VM_BUILDING:
	case VM_LIVE:
		break;
	}
	return VM_PRESERVE;
}

static void vm_end(struct vm *vm)
{
	tell(vm, "destroyed");
	vm_destroy(vm);
}

/* It would go on for ever, and nobody could read anything else on the console. */
static bool vm_restarts_too_often(struct vm *vm)
{
	u64 now_ns = time_ns();

	if (now_ns - vm->restarted_ns < QUICK_RESTART_NS)
		vm->quick_restarts++;
	else
		vm->quick_restarts = 0;
	vm->restarted_ns = now_ns;
	return vm->quick_restarts >= QUICK_RESTARTS_MAX;
}

/* In place: the guest keeps its id, its memory and its place in the list. */
static void vm_restart(struct vm *vm)
{
	char why[VM_WHY_BYTES];
	char what[VM_WHY_BYTES + 32];

	if (vm_restarts_too_often(vm)) {
		tell(vm, "restarts again and again: no more");
		vm_end(vm);
		return;
	}
	vm->want = 0;
	vm->failing = 0;
	vm->end_value = 0;
	vm->failure[0] = '\0';
	vm->why[0] = '\0';
	vm->doorbell = 0;
	if (vm_reset(vm, why, sizeof(why))) {
		str_format(what, sizeof(what), "can't restart: %s", why);
		tell(vm, what);
		vm_end(vm);
		return;
	}
	vm->state = VM_BUILDING;
	vm_start(vm);
}

/* An ended guest goes the way that its configuration says; it may be gone afterwards. */
static void vm_apply_policy(struct vm *vm)
{
	if (vm->holds || vm->paused & VM_PAUSE_FROZEN)
		return;
	switch (vm_action(vm)) {
	case VM_DESTROY:
		vm_end(vm);
		return;
	case VM_RESTART:
		vm_restart(vm);
		return;
	case VM_PRESERVE:
		return;
	}
}

void vm_memory_came_free(void)
{
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		vm_doorbell(vm);
}

static bool vm_serve_devices(struct vm *vm)
{
	bool more = false;

	if (!atomic_swap(&vm->doorbell, 0))
		return false;
	spin_lock(&vm->lock);
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->service && !dev->paused && dev->ops->service(dev))
			more = true;
	spin_unlock(&vm->lock);
	vm_reap_memory(vm);
	if (more)
		WRITE_ONCE(vm->doorbell, 1);
	return more;
}

/* By pieces, so that others are served in between. */
static bool vm_clear_memory(struct vm *vm)
{
	if (!(vm->paused & VM_PAUSE_CLEAR))
		return false;
	if (gmem_clear_next(&vm->gmem))
		return true;
	vm_unpause(vm, VM_PAUSE_CLEAR);
	return false;
}

bool vm_service(void)
{
	bool more = false;
	struct vm *next;

	for (struct vm *vm = vm_next(NULL); vm; vm = next) {
		next = vm_next(vm);
		more |= vm_serve_devices(vm);
		more |= vm_clear_memory(vm);
		if (vm->state == VM_LIVE && READ_ONCE(vm->want))
			vm_note_end(vm);
		if (vm->state != VM_LIVE && vm->state != VM_BUILDING)
			vm_apply_policy(vm);
	}
	return more;
}
