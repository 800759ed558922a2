/* SPDX-License-Identifier: Apache-2.0 */
/* godwit.cfg: the host's own configuration. Service CPU, once at boot. */
#include "vmm/config/config.h"

#include "lib/string.h"

#define COM1_PORT 0x3f8
#define COM1_IRQ 4
#define COM2_PORT 0x2f8
#define COM2_IRQ 3

static bool is_host_name(const char *s)
{
	size_t n;

	for (n = 0; s[n]; n++) {
		bool ok = (s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') || (s[n] >= '0' && s[n] <= '9') ||
			  (s[n] == '-' && n > 0);

		if (!ok)
			return false;
	}
	return n > 0;
}

static void set_name(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (!is_host_name(value->string) || strlen(value->string) >= sizeof(c->name))
		cfg_error(report, "'%s' is no host name: 1 to 31 letters, digits and -", value->string);
	else
		str_copy(c->name, sizeof(c->name), value->string);
}

/* "a.b.c.d/prefix" */
static int parse_prefix(const char *text, u8 ip[4], u8 netmask[4])
{
	char address[32];
	const char *slash = strchr(text, '/');
	u64 prefix;
	u32 mask;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return -1;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = 0;
	if (str_to_ipv4(address, ip) || str_to_u64(slash + 1, &prefix) || prefix < 1 || prefix > 31)
		return -1;
	mask = ~0u << (32 - prefix);
	netmask[0] = (u8)(mask >> 24);
	netmask[1] = (u8)(mask >> 16);
	netmask[2] = (u8)(mask >> 8);
	netmask[3] = (u8)mask;
	return 0;
}

static void set_address(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (str_equal(value->string, "dhcp")) {
		c->dhcp = true;
		return;
	}
	c->dhcp = false;
	if (parse_prefix(value->string, c->ip, c->netmask))
		cfg_error(report, "address = '%s': write 'dhcp' or an address with its prefix, as in '10.0.0.1/24'",
			  value->string);
	else
		c->has_address = true;
}

static void set_gateway(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (str_to_ipv4(value->string, c->gateway))
		cfg_error(report, "gateway = '%s' is no IPv4 address", value->string);
}

static bool is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
	return true;
}

static void set_nic(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;
	const char *s = value->string;
	bool address = strlen(s) == 7 && is_hex(s, 2) && s[2] == ':' && is_hex(s + 3, 2) && s[5] == '.' && s[6] >= '0' &&
		       s[6] <= '7';

	if (!address && !str_equal(s, "auto") && !str_equal(s, "none"))
		cfg_error(report, "nic = '%s': write 'auto', 'none' or a PCI address, as in '00:03.0'", s);
	else
		str_copy(c->nic, sizeof(c->nic), s);
}

static void set_mtu(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (value->number < 576 || value->number > 9216)
		cfg_error(report, "mtu = %llu: 576 to 9216 bytes", (unsigned long long)value->number);
	else
		c->mtu = (u16)value->number;
}

static void set_dirty_log(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;
	const char *s = value->string;

	if (str_equal(s, "auto") || str_equal(s, "pml") || str_equal(s, "d-bits") || str_equal(s, "none"))
		str_copy(c->dirty_log, sizeof(c->dirty_log), s);
	else
		cfg_error(report, "dirty_log = '%s': write 'auto', 'pml', 'd-bits' or 'none'", s);
}

static void set_apicv(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (str_equal(value->string, "auto") || str_equal(value->string, "off"))
		c->apicv = str_equal(value->string, "auto");
	else
		cfg_error(report, "apicv = '%s': write 'auto' or 'off'", value->string);
}

static void set_serial(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (str_equal(value->string, "com1")) {
		c->serial_port = COM1_PORT;
		c->serial_irq = COM1_IRQ;
	} else if (str_equal(value->string, "com2")) {
		c->serial_port = COM2_PORT;
		c->serial_irq = COM2_IRQ;
	} else {
		cfg_error(report, "serial = '%s': write 'com1' or 'com2'", value->string);
	}
}

static void set_baud(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (!value->number || value->number > 115200 || 115200 % value->number)
		cfg_error(report, "baud = %llu: a divisor of 115200 (9600, 19200, 38400, 57600, 115200)",
			  (unsigned long long)value->number);
	else
		c->serial_baud = (u32)value->number;
}

static void add_peer(struct host_config *c, const char *item, struct cfg_report *report)
{
	struct host_peer peer = { 0 };
	const char *equals = strchr(item, '=');
	const char *comma = strchr(item, ',');
	char address[16] = "";

	peer.in = !comma || str_equal(comma, ",in");
	peer.out = !comma || str_equal(comma, ",out");
	if (equals && (!comma || comma - equals - 1 < (s64)sizeof(address)))
		str_copy(address, comma ? (size_t)(comma - equals) : sizeof(address), equals + 1);
	if (!equals || (size_t)(equals - item) >= sizeof(peer.name)) {
		cfg_error(report, "peer '%s': write 'NAME=ADDRESS', as in 'beta=10.0.0.2'", item);
		return;
	}
	memcpy(peer.name, item, (size_t)(equals - item));
	if (!is_host_name(peer.name) || str_to_ipv4(address, peer.ip) || (!peer.in && !peer.out)) {
		cfg_error(report, "peer '%s': write 'NAME=ADDRESS', as in 'beta=10.0.0.2'; with ',in' or ',out' "
			  "behind it for one way only", item);
		return;
	}
	for (u32 i = 0; i < c->peer_count; i++) {
		if (str_equal(c->peers[i].name, peer.name) || !memcmp(c->peers[i].ip, peer.ip, 4)) {
			cfg_error(report, "peer '%s' has the name or the address of another one", item);
			return;
		}
	}
	if (c->peer_count == HOST_PEERS_MAX)
		cfg_error(report, "more than %u peers", HOST_PEERS_MAX);
	else
		c->peers[c->peer_count++] = peer;
}

static void set_peers(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	for (u32 i = 0; i < value->item_count; i++)
		add_peer(target, value->items[i], report);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* What is wrong with it is said without showing it. */
static void set_key(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;
	const char *s = value->string;

	c->has_key = strlen(s) == 2 * sizeof(c->key);
	for (size_t i = 0; c->has_key && i < sizeof(c->key); i++) {
		int high = hex_digit(s[2 * i]);
		int low = hex_digit(s[2 * i + 1]);

		c->has_key = high >= 0 && low >= 0;
		if (c->has_key)
			c->key[i] = (u8)(high << 4 | low);
	}
	if (!c->has_key)
		cfg_error(report, "key: %u hexadecimal digits, as 'key new' or 'make key' makes them",
			  2 * (u32)sizeof(c->key));
}

static void set_file(char *file, size_t bytes, const struct cfg_value *value, struct cfg_report *report)
{
	if (!str_copy(file, bytes, value->string))
		cfg_error(report, "the file's name is too long");
}

static void set_ca(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	set_file(c->ca, sizeof(c->ca), value, report);
}

static void set_certificate(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	set_file(c->certificate, sizeof(c->certificate), value, report);
}

static void set_private_key(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	set_file(c->private_key, sizeof(c->private_key), value, report);
}

static void set_peer_timeout(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	if (value->number < 2 || value->number > 3600)
		cfg_error(report, "peer_timeout = %llu: 2 to 3600 seconds", (unsigned long long)value->number);
	else
		c->peer_timeout_s = (u32)value->number;
}

static void set_guests(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct host_config *c = target;

	for (u32 i = 0; i < value->item_count; i++) {
		if (!value->items[i][0] || strlen(value->items[i]) >= sizeof(c->guests[0]))
			cfg_error(report, "guests: '%s' is no file name", value->items[i]);
		else if (c->guest_count == HOST_GUESTS_MAX)
			cfg_error(report, "more than %u guests to start", HOST_GUESTS_MAX);
		else
			str_copy(c->guests[c->guest_count++], sizeof(c->guests[0]), value->items[i]);
	}
}

static const struct cfg_key host_keys[] = {
	{ "name", CFG_STRING, set_name, "name = 'alpha'" },
	{ "address", CFG_STRING, set_address, "address = '10.0.0.1/24'" },
	{ "gateway", CFG_STRING, set_gateway, "gateway = '10.0.0.254'" },
	{ "nic", CFG_STRING, set_nic, "nic = 'auto'" },
	{ "mtu", CFG_NUMBER, set_mtu, "mtu = 1500" },
	{ "dirty_log", CFG_STRING, set_dirty_log, "dirty_log = 'auto'" },
	{ "apicv", CFG_STRING, set_apicv, "apicv = 'auto'" },
	{ "serial", CFG_STRING, set_serial, "serial = 'com1'" },
	{ "baud", CFG_NUMBER, set_baud, "baud = 115200" },
	{ "peers", CFG_LIST, set_peers, "peers = ['beta=10.0.0.2']" },
	{ "key", CFG_STRING, set_key, "key = '(64 hexadecimal digits)'" },
	{ "ca", CFG_STRING, set_ca, "ca = 'ca.crt'" },
	{ "certificate", CFG_STRING, set_certificate, "certificate = 'alpha.crt'" },
	{ "private_key", CFG_STRING, set_private_key, "private_key = 'alpha.key'" },
	{ "peer_timeout", CFG_NUMBER, set_peer_timeout, "peer_timeout = 10" },
	{ "guests", CFG_LIST, set_guests, "guests = ['web.cfg']" },
};

void host_config_init(struct host_config *config)
{
	memset(config, 0, sizeof(*config));
	str_copy(config->name, sizeof(config->name), "godwit");
	str_copy(config->nic, sizeof(config->nic), "auto");
	str_copy(config->dirty_log, sizeof(config->dirty_log), "auto");
	config->apicv = true;
	config->dhcp = true;
	config->serial_port = COM1_PORT;
	config->serial_irq = COM1_IRQ;
	config->serial_baud = 115200;
}

void host_config_parse(struct host_config *config, const char *file, const char *text, u64 bytes,
		       struct cfg_report *report)
{
	cfg_parse(file, text, bytes, host_keys, ARRAY_SIZE(host_keys), config, report);
}
