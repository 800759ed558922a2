/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of nothing but its board, for the tests of devices/: real devices, buses and timers; no
 * memory, no PCI devices, and a vCPU that only takes interrupts. Included once by a test program:
 * it defines what vmm/ has around these (vm.c, vcpu.c would bring all the rest along).
 */
#ifndef DEV_WORLD_H
#define DEV_WORLD_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/board.h"
#include "devices/pci.h"
#include "devices/virtio_balloon.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pages.h"
#include "vmm/board.h"
#include "vmm/hvm.h"
#include "vmm/irqchip.h"
#include "vmm/startup.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

struct world {
	struct vm vm;
	struct vcpu vcpu;
	u8 console[KIB(4)];
	u8 input[KIB(1)];
	u32 apic_page[PAGE_SIZE / 4];
	u32 doorbells;
	u32 kicks;
};

/* A CPU that does nothing of the APIC's work. */
static const struct hvm_ops plain_hvm;

/* Whose vCPU "runs" on this CPU. */
static struct world *running_world;
static u32 worlds;

u64 vm_time_ns(const struct vm *vm)
{
	return time_ns() + (u64)vm->time_offset_ns;
}

u64 vm_tsc(const struct vm *vm)
{
	return tsc_read() + vm->tsc_offset;
}

u64 vcpu_tsc(const struct vcpu *vcpu)
{
	return vm_tsc(vcpu->vm);
}

/* What INIT and SIPI do is vmm/startup.c's. */
void startup_init(struct vcpu *vcpu)
{
	vcpu->startup = ~0u;
}

void startup_sipi(struct vcpu *vcpu, u8 vector)
{
	if (vcpu->startup == ~0u)
		vcpu->startup = vector;
}

u64 vm_tsc_to_ns(unused const struct vm *vm, u64 ticks)
{
	return tsc_to_ns(ticks);
}

struct vcpu *vcpu_current(void)
{
	return running_world ? &running_world->vcpu : NULL;
}

void vcpu_kick(struct vcpu *vcpu)
{
	container_of(vcpu, struct world, vcpu)->kicks++;
}

void vm_doorbell(struct vm *vm)
{
	container_of(vm, struct world, vm)->doorbells++;
}

void vm_want(struct vm *vm, u32 what)
{
	vm->want |= what;
}

void vm_end_with(struct vm *vm, u32 value)
{
	vm->end_value = value | END_VALUE_GIVEN;
	vm->want |= VM_WANT_SHUTDOWN;
}

int pci_host_init(unused struct vm *vm)
{
	return 0;
}

int virtio_net_create(unused struct vm *vm, unused u32 vif)
{
	return 0;
}

int virtio_rng_create(unused struct vm *vm)
{
	return 0;
}

int virtio_balloon_create(unused struct vm *vm)
{
	return 0;
}

static inline struct board *board_of_world(struct world *w)
{
	return w->vm.board;
}

static inline struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	hvm = &plain_hvm;
	w->vcpu.vm = &w->vm;
	w->vcpu.apic_page = w->apic_page;
	w->vm.vcpus[0] = &w->vcpu;
	w->vm.vcpu_count = 1;
	w->vm.config.test_ports = true;
	ring_init(&w->vm.console, w->console, sizeof(w->console));
	ring_init(&w->vm.input, w->input, sizeof(w->input));
	assert_int_equal(board_init(&w->vm), 0);
	running_world = w;
	worlds++;
	return w;
}

static inline void world_free(struct world *w)
{
	board_fini(&w->vm);
	if (--worlds == 0)
		assert_int_equal(fake_pages_used(), 0);
	if (running_world == w)
		running_world = NULL;
	free(w);
}

static inline u64 world_access(struct world *w, struct io_bus *bus, u64 addr, unsigned int size, bool write,
			       u64 value)
{
	int error;

	running_world = w;
	spin_lock(&w->vm.lock);
	error = io_bus_access(bus, addr, size, write, &value);
	spin_unlock(&w->vm.lock);
	assert_int_equal(error, 0);
	return value;
}

static inline u8 in8(struct world *w, u16 port)
{
	return (u8)world_access(w, &w->vm.pio, port, 1, false, 0);
}

static inline u16 in16(struct world *w, u16 port)
{
	return (u16)world_access(w, &w->vm.pio, port, 2, false, 0);
}

static inline u32 in32(struct world *w, u16 port)
{
	return (u32)world_access(w, &w->vm.pio, port, 4, false, 0);
}

static inline void out8(struct world *w, u16 port, u8 value)
{
	world_access(w, &w->vm.pio, port, 1, true, value);
}

static inline void out16(struct world *w, u16 port, u16 value)
{
	world_access(w, &w->vm.pio, port, 2, true, value);
}

static inline u32 mmio_read(struct world *w, u64 gpa)
{
	return (u32)world_access(w, &w->vm.mmio, gpa, 4, false, 0);
}

static inline void mmio_write(struct world *w, u64 gpa, u32 value)
{
	world_access(w, &w->vm.mmio, gpa, 4, true, value);
}

static inline void set_line(struct world *w, u32 gsi, bool level)
{
	spin_lock(&w->vm.lock);
	irqchip_set_line(&w->vm, gsi, level);
	spin_unlock(&w->vm.lock);
}

/* Time goes on; timers fire when they are due. */
static inline void world_advance(struct world *w, u64 ns)
{
	u64 end = vm_time_ns(&w->vm) + ns;
	u64 next = vtimer_next(&w->vcpu);

	while (next && next <= end) {
		if (next > vm_time_ns(&w->vm))
			fake_time_advance(next - vm_time_ns(&w->vm));
		vtimer_run(&w->vcpu);
		next = vtimer_next(&w->vcpu);
	}
	fake_time_advance(end - vm_time_ns(&w->vm));
}

/* The vCPU takes what is pending: its vector, -1 if nothing is. */
static inline int take(struct world *w)
{
	int vector = irqchip_pending(&w->vcpu);

	if (vector >= 0)
		assert_int_equal(irqchip_accept(&w->vcpu), vector);
	return vector;
}

/* As a move does: paused, saved, checked and loaded into a new world, resumed there. */
static inline struct world *world_move(struct world *from)
{
	struct world *to = world_new();
	struct device *src;
	struct device *dst = to->vm.devices;

	to->vm.time_offset_ns = from->vm.time_offset_ns;
	to->vm.tsc_offset = from->vm.tsc_offset;
	devices_pause(&from->vm);
	devices_pause(&to->vm);
	for (src = from->vm.devices; src; src = src->next, dst = dst->next) {
		u8 *state = malloc(device_state_bytes(src));

		device_save(src, state);
		assert_ptr_equal(src->ops, dst->ops);
		assert_int_equal(device_check(dst, state, device_state_bytes(src)), 0);
		device_load(dst, state);
		free(state);
	}
	devices_resume(&to->vm);
	return to;
}

#endif
