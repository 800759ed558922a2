/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lwIP's feet: the network interface that is a port of the switch, time, randomness, checksums. Service CPU.
 *
 * Frames for the host are copied into pbufs and queued; lwip_port_poll() feeds them to lwIP. So lwIP never runs
 * inside of the switch, and what it sends from within its input does not come back upon itself.
 *
 * Checksums of TCP and UDP are left to the switch on the way out (to the NIC, if it can), and checked here on the way
 * in only if nobody did. Segments may be longer than the MTU: the NIC cuts them (NET_GSO_TCP4).
 */
#include "net/lwip_port.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "net/checksum.h"
#include "net/port.h"
#include "net/tcp_loss.h"

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/tcp.h"
#include "lwip/prot/udp.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"

#define INPUT_QUEUE_FRAMES 512 /* a power of two; lwIP has no more pbufs to fill it */
#define ETHERNET_BYTES 14
#define ETHERTYPE_OFFSET 12
/*
 * A large segment: what fits one 16 KiB block beside lwIP's own words and the headers. Longer ones would save a little
 * more, but come in bursts that a switch's shallow queue cuts off: a third of the throughput there (measured).
 */
#define SEGMENT_BYTES_MAX (16384 - 256)
#define CHECKS_ALWAYS (NETIF_CHECKSUM_GEN_IP | NETIF_CHECKSUM_GEN_ICMP | NETIF_CHECKSUM_CHECK_IP | \
		NETIF_CHECKSUM_CHECK_ICMP)
#define CHECKS_UNVERIFIED (NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP)

struct queued {
	struct pbuf *p;
	bool verified; /* the checksums, by the NIC or because the frame never was on a wire */
};

static struct netif host_netif;
static struct net_port host_port;
static struct queued queue[INPUT_QUEUE_FRAMES];
static u32 queue_head, queue_tail; /* ever put, ever taken */
static u8 gather[NET_FRAME_MAX] aligned(16);
static char host_name[32];

/* --- what lwIP asks of the platform (net/lwip/arch/cc.h) --------------------------------------------------------- */

u32_t sys_now(void)
{
	return (u32_t)(time_ns() / NS_PER_MS);
}

noreturn void lwip_port_assert_failed(const char *what, const char *file, int line)
{
	panic("lwIP: %s (%s:%d)", what, file, line);
}

void lwip_port_complain(const char *what)
{
	log_debug("lwIP: %s", what);
	(void)what;
}

uint32_t lwip_port_random(void)
{
	return (uint32_t)random_u64();
}

uint16_t lwip_port_checksum(const void *data, int bytes)
{
	return checksum_add(0, data, (size_t)bytes);
}

/* --- from the switch --------------------------------------------------------------------------------------------- */

static bool deliver(struct net_port *port, const struct net_frame *frame)
{
	struct queued *q = &queue[queue_head % INPUT_QUEUE_FRAMES];
	struct pbuf *p;

	(void)port;
	if (queue_head - queue_tail == INPUT_QUEUE_FRAMES || frame->bytes > 0xffff)
		return false;
	p = pbuf_alloc(PBUF_RAW, (u16_t)frame->bytes, PBUF_POOL);
	if (!p)
		return false;
	(void)pbuf_take(p, frame->data, (u16_t)frame->bytes);
	q->p = p;
	q->verified = frame->flags & (NET_CSUM_VALID | NET_CSUM_PARTIAL);
	queue_head++;
	return true;
}

static void input_queued(void)
{
	while (queue_tail != queue_head) {
		struct queued q = queue[queue_tail % INPUT_QUEUE_FRAMES];

		queue_tail++;
		NETIF_SET_CHECKSUM_CTRL(&host_netif, q.verified ? CHECKS_ALWAYS : CHECKS_ALWAYS | CHECKS_UNVERIFIED);
		if (host_netif.input(q.p, &host_netif) != ERR_OK)
			pbuf_free(q.p);
	}
	NETIF_SET_CHECKSUM_CTRL(&host_netif, CHECKS_ALWAYS);
}

/* --- to the switch ----------------------------------------------------------------------------------------------- */

/* TCP's and UDP's checksums were left to us: the pseudo-header's sum goes there and the switch does the rest. */
static void leave_checksum(u8 *data, struct net_frame *frame)
{
	u8 *ip = data + ETHERNET_BYTES;
	u32 ip_bytes, offset;
	u16 sum;

	if (frame->bytes < ETHERNET_BYTES + IP_HLEN)
		return;
	if (data[ETHERTYPE_OFFSET] != 0x08 || data[ETHERTYPE_OFFSET + 1] != 0)
		return;
	ip_bytes = (ip[0] & 15) * 4u;
	if (ip[9] == IP_PROTO_TCP)
		offset = 16;
	else if (ip[9] == IP_PROTO_UDP)
		offset = 6;
	else
		return;
	if (ETHERNET_BYTES + ip_bytes + offset + 2 > frame->bytes)
		return;
	sum = checksum_pseudo(ip + 12, ip[9], (u16)(frame->bytes - ETHERNET_BYTES - ip_bytes));
	memcpy(ip + ip_bytes + offset, &sum, sizeof(sum));
	frame->flags |= NET_CSUM_PARTIAL;
	frame->csum_start = (u16)(ETHERNET_BYTES + ip_bytes);
	frame->csum_offset = (u16)offset;
	if (ip[9] == IP_PROTO_TCP && frame->bytes > ETHERNET_BYTES + (u32)host_netif.mtu) {
		u32 tcp_bytes = (ip[ip_bytes + 12] >> 4) * 4u;

		frame->flags |= NET_GSO_TCP4;
		frame->gso_size = (u16)(host_netif.mtu - ip_bytes - tcp_bytes);
		frame->gso_header_bytes = (u16)(ETHERNET_BYTES + ip_bytes + tcp_bytes);
	}
}

static void keep(void *owner)
{
	pbuf_ref(owner);
}

static void release(void *owner)
{
	pbuf_free(owner);
}

/*
 * What TCP wrote may stay where it is until the NIC has sent it: lwIP does not touch a segment that somebody else
 * holds too (tcp_output_segment_busy).
 */
static void let_keep(struct pbuf *p, struct net_frame *frame)
{
	const u8 *begin = (const u8 *)p + LWIP_MEM_ALIGN_SIZE(sizeof(struct pbuf));

	if (!pbuf_match_allocsrc(p, PBUF_TYPE_ALLOC_SRC_MASK_STD_HEAP) ||
	    !pbuf_match_type(p, PBUF_RAM) || (const u8 *)p->payload - begin < NET_FRAME_HEADROOM)
		return;
	frame->keep = keep;
	frame->release = release;
	frame->owner = p;
}

static err_t link_output(struct netif *netif, struct pbuf *p)
{
	struct net_frame frame = { .bytes = p->tot_len };
	u8 *data = p->payload;

	(void)netif;
	/* One piece nearly always; what follows does not alter the payload, only the checksum field. */
	if (p->next) {
		data = gather;
		(void)pbuf_copy_partial(p, data, p->tot_len, 0);
	} else if (p->tot_len > ETHERNET_BYTES + host_netif.mtu) {
		u32 rest = tcp_loss_trim(data, frame.bytes, gather);

		if (rest) {
			data = gather;
			frame.bytes = rest;
		} else {
			let_keep(p, &frame);
		}
	}
	frame.data = data;
	leave_checksum(data, &frame);
	/* No room: lwIP keeps the segment and tries again with the next acknowledgement or flush. */
	return net_switch_input(&host_port, &frame) ? ERR_OK : ERR_MEM;
}

static err_t netif_start(struct netif *netif)
{
	netif->name[0] = 'h';
	netif->name[1] = 'o';
	netif->output = etharp_output;
	netif->linkoutput = link_output;
	netif->mtu = host_port.mtu;
	netif->hwaddr_len = 6;
	memcpy(netif->hwaddr, host_port.mac, 6);
	netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
	NETIF_SET_CHECKSUM_CTRL(netif, CHECKS_ALWAYS);
	return ERR_OK;
}

/* --- for net.c ---------------------------------------------------------------------------------------------------- */

static void to_ip4(ip4_addr_t *to, const u8 from[4])
{
	IP4_ADDR(to, from[0], from[1], from[2], from[3]);
}

int lwip_port_init(const struct net_config *config, const u8 mac[6], u16 mtu)
{
	ip4_addr_t ip, netmask, gateway;
	int error;

	host_port = (struct net_port){
		.name = "host",
		.deliver = deliver,
		.caps = NET_CAP_CSUM | NET_CAP_GSO,
		.mtu = mtu,
		.host = true,
	};
	memcpy(host_port.mac, mac, 6);
	error = net_switch_add(&host_port);
	if (error)
		return error;
	lwip_init();
	to_ip4(&ip, config->ip);
	to_ip4(&netmask, config->netmask);
	to_ip4(&gateway, config->gateway);
	if (!netif_add(&host_netif, &ip, &netmask, &gateway, NULL, netif_start, netif_input))
		return trace_error(-E_NOMEM);
	(void)str_copy(host_name, sizeof(host_name), config->host_name);
	netif_set_hostname(&host_netif, host_name[0] ? host_name : NULL);
	netif_set_default(&host_netif);
	netif_set_up(&host_netif);
	if (config->dhcp && dhcp_start(&host_netif) != ERR_OK)
		return trace_error(-E_NOMEM);
	return 0;
}

void lwip_port_set_link(bool up)
{
	if (up)
		netif_set_link_up(&host_netif);
	else
		netif_set_link_down(&host_netif);
}

bool lwip_port_poll(void)
{
	input_queued();
	sys_check_timeouts();
	netif_poll_all();
	return queue_tail != queue_head;
}

u64 lwip_port_next_deadline(void)
{
	u32 sleep_ms = sys_timeouts_sleeptime();
	struct netif *netif;

	NETIF_FOREACH(netif)
	{
		if (netif->loop_first)
			return time_ns();
	}
	if (sleep_ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE)
		return 0;
	return time_ns() + sleep_ms * NS_PER_MS;
}

void lwip_port_get_addresses(struct net_info *info)
{
	memcpy(info->mac, host_port.mac, 6);
	memcpy(info->ip, netif_ip4_addr(&host_netif), 4);
	memcpy(info->netmask, netif_ip4_netmask(&host_netif), 4);
	memcpy(info->gateway, netif_ip4_gw(&host_netif), 4);
	info->has_address = !ip4_addr_isany(netif_ip4_addr(&host_netif));
	info->mtu = host_port.mtu;
}

u16 lwip_port_segment_bytes(u16 mss)
{
	struct net_port *port;

	/* Only if the peer takes our whole MTU is the size of the cut pieces the same for all connections. */
	if (mss + 40u != host_netif.mtu)
		return mss;
	for (u32 i = 0; (port = net_switch_port(i)); i++)
		if (port->uplink && (port->caps & NET_CAP_GSO))
			return (u16)(SEGMENT_BYTES_MAX - SEGMENT_BYTES_MAX % mss);
	return mss;
}
