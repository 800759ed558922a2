/* SPDX-License-Identifier: Apache-2.0 */
/* All that a move's source has sent, record by record: for those who change it. Behind migrate_bed.h. */
#ifndef TESTS_RECORDED_MOVE_H
#define TESTS_RECORDED_MOVE_H

#include "lib/crc.h"
#include "migrate/stream.h"

#define STREAM_MAX MIB(2)
#define RECORDS_MAX 600

static const u8 anywhere[4] = { 127, 0, 0, 1 };
static u8 recorded[STREAM_MAX] aligned(8);
static size_t recorded_bytes;
static struct {
	u32 at, bytes;
	u16 type;
} records[RECORDS_MAX];
static u32 record_count;

/* fake_pipe.tap while the move goes on. */
static void tap(const void *data, size_t bytes)
{
	assert_true(recorded_bytes + bytes <= STREAM_MAX);
	memcpy(recorded + recorded_bytes, data, bytes);
	recorded_bytes += bytes;
}

/* records[] of what was recorded. */
static void split(void)
{
	record_count = 0;
	for (u32 at = 0; at < recorded_bytes; record_count++) {
		struct record_header *h = (struct record_header *)(recorded + at);

		assert_true(record_count < RECORDS_MAX);
		records[record_count].at = at;
		records[record_count].type = h->type;
		records[record_count].bytes = (u32)(sizeof(*h) + ALIGN_UP(h->length, 8));
		at += records[record_count].bytes;
	}
}

#endif
