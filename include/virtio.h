/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio as both sides see it: the guests' devices (devices/) and the drivers of the host's own (drivers/). Numbers and
 * layouts of virtio 1.2, nothing that does anything.
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "types.h"

/* PCI (4.1.2) */
#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEVICE_BASE 0x1040 /* + the device's number (5) */
enum virtio_id { VIRTIO_ID_NET = 1, VIRTIO_ID_RNG = 4, VIRTIO_ID_BALLOON = 5 };

/* Device status (2.1) */
enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
	VIRTIO_STATUS_BITS = 0xcf,
};

/* Features of all devices (6) */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)

#define VIRTIO_NO_VECTOR 0xffff

/* Capabilities (4.1.4): cap_vndr, cap_next, cap_len, cfg_type, bar, id, 2 of padding, offset, length. */
#define VIRTIO_CAPABILITY 0x09
#define VIRTIO_CAPABILITY_BYTES 16
enum virtio_capability_type { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_WINDOW = 5 };
enum virtio_capability_field {
	CAP_LEN = 2,
	CAP_TYPE = 3,
	CAP_BAR = 4,
	CAP_OFFSET = 8,
	CAP_LENGTH = 12,
	CAP_EXTRA = 16,
};

/* The common configuration structure (4.1.4.3) */
enum virtio_common_register {
	COMMON_DEVICE_FEATURE_SELECT = 0x00,
	COMMON_DEVICE_FEATURE = 0x04,
	COMMON_DRIVER_FEATURE_SELECT = 0x08,
	COMMON_DRIVER_FEATURE = 0x0c,
	COMMON_CONFIG_VECTOR = 0x10,
	COMMON_NUM_QUEUES = 0x12,
	COMMON_STATUS = 0x14,
	COMMON_GENERATION = 0x15,
	COMMON_QUEUE_SELECT = 0x16,
	COMMON_QUEUE_SIZE = 0x18,
	COMMON_QUEUE_VECTOR = 0x1a,
	COMMON_QUEUE_ENABLE = 0x1c,
	COMMON_QUEUE_NOTIFY_OFF = 0x1e,
	COMMON_QUEUE_DESC = 0x20,
	COMMON_QUEUE_DRIVER = 0x28,
	COMMON_QUEUE_DEVICE = 0x30,
	COMMON_BYTES = 0x38,
};

/* The descriptor table (2.7.5) */
struct virtio_descriptor {
	u64 address;
	u32 bytes;
	u16 flags;
	u16 next;
};
static_assert(sizeof(struct virtio_descriptor) == 16, "virtio 1.2 2.7.5");
enum virtio_descriptor_flags { DESCRIPTOR_NEXT = 1, DESCRIPTOR_WRITE = 2, DESCRIPTOR_INDIRECT = 4 };

/* The rings (2.7.6, 2.7.8): flags, index, the ring, the event. */
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1
struct virtio_used {
	u32 id;
	u32 bytes;
};
static_assert(sizeof(struct virtio_used) == 8, "virtio 1.2 2.7.8");

/* Network cards: features (5.1.3) */
#define NET_F_CSUM BIT(0)
#define NET_F_GUEST_CSUM BIT(1)
#define NET_F_MTU BIT(3)
#define NET_F_MAC BIT(5)
#define NET_F_GUEST_TSO4 BIT(7)
#define NET_F_HOST_TSO4 BIT(11)
#define NET_F_MRG_RXBUF BIT(15)
#define NET_F_STATUS BIT(16)
#define NET_F_CTRL_VQ BIT(17)
#define NET_F_CTRL_RX BIT(18)
#define NET_F_GUEST_ANNOUNCE BIT(21)
#define NET_F_CTRL_MAC_ADDR BIT(23)

/* Their configuration (5.1.4) */
enum virtio_net_config {
	NET_CONFIG_MAC = 0,
	NET_CONFIG_STATUS = 6,
	NET_CONFIG_PAIRS = 8,
	NET_CONFIG_MTU = 10,
	NET_CONFIG_BYTES = 12,
};
enum virtio_net_status { NET_STATUS_LINK_UP = 1, NET_STATUS_ANNOUNCE = 2 };

/* What stands before each frame (5.1.6) */
struct virtio_net_header {
	u8 flags;
	u8 gso_type;
	u16 header_bytes;
	u16 gso_size;
	u16 csum_start;
	u16 csum_offset;
	u16 buffers;
};
static_assert(sizeof(struct virtio_net_header) == 12, "virtio 1.2 5.1.6");
enum virtio_net_header_flags { HEADER_NEEDS_CSUM = 1, HEADER_DATA_VALID = 2 };
enum virtio_net_gso { GSO_NONE = 0, GSO_TCPV4 = 1 };

/* Balloons: features (5.5.3), configuration (5.5.4), page numbers, statistics (5.5.6.3) */
#define BALLOON_F_MUST_TELL_HOST BIT(0)
#define BALLOON_F_STATS_VQ BIT(1)
#define BALLOON_F_DEFLATE_ON_OOM BIT(2)
#define BALLOON_F_PAGE_REPORTING BIT(5)
enum virtio_balloon_config { BALLOON_CONFIG_NUM_PAGES = 0, BALLOON_CONFIG_ACTUAL = 4, BALLOON_CONFIG_BYTES = 8 };
#define BALLOON_PAGE_SHIFT 12
#define BALLOON_STAT_BYTES 10 /* tag (2), value (8), packed */
enum virtio_balloon_stat {
	BALLOON_STAT_MAJOR_FAULTS = 2,
	BALLOON_STAT_FREE = 4,
	BALLOON_STAT_TOTAL = 5,
	BALLOON_STAT_AVAILABLE = 6,
	BALLOON_STAT_CACHES = 7,
};

#endif
