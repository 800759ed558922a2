/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest with a network card, a source of entropy and a balloon that does what it likes with them: registers, PCI
 * configuration, rings and buffers in its memory, which also change between two fetches of ours (every read of
 * guest memory by a device may be followed by a store of the guest, from the input); frames that come for it;
 * and states from a hostile peer.
 */
#include "fuzz.h"

#include "virtio_bed.h"

#include "devices/virtio_balloon.h"
#include "devices/virtio_net.h"
#include "devices/virtio_net_private.h"
#include "devices/virtio_rng.h"
#include "vmm/balloon.h"

#define NET_SLOT 1
#define RNG_SLOT 2
#define BALLOON_SLOT 3
#define DRIVERS 3
#define SIZE 8
#define AREA 0x200000u /* of guest memory that matters: rings and buffers */

static struct net_port *port;
static struct fuzz *input;
static struct vm *vm;
static struct driver driver[DRIVERS];
static const u32 queues[DRIVERS] = { 3, 1, 5 };
static u32 sent;

/* --- a switch --------------------------------------------------------------------------------- */

int net_switch_add(struct net_port *p)
{
	port = p;
	return 0;
}

void net_switch_remove(unused struct net_port *p)
{
	port = NULL;
}

bool net_switch_input(unused struct net_port *p, const struct net_frame *frame)
{
	u8 sum = 0;

	assert_true(frame->bytes <= NET_FRAME_MAX && frame->bytes >= 14);
	for (u32 i = 0; i < frame->bytes; i++)
		sum ^= ((const volatile u8 *)frame->data)[i];
	if (frame->flags & NET_CSUM_PARTIAL)
		assert_true(frame->csum_start + frame->csum_offset + 2u <= frame->bytes);
	sent++;
	return sum != 0x77;
}

void net_switch_announce(unused struct net_port *p, unused const u8 mac[6])
{
}

/* --- memory that changes under our eyes ------------------------------------------------------- */

static bool racing;

static void guest_stores(struct fuzz *in)
{
	u32 where = (u32)fuzz_take(in, 1);
	gpa_t at;
	size_t n;
	const u8 *data;

	/* Mostly where something is: a ring's parts. */
	switch (where >> 3 & 3) {
	case 0:
		at = RING_BASE + (where % 3) * RING_STRIDE + (u32)fuzz_take(in, 1);
		break;
	case 1:
		at = RING_BASE + (where % 3) * RING_STRIDE + 0x2000 + (u32)fuzz_take(in, 1) % 32;
		break;
	case 2:
		at = RING_BASE + (where % 3) * RING_STRIDE + 0x4000 + (u32)fuzz_take(in, 1) % 80;
		break;
	default:
		at = BUFFER_BASE + (u32)fuzz_take(in, 2) % (AREA - BUFFER_BASE - 16);
		break;
	}
	data = fuzz_bytes(in, where % 17, &n);
	assert_int_equal(gmem_write(&vm->gmem, at, data, n), 0);
}

int __real_gmem_read(const struct gmem *gm, gpa_t gpa, void *data, u64 bytes);
int __wrap_gmem_read(const struct gmem *gm, gpa_t gpa, void *data, u64 bytes);
int __real_gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value);
int __wrap_gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value);

static void race(void)
{
	if (racing && input->left && fuzz_take(input, 1) & 1)
		guest_stores(input);
}

int __wrap_gmem_read(const struct gmem *gm, gpa_t gpa, void *data, u64 bytes)
{
	int error = __real_gmem_read(gm, gpa, data, bytes);

	race();
	return error;
}

int __wrap_gmem_read_u16(const struct gmem *gm, gpa_t gpa, u16 *value)
{
	int error = __real_gmem_read_u16(gm, gpa, value);

	race();
	return error;
}

/* --- what the guest does ---------------------------------------------------------------------- */

/* Any register of any of the devices' structures, or of PCI. */
static void access(struct fuzz *in, struct driver *d)
{
	u8 what = (u8)fuzz_take(in, 1);
	u32 size = 1u << (what & 3);
	u32 offset = (u32)fuzz_take(in, 1);
	u64 value = fuzz_take(in, size);
	u64 base[] = { d->common, d->common, d->notify, d->device, d->isr, d->msix, ecam(d->slot, 0), ecam(0, 0) };
	u64 address = base[what >> 2 & 7] + offset;

	if (what & 0x80)
		bed_read(vm, &vm->mmio, address, size);
	else
		bed_write(vm, &vm->mmio, address, size, value);
}

static void offer(struct fuzz *in, struct driver *d)
{
	u32 queue = (u32)fuzz_take(in, 1) % queues[d - driver];
	u32 count = 1 + (u32)fuzz_take(in, 1) % 4;

	if (!d->ring[queue].size)
		return;
	for (u32 i = 0; i < count; i++) {
		u8 flags = (u8)fuzz_take(in, 1);
		u32 bytes = (u32)fuzz_take(in, 2) % 2100;

		ring_descriptor(d, queue, i, flags & 0x80 ? fuzz_take(in, 8) : BUFFER_BASE + i * 0x1000,
				flags & 0x40 ? (u32)fuzz_take(in, 4) : bytes, flags & (i + 1 < count ? 7 : 6),
				flags & 0x20 ? (u16)fuzz_take(in, 2) : (u16)(i + 1));
	}
	ring_offer(d, queue, 0);
	ring_kick(d, queue);
}

/* As driver_start(), but for a device that may be in any state, and elsewhere by now. */
static void start_driver(struct fuzz *in, struct driver *d)
{
	u64 features = (driver_offered(d) & fuzz_take(in, 4)) | VIRTIO_F_VERSION_1;

	driver_set_status(d, 0);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	mmio_write(d, d->common + 8, 4, 0);
	mmio_write(d, d->common + 12, 4, (u32)features);
	mmio_write(d, d->common + 8, 4, 1);
	mmio_write(d, d->common + 12, 4, features >> 32);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	mmio_write(d, d->common + 0x10, 2, 0);
	for (u32 i = 0; i < queues[d - driver]; i++)
		driver_queue(d, i, SIZE);
	driver_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	if (find_capability(vm, d->slot, 0x11, 0))
		driver_msix(d, 2);
}

static void hostile_state(struct fuzz *in)
{
	u32 which = (u32)fuzz_take(in, 1) % 5;
	u32 changes = (u32)fuzz_take(in, 1) % 8;
	struct device *dev = vm->devices;
	u8 *state;

	while (dev->next && which--)
		dev = dev->next;
	bed_pause(vm);
	state = malloc(device_state_bytes(dev));
	device_save(dev, state);
	assert_int_equal(device_check(dev, state, device_state_bytes(dev)), 0);
	while (changes--) {
		u32 at = (u32)fuzz_take(in, 2) % device_state_bytes(dev);

		state[at] = (u8)fuzz_take(in, 1);
	}
	if (device_check(dev, state, device_state_bytes(dev)) == 0) {
		device_load(dev, state);
		device_save(dev, state);
		assert_int_equal(device_check(dev, state, device_state_bytes(dev)), 0);
	}
	free(state);
	bed_resume(vm);
}

static void frame_comes(struct fuzz *in)
{
	u8 what = (u8)fuzz_take(in, 1);
	struct net_frame frame = { .bytes = 14 + (u32)fuzz_take(in, 2) % (what & 1 ? 1504 : 20000) };
	u8 *data = calloc(1, frame.bytes);
	size_t n;
	const u8 *start = fuzz_bytes(in, 20, &n);

	memcpy(data, start, MIN(n, (size_t)frame.bytes));
	frame.data = data;
	if (frame.bytes > 1518) {
		frame.flags = NET_GSO_TCP4 | NET_CSUM_PARTIAL;
		frame.csum_start = 34;
		frame.csum_offset = 16;
		frame.gso_size = 1460;
		frame.gso_header_bytes = 54;
	}
	if (!(frame.flags & NET_GSO_TCP4) || port->caps & NET_CAP_GSO)
		port->deliver(port, &frame);
	free(data);
}

static void service(void)
{
	for (u32 turn = 0; turn < 50 && vm->doorbell; turn++) {
		vm->doorbell = 0;
		spin_lock(&vm->lock);
		for (struct device *dev = vm->devices; dev; dev = dev->next)
			if (dev->ops->service && !dev->paused && dev->ops->service(dev))
				vm->doorbell = 1;
		spin_unlock(&vm->lock);
	}
}

/* What the console asks for, and what comes between: moves that log, memory that others have. */
static void balloon_step(struct fuzz *in)
{
	struct gmem *gmem = &vm->gmem;
	struct balloon_info info;
	u8 what = (u8)fuzz_take(in, 1);

	switch (what % 6) {
	case 0:
		vm->config.balloon_mib = what % (BED_MEMORY / MIB(1));
		balloon_changed(vm);
		break;
	case 1:
		balloon_ask(vm);
		break;
	case 2:
		if (gmem->logging)
			gmem_log_stop(gmem);
		else if (gmem_log_start(gmem) == 0)
			gmem_log_clear(gmem);
		npt_reap(&gmem->npt);
		vm_doorbell(vm);
		break;
	case 3:
		fake_pages_fail_after(0);
		vm_doorbell(vm);
		service();
		fake_pages_fail_after(~0ull);
		vm_doorbell(vm);
		break;
	case 4:
		gmem_reap(gmem);
		break;
	default:
		(void)gmem_fill(gmem, fuzz_take(in, 2) % gmem->pages);
		break;
	}
	balloon_info(vm, &info);
	assert_true(info.given_back_bytes <= BED_MEMORY);
}

/* Whole runs of pages, as a driver gives them: chunk by chunk. */
static void offer_pages(struct fuzz *in)
{
	struct driver *d = &driver[2];
	u32 queue = (u32)fuzz_take(in, 1) % 2;
	u32 first = (u32)fuzz_take(in, 2) % (BED_MEMORY / PAGE_SIZE);
	u32 count = 1 + (u32)fuzz_take(in, 2) % 600;

	if (!d->ring[queue].size)
		return;
	for (u32 i = 0; i < count; i++) {
		u32 number = first + i;

		if (gmem_write(&vm->gmem, 0x180000 + 4 * i, &number, sizeof(number)))
			return;
	}
	ring_descriptor(d, queue, 0, 0x180000, 4 * count, 0, 0);
	ring_offer(d, queue, 0);
	ring_kick(d, queue);
}

/* --- */

void fuzz_start(void)
{
	fake_pages_set_lazy();
}

static void step(struct fuzz *in)
{
	u8 what = (u8)fuzz_take(in, 1);
	struct driver *d = &driver[what & 4 ? 2 : what & 1];

	racing = what & 2;
	switch (what >> 4) {
	case 0:
		start_driver(in, d);
		break;
	case 1:
		hostile_state(in);
		break;
	case 2:
	case 3:
	case 4:
		guest_stores(in);
		break;
	case 5:
		frame_comes(in);
		break;
	case 6:
		balloon_step(in);
		break;
	case 7:
		if (what & 1)
			offer_pages(in);
		else if (d->ring[0].size)
			ring_kick(d, (u32)fuzz_take(in, 1) % 6);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		offer(in, d);
		break;
	default:
		access(in, d);
		break;
	}
	service();
	racing = false;
}

void fuzz_one(struct fuzz *in)
{
	static const u8 own[6] = { 0x52, 0x54, 0, 0, 0, 1 };

	input = in;
	sent = 0;
	racing = false;
	memset(&bed, 0, sizeof(bed));
	fake_cpu_reset();
	fake_random_seed(1);
	fake_time_set(NS_PER_S);
	vm = bed_vm("web");
	memcpy(vm->config.vif[0].mac, own, 6);
	vm->config.vif_count = 1;
	/* A frame has its own address as the source, wherever the header ends: others go nowhere. */
	guest_write(vm, BUFFER_BASE + 12 + 6, own, 6);
	for (u32 i = 0; i < 4; i++)
		guest_write(vm, BUFFER_BASE + i * 0x1000 + 6, own, 6);
	assert_int_equal(virtio_net_create(vm, 0), 0);
	vm->config.memory_mib = BED_MEMORY / MIB(1);
	assert_int_equal(virtio_rng_create(vm), 0);
	assert_int_equal(virtio_balloon_create(vm), 0);
	driver_find(&driver[0], vm, NET_SLOT);
	driver_find(&driver[1], vm, RNG_SLOT);
	driver_find(&driver[2], vm, BALLOON_SLOT);
	for (u32 i = 0; i < 100 && in->left; i++)
		step(in);
	if (sent)
		fuzz_reached();
	bed_vm_fini(vm);
	assert_int_equal(fake_pages_used(), 0);
}
