/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of beacons: bytes in, a beacon out. Called by beacons.c on the service CPU. */
#include "migrate/beacon.h"

#include "errors.h"
#include "lib/string.h"
#include "migrate/migrate.h"

/* A name in printable ASCII, its end and nothing behind it. */
static bool name_ok(const char *name, size_t size)
{
	size_t length = 0;

	while (length < size && name[length] > ' ' && name[length] <= '~')
		length++;
	if (length == 0 || length == size)
		return false;
	for (size_t i = length; i < size; i++)
		if (name[i])
			return false;
	return true;
}

static bool guest_ok(const struct beacon_guest *guest)
{
	return guest->epoch < EPOCH_MAX && guest->state >= BEACON_RUNS && guest->state <= BEACON_YIELDED &&
	       !guest->reserved;
}

int beacon_parse(const void *bytes, size_t count, struct beacon *beacon)
{
	struct beacon_header *header = &beacon->header;
	const u8 *at = bytes;

	if (count < sizeof(*header))
		return -E_PROTO;
	memcpy(header, at, sizeof(*header));
	if (header->magic != BEACON_MAGIC || header->version != BEACON_VERSION ||
	    header->guest_count > BEACON_GUESTS_MAX || count != beacon_bytes(beacon))
		return -E_PROTO;
	if (!name_ok(header->host, sizeof(header->host)) || !header->instance || !header->stamp)
		return -E_PROTO;
	memcpy(beacon->guests, at + sizeof(*header), count - sizeof(*header));
	for (u32 i = 0; i < header->guest_count; i++)
		if (!guest_ok(&beacon->guests[i]))
			return -E_PROTO;
	return 0;
}
