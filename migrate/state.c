/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest state to records, for send.c, on the service CPU while the guest is paused for the move;
 * and HELLO's list of devices, both ways. The way back is state_load.c.
 */
#include "migrate/state.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/cpuid.h"
#include "vmm/device.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/xsave.h"

#define HEADER sizeof(struct record_header)

static_assert(sizeof(struct cpu_state) % STREAM_ALIGN == 0, "wire layout: MSRs follow it");

static u32 record_bytes(u64 body_bytes)
{
	return (u32)(HEADER + ALIGN_UP(body_bytes, STREAM_ALIGN));
}

static u32 vcpu_record_bytes_max(void)
{
	return record_bytes(sizeof(struct wire_vcpu) + sizeof(struct cpu_state) +
			    MSR_VALUES_MAX * sizeof(struct msr_value) + vcpu_xsave_bytes());
}

u32 state_bytes_max(const struct vm *vm)
{
	u32 bytes = record_bytes(sizeof(struct wire_time));

	bytes += vm->vcpu_count * vcpu_record_bytes_max();
	for (const struct device *dev = vm->devices; dev; dev = dev->next)
		bytes += record_bytes(sizeof(struct wire_device) + device_state_bytes(dev));
	bytes += record_bytes(sizeof(struct wire_console) + VM_CONSOLE_BYTES + VM_INPUT_BYTES);
	return bytes;
}

/* --- saving ----------------------------------------------------------------------------------- */

static size_t save_time(struct stream *s, const struct vm *vm, u8 *record)
{
	struct wire_time *time = (struct wire_time *)(record + HEADER);

	time->time_ns = vm_time_ns(vm);
	time->tsc = vm_tsc(vm);
	time->user_pause = (vm->paused & VM_PAUSE_USER) != 0;
	time->reserved = 0;
	return record_seal(s, record, RECORD_TIME, sizeof(*time));
}

static size_t save_vcpu(struct stream *s, const struct vcpu *vcpu, u8 *record)
{
	struct wire_vcpu *head = (struct wire_vcpu *)(record + HEADER);
	struct cpu_state *state = (struct cpu_state *)(head + 1);
	struct msr_value *msrs = (struct msr_value *)(state + 1);
	u64 components = cpuid_policy_state(vcpu->vm->cpuid);
	u32 bytes = xsave_bytes(components);
	u32 body;

	memset(head, 0, sizeof(*head));
	head->index = vcpu->index;
	head->activity = vcpu->activity;
	head->state_bytes = sizeof(*state);
	memset(state, 0, sizeof(*state));
	vcpu_save(vcpu, state);
	head->msr_count = msr_save(vcpu, msrs);
	assert(head->msr_count <= MSR_VALUES_MAX);
	/* What it was not shown lies behind: hosts without it take the guest too. */
	head->xsave_bytes = bytes;
	memcpy(msrs + head->msr_count, vcpu->xsave, bytes);
	vcpu_xsave_hide(msrs + head->msr_count, components);
	body = (u32)(sizeof(*head) + sizeof(*state) + head->msr_count * sizeof(*msrs) + bytes);
	return record_seal(s, record, RECORD_VCPU, body);
}

static struct wire_device describe(const struct device *dev)
{
	return (struct wire_device){ .type = dev->ops->type, .instance = dev->instance,
				     .version = dev->ops->version, .state_bytes = device_state_bytes(dev) };
}

static size_t save_device(struct stream *s, struct device *dev, u8 *record)
{
	struct wire_device *head = (struct wire_device *)(record + HEADER);

	*head = describe(dev);
	memset(head + 1, 0, device_state_bytes(dev));
	device_save(dev, head + 1);
	return record_seal(s, record, RECORD_DEVICE, (u32)sizeof(*head) + device_state_bytes(dev));
}

static size_t save_console(struct stream *s, const struct vm *vm, u8 *record)
{
	struct wire_console *head = (struct wire_console *)(record + HEADER);
	u8 *text = (u8 *)(head + 1);
	u64 from = vm->console.tail;
	u64 seen = MAX(vm->console_seen, vm->console.tail);

	head->unseen_bytes = vm->console.head - MIN(seen, vm->console.head);
	head->output_bytes = (u32)ring_peek(&vm->console, &from, text, VM_CONSOLE_BYTES);
	from = vm->input.tail;
	head->input_bytes = (u32)ring_peek(&vm->input, &from, text + head->output_bytes, VM_INPUT_BYTES);
	return record_seal(s, record, RECORD_CONSOLE,
			   (u32)sizeof(*head) + head->output_bytes + head->input_bytes);
}

size_t state_save(struct stream *s, struct vm *vm, void *buffer)
{
	u8 *at = buffer;

	at += save_time(s, vm, at);
	for (u32 i = 0; i < vm->vcpu_count; i++)
		at += save_vcpu(s, vm->vcpus[i], at);
	spin_lock(&vm->lock);
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		at += save_device(s, dev, at);
	at += save_console(s, vm, at);
	spin_unlock(&vm->lock);
	return (size_t)(at - (u8 *)buffer);
}

/* --- HELLO's list of devices ------------------------------------------------------------------ */

const char *state_device_name(u16 type)
{
	static const struct {
		u16 type;
		const char *name;
	} known[] = {
		{ DEVICE_LAPIC, "local APIC" }, { DEVICE_IOAPIC, "IOAPIC" },     { DEVICE_PIC, "PIC" },
		{ DEVICE_PIT, "PIT" },          { DEVICE_RTC, "RTC" },           { DEVICE_UART, "UART" },
		{ DEVICE_ACPI_PM, "ACPI PM" },  { DEVICE_PCI_HOST, "PCI host" }, { DEVICE_PVCLOCK, "pvclock" },
		{ DEVICE_VIRTIO_NET, "virtio-net" }, { DEVICE_VIRTIO_RNG, "virtio-rng" },
		{ DEVICE_TEST_PORTS, "test ports" },
		{ DEVICE_VIRTIO_BALLOON, "virtio-balloon" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].type == type)
			return known[i].name;
	return "device";
}

u32 state_devices(const struct vm *vm, struct wire_device *list, u32 max)
{
	u32 count = 0;

	for (const struct device *dev = vm->devices; dev && count < max; dev = dev->next)
		list[count++] = describe(dev);
	return count;
}

static bool listed(const struct wire_device *list, u32 count, const struct device *dev)
{
	for (u32 i = 0; i < count; i++)
		if (list[i].type == dev->ops->type && list[i].instance == dev->instance)
			return true;
	return false;
}

int state_devices_check(struct vm *vm, const struct wire_device *list, u32 count, const char *host, char *why,
			size_t why_bytes)
{
	for (u32 i = 0; i < count; i++) {
		const struct wire_device *w = &list[i];
		struct device *dev = device_find(vm, w->type, w->instance);

		if (!dev)
			return say(-E_REFUSED, why, why_bytes, "%s has no %s (type %u, instance %u), which %s has",
				   host, state_device_name(w->type), w->type, w->instance, vm->config.name);
		if (dev->ops->version != w->version || device_state_bytes(dev) != w->state_bytes)
			return say(-E_REFUSED, why, why_bytes,
				   "%s has %s version %u, and %s has version %u: update the older host",
				   host, dev->ops->name, dev->ops->version, vm->config.name, w->version);
	}
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (!listed(list, count, dev))
			return say(-E_REFUSED, why, why_bytes,
				   "%s would give %s a %s that it does not have: update the older host",
				   host, vm->config.name, dev->ops->name);
	return 0;
}
