/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests as objects: made, found, unmade. Service CPU only.
 */
#include "vmm/vm.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/board.h"
#include "vmm/config/config.h"
#include "vmm/cpuid.h"
#include "vmm/hvm.h"
#include "vmm/kernel.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm_internal.h"

/* All guests, also those that are not published yet; the published ones by rising id. */
static struct vm *vms;
static u32 vm_count;
static u32 last_id;

/* Zeroed memory for one object; NULL if there is none. */
static void *object_alloc(u64 bytes)
{
	hpa_t block = pages_alloc(pages_order(bytes));

	return block == HPA_NONE ? NULL : page_ptr(block);
}

static void object_free(void *object, u64 bytes)
{
	if (object)
		pages_free(page_hpa(object), pages_order(bytes));
}

static int vm_check_config(const struct vm_config *config, char *why, size_t why_bytes)
{
	u64 needed = MIB((u64)config->memory_mib);
	u64 available = pages_free_count() * PAGE_SIZE;
	u32 vcpus_max = MIN(cpu_count() * VM_VCPUS_PER_CPU, VM_VCPUS_MAX);
	char text[32];

	if (!hvm)
		return say(-E_NOSYS, why, why_bytes, "no guests can run on this machine: see dmesg");
	if (!sched_has_cpu(0))
		return say(-E_NOSYS, why, why_bytes, "%s works on none of the CPUs that run guests: see dmesg",
			   hvm->name);
	if (!sched_has_cpu(config->cpus))
		return say(-E_RANGE, why, why_bytes, "cpus: this host has none of these CPUs for guests: see info");
	if (config->vcpus < 1 || config->vcpus > vcpus_max)
		return say(-E_RANGE, why, why_bytes, "%u vCPUs asked for, 1 to %u are possible on %u CPU%s",
			   config->vcpus, vcpus_max, cpu_count(), cpu_count() == 1 ? "" : "s");
	if (config->memory_mib < VM_MEMORY_MIN_MIB)
		return say(-E_RANGE, why, why_bytes, "%u MiB of memory asked for, %u is the least",
			   config->memory_mib, VM_MEMORY_MIN_MIB);
	if (config->memory_mib % 2)
		return say(-E_INVAL, why, why_bytes, "memory of %u MiB: only even numbers are possible",
			   config->memory_mib);
	if (config->vif_count > VM_VIFS_MAX)
		return say(-E_RANGE, why, why_bytes, "%u NICs asked for, %u are possible", config->vif_count,
			   VM_VIFS_MAX);
	if (vm_count >= VMS_MAX)
		return say(-E_NOMEM, why, why_bytes, "there are %u guests already, no more are possible", VMS_MAX);
	if (needed > available)
		return say(-E_NOMEM, why, why_bytes, "no room: it needs %u MiB of memory, %s are free",
			   config->memory_mib, format_bytes(text, sizeof(text), available));
	return 0;
}

static int vm_init_rings(struct vm *vm)
{
	void *console = object_alloc(VM_CONSOLE_BYTES);
	void *input = object_alloc(VM_INPUT_BYTES);

	if (console)
		ring_init(&vm->console, console, VM_CONSOLE_BYTES);
	if (input)
		ring_init(&vm->input, input, VM_INPUT_BYTES);
	return console && input ? 0 : -E_NOMEM;
}

static int vm_init_vcpus(struct vm *vm)
{
	for (u32 i = 0; i < vm->config.vcpus; i++) {
		struct vcpu *vcpu = object_alloc(sizeof(*vcpu));
		int error;

		if (!vcpu)
			return -E_NOMEM;
		error = vcpu_init(vcpu, vm, i);
		if (error) {
			object_free(vcpu, sizeof(*vcpu));
			return error;
		}
		/* The others wait for the guest to start them (SDM 3 9.4). */
		vcpu->activity = i ? VCPU_WAIT_SIPI : VCPU_ACTIVE;
		vm->vcpus[i] = vcpu;
		vm->vcpu_count = i + 1;
	}
	return 0;
}

/* Gives back all that there is, of a guest that may be half built. */
static void vm_free(struct vm *vm)
{
	if (vm->board)
		board_fini(vm);
	for (u32 i = vm->vcpu_count; i-- > 0;) {
		vcpu_fini(vm->vcpus[i]);
		object_free(vm->vcpus[i], sizeof(*vm->vcpus[i]));
	}
	if (vm->gmem.pages)
		gmem_fini(&vm->gmem);
	object_free(vm->console.data, VM_CONSOLE_BYTES);
	object_free(vm->input.data, VM_INPUT_BYTES);
	object_free(vm->cpuid, sizeof(*vm->cpuid));
	object_free(vm, sizeof(*vm));
}

/* What it is shown of the CPU; a guest that arrives brings its own. */
static int vm_init_cpuid(struct vm *vm, bool incoming, char *why, size_t why_bytes)
{
	char missing[128];

	vm->cpuid = object_alloc(sizeof(*vm->cpuid));
	if (!vm->cpuid)
		return -E_NOMEM;
	cpuid_policy_build(vm->cpuid, vm->config.vcpus);
	if (incoming || !cpuid_policy_limit(vm->cpuid, vm->config.cpu, MIB((u64)vm->config.memory_mib), missing,
					    sizeof(missing)))
		return 0;
	return say(-E_NOSYS, why, why_bytes, "cpu = '%s': this host's CPU lacks %s", cpuid_level_name(vm->config.cpu),
		   missing);
}

static int vm_build(struct vm *vm, bool incoming, char *why, size_t why_bytes)
{
	u64 bytes = MIB((u64)vm->config.memory_mib);
	int error = vm_init_cpuid(vm, incoming, why, why_bytes);

	if (error)
		return error;
	error = vm_init_rings(vm);
	if (!error)
		error = incoming ? gmem_init_raw(&vm->gmem, bytes, hvm->npt_format()) :
				   gmem_init(&vm->gmem, bytes, hvm->npt_format());
	if (error) {
		vm->gmem.pages = 0;
		return error;
	}
	error = vm_init_vcpus(vm);
	if (!error)
		error = board_init(vm);
	if (error)
		vm->board = NULL;
	return error;
}

static void vm_link(struct vm *vm)
{
	struct vm **link = &vms;

	while (*link)
		link = &(*link)->next;
	vm->next = NULL;
	*link = vm;
	vm_count++;
}

static void vm_unlink(struct vm *vm)
{
	struct vm **link = &vms;

	while (*link != vm)
		link = &(*link)->next;
	*link = vm->next;
	vm_count--;
}

/* Memory, vCPUs and board, all as at power-on. */
static int vm_make(const struct vm_config *config, bool incoming, struct vm **out, char *why, size_t why_bytes)
{
	int error = vm_check_config(config, why, why_bytes);
	struct vm *vm;

	if (error)
		return error;
	vm = object_alloc(sizeof(*vm));
	if (!vm)
		return say(-E_NOMEM, why, why_bytes, "no memory left");
	vm->config = *config;
	vm->state = VM_BUILDING;
	(void)vm_tsc_set_khz(vm, (u32)tsc_khz());
	vm->tsc_offset = -tsc_read();
	vm->time_offset_ns = -(s64)time_ns();
	why[0] = '\0';
	error = vm_build(vm, incoming, why, why_bytes);
	if (error) {
		vm_free(vm);
		return why[0] ? error : say(error, why, why_bytes, "could not be built: %s", error_name(error));
	}
	vm_link(vm);
	*out = vm;
	return 0;
}

int vm_create(const struct vm_config *config, struct vm **out, char *why, size_t why_bytes)
{
	struct vm *vm;
	int error;

	error = vm_config_clash(config, NULL, why, why_bytes);
	if (error)
		return error;
	error = vm_make(config, false, &vm, why, why_bytes);
	if (error)
		return error;
	atomic_or(&vm->paused, VM_PAUSE_CLEAR);
	error = kernel_load(vm, why, why_bytes);
	if (error) {
		vm_destroy(vm);
		return error;
	}
	vm_publish(vm);
	*out = vm;
	return 0;
}

int vm_create_incoming(const struct vm_config *config, struct vm **out, char *why, size_t why_bytes)
{
	int error = vm_make(config, true, out, why, why_bytes);

	if (error)
		return error;
	/* They are resumed by vm_start(), with their loaded state. */
	for (struct device *dev = (*out)->devices; dev; dev = dev->next)
		dev->paused = true;
	return 0;
}

int vm_reset(struct vm *vm, char *why, size_t why_bytes)
{
	int error;

	atomic_or(&vm->paused, VM_PAUSE_CLEAR);
	gmem_forget(&vm->gmem);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		error = vcpu_reset(vm->vcpus[i]);
		if (error)
			return say(error, why, why_bytes, "its vCPUs could not be reset: %s", error_name(error));
		vm->vcpus[i]->activity = i ? VCPU_WAIT_SIPI : VCPU_ACTIVE;
	}
	board_reset(vm);
	return kernel_load(vm, why, why_bytes);
}

void vm_publish(struct vm *vm)
{
	if (vm->published)
		return;
	vm_unlink(vm);
	vm_link(vm);
	vm->id = ++last_id;
	vm->published = true;
}

void vm_destroy(struct vm *vm)
{
	atomic_or(&vm->paused, VM_PAUSE_STATE);
	vm_wait_stopped(vm);
	vm_unlink(vm);
	vm_free(vm);
	vm_memory_came_free();
}

struct vm *vm_find(const char *name)
{
	u64 id;

	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		if (str_equal(vm->config.name, name))
			return vm;
	if (str_to_u64(name, &id) || id > ~0u)
		return NULL;
	return vm_by_id((u32)id);
}

struct vm *vm_by_id(u32 id)
{
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		if (vm->id == id)
			return vm;
	return NULL;
}

struct vm *vm_next_any(struct vm *vm)
{
	return vm ? vm->next : vms;
}

struct vm *vm_next(struct vm *vm)
{
	do
		vm = vm_next_any(vm);
	while (vm && !vm->published);
	return vm;
}
