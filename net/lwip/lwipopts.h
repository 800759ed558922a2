/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How lwIP is built: no threads, IPv4, ARP, ICMP, DHCP client, TCP with windows for 10 Gb/s at 200 us (250 KB)
 * and for the milliseconds that an emulated machine adds. All memory is static.
 */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 0
#define LWIP_RAW 0
#define LWIP_DNS 0
#define LWIP_IGMP 0
#define LWIP_AUTOIP 0
#define LWIP_IPV6 0
#define IP_FORWARD 0
/* Nobody has to talk to this host in fragments. */
#define IP_REASSEMBLY 0
#define IP_FRAG 0

#define LWIP_DHCP 1
#define LWIP_ACD 0
#define LWIP_DHCP_DOES_ACD_CHECK 0
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_HAVE_LOOPIF 1
#define LWIP_LOOPBACK_MAX_PBUFS 128

#define ARP_QUEUEING 1
#define ARP_TABLE_SIZE 32
#define ETHARP_TRUST_IP_MAC 0

/* Memory. */
#define MEM_ALIGNMENT 16
#define MEM_USE_POOLS 1
#define MEMP_USE_CUSTOM_POOLS 1
#define MEM_USE_POOLS_TRY_BIGGER_POOL 1
#define MEMP_NUM_PBUF 64
#define MEMP_NUM_UDP_PCB 4
#define MEMP_NUM_TCP_PCB 24
#define MEMP_NUM_TCP_PCB_LISTEN 4
#define MEMP_NUM_TCP_SEG 2048
#define PBUF_POOL_SIZE 512
#define PBUF_POOL_BUFSIZE (2048 - 64)
/* Before the Ethernet header, for the NIC: see NET_FRAME_HEADROOM. */
#define PBUF_LINK_ENCAPSULATION_HLEN 16

/* TCP. */
#define TCP_MSS 8960 /* at most; the interface's MTU and the peer decide */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 5
#define TCP_WND (512 * 1024)
#define TCP_SND_BUF (1024 * 1024)
#define TCP_SND_QUEUELEN 1536
#define TCP_SNDLOWAT (16 * 1024)
#define TCP_OVERSIZE 16384
#define TCP_WND_UPDATE_THRESHOLD (TCP_WND / 8)
#define LWIP_TCP_SACK_OUT 1
#define TCP_LISTEN_BACKLOG 1
/*
 * The timers count in 100 ms instead of 500, so that a lost last segment costs 300 ms and not 1.5 s. They run only
 * while there are connections.
 */
#define TCP_TMR_INTERVAL 50
#define LWIP_TCP_RTO_TIME 1000
#define LWIP_TCP_KEEPALIVE 1
#define TCP_SYNMAXRTX 3

/* The switch completes TCP's and UDP's checksums, or the NIC does; per interface, see lwip_port.c. */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1

#endif
