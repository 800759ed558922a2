/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network card: virtio 1.2 5.1 on PCI, and a port of the switch. */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "types.h"

struct vm;

/* The index-th of vm->config.vif. After pci_host_init(). -E_NOMEM, or what net_switch_add() says. */
int must_check virtio_net_create(struct vm *vm, u32 vif);

#endif
