/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records to guest state, for receive.c, on the service CPU; the guest was created here and never
 * ran. Nothing of the wire is believed: state_check looks at all of it before state_load touches
 * anything. A guest whose load fails is freed, not run.
 */
#include "migrate/state.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/cpuid.h"
#include "vmm/device.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/xsave.h"

/* Far from where adding a downtime could overflow. */
#define TIME_MAX_NS (100ull * 365 * 86400 * NS_PER_S)

/* --- checking --------------------------------------------------------------------------------- */

int state_add(struct state_parts *parts, u16 type, const void *body, u32 bytes, char *why, size_t why_bytes)
{
	if (parts->count == STATE_PARTS_MAX)
		return say(-E_PROTO, why, why_bytes, "more than %u records of state came", STATE_PARTS_MAX);
	parts->part[parts->count].type = type;
	parts->part[parts->count].body = body;
	parts->part[parts->count].bytes = bytes;
	parts->count++;
	return 0;
}

static u32 count_of(const struct state_parts *parts, u16 type)
{
	u32 count = 0;

	for (u32 i = 0; i < parts->count; i++)
		count += parts->part[i].type == type;
	return count;
}

static int check_counts(const struct state_parts *parts, const struct vm *vm, char *why, size_t why_bytes)
{
	u32 devices = 0;

	for (const struct device *dev = vm->devices; dev; dev = dev->next)
		devices++;
	if (count_of(parts, RECORD_TIME) != 1 || count_of(parts, RECORD_CONSOLE) != 1)
		return say(-E_PROTO, why, why_bytes, "there must be one TIME and one CONSOLE record");
	if (count_of(parts, RECORD_VCPU) != vm->vcpu_count)
		return say(-E_PROTO, why, why_bytes, "%u VCPU records came for %u vCPUs", count_of(parts,
			   RECORD_VCPU),
			     vm->vcpu_count);
	if (count_of(parts, RECORD_DEVICE) != devices)
		return say(-E_PROTO, why, why_bytes, "%u DEVICE records came for %u devices", count_of(parts,
			   RECORD_DEVICE),
			     devices);
	return 0;
}

/* The record as a body of known parts, or NULL where its lengths do not agree. */
static const struct cpu_state *vcpu_parts(const struct wire_vcpu *head, u32 bytes,
					  const struct msr_value **msrs,
					  const u8 **xsave)
{
	const struct cpu_state *state = (const struct cpu_state *)(head + 1);

	if (head->state_bytes != sizeof(*state) || head->msr_count > MSR_VALUES_MAX ||
	    head->xsave_bytes > vcpu_xsave_bytes() ||
	    bytes != sizeof(*head) + sizeof(*state) + head->msr_count * sizeof(**msrs) + head->xsave_bytes)
		return NULL;
	*msrs = (const struct msr_value *)(state + 1);
	*xsave = (const u8 *)(*msrs + head->msr_count);
	return state;
}

static int check_vcpu(const struct wire_vcpu *head, u32 bytes, const struct vm *vm, char *why, size_t why_bytes)
{
	u64 xcr0 = cpuid_policy_xcr0(vm->cpuid);
	const struct cpu_state *state;
	const struct msr_value *msrs;
	const u8 *xsave;
	char what[96];

	state = vcpu_parts(head, bytes, &msrs, &xsave);
	if (!state)
		return say(-E_PROTO, why, why_bytes, "the VCPU record's lengths do not agree");
	if (head->index >= vm->vcpu_count || head->activity > VCPU_WAIT_SIPI || head->reserved)
		return say(-E_PROTO, why, why_bytes, "the VCPU record has no valid index or activity");
	if (cpu_state_check(state))
		return say(-E_PROTO, why, why_bytes, "vCPU %u's registers are no valid state", head->index);
	if (state->xcr0 & ~xcr0)
		return say(-E_PROTO, why, why_bytes,
			   "vCPU %u's XCR0 has features that the guest was not shown", head->index);
	if (vcpu_xsave_check(xsave, head->xsave_bytes, cpuid_policy_state(vm->cpuid)))
		return say(-E_PROTO, why, why_bytes, "vCPU %u's XSAVE area is not valid", head->index);
	if (msr_check(msrs, head->msr_count, what, sizeof(what)))
		return say(-E_PROTO, why, why_bytes, "vCPU %u: %s", head->index, what);
	return 0;
}

static int check_device(const struct wire_device *head, u32 bytes, struct vm *vm, char *why, size_t why_bytes)
{
	struct device *dev = device_find(vm, head->type, head->instance);

	if (!dev)
		return say(-E_PROTO, why, why_bytes, "a DEVICE record for %s %u, which was not announced",
			     state_device_name(head->type), head->instance);
	if (head->version != dev->ops->version || head->state_bytes != device_state_bytes(dev) ||
	    bytes != sizeof(*head) + head->state_bytes || head->reserved || head->reserved2)
		return say(-E_PROTO, why, why_bytes,
			   "the DEVICE record of %s %u has another version or length than announced",
			     dev->ops->name, head->instance);
	if (device_check(dev, head + 1, head->state_bytes))
		return say(-E_PROTO, why, why_bytes, "the state of %s %u is not valid", dev->ops->name,
			   head->instance);
	return 0;
}

static int check_console(const struct wire_console *head, u32 bytes, char *why, size_t why_bytes)
{
	if (head->output_bytes > VM_CONSOLE_BYTES || head->input_bytes > VM_INPUT_BYTES ||
	    head->unseen_bytes > head->output_bytes || bytes != sizeof(*head) + head->output_bytes + head->input_bytes)
		return say(-E_PROTO, why, why_bytes, "the CONSOLE record's lengths do not agree");
	return 0;
}

/* The counts are right, so without doubles each vCPU and device has its record. */
static int check_doubles(const struct state_parts *parts, char *why, size_t why_bytes)
{
	for (u32 i = 0; i < parts->count; i++)
		for (u32 j = 0; j < i; j++) {
			/* A VCPU's index is 4 bytes; a DEVICE's type and instance are its first 4, too. */
			bool keyed = parts->part[i].type == RECORD_VCPU || parts->part[i].type == RECORD_DEVICE;

			if (keyed && parts->part[i].type == parts->part[j].type &&
			    !memcmp(parts->part[i].body, parts->part[j].body, 4))
				return say(-E_PROTO, why, why_bytes, "two %s records are for the same thing",
					     record_name(parts->part[i].type));
		}
	return 0;
}

static int check_parts(const struct state_parts *parts, struct vm *vm, char *why, size_t why_bytes)
{
	int error = 0;

	for (u32 i = 0; i < parts->count && !error; i++) {
		const void *body = parts->part[i].body;
		u32 bytes = parts->part[i].bytes;

		if (parts->part[i].type == RECORD_VCPU)
			error = check_vcpu(body, bytes, vm, why, why_bytes);
		else if (parts->part[i].type == RECORD_DEVICE)
			error = check_device(body, bytes, vm, why, why_bytes);
		else if (parts->part[i].type == RECORD_CONSOLE)
			error = check_console(body, bytes, why, why_bytes);
	}
	return error;
}

int state_check(const struct state_parts *parts, struct vm *vm, char *why, size_t why_bytes)
{
	struct wire_time time;
	int error = check_counts(parts, vm, why, why_bytes);

	if (!error)
		error = check_doubles(parts, why, why_bytes);
	if (error)
		return error;
	time = state_time(parts);
	if (time.user_pause > 1 || time.reserved || time.time_ns > TIME_MAX_NS)
		return say(-E_PROTO, why, why_bytes, "the TIME record makes no sense");
	spin_lock(&vm->lock);
	error = check_parts(parts, vm, why, why_bytes);
	spin_unlock(&vm->lock);
	return error;
}

/* --- loading ---------------------------------------------------------------------------------- */

struct wire_time state_time(const struct state_parts *parts)
{
	struct wire_time time = { 0 };

	for (u32 i = 0; i < parts->count; i++)
		if (parts->part[i].type == RECORD_TIME)
			memcpy(&time, parts->part[i].body, sizeof(time));
	return time;
}

static int load_vcpu(const struct wire_vcpu *head, u32 bytes, struct vm *vm, char *why, size_t why_bytes)
{
	struct vcpu *vcpu = vm->vcpus[head->index];
	const struct cpu_state *state;
	const struct msr_value *msrs;
	const u8 *xsave;

	state = vcpu_parts(head, bytes, &msrs, &xsave);
	if (!state || vcpu_load(vcpu, state))
		return say(-E_PROTO, why, why_bytes, "this CPU does not enter a guest with vCPU %u's state",
			   head->index);
	memset(vcpu->xsave, 0, vcpu_xsave_bytes());
	memcpy(vcpu->xsave, xsave, head->xsave_bytes);
	vcpu->activity = head->activity;
	msr_load(vcpu, msrs, head->msr_count);
	return 0;
}

static void load_device(const struct wire_device *head, struct vm *vm)
{
	struct device *dev = device_find(vm, head->type, head->instance);

	device_load(dev, head + 1);
}

static void load_console(const struct wire_console *head, struct vm *vm)
{
	const u8 *text = (const u8 *)(head + 1);

	ring_push(&vm->console, text, head->output_bytes);
	vm->console_seen = vm->console.head - head->unseen_bytes;
	ring_put(&vm->input, text + head->output_bytes, head->input_bytes);
}

int state_load(const struct state_parts *parts, struct vm *vm, char *why, size_t why_bytes)
{
	struct wire_time time = state_time(parts);
	int error = 0;

	/* Devices and MSRs may look at the clocks. They are set again when it is known how long it all took. */
	vm_time_load(vm, time.time_ns, time.tsc);
	for (u32 i = 0; i < parts->count && !error; i++)
		if (parts->part[i].type == RECORD_VCPU)
			error = load_vcpu((const struct wire_vcpu *)parts->part[i].body, parts->part[i].bytes, vm, why,
					  why_bytes);
	if (error)
		return error;
	spin_lock(&vm->lock);
	for (u32 i = 0; i < parts->count; i++) {
		const u8 *body = parts->part[i].body;

		if (parts->part[i].type == RECORD_DEVICE)
			load_device((const struct wire_device *)body, vm);
		else if (parts->part[i].type == RECORD_CONSOLE)
			load_console((const struct wire_console *)body, vm);
	}
	spin_unlock(&vm->lock);
	return 0;
}
