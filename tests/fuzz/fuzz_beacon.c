/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beacons from the network, to a host with a guest: as any bytes, and with the proof of a peer that lies.
 * Whatever they say, no guest is lost and nothing leaks.
 */
#include "fuzz.h"

#define BED_MIB 4 /* rounds look at all of it */

#include "migrate_bed.h"

#include "fake/fake_beacon.h"
#include "migrate/beacon.h"
#include "migrate/beacons.h"
#include "migrate/owner.h"

static const u8 beta_ip[4] = { 10, 0, 0, 2 };
static const u8 own_uuid[16] = { 0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55 };
static struct beacon said;

static void sent(const u8 ip[4], const void *data, size_t bytes)
{
	u32 body = fake_beacon_auth.open(NULL, data, (u32)bytes);

	assert_int_equal(beacon_parse(data, body, &said), 0);
	(void)ip;
}

void fuzz_start(void)
{
	fake_pages_set_lazy();
	bed_memory_is_zero = true;
	bed_set_up(NULL);
	bed_stores_per_step = 0;
	fake_datagram_sent = sent;
}

/* A beacon that is right, but for what the input says. */
static u32 compose(struct fuzz *in, u8 *wire)
{
	struct beacon next = { .header = { .magic = BEACON_MAGIC, .version = BEACON_VERSION, .host = "beta" } };
	u32 changes = (u32)fuzz_take(in, 1) % 4;
	u32 bytes;

	next.header.instance = 1 + fuzz_take(in, 1) % 3;
	next.header.stamp = fuzz_take(in, 2);
	next.header.echo_instance = said.header.instance;
	next.header.echo_stamp = said.header.stamp;
	next.header.guest_count = fuzz_below(in, BEACON_GUESTS_MAX + 1);
	for (u32 i = 0; i < next.header.guest_count; i++) {
		next.guests[i] = (struct beacon_guest){ .epoch = fuzz_take(in, 1), .attempt = fuzz_take(in, 1),
							.state = (u32)fuzz_take(in, 1) % 5 };
		memcpy(next.guests[i].uuid, own_uuid, 16);
		next.guests[i].uuid[0] ^= (u8)i;
	}
	bytes = beacon_bytes(&next);
	memcpy(wire, &next, bytes);
	while (changes--) {
		u32 at = (u32)fuzz_take(in, 2) % bytes;

		wire[at] = (u8)fuzz_take(in, 1);
	}
	return fake_beacon_auth.seal(NULL, wire, bytes);
}

static void hear(struct fuzz *in)
{
	static u8 wire[DATAGRAM_BYTES_MAX];
	u8 *exact;
	u32 bytes;

	if (fuzz_take(in, 1) & 1) {
		bytes = compose(in, wire);
	} else {
		size_t n;
		const u8 *data = fuzz_bytes(in, DATAGRAM_BYTES_MAX - FAKE_BEACON_PROOF, &n);

		memcpy(wire, data, n);
		bytes = fuzz_take(in, 1) & 1 ? (u32)n : fake_beacon_auth.seal(NULL, wire, (u32)n);
	}
	/* Exactly so large: what is read behind it is found. */
	exact = malloc(bytes ? bytes : 1);
	memcpy(exact, wire, bytes);
	fake_datagram_hear(beta_ip, exact, bytes);
	free(exact);
}

void fuzz_one(struct fuzz *in)
{
	struct vm_config config;
	struct vm *vm;

	fake_random_seed(1);
	fake_time_set(1000 * NS_PER_S);
	fake_pipe_reset();
	migrate_init(&bed_host, &fake_network);
	beacons_init(&fake_datagrams, &fake_beacon_auth);
	bed_config(&config);
	vm = bed_create_of(&config);
	vm->epoch = 5;
	vm->attempt = 9;
	bed_step();
	while (in->left) {
		fake_time_advance((fuzz_take(in, 1) % 4) * NS_PER_S);
		bed_step();
		hear(in);
		bed_step();
	}
	assert_ptr_equal(vm_find("web"), vm);
	if (vm->rival_epoch > 5)
		fuzz_reached();
	vm_destroy(vm);
	beacons_init(&fake_datagrams, NULL);
	bed_settle();
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
}
