/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate --verify: equal copies move; a page that differs at either end, or a peer that lies of it, ends
 * the move before the hand-over, by name; a cancel in the middle leaves nothing. Whole moves with
 * --verify are in all tests of the migration's bed, what a source may do wrong in test_migrate_hostile.c.
 */
/* mbedTLS before ours: some of our words are macros. */
#include "mbedtls/poly1305.h"

#include "migrate_bed.h"

#include "errors.h"
#include "migrate/stream.h"

static const char *why(void)
{
	static struct migrate_progress progress;

	migrate_get_progress(&progress);
	return progress.why;
}

/* The copy that arrives. */
static struct vm *arriving(const struct vm *source)
{
	for (struct vm *vm = vm_next_any(NULL); vm; vm = vm_next_any(vm))
		if (vm != source)
			return vm;
	return NULL;
}

/* Up to the point where the peer has all, and sends no digest yet. */
static void start_and_hold(struct vm *vm, bool live)
{
	struct migrate_progress progress;

	assert_int_equal(fault_set("recv.verify", FAULT_FOREVER), 0);
	bed_start(vm, live);
	for (u32 i = 0; i < 10; i++)
		bed_run(3000);
	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_PREPARED);
	assert_int_equal(bed_owners(), 0);
}

/* The guest runs here and nowhere else, unharmed, and the next try works. */
static void assert_kept(struct vm *vm, u64 used)
{
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
	assert_null(arriving(vm));
	assert_true(bed_memory_equal(vm));
	assert_int_equal(fake_pages_used(), used);
	fault_clear_all();
	bed_move(vm, true);
}

static void test_says_so(unused void **state)
{
	struct migrate_progress progress;
	struct vm *vm = bed_create();

	for (u32 i = 0; i < 4; i++) {
		bed_verifies = i % 2;
		vm = bed_move(vm, i / 2);
		migrate_get_progress(&progress);
		assert_int_equal(progress.verify_ns != 0, bed_verifies);
		assert_true(progress.verify_ns < progress.downtime_ns);
	}
}

/* The hash is the one that docs/migration-stream.md names: as mbedTLS computes it (whose RFC 8439 2.5.2 is right). */
static void test_rfc_8439(unused void **state)
{
	static const u8 key[32] = { 0x85, 0xd6, 0xbe, 0x78, 0x57, 0x55, 0x6d, 0x33, 0x7f, 0x44, 0x52,
				    0xfe, 0x42, 0xd5, 0x06, 0xa8, 0x01, 0x03, 0x80, 0x8a, 0xfb, 0x0d,
				    0xb2, 0xfd, 0x4a, 0xbf, 0xf6, 0xaf, 0x41, 0x49, 0xf5, 0x1b };
	static const u8 tag[16] = { 0xa8, 0x06, 0x1d, 0xc1, 0x30, 0x51, 0x36, 0xc6,
				    0xc2, 0x2b, 0x8b, 0xaf, 0x0c, 0x01, 0x27, 0xa9 };
	u8 digest[16], wanted[16], some_key[32], text[PAGE_SIZE];

	assert_int_equal(mbedtls_poly1305_mac(key, (const u8 *)"Cryptographic Forum Research Group", 34, digest), 0);
	assert_memory_equal(digest, tag, sizeof(tag));
	for (u32 i = 0; i < 300; i++) {
		size_t bytes = i < 256 ? i * 16 : sizeof(text);

		for (size_t k = 0; k < sizeof(text); k++)
			text[k] = i % 3 ? (u8)random_u64() : i % 2 ? 0xff : 0;
		for (size_t k = 0; k < sizeof(some_key); k++)
			some_key[k] = i % 5 ? (u8)random_u64() : 0xff;
		assert_int_equal(tls_digest(some_key, text, bytes, digest), 0);
		assert_int_equal(mbedtls_poly1305_mac(some_key, text, bytes, wanted), 0);
		assert_memory_equal(digest, wanted, sizeof(wanted));
	}
	assert_int_equal(tls_digest(some_key, text, 34, digest), -E_INVAL);
}

/* --- copies that differ ----------------------------------------------------------------------- */

static void flip(struct vm *vm, u64 page, u32 offset)
{
	*((u8 *)(uintptr_t)gmem_page(&vm->gmem, page) + offset) ^= 1;
}

static void refused_at(u64 page, u32 offset, u64 also, bool live)
{
	struct vm *vm = bed_create();
	u64 used;
	char text[80];

	/* The log's tables stay, so the count is as after any other try. */
	start_and_hold(vm, live);
	assert_int_equal(migrate_cancel(), 0);
	bed_settle();
	used = fake_pages_used();
	start_and_hold(vm, live);
	flip(arriving(vm), page, offset);
	if (also != page)
		flip(arriving(vm), also, 0);
	fault_clear_all();
	assert_int_equal(bed_run(10000), MIGRATE_FAILED);
	snprintf(text, sizeof(text), "page %lu of its memory (address 0x%lx) is not the same on alpha", (unsigned long)page,
		 (unsigned long)(page * PAGE_SIZE));
	assert_non_null(strstr(why(), text));
	assert_kept(vm, used);
	bed_settle();
	vm_destroy(bed_running());
}

static void test_differs(unused void **state)
{
	/* Page 0 is full, the last one and 3 are zero, page 100 has one word. */
	refused_at(0, 0, 0, true);
	refused_at(0, PAGE_SIZE - 1, BED_PAGES - 1, false);
	refused_at(BED_PAGES - 1, PAGE_SIZE - 1, BED_PAGES - 1, true);
	refused_at(3, 8, 37, false);
	refused_at(100, 100, 101, true);
	refused_at(63, 0, 64, false);
	refused_at(64, 0, 65, true);
}

/* A page that was zeroed on one side only. */
static void test_zero_page_differs(unused void **state)
{
	struct vm *vm = bed_create();

	start_and_hold(vm, false);
	memset((u8 *)(uintptr_t)gmem_page(&arriving(vm)->gmem, 74), 0, PAGE_SIZE);
	fault_clear_all();
	assert_int_equal(bed_run(10000), MIGRATE_FAILED);
	assert_non_null(strstr(why(), "page 74 of its memory"));
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
}

/* Two pages with each other's bytes are not the same memory. */
static void test_exchanged_pages(unused void **state)
{
	struct vm *vm = bed_create();
	u8 *a, *b, keep[PAGE_SIZE];

	start_and_hold(vm, false);
	a = (u8 *)(uintptr_t)gmem_page(&arriving(vm)->gmem, 37);
	b = (u8 *)(uintptr_t)gmem_page(&arriving(vm)->gmem, 74);
	memcpy(keep, a, PAGE_SIZE);
	memcpy(a, b, PAGE_SIZE);
	memcpy(b, keep, PAGE_SIZE);
	fault_clear_all();
	assert_int_equal(bed_run(10000), MIGRATE_FAILED);
	assert_non_null(strstr(why(), "page 37 of its memory"));
}

/* The negative control: a dirty page of the last round is not sent. Without --verify nobody sees it. */
static void test_dropped_page(unused void **state)
{
	u32 seen = 0, moved_wrong = 0;

	/* So few that each is written again after it was sent. */
	bed_working_set = 5;
	bed_stores_per_step = 20;
	for (u32 run = 0; run < 20; run++) {
		struct vm *vm = bed_create();

		bed_verifies = run % 2;
		assert_int_equal(fault_set("drop-dirty-page", 1), 0);
		bed_start(vm, true);
		if (bed_run(200000) == MIGRATE_FAILED) {
			assert_non_null(strstr(why(), "of its memory"));
			assert_ptr_equal(bed_running(), vm);
			seen++;
		} else if (!bed_memory_equal(bed_running())) {
			assert_false(bed_verifies);
			moved_wrong++;
		}
		assert_int_equal(fault_hits("drop-dirty-page"), run + 1);
		bed_settle();
		vm_destroy(bed_running());
	}
	assert_true(seen >= 5);
	assert_true(moved_wrong >= 5);
}

/* Stores that are lost for want of a flush are seen as well. */
static void test_lost_stores(unused void **state)
{
	struct vm *vm = bed_create();

	bed_stores_per_step = 20;
	assert_int_equal(fault_set("skip-dirty-kick", FAULT_FOREVER), 0);
	bed_start(vm, true);
	assert_int_equal(bed_run(200000), MIGRATE_FAILED);
	assert_non_null(strstr(why(), "of its memory"));
	assert_ptr_equal(bed_running(), vm);
	fault_clear_all();
	bed_settle();
	bed_move(vm, true);
}

/* --- cancelled -------------------------------------------------------------------------------- */

static u64 verified(void)
{
	struct migrate_progress progress;

	migrate_get_progress(&progress);
	return progress.step == MIGRATE_PREPARED ? progress.pages_verified : 0;
}

static void cancel_after(u64 pages, u32 ring_bytes)
{
	struct vm *vm = bed_create();
	u64 used;

	start_and_hold(vm, true);
	assert_int_equal(migrate_cancel(), 0);
	bed_settle();
	used = fake_pages_used();
	fake_pipe.ring_bytes = ring_bytes;
	start_and_hold(vm, true);
	fault_clear_all();
	while (verified() < pages)
		bed_step();
	assert_int_equal(migrate_cancel(), 0);
	assert_non_null(strstr(why(), "canceled"));
	/* The peer lets go at once, not when it finds the source silent. */
	for (u32 i = 0; i < 20; i++)
		bed_step();
	assert_null(arriving(vm));
	assert_kept(vm, used);
	bed_settle();
	vm_destroy(bed_running());
}

static void test_cancel(unused void **state)
{
	cancel_after(0, KIB(64));
	cancel_after(64, KIB(64));
	cancel_after(640, KIB(64));
	/* The digests of 64 full pages have no room: they are half-way when ABORT comes. */
	cancel_after(0, 512);
	cancel_after(640, 512);
}

/* --- a peer that lies ------------------------------------------------------------------------- */

static struct stream peer;
static u8 peer_body[KIB(32)] aligned(8), peer_record[RECORD_VERIFIED_BYTES] aligned(8);
static struct verify peer_verify;
static bool peer_has_end;
static const struct record_rule peer_rules[] = {
	{ RECORD_HELLO, 0, KIB(16) }, { RECORD_PAGE, 0, MIB(1) }, { RECORD_ZERO, 0, 16 }, { RECORD_TIME, 0, 64 },
	{ RECORD_VCPU, 0, KIB(16) }, { RECORD_DEVICE, 0, KIB(16) }, { RECORD_CONSOLE, 0, KIB(16) },
	{ RECORD_VERIFY, 32, 32 }, { RECORD_END, 0, 16 }, { RECORD_COMMIT, 0, 16 }, { RECORD_ABORT, 0, 300 },
	{ 0, 0, 0 },
};

static u16 peer_read(void)
{
	const void *data;
	size_t bytes;
	int error;

	while ((bytes = stream_bulk(&peer, &data, MIB(1))))
		stream_bulk_done(&peer, bytes);
	if (peer.bulk_left)
		return 0;
	error = stream_read(&peer);
	assert_true(error == 0 || error == -E_AGAIN);
	return error ? 0 : peer.header.type;
}

static void peer_say(u16 type, u32 bytes)
{
	stream_send(&peer, peer_record, record_seal(&peer, peer_record, type, bytes));
	assert_true(stream_idle(&peer));
	bed_step();
	bed_step();
}

/* Up to END, as an honest peer. */
static struct vm *peer_gets_all(void)
{
	struct wire_accept *accept = (struct wire_accept *)(peer_record + 16);
	struct vm *vm = bed_running() ? bed_running() : bed_create();

	bed_start(vm, false);
	stream_init(&peer, fake_pipe_take(), peer_rules, peer_body, sizeof(peer_body));
	peer_verify.on = peer_has_end = false;
	while (!peer_has_end) {
		u16 type;

		bed_step();
		type = peer_read();
		if (type == RECORD_HELLO) {
			*accept = (struct wire_accept){ .host = "alpha", .boot_id = 1 };
			peer_say(RECORD_ACCEPT, sizeof(*accept));
		}
		if (type == RECORD_VERIFY)
			verify_start(&peer_verify, ((struct wire_verify *)peer_body)->key);
		peer_has_end = type == RECORD_END;
	}
	assert_int_equal(peer_verify.on, bed_verifies);
	return vm;
}

/* An honest record of the next pages, at its place; its length. */
static u32 peer_digests(struct vm *vm)
{
	return verify_next(&peer_verify, &vm->gmem, (struct wire_verified *)(peer_record + 16));
}

static struct wire_verified *peer_body_out(void)
{
	return (struct wire_verified *)(peer_record + 16);
}

static void assert_found_out(struct vm *vm, const char *text)
{
	struct migrate_progress progress;

	migrate_get_progress(&progress);
	assert_int_equal(progress.step, MIGRATE_FAILED);
	assert_non_null(strstr(progress.why, text));
	peer.pipe->ops->close(peer.pipe, false);
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
	assert_true(bed_memory_equal(vm));
}

static void test_lies(unused void **state)
{
	struct vm *vm;
	u32 bytes;

	fake_pipe_reset();
	/* It has it all, and need not prove that. */
	vm = peer_gets_all();
	peer_say(RECORD_PREPARED, 0);
	assert_found_out(vm, "PREPARED came too early or too late");
	/* It has proved some of it. */
	vm = peer_gets_all();
	peer_say(RECORD_VERIFIED, peer_digests(vm));
	peer_say(RECORD_PREPARED, 0);
	assert_found_out(vm, "PREPARED came too early or too late");
	/* Digests of other pages, twice the same, of none, of too many. */
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	bytes = peer_digests(vm);
	peer_say(RECORD_VERIFIED, bytes);
	assert_found_out(vm, "not for the page that was due");
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_say(RECORD_VERIFIED, bytes);
	bytes = (peer_verify.next = 0, peer_digests(vm));
	peer_say(RECORD_VERIFIED, bytes);
	assert_found_out(vm, "not for the page that was due");
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_body_out()->first = ~0ull - 63;
	peer_say(RECORD_VERIFIED, bytes);
	assert_found_out(vm, "not for the page that was due");
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_say(RECORD_VERIFIED, bytes - 16);
	assert_found_out(vm, "not for the page that was due");
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_body_out()->filled = ~0ull;
	peer_say(RECORD_VERIFIED, bytes);
	assert_found_out(vm, "not for the page that was due");
	/* A wrong digest; a page that it says is zero. */
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_record[16 + bytes - 1] ^= 0x80;
	peer_say(RECORD_VERIFIED, bytes);
	assert_found_out(vm, "page 37 of its memory");
	vm = peer_gets_all();
	bytes = peer_digests(vm);
	peer_body_out()->filled = 0;
	peer_say(RECORD_VERIFIED, sizeof(struct wire_verified));
	assert_found_out(vm, "page 0 of its memory");
}

/* The last digest is followed by one more; or came unasked; or nothing comes. */
static void test_more_lies(unused void **state)
{
	struct vm *vm;

	fake_pipe_reset();
	vm = peer_gets_all();
	while (!verify_whole(&peer_verify, &vm->gmem))
		peer_say(RECORD_VERIFIED, peer_digests(vm));
	assert_int_equal(verified(), BED_PAGES);
	*peer_body_out() = (struct wire_verified){ .first = BED_PAGES };
	peer_say(RECORD_VERIFIED, sizeof(struct wire_verified));
	assert_found_out(vm, "not for the page that was due");
	/* After PREPARED. */
	vm = peer_gets_all();
	while (!verify_whole(&peer_verify, &vm->gmem))
		peer_say(RECORD_VERIFIED, peer_digests(vm));
	assert_int_equal(fault_set("send.commit", FAULT_FOREVER), 0);
	peer_say(RECORD_PREPARED, 0);
	peer_say(RECORD_VERIFIED, sizeof(struct wire_verified));
	assert_found_out(vm, "VERIFIED came too early or too late");
	fault_clear_all();
	bed_verifies = false;
	vm = peer_gets_all();
	*peer_body_out() = (struct wire_verified){ 0 };
	peer_say(RECORD_VERIFIED, sizeof(struct wire_verified));
	assert_found_out(vm, "VERIFIED came too early or too late");
	bed_verifies = true;
	vm = peer_gets_all();
	bed_step();
	fake_time_advance(11 * NS_PER_S);
	bed_step();
	assert_found_out(vm, "does not answer");
}

/* --- hosts without a hash --------------------------------------------------------------------- */

static void test_not_available(unused void **state)
{
	struct migrate_options options = { .verify = true };
	struct vm *vm = bed_create();
	char text[200];

	assert_int_equal(fault_set("send.end", FAULT_FOREVER), 0);
	bed_start(vm, false);
	bed_run(3000);
	fault_clear_all();
	/* Source and peer are one host here: the source still has it when it asks. */
	assert_int_equal(fault_set("recv.memory", FAULT_FOREVER), 0);
	bed_run(10);
	verify_init(NULL);
	fault_clear_all();
	assert_int_equal(bed_run(3000), MIGRATE_FAILED);
	assert_non_null(strstr(why(), "alpha can't verify memory: move it without --verify"));
	assert_ptr_equal(bed_running(), vm);
	assert_int_equal(migrate_start(vm, BED_PEER, &options, text, sizeof(text)), -E_NOSYS);
	assert_non_null(strstr(text, "without --verify"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_says_so), TEST(test_rfc_8439), TEST(test_differs), TEST(test_zero_page_differs),
		TEST(test_exchanged_pages), TEST(test_dropped_page), TEST(test_lost_stores), TEST(test_cancel),
		TEST(test_lies), TEST(test_more_lies), TEST(test_not_available),
	};

	return cmocka_run_group_tests_name("migrate_verify", tests, NULL, NULL);
}
