/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's source of entropy (virtio 1.2 5.4). The service CPU fills the guest's buffers, a bounded number at a
 * time. What the guest gets is the output of a generator of its own, seeded again for every batch from the host's
 * entropy: it never sees the host's random numbers themselves, nor anything that another guest's could be told from.
 * The generator does not move with the guest; the peer seeds its own.
 */
#include "devices/virtio_rng.h"

#include "arch/x86_64/cpu.h"
#include "devices/virtio_device.h"
#include "errors.h"
#include "lib/drbg.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/vm.h"

#define RNG_QUEUE 0
#define RNG_QUEUE_SIZE 64
/* Of one buffer; a driver asks again for what is missing (5.4.6). */
#define RNG_CHUNK_BYTES 256
#define RNG_CHAINS_PER_SERVICE 16

struct virtio_rng {
	struct virtio_device virtio;
	struct drbg drbg;
};

/* Of whoever is being served: the service CPU's. */
static struct virtqueue_chain chain;

static struct virtio_rng *rng_of(struct device *dev)
{
	return container_of(dev, struct virtio_rng, virtio.dev);
}

static void rng_seed(struct virtio_rng *rng)
{
	u64 entropy[4];

	for (u32 i = 0; i < ARRAY_SIZE(entropy); i++)
		entropy[i] = random_u64();
	drbg_mix(&rng->drbg, entropy);
	memset(entropy, 0, sizeof(entropy));
}

static int rng_fill(struct virtio_rng *rng, struct virtqueue *queue)
{
	u8 bytes[RNG_CHUNK_BYTES];
	u32 count = MIN(chain.writable_bytes, (u32)sizeof(bytes));

	if (chain.readable || !count)
		return virtqueue_refuse(queue, "a buffer for random bytes that is readable or empty");
	drbg_fill(&rng->drbg, bytes, count);
	count = virtqueue_chain_write(queue, &chain, 0, bytes, count);
	memset(bytes, 0, sizeof(bytes));
	if (virtqueue_put(queue, 0, chain.head, count))
		return -E_INVAL;
	return virtqueue_publish(queue, 1);
}

static bool rng_service(struct device *dev)
{
	struct virtio_rng *rng = rng_of(dev);
	struct virtqueue *queue = &rng->virtio.queue[RNG_QUEUE];
	u32 served = 0;
	int result = 1;
	bool more;

	if (!virtio_device_running(&rng->virtio) || !virtio_device_take_notified(&rng->virtio) || !queue->enabled)
		return false;
	rng_seed(rng);
	while (served < RNG_CHAINS_PER_SERVICE) {
		result = virtqueue_pop(queue, &chain);
		if (result > 0)
			result = rng_fill(rng, queue) ? -E_INVAL : 1;
		if (result <= 0)
			break;
		served++;
	}
	if (result >= 0 && served)
		virtio_device_signal(&rng->virtio, RNG_QUEUE);
	more = result > 0 || (result == 0 && virtqueue_allow_doorbells(queue));
	if (queue->broken) {
		virtio_device_broken(&rng->virtio, RNG_QUEUE, queue->broken);
		return false;
	}
	if (more)
		rng->virtio.notified = BIT(RNG_QUEUE);
	return more;
}

static void rng_pause(struct device *dev)
{
	virtio_device_pause(&rng_of(dev)->virtio);
}

static void rng_resume(struct device *dev)
{
	virtio_device_resume(&rng_of(dev)->virtio);
}

static void rng_reset(struct device *dev)
{
	struct virtio_rng *rng = rng_of(dev);

	pci_function_reset(&rng->virtio.pci);
	virtio_device_reset(&rng->virtio);
}

static void rng_save(struct device *dev, void *state)
{
	virtio_device_save(&rng_of(dev)->virtio, state);
}

static int rng_check(struct device *dev, const void *state)
{
	return virtio_device_check(&rng_of(dev)->virtio, state);
}

static void rng_load(struct device *dev, const void *state)
{
	virtio_device_load(&rng_of(dev)->virtio, state);
}

static void rng_fini(struct device *dev)
{
	struct virtio_rng *rng = rng_of(dev);

	virtio_device_fini(&rng->virtio);
	memset(&rng->drbg, 0, sizeof(rng->drbg));
	pages_free(page_hpa(rng), pages_order(sizeof(*rng)));
}

static const struct device_ops rng_ops = {
	.name = "virtio-rng",
	.type = DEVICE_VIRTIO_RNG,
	.version = 2,
	.state_bytes = sizeof(struct virtio_device_state),
	.pause = rng_pause,
	.resume = rng_resume,
	.reset = rng_reset,
	.save = rng_save,
	.check = rng_check,
	.load = rng_load,
	.service = rng_service,
	.fini = rng_fini,
};

static const struct virtio_device_ops rng_device_ops = {
	.id = VIRTIO_ID_RNG,
	.class_code = 0x00ff00, /* no class fits (PCI code and ID assignment: "other") */
	.queue_count = 1,
	.queue_size = RNG_QUEUE_SIZE,
};

int virtio_rng_create(struct vm *vm)
{
	hpa_t block = pages_alloc(pages_order(sizeof(struct virtio_rng)));
	struct virtio_rng *rng;
	int error;

	if (block == HPA_NONE)
		return trace_error(-E_NOMEM);
	rng = page_ptr(block);
	rng->virtio.ops = &rng_device_ops;
	rng->virtio.offered = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	str_format(rng->virtio.name, sizeof(rng->virtio.name), "rng");
	error = virtio_device_init(&rng->virtio, vm);
	if (error) {
		pages_free(block, pages_order(sizeof(*rng)));
		return error;
	}
	device_add(vm, &rng->virtio.dev, &rng_ops, 0);
	return 0;
}
