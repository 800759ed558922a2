/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HELLO: built by send.c, taken apart and checked by receive.c, before a byte of memory is sent.
 * Every refusal names this host and what it lacks. Service CPU.
 */
#include "migrate/hello.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "migrate/peers.h"
#include "migrate/state.h"
#include "mm/pages.h"
#include "vmm/board.h"
#include "vmm/config/config.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/xsave.h"

#define HEADER sizeof(struct record_header)
/* A guest's tables and device models, roughly; vm_create_incoming finds out exactly. */
#define OVERHEAD_BYTES MIB(1)
/* What lib/ticks.c can do with. */
#define TSC_KHZ_MIN 1000
#define TSC_KHZ_MAX 100000000

int hello_build(struct stream *s, const struct vm *vm, const struct handover *handover,
		enum wire_purpose purpose, void *buffer, size_t *bytes)
{
	struct wire_hello *hello = (struct wire_hello *)((u8 *)buffer + HEADER);
	struct wire_device *devices = (struct wire_device *)(hello + 1);
	u8 *end = (u8 *)buffer + STREAM_HELLO_MAX - STREAM_ALIGN;
	struct cpuid_policy *cpuid;
	char *text;
	int error;

	static_assert(sizeof(*hello) + HELLO_DEVICES_MAX * sizeof(*devices) + sizeof(*cpuid) + KIB(4) <
		      STREAM_HELLO_MAX, "room for the configuration's text");
	memset(hello, 0, sizeof(*hello));
	hello->magic = STREAM_MAGIC;
	hello->version = STREAM_VERSION;
	hello->board_version = BOARD_VERSION;
	str_copy(hello->host, sizeof(hello->host), peers_host_name());
	str_copy(hello->extension, sizeof(hello->extension), hvm->name);
	hello->handover = *handover;
	hello->memory_bytes = vm->gmem.pages * PAGE_SIZE;
	hello->xsave_bytes = xsave_bytes(cpuid_policy_state(vm->cpuid));
	hello->tsc_khz = vm->tsc_khz;
	hello->purpose = purpose;
	hello->device_count = state_devices(vm, devices, HELLO_DEVICES_MAX);
	cpuid = (struct cpuid_policy *)(devices + hello->device_count);
	*cpuid = *vm->cpuid;
	hello->cpuid_bytes = sizeof(*cpuid);
	text = (char *)(cpuid + 1);
	error = vm_config_format(&vm->config, text, (size_t)(end - (u8 *)text));
	if (error)
		return error;
	hello->config_bytes = (u32)strlen(text);
	*bytes = record_seal(s, buffer, RECORD_HELLO, (u32)((u8 *)text - (u8 *)hello) + hello->config_bytes);
	return 0;
}

/* --- the peer's side -------------------------------------------------------------------------- */

struct config_errors {
	char *why;
	size_t why_bytes;
};

static void config_line(void *ctx, const char *file, u32 line, bool warning, const char *text)
{
	struct config_errors *errors = ctx;

	/* The first error is the one to show. It may quote what the peer has written. */
	if (warning || errors->why[0])
		return;
	str_format(errors->why, errors->why_bytes, "%s, line %u: %s", file, line, text);
	stream_text(errors->why, errors->why_bytes, errors->why, strlen(errors->why));
}

static int parse_config(struct hello *hello, const char *text, char *why, size_t why_bytes)
{
	struct config_errors errors = { why, why_bytes };
	struct cfg_report report = { .line = config_line, .ctx = &errors };

	why[0] = 0;
	if (vm_config_parse(&hello->config, "the guest's configuration", text, hello->fixed.config_bytes, &report)) {
		if (!why[0])
			str_copy(why, why_bytes, "the guest's configuration is not understood");
		return -E_REFUSED;
	}
	if (memcmp(hello->config.uuid, hello->fixed.handover.uuid, sizeof(hello->config.uuid)) ||
	    hello->fixed.memory_bytes != MIB(hello->config.memory_mib))
		return say(-E_PROTO, why, why_bytes,
			   "the guest's configuration does not fit the rest of HELLO");
	return 0;
}

static bool text_ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

int hello_parse(struct hello *hello, const void *body, u32 bytes, char *why, size_t why_bytes)
{
	struct wire_hello *fixed = &hello->fixed;
	const u8 *at = body;
	u64 sum;

	memset(fixed, 0, sizeof(*fixed));
	memcpy(fixed, body, MIN(bytes, sizeof(*fixed)));
	if (fixed->magic != STREAM_MAGIC)
		return say(-E_PROTO, why, why_bytes, "this is no migration stream");
	if (fixed->version != STREAM_VERSION)
		return say(-E_REFUSED, why, why_bytes,
			   "%s speaks version %u of the migration stream, not %u: update the older host",
			   peers_host_name(), STREAM_VERSION, fixed->version);
	if (bytes < sizeof(*fixed))
		return say(-E_PROTO, why, why_bytes, "HELLO is too short");
	sum = sizeof(*fixed) + (u64)fixed->device_count * sizeof(struct wire_device) + fixed->cpuid_bytes +
	      fixed->config_bytes;
	if (fixed->device_count > HELLO_DEVICES_MAX || fixed->cpuid_bytes != sizeof(hello->cpuid) || sum != bytes)
		return say(-E_PROTO, why, why_bytes, "the lengths in HELLO do not agree");
	if (!text_ends(fixed->host, sizeof(fixed->host)) || !text_ends(fixed->extension, sizeof(fixed->extension)) ||
	    fixed->purpose > WIRE_CHECK || fixed->tsc_khz < TSC_KHZ_MIN || fixed->tsc_khz > TSC_KHZ_MAX ||
	    !fixed->handover.attempt || !fixed->handover.epoch || fixed->handover.epoch >= EPOCH_MAX)
		return say(-E_PROTO, why, why_bytes, "HELLO makes no sense");
	stream_text(fixed->host, sizeof(fixed->host), fixed->host, strlen(fixed->host));
	stream_text(fixed->extension, sizeof(fixed->extension), fixed->extension, strlen(fixed->extension));
	at += sizeof(*fixed);
	hello->devices = (const struct wire_device *)at;
	at += fixed->device_count * sizeof(struct wire_device);
	memcpy(&hello->cpuid, at, sizeof(hello->cpuid));
	at += sizeof(hello->cpuid);
	return parse_config(hello, (const char *)at, why, why_bytes);
}

static int check_host(const struct hello *hello, const struct migrate_peer *peer, char *why, size_t why_bytes)
{
	const struct wire_hello *fixed = &hello->fixed;
	const char *here = peers_host_name();

	if (!str_equal(fixed->host, peer->name))
		return say(-E_REFUSED, why, why_bytes,
			   "%s knows %u.%u.%u.%u as %s, but it calls itself %s: see peers in godwit.cfg", here,
			   peer->ip[0], peer->ip[1], peer->ip[2], peer->ip[3], peer->name, fixed->host);
	if (!str_equal(fixed->extension, hvm->name))
		return say(-E_REFUSED, why, why_bytes,
			   "%s has %s, and %s runs on %s: a guest cannot change over", here,
			   hvm->name, hello->config.name, fixed->extension);
	if (fixed->board_version != BOARD_VERSION)
		return say(-E_REFUSED, why, why_bytes,
			   "%s has version %u of the virtual board, and %s has version %u: update the older host", here,
			   BOARD_VERSION, hello->config.name, fixed->board_version);
	return 0;
}

static int check_cpu(const struct hello *hello, char *why, size_t why_bytes)
{
	char missing[128];
	int error = cpuid_policy_check(&hello->cpuid, missing, sizeof(missing));

	if (error == -E_REFUSED)
		return say(-E_REFUSED, why, why_bytes, "%s lacks %s, which %s was shown", peers_host_name(),
			   missing,
			   hello->config.name);
	if (error || hello->cpuid.vcpus != hello->config.vcpus)
		return say(-E_PROTO, why, why_bytes, "the CPUID table in HELLO makes no sense");
	if (hello->fixed.xsave_bytes > vcpu_xsave_bytes())
		return say(-E_REFUSED, why, why_bytes, "%s has an XSAVE area of %u bytes, and %s uses %u",
			   peers_host_name(), vcpu_xsave_bytes(), hello->config.name, hello->fixed.xsave_bytes);
	return 0;
}

static int check_room(const struct hello *hello, char *why, size_t why_bytes)
{
	u64 free_bytes = pages_free_count() * PAGE_SIZE;
	char have[24], need[24];

	if (hello->fixed.memory_bytes + OVERHEAD_BYTES > free_bytes)
		return say(-E_REFUSED, why, why_bytes, "%s has %s of memory free, and %s needs %s",
			   peers_host_name(),
			   format_bytes(have, sizeof(have), ALIGN_DOWN(free_bytes, MIB(1))), hello->config.name,
			   format_bytes(need, sizeof(need), hello->fixed.memory_bytes));
	return 0;
}

int hello_check(const struct hello *hello, const struct migrate_peer *peer, const struct vm *moving, char *why,
		size_t why_bytes)
{
	char clash[128];
	int error = check_host(hello, peer, why, why_bytes);

	if (!error)
		error = check_cpu(hello, why, why_bytes);
	if (error)
		return error;
	if (vm_config_clash(&hello->config, moving ? moving->config.uuid : NULL, clash, sizeof(clash)))
		return say(-E_REFUSED, why, why_bytes, "on %s: %s", peers_host_name(), clash);
	return check_room(hello, why, why_bytes);
}
