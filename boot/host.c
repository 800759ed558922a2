/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the ESP's files to the configurations of the parts, which know nothing of each other.
 * Service CPU, once at boot.
 */
#include "boot/host.h"

#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "net/tls/tls.h"
#include "vmm/files.h"

#define CONFIG_NAME "godwit.cfg"

static void report_line(unused void *ctx, const char *file, u32 line, bool warning, const char *text)
{
	if (warning)
		log_warn("%s line %u: %s", file, line, text);
	else
		log_error("%s line %u: %s", file, line, text);
}

static void explain_config(const struct host_config *config)
{
	log_warn("there is no \\godwit\\" CONFIG_NAME " on the ESP: this host is called %s, asks DHCP "
		 "for an address, has no peers and starts no guests", config->name);
	log_info("To change that, write \\godwit\\" CONFIG_NAME " with lines like these:");
	log_info("  name = 'alpha'");
	log_info("  address = '10.0.0.1/24'");
	log_info("  peers = ['beta=10.0.0.2']");
	log_info("  key = '...' (the command 'key new' makes one, for all hosts)");
	log_info("  guests = ['web.cfg']");
}

void host_read_files(const struct boot_info *info, struct host_config *config)
{
	struct cfg_report report = { .line = report_line };
	const struct boot_file *file = boot_file_find(info, CONFIG_NAME);

	for (u32 i = 0; i < info->file_count; i++)
		files_add(info->files[i].name, info->files[i].data, info->files[i].bytes);
	if (info->files_error[0])
		log_warn("boot: %s", info->files_error);
	host_config_init(config);
	if (file)
		host_config_parse(config, file->name, file->data, file->bytes, &report);
	else
		explain_config(config);
}

void host_net_config(const struct host_config *config, struct net_config *net)
{
	memset(net, 0, sizeof(*net));
	memcpy(net->nic, config->nic, sizeof(net->nic));
	memcpy(net->host_name, config->name, sizeof(net->host_name));
	memcpy(net->ip, config->ip, 4);
	memcpy(net->netmask, config->netmask, 4);
	memcpy(net->gateway, config->gateway, 4);
	net->dhcp = config->dhcp;
	net->mtu = config->mtu;
	net->peer_timeout_s = config->peer_timeout_s;
}

static_assert(HOST_PEERS_MAX <= MIGRATE_PEERS_MAX, "every configured peer has a place");

void host_migrate_config(const struct host_config *config, struct migrate_config *migrate)
{
	memset(migrate, 0, sizeof(*migrate));
	memcpy(migrate->host_name, config->name, sizeof(migrate->host_name));
	migrate->peer_count = config->peer_count;
	migrate->peer_timeout_s = config->peer_timeout_s;
	for (u32 i = 0; i < config->peer_count; i++) {
		memcpy(migrate->peers[i].name, config->peers[i].name, sizeof(migrate->peers[i].name));
		memcpy(migrate->peers[i].ip, config->peers[i].ip, 4);
		migrate->peers[i].in = config->peers[i].in;
		migrate->peers[i].out = config->peers[i].out;
	}
}

/* --- keys ------------------------------------------------------------------------------------- */

/* What it held may not be read again: not by us, and not as some guest's initrd. */
static void file_wipe(const char *name)
{
	const struct host_file *file = files_find(name);

	if (!file)
		return;
	memset((void *)(uintptr_t)file->data, 0, file->bytes);
	__asm__ volatile("" : : "r"(file->data) : "memory");
}

static int pem_find(const char *key, const char *name, struct tls_pem *pem)
{
	const struct host_file *file = name[0] ? files_find(name) : NULL;

	if (name[0] && !file) {
		log_error(CONFIG_NAME ": %s = '%s': there is no such file in \\godwit\\ on the ESP", key, name);
		return -E_NOENT;
	}
	if (file)
		*pem = (struct tls_pem){ file->data, file->bytes };
	return 0;
}

void host_tls_start(struct host_config *config)
{
	struct tls_config tls = {
		.host_name = config->name,
		.key = config->has_key ? config->key : NULL,
		.timeout_s = config->peer_timeout_s,
	};
	char why[160];
	int error = pem_find("ca", config->ca, &tls.ca);

	if (!error)
		error = pem_find("certificate", config->certificate, &tls.certificate);
	if (!error)
		error = pem_find("private_key", config->private_key, &tls.private_key);
	if (!error) {
		error = tls_init(&tls, why, sizeof(why));
		if (error && error != -E_NOENT)
			log_error("migration: %s", why);
		else if (error && config->peer_count)
			log_warn("migration: %s", why);
	}
	memset(config->key, 0, sizeof(config->key));
	if (config->private_key[0])
		file_wipe(config->private_key);
	file_wipe(CONFIG_NAME);
}
