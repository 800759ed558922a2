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
#define VM_VCPUS_MAX 32
#define VM_VCPUS_PER_CPU 4 /* of the host's CPUs */
#define VM_WEIGHT_DEFAULT 256
#define VM_WEIGHT_MAX 65535
#define VM_MEMORY_MIN_MIB 4

/* What a guest is shown of the CPU: all, or what the x86-64 psABI's level of this number has (3.1.1). */
enum cpu_level { LEVEL_HOST, LEVEL_2 = 2, LEVEL_3, LEVEL_4 };

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
	u32 weight;       /* its share against others'; 0: VM_WEIGHT_DEFAULT */
	u32 cap;          /* per cent of a CPU for all of its vCPUs together; 0: no cap */
	u64 cpus;         /* host CPUs that may run it, bit n: CPU n; 0: any */
	enum cpu_level cpu;
	char kernel[64];  /* a file of \godwit\ */
	char ramdisk[64]; /* or "" */
	char extra[VM_CMDLINE_BYTES];
	struct vif_config vif[VM_VIFS_MAX];
	u32 vif_count;
	bool test_ports;  /* devices/test_ports.h */
	enum vm_action on_poweroff, on_reboot, on_crash;
};

#endif
