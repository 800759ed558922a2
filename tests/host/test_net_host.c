/* SPDX-License-Identifier: Apache-2.0 */
/* The host's network as a person sees it: which card is taken, and what is said when there is none or no address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/nic.h"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "lib/log.h"
#include "net/lwip_port.h"
#include "net/net.h"
#include "net/tcp_pipe.h"

static struct pci_device cards[2];
static u32 card_count, starts;
static int start_error[2];
static u8 address[4];
static struct nic fake_nic;
static char why[160];

/* --- below net.c ------------------------------------------------------------------------------------------------- */

u32 pci_scan(void)
{
	return card_count;
}

struct pci_device *pci_device_get(u32 index)
{
	return index < card_count ? &cards[index] : NULL;
}

static bool match(const struct pci_device *dev)
{
	return dev->vendor == 0x1af4;
}

static bool nothing_matches(const struct pci_device *dev)
{
	(void)dev;
	return false;
}

static bool no_deliver(struct net_port *port, const struct net_frame *frame)
{
	(void)port;
	(void)frame;
	return true;
}

static int start(const struct pci_device *dev, u16 mtu, struct nic **nic)
{
	int error = start_error[dev - cards];

	starts++;
	if (error)
		return error;
	fake_nic = (struct nic){ .ops = &virtio_net_nic, .pci = dev, .mac = { 2, 0, 0, 0, 0, 1 }, .irq = PCI_IRQ_MSIX };
	fake_nic.port = (struct net_port){ .name = "nic", .deliver = no_deliver, .mtu = MIN(mtu, (u16)1500), .uplink = true };
	*nic = &fake_nic;
	return 0;
}

static bool yes(struct nic *nic)
{
	(void)nic;
	return true;
}

static bool no(struct nic *nic)
{
	(void)nic;
	return false;
}

static void nothing(struct nic *nic)
{
	(void)nic;
}

const struct nic_ops virtio_net_nic = {
	.name = "virtio-net", .match = match, .start = start, .poll = no, .flush = nothing, .arm = yes, .link_up = yes,
};
const struct nic_ops e1000_nic = { .name = "e1000", .match = nothing_matches };

int lwip_port_init(const struct net_config *config, const u8 mac[6], u16 mtu)
{
	(void)config;
	(void)mac;
	(void)mtu;
	return 0;
}

void lwip_port_set_link(bool up)
{
	(void)up;
}

bool lwip_port_poll(void)
{
	return false;
}

u64 lwip_port_next_deadline(void)
{
	return 0;
}

void lwip_port_get_addresses(struct net_info *info)
{
	memcpy(info->ip, address, 4);
	info->has_address = address[0] != 0;
}

void tcp_pipe_init(unused u32 peer_timeout_s)
{
}

void tcp_pipe_poll(void)
{
}

/* --- the tests --------------------------------------------------------------------------------------------------- */

static bool logged(const char *text)
{
	static char log[LOG_RING_BYTES + 1];
	u64 cursor = 0;
	size_t n, bytes = 0;

	while ((n = log_read(&cursor, log + bytes, sizeof(log) - 1 - bytes)) > 0)
		bytes += n;
	log[bytes] = '\0';
	return strstr(log, text);
}

/* Each test begins where net.c is untouched: the NIC is found once. */
static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	return 0;
}

static void without_a_card_it_is_said_what_to_do(void **state)
{
	struct net_config config = { .nic = "auto", .dhcp = true };

	(void)state;
	assert_int_equal(net_init(&config, why, sizeof(why)), 0);
	assert_non_null(strstr(why, "no PCI network card"));
	assert_non_null(strstr(why, "put in a virtio-net"));
	strcpy(config.nic, "00:09.0");
	assert_int_equal(net_init(&config, why, sizeof(why)), 0);
	assert_non_null(strstr(why, "nothing at 00:09.0"));
	assert_non_null(strstr(why, "'auto'"));
	/* Who wants none has nothing to do. */
	strcpy(config.nic, "none");
	assert_int_equal(net_init(&config, why, sizeof(why)), 0);
	assert_string_equal(why, "");
	strcpy(config.nic, "auto");
	cards[0] = (struct pci_device){ .vendor = 0x10ec, .device = 0x8168, .class = 2, .address = "00:02.0" };
	card_count = 1;
	assert_int_equal(net_init(&config, why, sizeof(why)), 0);
	assert_non_null(strstr(why, "00:02.0 (10ec:8168) has no driver here"));
	assert_non_null(strstr(why, "put in a virtio-net"));
}

static void the_second_card_is_taken_if_the_first_fails(void **state)
{
	struct net_config config = { .nic = "auto", .dhcp = true, .mtu = 9000 };

	(void)state;
	cards[0] = (struct pci_device){ .vendor = 0x1af4, .class = 2, .address = "00:02.0" };
	cards[1] = (struct pci_device){ .vendor = 0x1af4, .class = 2, .address = "00:03.0" };
	card_count = 2;
	start_error[0] = -E_IO;
	assert_int_equal(net_init(&config, why, sizeof(why)), 0);
	assert_int_equal(starts, 2);
	assert_string_equal(why, "");
	assert_true(logged("an MTU of 9000 was asked for, virtio-net 00:03.0 can do 1500"));
}

/* Goes on with the host of the test before. */
static void what_dhcp_says_is_said(void **state)
{
	(void)state;
	for (u32 s = 0; s < 14; s++) {
		fake_time_advance(NS_PER_S);
		(void)net_poll();
	}
	assert_false(logged("no DHCP server answers"));
	fake_time_advance(2 * NS_PER_S);
	(void)net_poll();
	assert_true(logged("no DHCP server answers"));
	memcpy(address, (u8[]){ 10, 77, 0, 60 }, 4);
	fake_time_advance(NS_PER_S);
	(void)net_poll();
	assert_true(logged("net: address 10.77.0.60"));
	memset(address, 0, 4);
	fake_time_advance(NS_PER_S);
	(void)net_poll();
	assert_true(logged("the address is gone"));
	net_switch_remove(&fake_nic.port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(without_a_card_it_is_said_what_to_do, setup),
		cmocka_unit_test_setup(the_second_card_is_taken_if_the_first_fails, setup),
		cmocka_unit_test(what_dhcp_says_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
