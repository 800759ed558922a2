/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's configuration, as its xl.cfg-like file says. Parsing and formatting are in vmm/config/:
 * the peer of a migration gets the formatted text and parses it with the same code.
 */
#ifndef VMM_VM_CONFIG_H
#define VMM_VM_CONFIG_H

#include "types.h"

#define VM_NAME_BYTES 64
#define VM_CMDLINE_BYTES 2048
#define VM_VIFS_MAX 4
#define VM_VCPUS_MAX 1 /* more come with the scheduler's issue; refused by name until then */
#define VM_MEMORY_MIN_MIB 16

enum vm_action { VM_DESTROY, VM_RESTART, VM_PRESERVE };

struct vif_config {
	u8 mac[6];
	u16 mtu;
};

struct vm_config {
	char name[VM_NAME_BYTES];
	u8 uuid[16];
	u32 memory_mib;   /* its RAM: what it can have at most */
	u32 balloon_mib;  /* of it is to be in the balloon, at the start or since mem-set */
	u32 vcpus;
	char kernel[64];  /* a file of \godwit\ */
	char ramdisk[64]; /* or "" */
	char extra[VM_CMDLINE_BYTES];
	struct vif_config vif[VM_VIFS_MAX];
	u32 vif_count;
	enum vm_action on_poweroff, on_reboot, on_crash;
};

#endif
