/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's source of entropy: virtio 1.2 5.4 on PCI. */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "types.h"

struct vm;

/* After pci_host_init(). -E_NOMEM. */
int must_check virtio_rng_create(struct vm *vm);

#endif
