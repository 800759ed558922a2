/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams over lwIP's UDP: one port, which both sends and hears. Service CPU. */
#include "net/udp_port.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"

#include "lwip/udp.h"

static struct udp_pcb *pcb;
static datagram_fn listener;

static void on_datagram(void *arg, struct udp_pcb *from_pcb, struct pbuf *p, const ip_addr_t *address, u16_t port)
{
	static u8 data[DATAGRAM_BYTES_MAX] aligned(8);
	u32 from = ip4_addr_get_u32(ip_2_ip4(address));
	u8 ip[4];

	(void)arg;
	(void)from_pcb;
	(void)port;
	if (p->tot_len && p->tot_len <= sizeof(data)) {
		memcpy(ip, &from, sizeof(ip));
		listener(ip, data, pbuf_copy_partial(p, data, p->tot_len, 0));
	}
	pbuf_free(p);
}

static int udp_open(u16 port, datagram_fn heard)
{
	if (pcb)
		return trace_error(-E_BUSY);
	pcb = udp_new();
	if (!pcb)
		return trace_error(-E_NOMEM);
	if (udp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK) {
		udp_remove(pcb);
		pcb = NULL;
		return trace_error(-E_BUSY);
	}
	listener = heard;
	udp_recv(pcb, on_datagram, NULL);
	return 0;
}

static void udp_port_send(const u8 ip[4], u16 port, const void *data, size_t bytes)
{
	struct pbuf *p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)bytes, PBUF_RAM);
	ip_addr_t address;

	if (!p)
		return;
	IP_ADDR4(&address, ip[0], ip[1], ip[2], ip[3]);
	if (pbuf_take(p, data, (u16_t)bytes) == ERR_OK)
		(void)udp_sendto(pcb, p, &address, port);
	pbuf_free(p);
}

const struct datagram_ops udp_port = { .open = udp_open, .send = udp_port_send };
