/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports by which test kernels end a machine and try their I/O instructions, as emulators have them: a latch at
 * 0xe0, QEMU's isa-debug-exit at 0xf4, Bochs' "Shutdown" at 0x8900. Only for guests that ask for them
 * (test_ports = 1). vm->lock held.
 */
#ifndef DEVICES_TEST_PORTS_H
#define DEVICES_TEST_PORTS_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"

#define TEST_PORT_LATCH 0xe0   /* 4 bytes */
#define TEST_PORT_EXIT 0xf4    /* 4 bytes */
#define TEST_PORT_SHUTDOWN 0x8900

struct test_ports_state {
	u8 latch[4];
	u32 matched; /* characters of "Shutdown" so far */
};
static_assert(sizeof(struct test_ports_state) == 8, "wire layout");

struct test_ports {
	struct device dev;
	struct test_ports_state s;
};

void test_ports_init(struct test_ports *ports, struct vm *vm);
io_handler test_ports_latch_io, test_ports_exit_io, test_ports_shutdown_io; /* ctx: the test_ports */

#endif
