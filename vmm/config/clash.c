/* SPDX-License-Identifier: Apache-2.0 */
/* Who a guest is, next to the guests that are here already: uuids, and clashes of names and MACs. Service CPU. */
#include "vmm/config/config.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "net/port.h"
#include "vmm/vm.h"

static bool shares_mac(const struct vm_config *a, const struct vm_config *b, const u8 **mac)
{
	for (u32 i = 0; i < a->vif_count; i++) {
		for (u32 j = 0; j < b->vif_count; j++) {
			if (!memcmp(a->vif[i].mac, b->vif[j].mac, 6)) {
				*mac = a->vif[i].mac;
				return true;
			}
		}
	}
	return false;
}

/* A guest with the host's own address would take what is sent to the host. */
static bool has_host_mac(const struct vm_config *config, const u8 **mac)
{
	const struct net_port *port;

	for (u32 i = 0; (port = net_switch_port(i)); i++) {
		for (u32 j = 0; port->host && j < config->vif_count; j++) {
			if (!memcmp(config->vif[j].mac, port->mac, 6)) {
				*mac = port->mac;
				return true;
			}
		}
	}
	return false;
}

int vm_config_clash(const struct vm_config *config, const u8 *except, char *why, size_t why_bytes)
{
	const u8 *mac;
	char text[20];

	for (struct vm *vm = vm_next_any(NULL); vm; vm = vm_next_any(vm)) {
		if (except && !memcmp(vm->config.uuid, except, 16))
			continue;
		if (str_equal(vm->config.name, config->name)) {
			if (vm->published)
				return say(-E_EXIST, why, why_bytes, "there is a guest named %s here already (ID %u)",
					   config->name, vm->id);
			return say(-E_EXIST, why, why_bytes, "a guest named %s is just arriving here", config->name);
		}
		if (!memcmp(vm->config.uuid, config->uuid, 16))
			return say(-E_EXIST, why, why_bytes, "guest %s has the same uuid", vm->config.name);
		if (shares_mac(config, &vm->config, &mac))
			return say(-E_EXIST, why, why_bytes, "guest %s has the same MAC %s", vm->config.name,
				   format_mac(text, sizeof(text), mac));
	}
	if (has_host_mac(config, &mac)) {
		str_format(why, why_bytes, "MAC %s is this host's own", format_mac(text, sizeof(text), mac));
		return -E_EXIST;
	}
	return 0;
}

/* Where the dashes of a uuid's text are (RFC 4122 3). */
static bool dash_before(u32 byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

const char *format_uuid(char *buf, size_t size, const u8 uuid[16])
{
	size_t n = 0;

	for (u32 i = 0; i < 16 && n < size; i++)
		n += (size_t)str_format(buf + n, size - n, "%s%02x", dash_before(i) ? "-" : "", uuid[i]);
	return buf;
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

int str_to_uuid(const char *s, u8 uuid[16])
{
	u8 bytes[16];

	for (u32 i = 0; i < 16; i++) {
		int high, low;

		if (dash_before(i) && *s++ != '-')
			return -E_INVAL;
		high = hex_digit(s[0]);
		low = high < 0 ? -1 : hex_digit(s[1]);
		if (low < 0)
			return -E_INVAL;
		bytes[i] = (u8)(high << 4 | low);
		s += 2;
	}
	if (*s)
		return -E_INVAL;
	memcpy(uuid, bytes, 16);
	return 0;
}
