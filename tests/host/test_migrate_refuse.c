/* SPDX-License-Identifier: Apache-2.0 */
/* Refusals: each by name, each leaving nothing behind. And peers that are not what they should be. */
#include "migrate_bed.h"

#include "lib/crc.h"
#include "migrate/hello.h"
#include "migrate/stream.h"
#include "mm/dirty.h"

static const u8 anywhere[4] = { 127, 0, 0, 1 };

static void expect_failure(struct vm *vm, const char *why)
{
	struct migrate_progress progress;

	assert_int_equal(bed_run(200000), MIGRATE_FAILED);
	migrate_get_progress(&progress);
	if (!strstr(progress.why, why))
		fprintf(stderr, "wanted '%s', got '%s'\n", why, progress.why);
	assert_non_null(strstr(progress.why, why));
	bed_settle();
	assert_ptr_equal(bed_running(), vm);
	assert_true(bed_memory_equal(vm));
	assert_int_equal(fake_pipe_open(), 0);
}

static void test_cpu_feature(unused void **state)
{
	struct vm *vm = bed_create();

	bed_cpuid(false);
	bed_start(vm, true);
	expect_failure(vm, "refused: alpha lacks avx2, which web was shown");
	bed_cpuid(true);
	bed_move(vm, true);
}

/* A guest of a level that both hosts have goes where one with all of its host's features can't. */
static void test_cpu_level(unused void **state)
{
	struct vm *vm = bed_create();
	char missing[64];

	assert_int_equal(cpuid_policy_limit(vm->cpuid, LEVEL_2, BED_BYTES, missing, sizeof(missing)), -E_NOSYS);
	bed_cpuid(false);
	/* Nor has it AVX's state: the record is shorter. */
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 3, 576, 576, 0 });
	bed_move(vm, true);
}

static void test_memory(unused void **state)
{
	struct vm *vm = bed_create();

	fake_pages_set_total(fake_pages_used() + MIB(8) / PAGE_SIZE);
	bed_start(vm, true);
	expect_failure(vm, "of memory free, and web needs 16 MiB");
}

static void test_unknown_host(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];

	assert_int_equal(migrate_start(vm, "gamma", &options, why, sizeof(why)), -E_NOENT);
	assert_non_null(strstr(why, "gamma is no peer"));
	assert_int_equal(migrate_start(vm, "10.0.0.77", &options, why, sizeof(why)), -E_NOENT);
}

static void test_not_a_peer(unused void **state)
{
	static const u8 stranger[4] = { 10, 9, 9, 9 };
	struct vm *vm = bed_create();

	memcpy(fake_pipe.from_ip, stranger, 4);
	bed_start(vm, true);
	expect_failure(vm, "among its peers");
}

static void test_claims_another_name(unused void **state)
{
	static const u8 beta[4] = { 10, 0, 0, 2 };
	struct vm *vm = bed_create();

	memcpy(fake_pipe.from_ip, beta, 4);
	bed_start(vm, true);
	expect_failure(vm, "alpha knows 10.0.0.2 as beta, but it calls itself alpha");
}

static void test_another_host_answers(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];

	assert_int_equal(migrate_start(vm, "beta", &options, why, sizeof(why)), 0);
	expect_failure(vm, "is not beta");
}

static void test_no_network(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	u64 used = fake_pages_used();
	char why[200];

	fake_pipe.link_down = true;
	assert_int_equal(migrate_start(vm, "beta", &options, why, sizeof(why)), -E_IO);
	assert_non_null(strstr(why, "no way to beta"));
	assert_int_equal(fake_pages_used(), used);
}

static void test_one_at_a_time(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];

	assert_int_equal(fault_set("send.rounds", FAULT_FOREVER), 0);
	bed_start(vm, true);
	bed_run(20);
	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), -E_BUSY);
	assert_non_null(strstr(why, "web is on its way to alpha"));
	assert_true(migrate_busy(vm));
}

/* A CPU without D bits (VT-x before Haswell): what the guest writes meanwhile would be lost. */
static void test_no_dirty_bits(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];

	vm->gmem.dirty = &dirty_none;
	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), -E_NOSYS);
	assert_non_null(strstr(why, "move it offline, by 'migrate web"));
	assert_int_equal(vm_dirty_start(vm), -E_NOSYS);
	bed_stores_per_step = 0;
	bed_start(vm, false);
	assert_int_equal(bed_run(200000), MIGRATE_DONE);
	assert_true(bed_memory_equal(bed_running()));
}

static void test_not_running(unused void **state)
{
	struct migrate_options options = { .live = true };
	struct vm *vm = bed_create();
	char why[200];

	vm->state = VM_CRASHED;
	assert_int_equal(migrate_start(vm, BED_PEER, &options, why, sizeof(why)), -E_INVAL);
	assert_non_null(strstr(why, "web does not run"));
	vm->state = VM_LIVE;
}

/* --- HELLO by hand ---------------------------------------------------------------------------- */

static u8 hello_bytes[STREAM_HELLO_MAX] aligned(8);
static size_t hello_size;
static struct stream raw;
static u8 raw_body[1024] aligned(8);
static const struct record_rule raw_rules[] = {
	{ RECORD_ACCEPT, 0, 1000 }, { RECORD_REFUSE, 0, 1000 }, { RECORD_ABORT, 0, 1000 }, { RECORD_STATUS, 0, 1000 },
	{ 0, 0, 0 },
};

static struct wire_hello *fixed_part(void)
{
	return (struct wire_hello *)(hello_bytes + sizeof(struct record_header));
}

static void raw_connect(void)
{
	struct pipe *pipe;

	assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipe), 0);
	stream_init(&raw, pipe, raw_rules, raw_body, sizeof(raw_body));
}

static void raw_close(void)
{
	raw.pipe->ops->close(raw.pipe, false);
	bed_settle();
	assert_int_equal(fake_pipe_open(), 0);
}

/* The HELLO of a guest that is gone. */
static void make_hello(void)
{
	struct handover handover = { .epoch = 5, .attempt = 12345 };
	struct vm *vm = bed_create();

	memset(&raw, 0, sizeof(raw));
	memcpy(handover.uuid, vm->config.uuid, sizeof(handover.uuid));
	assert_int_equal(hello_build(&raw, vm, &handover, WIRE_LIVE, hello_bytes, &hello_size), 0);
	vm_destroy(vm);
}

static void seal(void)
{
	struct record_header *h = (struct record_header *)hello_bytes;

	h->crc = 0;
	h->crc = crc32c(0, hello_bytes, hello_size);
}

static int answer(void)
{
	int error = -E_AGAIN;

	for (u32 i = 0; i < 100 && error == -E_AGAIN; i++) {
		bed_step();
		error = stream_read(&raw);
	}
	return error ? error : raw.header.type;
}

static void expect_answer(u16 type, const char *why)
{
	char text[300];

	seal();
	raw_connect();
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), type);
	stream_text(text, sizeof(text), raw.body + 8, raw.header.length - 8);
	if (type != RECORD_ACCEPT && !strstr(text, why))
		fprintf(stderr, "wanted '%s', got '%s'\n", why, text);
	assert_true(type == RECORD_ACCEPT || strstr(text, why));
	raw_close();
	assert_null(vm_next(NULL));
	assert_int_equal(fake_pages_used(), 0);
}

static void test_hello_accepted(unused void **state)
{
	make_hello();
	expect_answer(RECORD_ACCEPT, "");
}

/* --- a check by hand -------------------------------------------------------------------------- */

static u8 probe[4096] aligned(8);

static void begin_check(void)
{
	make_hello();
	fixed_part()->purpose = WIRE_CHECK;
	seal();
	raw_connect();
	raw.out_sequence = 1; /* behind HELLO's */
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_ACCEPT);
	/* Nothing of the guest is there. */
	assert_null(vm_next_any(NULL));
	assert_false(migrate_get_arrival(0, &(struct migrate_arrival){ 0 }));
}

static void send_probe(u32 bytes)
{
	while (!stream_pump(&raw))
		bed_step();
	stream_send(&raw, probe, record_seal_probe(&raw, probe, bytes));
	while (!stream_pump(&raw))
		bed_step();
	stream_send(&raw, probe, bytes);
}

static void end_check(u16 type)
{
	if (type)
		assert_int_equal(answer(), type);
	raw_close();
	assert_int_equal(fake_pages_used(), 0);
}

static void test_check_by_hand(unused void **state)
{
	begin_check();
	for (u32 i = 0; i < 50; i++)
		send_probe(i % 2 ? 4096 : 0);
	end_check(0);
}

/* What a move goes on with has no place in a check. */
static void test_check_is_no_move(unused void **state)
{
	static const u16 types[] = { RECORD_HELLO, RECORD_PAGE, RECORD_ZERO, RECORD_TIME, RECORD_END, RECORD_COMMIT,
				     RECORD_QUERY, RECORD_PROBE };

	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		begin_check();
		/* (The PROBE is too short.) */
		memset(probe, 0, sizeof(probe));
		stream_send(&raw, probe, record_seal(&raw, probe, types[i], types[i] == RECORD_PROBE ? 0 : 64));
		end_check(RECORD_ABORT);
	}
}

static void test_probe_of_no_words(unused void **state)
{
	struct record_header *h = (struct record_header *)probe;
	size_t bytes;

	begin_check();
	bytes = record_seal_probe(&raw, probe, 16);
	h->length += 3;
	h->crc = 0;
	h->crc = crc32c(0, probe, bytes);
	stream_send(&raw, probe, bytes);
	end_check(RECORD_ABORT);
}

/* And a move has no place for bytes that mean nothing. */
static void test_probe_in_a_move(unused void **state)
{
	make_hello();
	seal();
	raw_connect();
	raw.out_sequence = 1;
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_ACCEPT);
	send_probe(64);
	end_check(RECORD_ABORT);
}

/* A peer that goes on for ever keeps a connection for half a minute. */
static void test_endless_check(unused void **state)
{
	begin_check();
	for (u32 i = 0; i < 8; i++) {
		send_probe(64);
		fake_time_advance(4 * NS_PER_S);
		bed_step();
	}
	end_check(RECORD_ABORT);
}

/* Silent: gone after the usual time. */
static void test_silent_check(unused void **state)
{
	begin_check();
	for (u32 i = 0; i < 60; i++) {
		fake_time_advance(NS_PER_S);
		bed_step();
	}
	assert_true(raw.pipe->ops->status(raw.pipe) != 0);
	end_check(0);
}

static void test_version(unused void **state)
{
	make_hello();
	fixed_part()->version = 2;
	expect_answer(RECORD_REFUSE, "alpha speaks version 1 of the migration stream, not 2");
}

static void test_version_of_another_length(unused void **state)
{
	struct record_header *h = (struct record_header *)hello_bytes;

	make_hello();
	fixed_part()->version = 7;
	h->length = 16;
	hello_size = 32;
	expect_answer(RECORD_REFUSE, "not 7");
}

static void test_magic(unused void **state)
{
	make_hello();
	fixed_part()->magic ^= 1;
	expect_answer(RECORD_ABORT, "no migration stream");
}

static void test_extension(unused void **state)
{
	make_hello();
	strcpy(fixed_part()->extension, "VT-x");
	expect_answer(RECORD_REFUSE, "alpha has SVM, and web runs on VT-x");
}

static void test_board(unused void **state)
{
	make_hello();
	fixed_part()->board_version++;
	expect_answer(RECORD_REFUSE, "virtual board");
}

static void test_device_version(unused void **state)
{
	struct wire_device *devices;

	make_hello();
	devices = (struct wire_device *)(fixed_part() + 1);
	devices[2].version++;
	expect_answer(RECORD_REFUSE, "update the older host");
}

static void test_device_unknown(unused void **state)
{
	struct wire_device *devices;

	make_hello();
	devices = (struct wire_device *)(fixed_part() + 1);
	devices[2].type = 999;
	expect_answer(RECORD_REFUSE, "alpha has no device (type 999");
}

static void test_lengths(unused void **state)
{
	make_hello();
	fixed_part()->config_bytes++;
	expect_answer(RECORD_ABORT, "lengths in HELLO");
	make_hello();
	fixed_part()->device_count = 0xffffffff;
	expect_answer(RECORD_ABORT, "lengths in HELLO");
	make_hello();
	fixed_part()->cpuid_bytes = 0;
	expect_answer(RECORD_ABORT, "lengths in HELLO");
	make_hello();
	memset(fixed_part()->host, 'x', sizeof(fixed_part()->host));
	expect_answer(RECORD_ABORT, "no sense");
}

static void test_config_differs(unused void **state)
{
	make_hello();
	fixed_part()->memory_bytes += PAGE_SIZE;
	expect_answer(RECORD_ABORT, "does not fit");
	make_hello();
	fixed_part()->handover.uuid[3]++;
	expect_answer(RECORD_ABORT, "does not fit");
}

static void test_config_wrong(unused void **state)
{
	char *text;

	make_hello();
	text = memmem(hello_bytes, hello_size, "memory", 6);
	assert_non_null(text);
	memcpy(text, "mamory", 6);
	expect_answer(RECORD_REFUSE, "the guest's configuration, line");
}

/* A message may quote the configuration: nothing in it reaches a terminal as it is. */
static void test_config_hostile_text(unused void **state)
{
	char *text;

	make_hello();
	text = memmem(hello_bytes, hello_size, "'web'", 5);
	assert_non_null(text);
	memcpy(text, "'\x9b\x7f\xff'", 5);
	expect_answer(RECORD_REFUSE, "1 to 63 letters, digits");
	assert_non_null(memmem(raw_body, sizeof(raw_body), "name = '??", 10));
}

static void test_xsave(unused void **state)
{
	make_hello();
	fixed_part()->xsave_bytes = 100000;
	expect_answer(RECORD_REFUSE, "XSAVE area");
}

static void clash(const char *name, const char *uuid, const char *mac, const char *why)
{
	struct vm_config config;
	struct vm *vm;

	make_hello();
	bed_config(&config);
	strcpy(config.name, name);
	assert_int_equal(str_to_uuid(uuid, config.uuid), 0);
	assert_int_equal(str_to_mac(mac, config.vif[0].mac), 0);
	vm = bed_create_of(&config);
	bed_stores_per_step = 0;
	seal();
	raw_connect();
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_REFUSE);
	raw.body[raw.header.length] = 0;
	if (!strstr((char *)raw.body + 8, why))
		fprintf(stderr, "wanted '%s', got '%s'\n", why, (char *)raw.body + 8);
	assert_non_null(strstr((char *)raw.body + 8, why));
	raw_close();
	vm_destroy(vm);
}

static void test_clashes(unused void **state)
{
	clash("web", "99999999-2222-3333-4444-555555555555", "00:16:3e:00:00:02", "named web");
	clash("db", "11111111-2222-3333-4444-555555555555", "00:16:3e:00:00:02", "same uuid");
	clash("db", "99999999-2222-3333-4444-555555555555", "00:16:3e:00:00:01", "same MAC 00:16:3e:00:00:01");
}

static void test_busy(unused void **state)
{
	struct stream first;

	make_hello();
	seal();
	raw_connect();
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_ACCEPT);
	first = raw;
	raw_connect();
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_REFUSE);
	assert_non_null(memmem(raw.body, raw.header.length, "busy: web is arriving", 21));
	first.pipe->ops->close(first.pipe, true);
	raw_close();
	assert_int_equal(fake_pages_used(), 0);
}

/* Its name, uuid and MACs are taken from HELLO on: nobody may create another one meanwhile. */
static void test_create_while_arriving(unused void **state)
{
	struct vm_config config;
	char why[128];

	make_hello();
	seal();
	bed_config(&config);
	raw_connect();
	stream_send(&raw, hello_bytes, hello_size);
	assert_int_equal(answer(), RECORD_ACCEPT);
	assert_int_equal(vm_config_clash(&config, NULL, why, sizeof(why)), -E_EXIST);
	assert_string_equal(why, "a guest named web is just arriving here");
	config.name[0] = 'W';
	config.uuid[0]++;
	assert_int_equal(vm_config_clash(&config, NULL, why, sizeof(why)), -E_EXIST);
	assert_string_equal(why, "guest web has the same MAC 00:16:3e:00:00:01");
	assert_null(vm_next(NULL));
	raw_close();
	assert_int_equal(vm_config_clash(&config, NULL, why, sizeof(why)), 0);
}

/* --- connections that are no migration -------------------------------------------------------- */

static void test_silent_connections(unused void **state)
{
	struct pipe *pipes[10];
	u32 closed = 0;

	for (u32 i = 0; i < 10; i++)
		assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipes[i]), 0);
	bed_step();
	for (u32 i = 0; i < 10; i++)
		closed += pipes[i]->ops->status(pipes[i]) != 0;
	assert_int_equal(closed, 8);
	bed_settle();
	for (u32 i = 0; i < 10; i++) {
		assert_int_not_equal(pipes[i]->ops->status(pipes[i]) == 0 && !fake_pipe_readable(pipes[i]), 1);
		pipes[i]->ops->close(pipes[i], true);
	}
	assert_int_equal(fake_pipe_open(), 0);
	assert_int_equal(fake_pages_used(), 0);
	bed_move(bed_create(), true);
}

static void test_garbage(unused void **state)
{
	for (u32 run = 0; run < 300; run++) {
		struct pipe *pipe;

		assert_int_equal(fake_network.connect(anywhere, MIGRATE_PORT, &pipe), 0);
		for (u32 i = 0; i < 20; i++) {
			u64 word = random_u64();

			pipe->ops->put(pipe, &word, sizeof(word));
			if (i % 5 == 0)
				bed_step();
		}
		stream_init(&raw, pipe, raw_rules, raw_body, sizeof(raw_body));
		assert_int_equal(answer(), RECORD_ABORT);
		pipe->ops->close(pipe, false);
		bed_step();
		bed_step();
		assert_int_equal(fake_pages_used(), 0);
	}
}

/* A QUERY of something that never was; and one of another version. */
static void test_query(unused void **state)
{
	u8 record[16 + sizeof(struct wire_query)] aligned(8);
	struct wire_query *query = (struct wire_query *)(record + 16);

	for (u32 version = 1; version <= 2; version++) {
		memset(record, 0, sizeof(record));
		query->magic = STREAM_MAGIC;
		query->version = version;
		raw_connect();
		stream_send(&raw, record, record_seal(&raw, record, RECORD_QUERY, sizeof(*query)));
		assert_int_equal(answer(), version == 1 ? RECORD_STATUS : RECORD_ABORT);
		if (version == 1)
			assert_int_equal(((struct wire_status *)raw.body)->owner, WIRE_UNKNOWN);
		raw_close();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_set_up, bed_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cpu_feature), TEST(test_cpu_level), TEST(test_memory), TEST(test_unknown_host), TEST(test_not_a_peer),
		TEST(test_claims_another_name), TEST(test_another_host_answers), TEST(test_no_network),
		TEST(test_one_at_a_time), TEST(test_not_running), TEST(test_no_dirty_bits),
		TEST(test_hello_accepted), TEST(test_version), TEST(test_version_of_another_length), TEST(test_magic), TEST(test_extension), TEST(test_board),
		TEST(test_check_by_hand), TEST(test_check_is_no_move), TEST(test_probe_of_no_words), TEST(test_probe_in_a_move),
		TEST(test_endless_check), TEST(test_silent_check),
		TEST(test_device_version), TEST(test_device_unknown), TEST(test_lengths), TEST(test_config_differs),
		TEST(test_config_wrong), TEST(test_config_hostile_text), TEST(test_xsave), TEST(test_clashes), TEST(test_busy),
		TEST(test_create_while_arriving),
		TEST(test_silent_connections), TEST(test_garbage), TEST(test_query),
	};

	return cmocka_run_group_tests_name("migrate_refuse", tests, NULL, NULL);
}
