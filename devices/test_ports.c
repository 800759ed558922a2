/* SPDX-License-Identifier: Apache-2.0 */
/* Ports for test kernels. On the vCPU's CPU, vm->lock held. */
#include "devices/test_ports.h"

#include "errors.h"
#include "lib/string.h"
#include "vmm/vm.h"

static const char shutdown_text[] = "Shutdown";

void test_ports_latch_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct test_ports *ports = ctx;
	u8 *at = ports->s.latch + offset;

	if (write) {
		memcpy(at, value, size);
	} else {
		*value = 0;
		memcpy(value, at, size);
	}
}

void test_ports_exit_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct test_ports *ports = ctx;

	(void)offset;
	(void)size;
	if (write)
		vm_end_with(ports->dev.vm, (u32)*value);
	else
		*value = 0;
}

void test_ports_shutdown_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	struct test_ports *ports = ctx;
	struct test_ports_state *s = &ports->s;
	char c = (char)*value;

	(void)offset;
	(void)size;
	if (!write) {
		*value = 0;
		return;
	}
	if (c == shutdown_text[s->matched])
		s->matched++;
	else
		s->matched = c == shutdown_text[0];
	if (s->matched < sizeof(shutdown_text) - 1)
		return;
	s->matched = 0;
	vm_want(ports->dev.vm, VM_WANT_SHUTDOWN);
}

static void reset(struct device *dev)
{
	struct test_ports *ports = container_of(dev, struct test_ports, dev);

	memset(&ports->s, 0, sizeof(ports->s));
}

static int check(struct device *dev, const void *state)
{
	const struct test_ports_state *s = state;

	(void)dev;
	return s->matched < sizeof(shutdown_text) - 1 ? 0 : -E_INVAL;
}

static const struct device_ops ops = {
	.name = "test ports",
	.type = DEVICE_TEST_PORTS,
	.version = 1,
	DEVICE_STATE(struct test_ports, s),
	.reset = reset,
	.check = check,
};

void test_ports_init(struct test_ports *ports, struct vm *vm)
{
	device_add(vm, &ports->dev, &ops, 0);
	reset(&ports->dev);
}
