/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's list of devices. Called with vm->lock held, on the service CPU.
 */
#include "vmm/device.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

void device_add(struct vm *vm, struct device *dev, const struct device_ops *ops, u16 instance)
{
	struct device **link = &vm->devices;

	dev->ops = ops;
	dev->vm = vm;
	dev->instance = instance;
	dev->paused = false;
	dev->more_state_bytes = 0;
	dev->next = NULL;
	while (*link)
		link = &(*link)->next;
	*link = dev;
}

struct device *device_find(struct vm *vm, u16 type, u16 instance)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->type == type && dev->instance == instance)
			return dev;
	return NULL;
}

void device_save(struct device *dev, void *state)
{
	if (dev->ops->save)
		dev->ops->save(dev, state);
	else
		memcpy(state, (u8 *)dev + dev->ops->state_offset, dev->ops->state_bytes);
}

int device_check(struct device *dev, const void *state, u32 bytes)
{
	return bytes == device_state_bytes(dev) ? dev->ops->check(dev, state) : trace_error(-E_INVAL);
}

void device_load(struct device *dev, const void *state)
{
	if (dev->ops->load)
		dev->ops->load(dev, state);
	else
		memcpy((u8 *)dev + dev->ops->state_offset, state, dev->ops->state_bytes);
}

void devices_pause(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		if (dev->paused)
			continue;
		if (dev->ops->pause)
			dev->ops->pause(dev);
		dev->paused = true;
	}
}

void devices_resume(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		if (!dev->paused)
			continue;
		dev->paused = false;
		if (dev->ops->resume)
			dev->ops->resume(dev);
	}
}

void devices_reset(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->reset)
			dev->ops->reset(dev);
}

void devices_announce(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->announce)
			dev->ops->announce(dev);
}
