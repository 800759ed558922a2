/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory balloon: virtio 1.2 5.5 on PCI. What the console does with it is in vmm/balloon.h. */
#ifndef DEVICES_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_BALLOON_H

#include "types.h"

struct vm;

/* After pci_host_init(). -E_NOMEM. */
int must_check virtio_balloon_create(struct vm *vm);

#endif
