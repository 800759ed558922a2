/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two kinds of configuration files: godwit.cfg (the host) and NAME.cfg (a guest, xl.cfg's words).
 * Called on the service CPU.
 */
#ifndef VMM_CONFIG_CONFIG_H
#define VMM_CONFIG_CONFIG_H

#include "types.h"
#include "vmm/config/cfg.h"
#include "vmm/vm_config.h"

#define HOST_PEERS_MAX 16
#define HOST_GUESTS_MAX 32

struct host_peer {
	char name[32];
	u8 ip[4];
	bool in, out;            /* may guests come from it, go to it? */
};

struct host_config {
	char name[32];
	char nic[32];            /* "auto" or a PCI address */
	bool dhcp;
	bool has_address;
	u8 ip[4], netmask[4], gateway[4];
	u16 mtu;
	char dirty_log[8];       /* "auto", or which way of tracking writes (mm/dirty.h) */
	bool apicv;              /* may the CPU do of the guests' local APICs what it can? */
	u16 serial_port;         /* I/O base */
	u8 serial_irq;
	u32 serial_baud;         /* 0: as the firmware left it */
	struct host_peer peers[HOST_PEERS_MAX];
	u32 peer_count;
	bool has_key;
	u8 key[32];              /* of the cluster; wiped when TLS has it */
	char ca[64], certificate[64], private_key[64]; /* files; "": none */
	u32 peer_timeout_s;      /* 0: the default */
	char guests[HOST_GUESTS_MAX][64]; /* files to start at boot */
	u32 guest_count;
};

/* The defaults: what a host without a configuration is. */
void host_config_init(struct host_config *config);
/* Wrong lines are reported and leave the defaults; the host comes up in any case. */
void host_config_parse(struct host_config *config, const char *file, const char *text, u64 bytes,
		       struct cfg_report *report);

/*
 * Parses a guest's file whole; -E_INVAL if any line was wrong or a needed key is missing (all reported).
 * A missing uuid or MAC stays zero: see vm_config_complete.
 */
int must_check vm_config_parse(struct vm_config *config, const char *file, const char *text, u64 bytes,
			       struct cfg_report *report);
/* Gives a random uuid and random MACs (00:16:3e:...) to what has none. */
void vm_config_complete(struct vm_config *config);
/* The text that vm_config_parse reads back to the same; -E_RANGE if size is too small. */
int must_check vm_config_format(const struct vm_config *config, char *text, size_t size);
/*
 * Name, uuid and MACs against the guests that this host has; a guest with uuid `except` (NULL: none) does not
 * count. -E_EXIST, and why names the clash.
 */
int must_check vm_config_clash(const struct vm_config *config, const u8 *except, char *why, size_t why_bytes);

/* "1-3,5", "all", "^2" to a mask of host CPUs and back; 0: all. -E_INVAL: none of these, or no CPU is left. */
#define CPUS_TEXT_BYTES 200
int must_check str_to_cpus(const char *text, u64 *cpus);
const char *format_cpus(char *buf, size_t size, u64 cpus);
const char *format_uuid(char *buf, size_t size, const u8 uuid[16]);
int must_check str_to_uuid(const char *s, u8 uuid[16]);

#endif
