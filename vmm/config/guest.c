/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's configuration in xl.cfg's words. Service CPU: at boot, by the console's create, and for
 * the text that an arriving guest brings, which is as trusted as the peer: not at all.
 */
#include "vmm/config/config.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"

#define MTU_MIN 576
#define MTU_MAX 9216

static void set_name(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;
	const char *s = value->string;
	size_t n = strlen(s);
	bool digits = true;

	for (size_t i = 0; i < n; i++) {
		bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z');
		bool digit = s[i] >= '0' && s[i] <= '9';

		digits = digits && digit;
		if (!letter && !digit && (i == 0 || !strchr("-_.+", s[i]))) {
			n = 0;
			break;
		}
	}
	if (!n || n >= VM_NAME_BYTES)
		cfg_error(report, "name = '%s': 1 to %u letters, digits, and -_.+ inside", s, VM_NAME_BYTES - 1);
	else if (digits)
		cfg_error(report, "name = '%s': a name of digits only would be taken for an ID", s);
	else
		str_copy(c->name, sizeof(c->name), s);
}

static void set_mib(u32 *field, const char *key, const struct cfg_value *value, struct cfg_report *report)
{
	if (value->number < VM_MEMORY_MIN_MIB || value->number > (1u << 20))
		cfg_error(report, "%s = %llu: MiB, %u at least", key, (unsigned long long)value->number,
			  VM_MEMORY_MIN_MIB);
	else if (value->number % 2)
		cfg_error(report, "%s = %llu: an even number of MiB", key, (unsigned long long)value->number);
	else
		*field = (u32)value->number;
}

static void set_memory(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	set_mib(&c->memory_mib, "memory", value, report);
}

/* (Kept where the balloon's size belongs, until the end: vm_config_parse.) */
static void set_maxmem(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	set_mib(&c->balloon_mib, "maxmem", value, report);
}

/* With memory and maxmem read, in whatever order: what there is, and what of it is to be in the balloon. */
static void take_maxmem(struct vm_config *c, struct cfg_report *report)
{
	u32 maxmem_mib = c->balloon_mib;

	c->balloon_mib = 0;
	if (!maxmem_mib)
		return;
	if (maxmem_mib < c->memory_mib) {
		cfg_error(report, "maxmem = %u is less than memory = %u", maxmem_mib, c->memory_mib);
		return;
	}
	c->balloon_mib = maxmem_mib - c->memory_mib;
	c->memory_mib = maxmem_mib;
}

static void set_vcpus(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (!value->number)
		cfg_error(report, "vcpus = 0: a guest has at least one");
	else if (value->number > VM_VCPUS_MAX)
		cfg_error(report, "vcpus = %llu: a guest has %u at most", (unsigned long long)value->number,
			  VM_VCPUS_MAX);
	else
		c->vcpus = (u32)value->number;
}

static void set_weight(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (!value->number || value->number > VM_WEIGHT_MAX)
		cfg_error(report, "weight = %llu: 1 to %u, %u is usual", (unsigned long long)value->number, VM_WEIGHT_MAX,
			  VM_WEIGHT_DEFAULT);
	else
		c->weight = (u32)value->number;
}

static void set_cap(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (value->number > 100 * VM_VCPUS_MAX)
		cfg_error(report, "cap = %llu: per cent of a CPU; 0 for none, %u at most", (unsigned long long)value->number,
			  100 * VM_VCPUS_MAX);
	else
		c->cap = (u32)value->number;
}

static void set_cpus(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (str_to_cpus(value->string, &c->cpus))
		cfg_error(report, "cpus = '%s': host CPUs, as in '1-3', '1,3', '^2' (all but 2) or 'all'; 0 to %u", value->string,
			  CPUS_MAX - 1);
}

static void set_cpu(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (cpuid_level_find(value->string, &c->cpu))
		cfg_error(report, "cpu = '%s': write 'host', 'x86-64-v2', 'x86-64-v3' or 'x86-64-v4'", value->string);
}

static void set_test_ports(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (value->number > 1)
		cfg_error(report, "test_ports = %llu: 1 or 0", (unsigned long long)value->number);
	else
		c->test_ports = value->number;
}

static void set_file(char *field, size_t size, const struct cfg_value *value, struct cfg_report *report)
{
	const char *s = value->string;

	if (!s[0] || strlen(s) >= size || strchr(s, '"') || strchr(s, '\''))
		cfg_error(report, "'%s' is no name of a file in \\godwit\\ (1 to %zu characters)", s, size - 1);
	else
		str_copy(field, size, s);
}

static void set_kernel(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	set_file(c->kernel, sizeof(c->kernel), value, report);
}

static void set_ramdisk(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	set_file(c->ramdisk, sizeof(c->ramdisk), value, report);
}

static void append_extra(struct vm_config *c, const char *text, struct cfg_report *report)
{
	size_t used = strlen(c->extra);

	if (used + 1 + strlen(text) >= sizeof(c->extra)) {
		cfg_error(report, "the kernel's command line has more than %zu characters", sizeof(c->extra) - 1);
		return;
	}
	str_format(c->extra + used, sizeof(c->extra) - used, "%s%s", used ? " " : "", text);
	/* vm_config_format quotes it with the one that it has not got. */
	if (strchr(c->extra, '"') && strchr(c->extra, '\''))
		cfg_error(report, "the kernel's command line has both kinds of quotes: use one kind");
}

static void set_extra(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	append_extra(target, value->string, report);
}

static void set_root(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	char text[CFG_ITEM_BYTES];

	if (str_format(text, sizeof(text), "root=%s", value->string) >= (int)sizeof(text))
		cfg_error(report, "root = '...' has more than %zu characters", sizeof(text) - 6);
	else
		append_extra(target, text, report);
}

static void set_type(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	(void)target;
	if (!str_equal(value->string, "hvm") && !str_equal(value->string, "pvh"))
		cfg_error(report, "type = '%s': guests are unmodified here; write 'hvm' or leave the line out",
			  value->string);
}

static void set_uuid(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	struct vm_config *c = target;

	if (str_to_uuid(value->string, c->uuid))
		cfg_error(report, "uuid = '%s': as in '12345678-1234-1234-1234-123456789abc'", value->string);
}

static enum vm_action parse_action(const char *s, struct cfg_report *report)
{
	if (str_equal(s, "restart"))
		return VM_RESTART;
	if (str_equal(s, "preserve"))
		return VM_PRESERVE;
	if (!str_equal(s, "destroy"))
		cfg_error(report, "'%s': write 'destroy', 'restart' or 'preserve'", s);
	return VM_DESTROY;
}

static void set_on_poweroff(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	((struct vm_config *)target)->on_poweroff = parse_action(value->string, report);
}

static void set_on_reboot(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	((struct vm_config *)target)->on_reboot = parse_action(value->string, report);
}

static void set_on_crash(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	((struct vm_config *)target)->on_crash = parse_action(value->string, report);
}

static void set_vif_word(struct vif_config *vif, const char *word, struct cfg_report *report)
{
	u64 number;

	if (str_starts(word, "mac=")) {
		if (str_to_mac(word + 4, vif->mac))
			cfg_error(report, "vif: '%s' is no MAC address, as in 52:54:00:12:34:56", word + 4);
		else if (vif->mac[0] & 1)
			cfg_error(report, "vif: %s is a group address: its first byte must be even", word + 4);
	} else if (str_starts(word, "mtu=")) {
		if (str_to_u64(word + 4, &number) || number < MTU_MIN || number > MTU_MAX)
			cfg_error(report, "vif: mtu=%s: %u to %u bytes", word + 4, MTU_MIN, MTU_MAX);
		else
			vif->mtu = (u16)number;
	} else if (str_starts(word, "bridge=") || str_starts(word, "model=") || str_starts(word, "type=") ||
		   str_starts(word, "script=") || str_starts(word, "vifname=")) {
		cfg_warn(report, "vif: %s is ignored: there is one switch, and NICs are virtio", word);
	} else {
		cfg_error(report, "vif: unknown '%s': write 'mac=52:54:00:12:34:56' or 'mtu=1500'", word);
	}
}

static void add_vif(struct vm_config *c, const char *item, struct cfg_report *report)
{
	struct vif_config vif = { .mtu = 1500 };
	char word[CFG_ITEM_BYTES];

	if (c->vif_count == VM_VIFS_MAX) {
		cfg_error(report, "vif: more than %u NICs", VM_VIFS_MAX);
		return;
	}
	while (*item) {
		size_t n = 0;

		while (*item == ' ')
			item++;
		while (item[n] && item[n] != ',')
			n++;
		memcpy(word, item, n);
		while (n && word[n - 1] == ' ')
			n--;
		word[n] = 0;
		if (n)
			set_vif_word(&vif, word, report);
		item = strchr(item, ',') ? strchr(item, ',') + 1 : "";
	}
	for (u32 i = 0; i < c->vif_count; i++) {
		static const u8 none[6];

		if (memcmp(vif.mac, none, 6) && !memcmp(vif.mac, c->vif[i].mac, 6)) {
			cfg_error(report, "vif: two NICs have the same MAC");
			return;
		}
	}
	c->vif[c->vif_count++] = vif;
}

static void set_vif(void *target, const struct cfg_value *value, struct cfg_report *report)
{
	for (u32 i = 0; i < value->item_count; i++)
		add_vif(target, value->items[i], report);
}

static const struct cfg_key guest_keys[] = {
	{ "name", CFG_STRING, set_name, "name = 'web'" },
	{ "uuid", CFG_STRING, set_uuid, "uuid = '12345678-1234-1234-1234-123456789abc'" },
	{ "type", CFG_STRING, set_type, "type = 'hvm'" },
	{ "memory", CFG_NUMBER, set_memory, "memory = 256" },
	{ "maxmem", CFG_NUMBER, set_maxmem, "maxmem = 256" },
	{ "vcpus", CFG_NUMBER, set_vcpus, "vcpus = 1" },
	{ "weight", CFG_NUMBER, set_weight, "weight = 256" },
	{ "cpu_weight", CFG_NUMBER, set_weight, "cpu_weight = 256" },
	{ "cap", CFG_NUMBER, set_cap, "cap = 50" },
	{ "cpus", CFG_STRING, set_cpus, "cpus = '1-3'" },
	{ "cpu", CFG_STRING, set_cpu, "cpu = 'x86-64-v2'" },
	{ "kernel", CFG_STRING, set_kernel, "kernel = 'vmlinuz'" },
	{ "ramdisk", CFG_STRING, set_ramdisk, "ramdisk = 'initrd.img'" },
	{ "root", CFG_STRING, set_root, "root = '/dev/vda1'" },
	{ "extra", CFG_STRING, set_extra, "extra = 'console=ttyS0'" },
	{ "cmdline", CFG_STRING, set_extra, "cmdline = 'console=ttyS0'" },
	{ "vif", CFG_LIST, set_vif, "vif = ['mac=52:54:00:12:34:56']" },
	{ "test_ports", CFG_NUMBER, set_test_ports, "test_ports = 1" },
	{ "on_poweroff", CFG_STRING, set_on_poweroff, "on_poweroff = 'destroy'" },
	{ "on_reboot", CFG_STRING, set_on_reboot, "on_reboot = 'restart'" },
	{ "on_crash", CFG_STRING, set_on_crash, "on_crash = 'destroy'" },
};

int vm_config_parse(struct vm_config *config, const char *file, const char *text, u64 bytes, struct cfg_report *report)
{
	memset(config, 0, sizeof(*config));
	config->vcpus = 1;
	config->on_reboot = VM_RESTART;
	cfg_parse(file, text, bytes, guest_keys, ARRAY_SIZE(guest_keys), config, report);
	report->line_number = 0;
	if (report->errors)
		return -E_INVAL;
	if (!config->name[0])
		cfg_error(report, "there is no name: add a line like: name = 'web'");
	if (!config->kernel[0])
		cfg_error(report, "there is no kernel: add a line like: kernel = 'vmlinuz'");
	if (!config->memory_mib)
		cfg_error(report, "there is no memory: add a line like: memory = 256");
	else
		take_maxmem(config, report);
	return report->errors ? -E_INVAL : 0;
}

void vm_config_complete(struct vm_config *config)
{
	static const u8 none[16];
	u64 words[2] = { random_u64(), random_u64() };

	if (!memcmp(config->uuid, none, 16)) {
		memcpy(config->uuid, words, 16);
		config->uuid[6] = (u8)((config->uuid[6] & 0x0f) | 0x40); /* RFC 4122 4.4: version 4 */
		config->uuid[8] = (u8)((config->uuid[8] & 0x3f) | 0x80);
	}
	for (u32 i = 0; i < config->vif_count; i++) {
		u8 *mac = config->vif[i].mac;
		u64 word = random_u64();

		if (memcmp(mac, none, 6))
			continue;
		mac[0] = 0x00; /* the OUI that xl uses too */
		mac[1] = 0x16;
		mac[2] = 0x3e;
		mac[3] = (u8)(word & 0x7f);
		mac[4] = (u8)(word >> 8);
		mac[5] = (u8)(word >> 16);
	}
}

static const char *action_name(enum vm_action action)
{
	switch (action) {
	case VM_DESTROY:
		return "destroy";
	case VM_RESTART:
		return "restart";
	case VM_PRESERVE:
		return "preserve";
	}
	return "destroy";
}

int vm_config_format(const struct vm_config *c, char *text, size_t size)
{
	/* A string goes into the quotes that it has not got itself; the parser lets no string have both. */
	char extra_quote = strchr(c->extra, '\'') ? '"' : '\'';
	char uuid[40];
	char mac[20];
	char cpus[CPUS_TEXT_BYTES];
	size_t n;

	n = (size_t)str_format(text, size, "name = '%s'\nuuid = '%s'\nmemory = %u\nvcpus = %u\nkernel = \"%s\"\n", c->name,
			       format_uuid(uuid, sizeof(uuid), c->uuid), c->memory_mib - c->balloon_mib, c->vcpus,
			       c->kernel);
	if (n < size && c->balloon_mib)
		n += (size_t)str_format(text + n, size - n, "maxmem = %u\n", c->memory_mib);
	if (n < size && c->weight)
		n += (size_t)str_format(text + n, size - n, "weight = %u\n", c->weight);
	if (n < size && c->cap)
		n += (size_t)str_format(text + n, size - n, "cap = %u\n", c->cap);
	if (n < size && c->cpus)
		n += (size_t)str_format(text + n, size - n, "cpus = '%s'\n", format_cpus(cpus, sizeof(cpus), c->cpus));
	/* Not where they are as ever: older hosts don't know the keys. */
	if (n < size && c->cpu != LEVEL_HOST)
		n += (size_t)str_format(text + n, size - n, "cpu = '%s'\n", cpuid_level_name(c->cpu));
	if (n < size && c->test_ports)
		n += (size_t)str_format(text + n, size - n, "test_ports = 1\n");
	if (n < size && c->ramdisk[0])
		n += (size_t)str_format(text + n, size - n, "ramdisk = \"%s\"\n", c->ramdisk);
	if (n < size && c->extra[0])
		n += (size_t)str_format(text + n, size - n, "extra = %c%s%c\n", extra_quote, c->extra, extra_quote);
	for (u32 i = 0; i < c->vif_count && n < size; i++)
		n += (size_t)str_format(text + n, size - n, "%s'mac=%s,mtu=%u'%s", i ? ", " : "vif = [",
					format_mac(mac, sizeof(mac), c->vif[i].mac), c->vif[i].mtu,
					i + 1 == c->vif_count ? "]\n" : "");
	if (n < size)
		n += (size_t)str_format(text + n, size - n,
					"on_poweroff = '%s'\non_reboot = '%s'\non_crash = '%s'\n",
					action_name(c->on_poweroff), action_name(c->on_reboot),
					action_name(c->on_crash));
	return n < size ? 0 : -E_RANGE;
}
