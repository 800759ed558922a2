/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's network as the service loop and the console see it: chooses the NIC and its driver, polls it, lwIP and the
 * switch. Service CPU. Interrupts only end the loop's sleep; net_poll() asks everybody, and switches them on again
 * when it found nothing to do.
 */
#include "net/net.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/irq.h"
#include "drivers/nic.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "net/lwip_port.h"
#include "net/port.h"
#include "net/tcp_pipe.h"

#define MTU_DEFAULT 1500
#define MTU_MIN 576
#define PCI_CLASS_NETWORK 2
#define CHECK_NS NS_PER_S
#define DHCP_PATIENCE_NS (15 * NS_PER_S)
/* How long to sleep at most if the NIC's interrupt may get lost (a shared pin) or does not exist. */
#define POLL_PIN_NS (10 * NS_PER_MS)
#define POLL_NO_IRQ_NS NS_PER_MS
#define NO_NIC "none: "

static const struct nic_ops *const drivers[] = { &virtio_net_nic, &e1000_nic };

static struct nic *nic;
static char nic_name[sizeof(((struct net_info *)0)->nic)];
static bool link_is_up;
static u64 check_ns;
static u8 shown_ip[4];       /* the host's address, as last logged */
static u64 dhcp_answer_by_ns; /* 0: none is awaited */

static int start_nic(const struct pci_device *dev, u16 mtu)
{
	for (u32 i = 0; i < ARRAY_SIZE(drivers); i++) {
		int error;

		if (!drivers[i]->match(dev))
			continue;
		error = drivers[i]->start(dev, mtu, &nic);
		if (error)
			log_error("net: %s %s does not start: %s", drivers[i]->name, dev->address, error_name(error));
		return error;
	}
	return -E_NOENT;
}

/*
 * The first card that a driver knows, or the one that the configuration names. nic_name says what came of it; if there
 * should be one and is not, the return value is what to do.
 */
static const char *find_nic(const struct net_config *config, u16 mtu)
{
	bool any = !config->nic[0] || str_equal(config->nic, "auto");
	const struct pci_device *unknown = NULL;
	const struct pci_device *dev;
	int error = -E_NOENT;

	if (str_equal(config->nic, "none")) {
		str_format(nic_name, sizeof(nic_name), NO_NIC "the configuration says so");
		return NULL;
	}
	for (u32 i = 0; (dev = pci_device_get(i)) && error; i++) {
		if (any ? dev->class != PCI_CLASS_NETWORK : !str_equal(dev->address, config->nic))
			continue;
		error = start_nic(dev, mtu);
		if (!error)
			str_format(nic_name, sizeof(nic_name), "%s %s", nic->ops->name, dev->address);
		else
			unknown = dev;
	}
	if (!error)
		return NULL;
	if (unknown) {
		str_format(nic_name, sizeof(nic_name), NO_NIC "%s (%04x:%04x) %s", unknown->address, unknown->vendor,
			   unknown->device, error == -E_NOENT ? "has no driver here" : "did not start");
		return "put in a virtio-net, e1000 (82540EM) or e1000e (82574)";
	}
	if (any) {
		str_format(nic_name, sizeof(nic_name), NO_NIC "this machine has no PCI network card");
		return "put in a virtio-net, e1000 (82540EM) or e1000e (82574)";
	}
	str_format(nic_name, sizeof(nic_name), NO_NIC "nothing at %s", config->nic);
	return "with nic = 'auto' in godwit.cfg the first card is taken";
}

static void check_link(void)
{
	bool up = nic && nic->ops->link_up(nic);

	if (up == link_is_up)
		return;
	link_is_up = up;
	log_info("net: link %s", up ? "up" : "down");
	lwip_port_set_link(up);
}

/* The one that DHCP gave, or took; or that it gives none. */
static void check_address(void)
{
	struct net_info info;

	lwip_port_get_addresses(&info);
	if (memcmp(info.ip, shown_ip, sizeof(shown_ip)) != 0) {
		memcpy(shown_ip, info.ip, sizeof(shown_ip));
		if (info.has_address)
			log_info("net: address %u.%u.%u.%u", info.ip[0], info.ip[1], info.ip[2], info.ip[3]);
		else
			log_warn("net: the address is gone: its lease has ended");
	}
	if (!dhcp_answer_by_ns || (!info.has_address && time_ns() < dhcp_answer_by_ns))
		return;
	dhcp_answer_by_ns = 0;
	if (!info.has_address)
		log_warn("net: no DHCP server answers; address = 'ADDRESS/LENGTH' in godwit.cfg needs none");
}

static void check(void)
{
	check_ns = time_ns() + CHECK_NS;
	check_link();
	check_address();
}

/* The card's; without one, or if it has none, an address of our own, locally administered. */
static void choose_mac(u8 mac[6])
{
	u64 random = random_u64();

	if (nic && !mem_is_zero(nic->mac, 6)) {
		memcpy(mac, nic->mac, 6);
		return;
	}
	memcpy(mac, &random, 6);
	mac[0] = (u8)((mac[0] & ~1) | 2);
}

int net_init(const struct net_config *config, char *why, size_t why_bytes)
{
	u16 mtu = config->mtu ? MAX(config->mtu, (u16)MTU_MIN) : MTU_DEFAULT;
	const char *what_to_do;
	char text[20];
	u8 mac[6];
	int error;

	why[0] = '\0';
	pci_scan();
	what_to_do = find_nic(config, mtu);
	if (nic) {
		if (nic->port.mtu < mtu)
			log_warn("net: an MTU of %u was asked for, %s can do %u", mtu, nic_name, nic->port.mtu);
		mtu = nic->port.mtu;
		error = net_switch_add(&nic->port);
		if (error)
			return error;
	} else if (what_to_do) {
		str_format(why, why_bytes, "%s: %s; guests here reach each other and this host",
			   nic_name + strlen(NO_NIC), what_to_do);
	}
	choose_mac(mac);
	error = lwip_port_init(config, mac, mtu);
	if (error)
		return error;
	log_info("net: %s, MAC %s, MTU %u", nic_name, format_mac(text, sizeof(text), mac), mtu);
	tcp_pipe_init(config->peer_timeout_s);
	if (nic && config->dhcp)
		dhcp_answer_by_ns = time_ns() + DHCP_PATIENCE_NS;
	check();
	return 0;
}

bool net_poll(void)
{
	bool more = false;

	if (nic)
		more = nic->ops->poll(nic);
	more |= lwip_port_poll();
	tcp_pipe_poll();
	net_switch_poll();
	if (time_ns() >= check_ns)
		check();
	net_flush();
	if (!more && nic)
		more = !nic->ops->arm(nic);
	return more;
}

void net_flush(void)
{
	if (nic)
		nic->ops->flush(nic);
}

u64 net_next_deadline(void)
{
	u64 next = deadline_sooner(lwip_port_next_deadline(), net_switch_next_deadline());

	/* The caller goes to sleep now: nothing stays behind. */
	net_flush();
	if (!nic)
		return next;
	if (nic->irq == PCI_IRQ_NONE)
		next = deadline_sooner(next, time_ns() + POLL_NO_IRQ_NS);
	else if (nic->irq == PCI_IRQ_PIN)
		next = deadline_sooner(next, time_ns() + POLL_PIN_NS);
	return next;
}

void net_get_info(struct net_info *info)
{
	*info = (struct net_info){ .link_up = link_is_up };
	str_copy(info->nic, sizeof(info->nic), nic_name);
	lwip_port_get_addresses(info);
}
