/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory balloon (virtio 1.2 5.5). The host says how many pages it is to hold; the guest gives pages
 * to it (inflate), takes some back (deflate), says how much memory it uses, and reports pages that are just
 * free. The device is here, its queues are in virtio_balloon_queue.c. Service CPU with vm->lock held; registers
 * on the vCPU's CPU.
 *
 * What the guest gives away is zeroed while it is ours, through the door that marks it dirty: so a migration
 * sends it as a page of zeros, and what the guest writes there later is sent as anything else is. No page is ever
 * left out of a round because of what the guest said of it. A chunk that is in the balloon as a whole goes back to
 * the host. A reported page does not: the guest may use it again at any time, and the host could then have none.
 */
#include "devices/virtio_balloon.h"

#include "devices/virtio_balloon_private.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/vm.h"

#define QUEUE_SIZE 128
#define PAGES_PER_MIB (MIB(1) / PAGE_SIZE)

static struct virtio_balloon *balloon_of(struct device *dev)
{
	return container_of(dev, struct virtio_balloon, virtio.dev);
}

static u32 config_get(const struct virtio_balloon *balloon, u32 offset)
{
	u32 value;

	memcpy(&value, &balloon->virtio.config[offset], sizeof(value));
	return value;
}

static void config_set(struct virtio_balloon *balloon, u32 offset, u32 value)
{
	memcpy(&balloon->virtio.config[offset], &value, sizeof(value));
}

/* --- the device ------------------------------------------------------------------------------------------------ */

static bool balloon_service(struct device *dev)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	if (balloon->give_back && !dev->vm->gmem.logging)
		balloon_give_back(balloon);
	return virtio_device_running(&balloon->virtio) && balloon_serve(balloon);
}

/* The driver alone knows how many pages it has given. */
static void balloon_config_write(struct virtio_device *virtio, u32 offset, u32 size, u64 value)
{
	if (offset == BALLOON_CONFIG_ACTUAL && size == sizeof(u32))
		config_set(container_of(virtio, struct virtio_balloon, virtio), offset, (u32)value);
}

/* From here on all pages are the guest's again. Those that the host has come back when they are used. */
static void balloon_reset_registers(struct virtio_device *virtio)
{
	struct virtio_balloon *balloon = container_of(virtio, struct virtio_balloon, virtio);

	config_set(balloon, BALLOON_CONFIG_ACTUAL, 0);
	memset(balloon->held, 0, balloon->chunks * CHUNK_WORDS * sizeof(u64));
	memset(balloon->done, 0, sizeof(balloon->done));
	balloon->reported_pages = 0;
	balloon->give_back = false;
	balloon->waits = false;
	balloon->stats_wanted = false;
	balloon->stats_known = false;
	balloon->stats = (struct balloon_info){ .told_ns = 0 };
}

static void balloon_pause(struct device *dev)
{
	virtio_device_pause(&balloon_of(dev)->virtio);
}

static void balloon_resume(struct device *dev)
{
	virtio_device_resume(&balloon_of(dev)->virtio);
}

static void balloon_reset(struct device *dev)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	pci_function_reset(&balloon->virtio.pci);
	virtio_device_reset(&balloon->virtio);
}

static void balloon_save(struct device *dev, void *state)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	struct virtio_balloon_state *s = state;

	virtio_device_save(&balloon->virtio, &s->virtio);
	s->actual = config_get(balloon, BALLOON_CONFIG_ACTUAL);
	s->reserved = 0;
	memset(s->whole, 0, BITMAP_WORDS(balloon->chunks) * sizeof(u64));
	for (u64 chunk = 0; chunk < balloon->chunks; chunk++)
		if (balloon_chunk_is_whole(balloon, chunk))
			bitmap_set(s->whole, chunk);
}

static int balloon_check(struct device *dev, const void *state)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	const struct virtio_balloon_state *s = state;
	u64 words = BITMAP_WORDS(balloon->chunks);

	if (s->reserved || (balloon->chunks % 64 && s->whole[words - 1] >> balloon->chunks % 64))
		return trace_error(-E_INVAL);
	return virtio_device_check(&balloon->virtio, &s->virtio);
}

/*
 * Which single pages of other chunks are in the balloon does not move: such a chunk is given back when
 * the guest has given the rest of it, and those again.
 */
static void balloon_load(struct device *dev, const void *state)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	const struct virtio_balloon_state *s = state;

	balloon_reset_registers(&balloon->virtio);
	virtio_device_load(&balloon->virtio, &s->virtio);
	config_set(balloon, BALLOON_CONFIG_ACTUAL, s->actual);
	for (u64 chunk = 0; chunk < balloon->chunks; chunk++)
		if (bitmap_test(s->whole, chunk))
			memset(balloon_chunk_bits(balloon, chunk), 0xff, CHUNK_WORDS * sizeof(u64));
	balloon->give_back = true;
	/* The source has read what waits in its queue; what it knew is not believed to be true of now. */
	balloon->stats_known = true;
}

static void balloon_free(struct virtio_balloon *balloon)
{
	if (balloon->held)
		pages_free(page_hpa(balloon->held), pages_order(balloon->chunks * CHUNK_WORDS * sizeof(u64)));
	pages_free(page_hpa(balloon), pages_order(sizeof(*balloon)));
}

static void balloon_fini(struct device *dev)
{
	virtio_device_fini(&balloon_of(dev)->virtio);
	balloon_free(balloon_of(dev));
}

static const struct device_ops balloon_ops = {
	.name = "virtio-balloon",
	.type = DEVICE_VIRTIO_BALLOON,
	.version = 1,
	.state_bytes = sizeof(struct virtio_balloon_state),
	.pause = balloon_pause,
	.resume = balloon_resume,
	.reset = balloon_reset,
	.save = balloon_save,
	.check = balloon_check,
	.load = balloon_load,
	.service = balloon_service,
	.fini = balloon_fini,
};

static const struct virtio_device_ops balloon_device_ops = {
	.id = VIRTIO_ID_BALLOON,
	.class_code = 0x00ff00, /* as virtio_rng.c */
	.queue_count = QUEUES,
	.queue_size = QUEUE_SIZE,
	.reset = balloon_reset_registers,
	.config_write = balloon_config_write,
};

static int must_check balloon_init(struct virtio_balloon *balloon, struct vm *vm)
{
	hpa_t held;

	balloon->chunks = vm->gmem.chunk_count;
	held = pages_alloc(pages_order(balloon->chunks * CHUNK_WORDS * sizeof(u64)));
	if (held == HPA_NONE)
		return trace_error(-E_NOMEM);
	balloon->held = page_ptr(held);
	balloon->virtio.ops = &balloon_device_ops;
	balloon->virtio.offered = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
				  BALLOON_F_MUST_TELL_HOST | BALLOON_F_STATS_VQ | BALLOON_F_DEFLATE_ON_OOM |
				  BALLOON_F_PAGE_REPORTING;
	balloon->virtio.config_bytes = BALLOON_CONFIG_BYTES;
	config_set(balloon, BALLOON_CONFIG_NUM_PAGES, (u32)(vm->config.balloon_mib * PAGES_PER_MIB));
	str_format(balloon->virtio.name, sizeof(balloon->virtio.name), "balloon");
	return virtio_device_init(&balloon->virtio, vm);
}

int virtio_balloon_create(struct vm *vm)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct virtio_balloon)));
	struct virtio_balloon *balloon;
	int error;

	if (block == HPA_NONE)
		return trace_error(-E_NOMEM);
	balloon = page_ptr(block);
	error = balloon_init(balloon, vm);
	if (error) {
		balloon_free(balloon);
		return error;
	}
	device_add(vm, &balloon->virtio.dev, &balloon_ops, 0);
	balloon->virtio.dev.more_state_bytes = (u32)(BITMAP_WORDS(balloon->chunks) * sizeof(u64));
	return 0;
}

/* --- vmm/balloon.h --------------------------------------------------------------------------------------------- */

static struct virtio_balloon *balloon_of_vm(struct vm *vm)
{
	struct device *dev = device_find(vm, DEVICE_VIRTIO_BALLOON, 0);

	assert(dev);
	return balloon_of(dev);
}

void balloon_info(struct vm *vm, struct balloon_info *info)
{
	struct virtio_balloon *balloon = balloon_of_vm(vm);

	spin_lock(&vm->lock);
	*info = balloon->stats;
	info->driver = (balloon->virtio.status & VIRTIO_DRIVER_OK) != 0;
	info->balloon_bytes = (u64)config_get(balloon, BALLOON_CONFIG_ACTUAL) << BALLOON_PAGE_SHIFT;
	info->reported_bytes = balloon->reported_pages * PAGE_SIZE;
	info->waits = balloon->waits;
	spin_unlock(&vm->lock);
	info->given_back_bytes = READ_ONCE(vm->gmem.given_back) * LARGE_SIZE;
}

void balloon_ask(struct vm *vm)
{
	spin_lock(&vm->lock);
	balloon_of_vm(vm)->stats_wanted = true;
	spin_unlock(&vm->lock);
	vm_doorbell(vm);
}

void balloon_changed(struct vm *vm)
{
	struct virtio_balloon *balloon = balloon_of_vm(vm);

	spin_lock(&vm->lock);
	config_set(balloon, BALLOON_CONFIG_NUM_PAGES, (u32)(vm->config.balloon_mib * PAGES_PER_MIB));
	virtio_device_config_changed(&balloon->virtio);
	spin_unlock(&vm->lock);
	vm_doorbell(vm);
}
