/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files. The first byte says whose: godwit.cfg, or a guest's (which also comes with the
 * migration stream). A guest's that is right must come back the same when it is written out.
 */
#include "fuzz.h"

#include "vmm/config/config.h"

static u32 reports;

static void line(unused void *ctx, const char *file, unused u32 number, unused bool warning, const char *text)
{
	reports += strlen(file) > 0 && strlen(text) > 0;
}

void fuzz_start(void)
{
}

static void guest(const char *text, size_t bytes, struct cfg_report *report)
{
	struct vm_config config, again;
	char buffer[4096];

	if (vm_config_parse(&config, "web.cfg", text, bytes, report))
		return;
	vm_config_complete(&config);
	assert_true(strlen(config.name) < sizeof(config.name));
	assert_int_equal(vm_config_format(&config, buffer, sizeof(buffer)), 0);
	assert_int_equal(vm_config_parse(&again, "web.cfg", buffer, strlen(buffer), report), 0);
	assert_memory_equal(&config, &again, sizeof(config));
	if (config.vif_count)
		fuzz_reached();
}

void fuzz_one(struct fuzz *in)
{
	struct cfg_report report = { .line = line };
	struct host_config host;
	u8 which = (u8)fuzz_take(in, 1);
	size_t bytes;
	const char *text = (const char *)fuzz_bytes(in, ~(size_t)0, &bytes);

	if (which & 1) {
		guest(text, bytes, &report);
		return;
	}
	host_config_init(&host);
	host_config_parse(&host, "godwit.cfg", text, bytes, &report);
	assert_true(host.peer_count <= HOST_PEERS_MAX && host.guest_count <= HOST_GUESTS_MAX);
}
