/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum, for the switch and for lwIP. Service CPU. */
#include "net/checksum.h"

#include "lib/string.h"
#include "net/port.h"

typedef u64 unaligned_u64 __attribute__((may_alias)) aligned(1);

static u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

u16 checksum_add(u16 start, const void *data, size_t bytes)
{
	const u8 *p = data;
	u64 sum = start;

	/* Halves into 64 bits: no carry gets lost before 16 GiB. */
	while (bytes >= 32) {
		u64 a = *(const unaligned_u64 *)p;
		u64 b = *(const unaligned_u64 *)(p + 8);
		u64 c = *(const unaligned_u64 *)(p + 16);
		u64 d = *(const unaligned_u64 *)(p + 24);

		sum += (u32)a;
		sum += a >> 32;
		sum += (u32)b;
		sum += b >> 32;
		sum += (u32)c;
		sum += c >> 32;
		sum += (u32)d;
		sum += d >> 32;
		p += 32;
		bytes -= 32;
	}
	while (bytes >= 2) {
		sum += (u32)p[0] | (u32)p[1] << 8;
		p += 2;
		bytes -= 2;
	}
	if (bytes)
		sum += p[0];
	return fold(sum);
}

u16 checksum_pseudo(const u8 addresses[8], u8 protocol, u16 bytes)
{
	u8 rest[4] = { 0, protocol, (u8)(bytes >> 8), (u8)bytes };

	return checksum_add(checksum_add(0, addresses, 8), rest, sizeof(rest));
}

void net_checksum_complete(u8 *frame, u32 bytes, u16 csum_start, u16 csum_offset)
{
	u16 sum;

	if ((u32)csum_start + csum_offset + 2 > bytes)
		return;
	/* The field holds the pseudo-header's sum (virtio 1.2 5.1.6.2). */
	sum = (u16)~checksum_add(0, frame + csum_start, bytes - csum_start);
	/* To UDP zero says "no checksum" (RFC 768); to TCP both zeros are the same. */
	if (!sum)
		sum = 0xffff;
	memcpy(frame + csum_start + csum_offset, &sum, sizeof(sum));
}
