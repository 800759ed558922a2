/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several guests on their way at once, and those that go by one command: three hosts, each the real migrate/ in a shared object of
 * its own (faults/image.c), on a wire that does nothing bad unless a test says so. All moves compare the copies.
 */
#include "faults/program.h"

#include "errors.h"
#include "fake/fake_beacon.h"
#include "fake/fake_wire.h"

enum { ALPHA, BETA, GAMMA, HOSTS };

static struct program programs[HOSTS];
static const char *const names[HOSTS] = { "alpha", "beta", "gamma" };
static u64 pages_at_first[HOSTS];
static char why[320];

static const struct migrate_options live = { .live = true, .verify = true }, offline = { .verify = true };

static const struct image_api *host(u32 h)
{
	wire_caller = h;
	programs[h].api->set_time(wire_now_ns);
	return programs[h].api;
}

static u64 pages_used(u32 h)
{
	struct image_state state;

	host(h)->look(&state);
	return state.pages_used;
}

static void boot(u32 h)
{
	struct migrate_config config = { .peer_count = 0 };

	program_reset(&programs[h]);
	strcpy(config.host_name, names[h]);
	for (u32 i = 0; i < HOSTS; i++) {
		if (i == h)
			continue;
		strcpy(config.peers[config.peer_count].name, names[i]);
		config.peers[config.peer_count].in = config.peers[config.peer_count].out = true;
		memcpy(config.peers[config.peer_count++].ip, (u8[]){ 10, 0, 0, (u8)(i + 1) }, 4);
	}
	host(h)->boot(&config, wire_pipes(h), wire_datagrams(), &fake_beacon_auth, 7 + h, programs[h].memory);
	pages_at_first[h] = pages_used(h);
}

static void turn(u64 ns)
{
	for (u32 h = 0; h < HOSTS; h++)
		host(h)->turn();
	wire_now_ns += ns;
	wire_deliver();
}

/* Until the hosts have heard each other's last word. */
static void exchange_beacons(void)
{
	for (u32 i = 0; i < 30; i++)
		turn(200 * NS_PER_MS);
}

static struct image_guest look(u32 h, const char *guest)
{
	struct image_guest seen;

	host(h)->guest(guest, &seen);
	return seen;
}

static bool runs_at(u32 h, const char *guest)
{
	for (u32 i = 0; i < HOSTS; i++)
		if (look(i, guest).here != (i == h))
			return false;
	return look(h, guest).runs;
}

static void create_as(u32 h, const char *guest, u32 mib, u32 uuid, u32 mac)
{
	char text[300];

	snprintf(text, sizeof(text), "name = '%s'\nmemory = %u\nkernel = 'vmlinuz'\nvif = ['mac=00:16:3e:00:00:%02x']\n"
		 "uuid = '11111111-2222-3333-4444-5555555555%02x'\n", guest, mib, mac, uuid);
	assert_true(host(h)->create_of(text));
}

/* A guest, whose number makes its uuid and MAC. */
static void create(u32 h, const char *guest, u32 mib, u32 number)
{
	create_as(h, guest, mib, number, number);
}

static void start(u32 h, const char *guest, const char *peer)
{
	int error = host(h)->start(guest, peer, &live, why, sizeof(why));

	if (error)
		fprintf(stderr, "%s to %s: %s\n", guest, peer, why);
	assert_int_equal(error, 0);
}

static struct migrate_progress progress_of(u32 h, const char *guest)
{
	struct migrate_progress p;

	assert_true(host(h)->progress(guest, &p));
	return p;
}

static void run_until_end(u32 h, const char *guest, enum migrate_step wanted)
{
	struct migrate_progress p = progress_of(h, guest);

	for (u32 i = 0; i < 20000 && p.step != MIGRATE_DONE && p.step != MIGRATE_FAILED; i++) {
		turn(50 * NS_PER_US);
		p = progress_of(h, guest);
	}
	if (p.step != wanted)
		fprintf(stderr, "%s: step %d: %s\n", guest, p.step, p.why);
	assert_int_equal(p.step, wanted);
}

static void run_plan(u32 h)
{
	for (u32 i = 0; i < 100000 && host(h)->plan_active(); i++)
		turn(50 * NS_PER_US);
	assert_false(host(h)->plan_active());
}

static void run_turns(u32 count)
{
	while (count--)
		turn(50 * NS_PER_US);
}

static int setup(unused void **state)
{
	wire_reset(1);
	for (u32 h = 0; h < HOSTS; h++)
		boot(h);
	exchange_beacons();
	return 0;
}

/* Every connection ends, and with the guests every page is back. */
static int teardown(unused void **state)
{
	for (u32 h = 0; h < HOSTS; h++)
		host(h)->hold(NULL);
	wire_calm();
	for (u32 i = 0; i < 30; i++) {
		run_turns(20);
		turn(NS_PER_S);
	}
	assert_int_equal(wire_open_ends(), 0);
	for (u32 h = 0; h < HOSTS; h++) {
		assert_int_equal(host(h)->arrivals(), 0);
		host(h)->destroy_all();
		turn(NS_PER_MS);
		assert_int_equal(pages_used(h), pages_at_first[h]);
	}
	return 0;
}

/* --- at once ---------------------------------------------------------------------------------- */

/* Two leave alpha, two come to beta, and while they do one leaves beta. */
static void test_both_ways(unused void **state)
{
	u64 counter;

	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	create(BETA, "c", 16, 3);
	create(GAMMA, "d", 16, 4);
	run_turns(50);
	counter = look(ALPHA, "a").counter;
	for (u32 h = 0; h < HOSTS; h++)
		host(h)->hold("send.final");
	start(ALPHA, "a", "beta");
	start(ALPHA, "b", "gamma");
	start(BETA, "c", "alpha");
	start(GAMMA, "d", "beta");
	run_turns(200);
	assert_int_equal(host(BETA)->arrivals(), 2);
	assert_int_equal(host(GAMMA)->arrivals(), 1);
	assert_int_equal(host(ALPHA)->arrivals(), 1);
	for (u32 h = 0; h < HOSTS; h++)
		host(h)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	run_until_end(ALPHA, "b", MIGRATE_DONE);
	run_until_end(BETA, "c", MIGRATE_DONE);
	run_until_end(GAMMA, "d", MIGRATE_DONE);
	run_turns(20);
	assert_true(runs_at(BETA, "a") && runs_at(GAMMA, "b") && runs_at(ALPHA, "c") && runs_at(BETA, "d"));
	assert_true(look(BETA, "a").counter > counter);
}

/* Nobody goes in two directions. */
static void test_one_move_each(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	host(ALPHA)->hold("send.rounds");
	start(ALPHA, "a", "beta");
	run_turns(50);
	assert_int_equal(host(ALPHA)->start("a", "gamma", &live, why, sizeof(why)), -E_BUSY);
	assert_non_null(strstr(why, "a is on its way to beta already ('migrate --cancel a' stops it)"));
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
}

/* gamma's end stands still: that move ends by itself, and the other one has long ended then. */
static void test_one_stands_still(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	host(GAMMA)->hold("recv.memory");
	start(ALPHA, "b", "gamma");
	run_turns(200);
	start(ALPHA, "a", "beta");
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	assert_int_equal(progress_of(ALPHA, "b").step, MIGRATE_ROUNDS);
	for (u32 i = 0; i < 15; i++)
		turn(NS_PER_S);
	run_until_end(ALPHA, "b", MIGRATE_FAILED);
	assert_true(runs_at(BETA, "a") && runs_at(ALPHA, "b"));
}

/* The same the other way round: one that comes from alpha stands still there, the one from gamma arrives. */
static void test_one_that_comes_stands_still(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(GAMMA, "b", 16, 2);
	host(ALPHA)->hold("send.rounds");
	start(ALPHA, "a", "beta");
	run_turns(50);
	start(GAMMA, "b", "beta");
	run_until_end(GAMMA, "b", MIGRATE_DONE);
	assert_int_equal(host(BETA)->arrivals(), 1);
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	assert_true(runs_at(BETA, "a") && runs_at(BETA, "b"));
}

/* A peer that is gone takes its own move with it, and no other. */
static void test_one_fails(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "a", "beta");
	start(ALPHA, "b", "gamma");
	run_turns(200);
	wire_crash(GAMMA);
	boot(GAMMA);
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	for (u32 i = 0; i < 15; i++)
		turn(NS_PER_S);
	run_until_end(ALPHA, "b", MIGRATE_FAILED);
	assert_true(runs_at(BETA, "a") && runs_at(ALPHA, "b"));
	start(ALPHA, "b", "gamma");
	run_until_end(ALPHA, "b", MIGRATE_DONE);
	assert_true(runs_at(GAMMA, "b"));
}

static void test_cancel_one(unused void **state)
{
	u64 pages;

	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	pages = pages_used(BETA);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "a", "beta");
	start(ALPHA, "b", "gamma");
	run_turns(200);
	assert_int_equal(host(ALPHA)->cancel_guest("a"), 0);
	assert_int_equal(host(ALPHA)->cancel_guest("a"), -E_NOENT);
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "b", MIGRATE_DONE);
	assert_string_equal(progress_of(ALPHA, "a").why, "canceled");
	run_turns(100);
	assert_true(runs_at(ALPHA, "a") && runs_at(GAMMA, "b"));
	assert_int_equal(pages_used(BETA), pages);
	start(ALPHA, "a", "beta");
	run_until_end(ALPHA, "a", MIGRATE_DONE);
}

static void test_cancel_all(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "a", "beta");
	start(ALPHA, "b", "beta");
	run_turns(200);
	assert_int_equal(host(ALPHA)->cancel(), 0);
	assert_int_equal(host(ALPHA)->cancel(), -E_NOENT);
	run_turns(100);
	assert_true(runs_at(ALPHA, "a") && runs_at(ALPHA, "b"));
	assert_int_equal(host(BETA)->arrivals(), 0);
}

/* Each has its own: one is slow, the other not. */
static void test_own_limits(unused void **state)
{
	struct migrate_options slow = { .live = true, .verify = true, .bandwidth_mb_s = 5, .max_total_s = 600 };

	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	assert_int_equal(host(ALPHA)->start("a", "beta", &slow, why, sizeof(why)), 0);
	assert_int_equal(host(ALPHA)->start("b", "beta", &live, why, sizeof(why)), 0);
	run_until_end(ALPHA, "b", MIGRATE_DONE);
	assert_int_equal(progress_of(ALPHA, "a").step, MIGRATE_ROUNDS);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	assert_true(progress_of(ALPHA, "a").total_ns > 3 * progress_of(ALPHA, "b").total_ns);
}

/* There is room for one of them: whoever asks first gets it, and the other is told so. */
static void test_room_counts_once(unused void **state)
{
	create(BETA, "big", 100, 9);
	create(ALPHA, "a", 16, 1);
	create(GAMMA, "b", 16, 2);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "a", "beta");
	run_turns(50);
	start(GAMMA, "b", "beta");
	run_until_end(GAMMA, "b", MIGRATE_FAILED);
	assert_non_null(strstr(progress_of(GAMMA, "b").why, "of memory free, and b needs 16 MiB"));
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	assert_true(runs_at(BETA, "a") && runs_at(GAMMA, "b"));
}

/* Two that have the same MAC: the first that asks has it. */
static void test_names_and_macs_count_once(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create_as(GAMMA, "b", 16, 2, 1);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "a", "beta");
	run_turns(50);
	start(GAMMA, "b", "beta");
	run_until_end(GAMMA, "b", MIGRATE_FAILED);
	assert_non_null(strstr(progress_of(GAMMA, "b").why, "guest a has the same MAC"));
	host(ALPHA)->hold(NULL);
	run_until_end(ALPHA, "a", MIGRATE_DONE);
}

/* As many as can be, each way. */
static void test_as_many_as_can_be(unused void **state)
{
	static const char *const guests[] = { "a", "b", "c", "d", "e" };
	struct migrate_progress p;

	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		create(ALPHA, guests[i], 16, 1 + i);
	create(GAMMA, "f", 16, 9);
	host(ALPHA)->hold("send.final");
	for (u32 i = 0; i < MIGRATE_OUT_MAX; i++) {
		start(ALPHA, guests[i], "beta");
		run_turns(50);
	}
	assert_int_equal(host(BETA)->arrivals(), MIGRATE_IN_MAX);
	assert_int_equal(host(ALPHA)->start("e", "gamma", &live, why, sizeof(why)), -E_BUSY);
	assert_non_null(strstr(why, "4 guests are on their way"));
	start(GAMMA, "f", "beta");
	run_until_end(GAMMA, "f", MIGRATE_FAILED);
	p = progress_of(GAMMA, "f");
	assert_non_null(strstr(p.why, "beta is busy: 4 guests are arriving there"));
	assert_true(p.refused && p.busy && p.peers_fault);
	host(ALPHA)->hold(NULL);
	for (u32 i = 0; i < MIGRATE_OUT_MAX; i++) {
		run_until_end(ALPHA, guests[i], MIGRATE_DONE);
		assert_true(runs_at(BETA, guests[i]));
	}
}

static void test_localhost(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	start(ALPHA, "a", "localhost");
	start(ALPHA, "b", "localhost");
	run_until_end(ALPHA, "a", MIGRATE_DONE);
	run_until_end(ALPHA, "b", MIGRATE_DONE);
	assert_true(runs_at(ALPHA, "a") && runs_at(ALPHA, "b"));
}

/* --- by one command --------------------------------------------------------------------------- */

static void plan(u32 h, const char *to, const struct migrate_options *options)
{
	assert_int_equal(host(h)->plan(to, options, why, sizeof(why)), 0);
}

static const struct plan_guest *planned(u32 h, const char *guest)
{
	const struct plan_guest *g = host(h)->plan_guest(guest);

	assert_non_null(g);
	return g;
}

static void assert_went(u32 h, const char *guest, u32 to)
{
	const struct plan_guest *g = planned(h, guest);

	if (g->state != PLAN_MOVED || strcmp(g->peer, names[to]))
		fprintf(stderr, "%s: state %d, peer %s: %s\n", guest, g->state, g->peer, g->why);
	assert_int_equal(g->state, PLAN_MOVED);
	assert_string_equal(g->peer, names[to]);
	assert_true(g->total_ns >= g->downtime_ns && g->downtime_ns > 0);
	assert_true(runs_at(to, guest));
}

static void assert_stays(u32 h, const char *guest, const char *words)
{
	const struct plan_guest *g = planned(h, guest);

	if (g->state != PLAN_STAYS || !strstr(g->why, words))
		fprintf(stderr, "%s: state %d, wanted '%s', got '%s'\n", guest, g->state, words, g->why);
	assert_int_equal(g->state, PLAN_STAYS);
	assert_non_null(strstr(g->why, words));
	assert_true(runs_at(h, guest));
}

static void test_all(unused void **state)
{
	static const char *const guests[] = { "a", "b", "c", "d", "e" };

	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		create(ALPHA, guests[i], 16, 1 + i);
	plan(ALPHA, "gamma", &live);
	assert_int_equal(host(ALPHA)->plan("gamma", &live, why, sizeof(why)), -E_BUSY);
	assert_non_null(strstr(why, "migrate --all gamma is under way"));
	run_plan(ALPHA);
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		assert_went(ALPHA, guests[i], GAMMA);
	assert_int_equal(pages_used(ALPHA), pages_at_first[ALPHA]);
	/* And back again. */
	plan(GAMMA, "alpha", &offline);
	run_plan(GAMMA);
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		assert_went(GAMMA, guests[i], ALPHA);
}

static void test_all_but_one_that_does_not_fit(unused void **state)
{
	create(BETA, "full", 60, 9);
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "big", 80, 2);
	plan(ALPHA, "beta", &live);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", BETA);
	assert_stays(ALPHA, "big", "refused: beta has");
	assert_stays(ALPHA, "big", "of memory free, and big needs 80 MiB");
}

static void test_all_to_this_host(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "b", 16, 2);
	plan(ALPHA, "localhost", &live);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", ALPHA);
	assert_went(ALPHA, "b", ALPHA);
}

static void test_nothing_to_plan(unused void **state)
{
	assert_int_equal(host(ALPHA)->plan(NULL, &live, why, sizeof(why)), -E_NOENT);
	assert_string_equal(why, "there is no guest here");
	create(ALPHA, "a", 16, 1);
	assert_int_equal(host(ALPHA)->plan("delta", &live, why, sizeof(why)), -E_NOENT);
	assert_non_null(strstr(why, "delta is no peer"));
	assert_false(host(ALPHA)->plan_active());
}

static void test_free_pages_are_known(unused void **state)
{
	static const u8 beta_ip[4] = { 10, 0, 0, 2 };
	u64 before, after;

	assert_true(host(ALPHA)->free_pages(beta_ip, &before));
	create(BETA, "full", 24, 9);
	exchange_beacons();
	assert_true(host(ALPHA)->free_pages(beta_ip, &after));
	assert_true(before - after >= MIB(24) / PAGE_SIZE && before - after < MIB(26) / PAGE_SIZE);
	/* What is not heard any more counts for nothing. */
	wire.lose_percent = 100;
	for (u32 i = 0; i < 12; i++)
		turn(NS_PER_S);
	assert_false(host(ALPHA)->free_pages(beta_ip, &after));
}

/* beta has 58 MiB, gamma 78: each goes where most is left at that moment, the largest first. */
static void test_evacuate(unused void **state)
{
	create(BETA, "there", 70, 8);
	create(GAMMA, "too", 50, 9);
	create(ALPHA, "c", 20, 3);
	create(ALPHA, "a", 32, 1);
	create(ALPHA, "b", 24, 2);
	exchange_beacons();
	plan(ALPHA, NULL, &live);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", GAMMA);
	assert_went(ALPHA, "b", BETA);
	assert_went(ALPHA, "c", GAMMA);
	assert_int_equal(pages_used(ALPHA), pages_at_first[ALPHA]);
}

/* Both refuse it by name, and it runs on. */
static void test_evacuate_but_one(unused void **state)
{
	create(BETA, "there", 70, 8);
	create(GAMMA, "too", 50, 9);
	create(ALPHA, "a", 16, 1);
	create(ALPHA, "huge", 90, 2);
	exchange_beacons();
	plan(ALPHA, NULL, &live);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", GAMMA);
	assert_stays(ALPHA, "huge", "refused: gamma has");
	assert_stays(ALPHA, "huge", "; refused: beta has");
}

/* What a beacon said may be old: a guest that is refused goes to the next best. */
static void test_refused_goes_to_the_next(unused void **state)
{
	create(ALPHA, "a", 24, 1);
	create(BETA, "there", 16, 7);
	exchange_beacons();
	wire.lose_percent = 100;
	create(GAMMA, "too", 110, 9);
	plan(ALPHA, NULL, &live);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", BETA);
	assert_non_null(strstr(planned(ALPHA, "a")->why, "refused: gamma has"));
}

/* A host that is off is not tried; one that is switched off meanwhile loses its guests to the other. */
static void test_peer_is_off(unused void **state)
{
	create(ALPHA, "a", 32, 1);
	create(ALPHA, "b", 16, 2);
	create(BETA, "there", 16, 9);
	exchange_beacons();
	host(ALPHA)->hold("send.final");
	plan(ALPHA, NULL, &live);
	run_turns(400);
	assert_int_equal(host(GAMMA)->arrivals(), 1);
	assert_int_equal(host(BETA)->arrivals(), 1);
	wire_crash(GAMMA);
	host(ALPHA)->hold(NULL);
	for (u32 i = 0; i < 20 && host(ALPHA)->plan_active(); i++) {
		for (u32 k = 0; k < 200; k++) {
			host(ALPHA)->turn();
			host(BETA)->turn();
			wire_now_ns += 50 * NS_PER_US;
			wire_deliver();
		}
		wire_now_ns += NS_PER_S;
	}
	assert_false(host(ALPHA)->plan_active());
	boot(GAMMA);
	assert_went(ALPHA, "a", BETA);
	assert_went(ALPHA, "b", BETA);
}

static void test_nobody_is_heard(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	wire.lose_percent = 100;
	for (u32 i = 0; i < 12; i++)
		turn(NS_PER_S);
	plan(ALPHA, NULL, &live);
	run_plan(ALPHA);
	assert_stays(ALPHA, "a", "no peer that it may go to is heard");
}

/* Four guests of gamma's are on their way to beta: alpha's waits until one has arrived. */
static void test_busy_peer_is_asked_again(unused void **state)
{
	static const char *const guests[] = { "c", "d", "e", "f" };

	create(ALPHA, "a", 16, 1);
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		create(GAMMA, guests[i], 16, 2 + i);
	host(GAMMA)->hold("send.final");
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++) {
		start(GAMMA, guests[i], "beta");
		run_turns(50);
	}
	plan(ALPHA, "beta", &live);
	run_turns(1000);
	assert_int_equal(planned(ALPHA, "a")->state, PLAN_WAITS);
	host(GAMMA)->hold(NULL);
	for (u32 i = 0; i < 20 && host(ALPHA)->plan_active(); i++) {
		run_turns(200);
		turn(NS_PER_S / 4);
	}
	assert_went(ALPHA, "a", BETA);
}

static void test_cancel_plan(unused void **state)
{
	static const char *const guests[] = { "a", "b", "c", "d", "e" };

	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		create(ALPHA, guests[i], 16, 1 + i);
	host(ALPHA)->hold("send.final");
	plan(ALPHA, NULL, &live);
	run_turns(400);
	assert_int_equal(host(BETA)->arrivals() + host(GAMMA)->arrivals(), PLAN_AT_ONCE);
	/* One that waits, and one that moves, alone. */
	assert_int_equal(host(ALPHA)->cancel_guest("e"), 0);
	assert_int_equal(planned(ALPHA, "e")->state, PLAN_STAYS);
	assert_int_equal(host(ALPHA)->cancel_guest("a"), 0);
	run_turns(400);
	assert_int_equal(planned(ALPHA, "a")->state, PLAN_STAYS);
	assert_int_equal(planned(ALPHA, "d")->state, PLAN_MOVES);
	assert_int_equal(host(ALPHA)->plan_cancel(), 0);
	run_turns(100);
	assert_false(host(ALPHA)->plan_active());
	assert_int_equal(host(ALPHA)->plan_cancel(), -E_NOENT);
	for (u32 i = 0; i < ARRAY_SIZE(guests); i++)
		assert_stays(ALPHA, guests[i], "canceled");
}

/* Committed: its own end counts, and nothing else is started. */
static void test_cancel_too_late(unused void **state)
{
	create(ALPHA, "a", 16, 1);
	host(BETA)->hold("recv.commit");
	plan(ALPHA, "beta", &live);
	run_turns(1000);
	assert_int_equal(progress_of(ALPHA, "a").step, MIGRATE_COMMIT);
	assert_int_equal(host(ALPHA)->plan_cancel(), -E_BUSY);
	host(BETA)->hold(NULL);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", BETA);
}

/* Somebody moves it by hand meanwhile; and one ends. */
static void test_others_have_a_hand_in_it(unused void **state)
{
	create(ALPHA, "a", 18, 1);
	create(ALPHA, "b", 16, 2);
	host(ALPHA)->hold("send.final");
	start(ALPHA, "b", "gamma");
	run_turns(100);
	plan(ALPHA, "beta", &live);
	run_turns(100);
	assert_int_equal(planned(ALPHA, "b")->state, PLAN_WAITS);
	host(ALPHA)->hold(NULL);
	run_plan(ALPHA);
	assert_went(ALPHA, "a", BETA);
	assert_int_equal(planned(ALPHA, "b")->state, PLAN_GONE);
	assert_true(runs_at(GAMMA, "b"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int load_all(unused void **state)
{
	for (u32 h = 0; h < HOSTS; h++)
		program_load(&programs[h]);
	return 0;
}

static int unload_all(unused void **state)
{
	for (u32 h = 0; h < HOSTS; h++)
		program_unload(&programs[h]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways), TEST(test_one_move_each), TEST(test_one_stands_still),
		TEST(test_one_that_comes_stands_still), TEST(test_one_fails), TEST(test_cancel_one), TEST(test_cancel_all),
		TEST(test_own_limits), TEST(test_room_counts_once), TEST(test_names_and_macs_count_once),
		TEST(test_as_many_as_can_be), TEST(test_localhost), TEST(test_all), TEST(test_all_but_one_that_does_not_fit),
		TEST(test_all_to_this_host), TEST(test_nothing_to_plan), TEST(test_free_pages_are_known), TEST(test_evacuate),
		TEST(test_evacuate_but_one), TEST(test_refused_goes_to_the_next), TEST(test_peer_is_off),
		TEST(test_nobody_is_heard), TEST(test_busy_peer_is_asked_again), TEST(test_cancel_plan),
		TEST(test_cancel_too_late), TEST(test_others_have_a_hand_in_it),
	};

	return cmocka_run_group_tests_name("migrate_fleet", tests, load_all, unload_all);
}
