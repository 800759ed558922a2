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
#define LINK_CHECK_NS NS_PER_S
/* How long to sleep at most if the NIC's interrupt may get lost (a shared pin) or does not exist. */
#define POLL_PIN_NS (10 * NS_PER_MS)
#define POLL_NO_IRQ_NS NS_PER_MS

static const struct nic_ops *const drivers[] = { &virtio_net_nic, &e1000_nic };

static struct nic *nic;
static char nic_name[sizeof(((struct net_info *)0)->nic)];
static bool link_is_up;
static u64 link_check_ns;

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

/* The first card that a driver knows, or the one that the configuration names. nic_name says what came of it. */
static void find_nic(const struct net_config *config, u16 mtu)
{
	bool any = !config->nic[0] || str_equal(config->nic, "auto");
	const struct pci_device *unknown = NULL;
	const struct pci_device *dev;
	int error = -E_NOENT;

	if (str_equal(config->nic, "none")) {
		str_format(nic_name, sizeof(nic_name), "none: the configuration says so");
		return;
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
		return;
	if (unknown)
		str_format(nic_name, sizeof(nic_name), "none: %s (%04x:%04x) %s", unknown->address, unknown->vendor,
			   unknown->device, error == -E_NOENT ? "has no driver here" : "did not start");
	else if (any)
		str_format(nic_name, sizeof(nic_name), "none: this machine has no PCI network card");
	else
		str_format(nic_name, sizeof(nic_name), "none: nothing at %s", config->nic);
}

static void check_link(void)
{
	bool up = nic && nic->ops->link_up(nic);

	link_check_ns = time_ns() + LINK_CHECK_NS;
	if (up == link_is_up)
		return;
	link_is_up = up;
	log_info("net: link %s", up ? "up" : "down");
	lwip_port_set_link(up);
}

/* Without a card: an address of our own, locally administered. */
static void random_mac(u8 mac[6])
{
	u64 random = random_u64();

	memcpy(mac, &random, 6);
	mac[0] = (u8)((mac[0] & ~1) | 2);
}

int net_init(const struct net_config *config, char *why, size_t why_bytes)
{
	u16 mtu = config->mtu ? MAX(config->mtu, (u16)MTU_MIN) : MTU_DEFAULT;
	char text[20];
	u8 mac[6];
	int error;

	why[0] = '\0';
	pci_scan();
	find_nic(config, mtu);
	if (nic) {
		memcpy(mac, nic->mac, 6);
		mtu = nic->port.mtu;
		error = net_switch_add(&nic->port);
		if (error)
			return error;
	} else {
		random_mac(mac);
		str_copy(why, why_bytes, nic_name);
	}
	error = lwip_port_init(config, mac, mtu);
	if (error)
		return error;
	log_info("net: %s, MAC %s, MTU %u", nic_name, format_mac(text, sizeof(text), mac), mtu);
	check_link();
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
	if (time_ns() >= link_check_ns)
		check_link();
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

static u64 sooner(u64 a, u64 b)
{
	if (!a || !b)
		return a | b;
	return MIN(a, b);
}

u64 net_next_deadline(void)
{
	u64 next = sooner(lwip_port_next_deadline(), net_switch_next_deadline());

	/* The caller goes to sleep now: nothing stays behind. */
	net_flush();
	if (!nic)
		return next;
	if (nic->irq == PCI_IRQ_NONE)
		next = sooner(next, time_ns() + POLL_NO_IRQ_NS);
	else if (nic->irq == PCI_IRQ_PIN)
		next = sooner(next, time_ns() + POLL_PIN_NS);
	return next;
}

void net_get_info(struct net_info *info)
{
	*info = (struct net_info){ .link_up = link_is_up };
	str_copy(info->nic, sizeof(info->nic), nic_name);
	lwip_port_get_addresses(info);
	if (!nic)
		return;
	info->rx_frames = nic->port.rx_frames;
	info->tx_frames = nic->port.tx_frames;
	info->tx_dropped = nic->port.dropped;
}
