/* SPDX-License-Identifier: Apache-2.0 */
/* From the ESP's files to the configurations of the parts. Service CPU, once. */
#ifndef BOOT_HOST_H
#define BOOT_HOST_H

#include "boot/boot_info.h"
#include "migrate/migrate.h"
#include "net/net.h"
#include "vmm/config/config.h"

/* Makes the files known to vmm/files.h and reads godwit.cfg; every problem is a line of the log. */
void host_read_files(const struct boot_info *info, struct host_config *config);
void host_net_config(const struct host_config *config, struct net_config *net);
void host_migrate_config(const struct host_config *config, struct migrate_config *migrate);

/* The keys of godwit.cfg to TLS; then nothing but TLS has them. Every problem is a line of the log. */
void host_tls_start(struct host_config *config);

#endif
