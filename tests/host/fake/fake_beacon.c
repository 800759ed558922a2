/* SPDX-License-Identifier: Apache-2.0 */
#include "fake/fake_beacon.h"

#include <string.h>

static datagram_fn listener;
void (*fake_datagram_sent)(const u8 ip[4], const void *data, size_t bytes);

static int fake_open(unused u16 port, datagram_fn heard)
{
	listener = heard;
	return 0;
}

static void fake_send(const u8 ip[4], unused u16 port, const void *data, size_t bytes)
{
	if (fake_datagram_sent)
		fake_datagram_sent(ip, data, bytes);
}

const struct datagram_ops fake_datagrams = { .open = fake_open, .send = fake_send };

void fake_datagram_hear(const u8 ip[4], const void *data, size_t bytes)
{
	if (listener)
		listener(ip, data, bytes);
}

static u64 sum(const u8 *data, u32 bytes)
{
	u64 value = 0x6b65792d6b65792dull;

	for (u32 i = 0; i < bytes; i++)
		value = (value ^ data[i]) * 0x100000001b3ull;
	return value;
}

static u32 fake_seal(unused const char *to, u8 *datagram, u32 bytes)
{
	u64 proof = sum(datagram, bytes);

	memcpy(datagram + bytes, &proof, sizeof(proof));
	return bytes + (u32)sizeof(proof);
}

static u32 fake_unseal(unused const char *from, const u8 *datagram, u32 bytes)
{
	u64 proof;

	if (bytes < sizeof(proof))
		return 0;
	bytes -= (u32)sizeof(proof);
	memcpy(&proof, datagram + bytes, sizeof(proof));
	return proof == sum(datagram, bytes) ? bytes : 0;
}

const struct beacon_auth fake_beacon_auth = { .seal = fake_seal, .open = fake_unseal };
