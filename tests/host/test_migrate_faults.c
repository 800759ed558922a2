/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three hosts, each the real migrate/ in a shared object of its own (faults/image.c), on a wire that cuts, delays, loses, repeats
 * and chops, with operators who move, cancel, force and destroy, and hosts that crash and start anew: all by a seeded random
 * number. Each run ends in calm, and then: never two ran, nothing was lost or ran twice, every doubt has ended or waits for the
 * operator, and every page is back.
 *
 *	FAULT_RUNS=100000 build/host/test_migrate_faults	more runs
 *	FAULT_SEED=1234 build/host/test_migrate_faults		that one alone, with what happened in it
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_beacon.h"
#include "fake/fake_wire.h"
#include "faults/program.h"

#define HOSTS WIRE_HOSTS
#define RUNS_DEFAULT 10500
#define WORKERS 2

static struct host {
	struct program program;
	u64 pages; /* used when it has no guest */
	u64 boots;
	struct image_state now;
} hosts[HOSTS];

static const char *const names[HOSTS] = { "alpha", "beta", "gamma" };
static const char *const points[] = {
	"send.connect", "recv.hello", "send.rounds", "recv.memory", "send.final", "send.end", "send.commit", "recv.commit",
	"send.running",
};

static u64 seed;
static bool verbose;
/* Of this run. */
static u64 truth;         /* how far the guest has counted */
static bool disturbed;    /* somebody crashed, forced or destroyed */
static bool contradicted; /* it was forced although another had it */
static bool forced;       /* and since then nobody crashed or destroyed: it must be the forced one that runs */
static bool excused;      /* its owner crashed, or a copy was destroyed */
/* Of all runs, by worker. */
static struct seen {
	u64 moves, doubts, forces, contradicted, crashes, yielded, cuts, ended_moved, ended_stuck;
} *all_seen, *seen;

#define note(...) do { if (verbose) fprintf(stderr, __VA_ARGS__); } while (0)

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "run %llu: %s\n", (unsigned long long)seed, what);
	for (u32 i = 0; i < HOSTS; i++)
		fprintf(stderr, "  %s: %u copies, runs %d, owner %d, epoch %llx, counter %llu (truth %llu), arriving %d, moving %d, "
			"%llu pages: %s\n", names[i], hosts[i].now.copies, hosts[i].now.runs, (int)hosts[i].now.owner,
			(unsigned long long)hosts[i].now.epoch, (unsigned long long)hosts[i].now.counter,
			(unsigned long long)truth, hosts[i].now.arriving, hosts[i].now.moving,
			(unsigned long long)hosts[i].now.pages_used, hosts[i].now.why ? hosts[i].now.why : "");
	fprintf(stderr, "once more: FAULT_SEED=%llu build/host/test_migrate_faults\n", (unsigned long long)seed);
	if (!verbose)
		_exit(1);
	fail();
}

/* --- the hosts ------------------------------------------------------------------------------- */

static int load_all(unused void **state)
{
	all_seen = mmap(NULL, WORKERS * sizeof(*all_seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(all_seen != MAP_FAILED);
	for (u32 i = 0; i < HOSTS; i++)
		program_load(&hosts[i].program);
	return 0;
}

static int unload_all(unused void **state)
{
	for (u32 i = 0; i < HOSTS; i++)
		program_unload(&hosts[i].program);
	return 0;
}

static void call(u32 h)
{
	wire_caller = h;
	hosts[h].program.api->set_time(wire_now_ns);
}

static void look(u32 h)
{
	hosts[h].program.api->look(&hosts[h].now);
}

static void boot(u32 h)
{
	struct migrate_config config = { .peer_count = 0 };

	program_reset(&hosts[h].program);
	strcpy(config.host_name, names[h]);
	for (u32 i = 0; i < HOSTS; i++) {
		if (i == h)
			continue;
		strcpy(config.peers[config.peer_count].name, names[i]);
		config.peers[config.peer_count].in = config.peers[config.peer_count].out = true;
		memcpy(config.peers[config.peer_count++].ip, (u8[]){ 10, 0, 0, (u8)(i + 1) }, 4);
	}
	wire_caller = h;
	hosts[h].program.api->set_time(wire_now_ns);
	hosts[h].program.api->boot(&config, wire_pipes(h), wire_datagrams(), &fake_beacon_auth,
			   seed * 64 + h * 16 + hosts[h].boots++, hosts[h].program.memory);
	look(h);
	hosts[h].pages = hosts[h].now.pages_used;
}

/* --- what must hold --------------------------------------------------------------------------- */

static u32 count_running(void)
{
	u32 running = 0;

	for (u32 i = 0; i < HOSTS; i++)
		running += hosts[i].now.runs;
	return running;
}

static u32 count_copies(void)
{
	u32 copies = 0;

	for (u32 i = 0; i < HOSTS; i++)
		copies += hosts[i].now.copies;
	return copies;
}

static void turn(u32 h)
{
	struct host *host = &hosts[h];
	struct image_state before = host->now;

	call(h);
	host->program.api->turn();
	look(h);
	check(host->now.copies <= 1, "two copies on one host");
	check(count_running() <= 1 || contradicted, "two run");
	check(count_copies() > 0 || excused, "it is lost");
	if (host->now.runs && !contradicted) {
		check(host->now.counter == truth + 1, "it went back, or ran twice");
		truth = host->now.counter;
	}
	seen->doubts += host->now.copies && host->now.owner == OWNER_DOUBT && before.owner != OWNER_DOUBT;
	seen->yielded += host->now.copies && host->now.owner == OWNER_YIELDED && before.owner != OWNER_YIELDED;
}

static void pass(u64 ns)
{
	wire_now_ns += ns;
	wire_deliver();
}

/* --- what may happen -------------------------------------------------------------------------- */

static void crash(u32 h)
{
	bool highest = hosts[h].now.copies;

	for (u32 i = 0; i < HOSTS; i++)
		if (i != h && hosts[i].now.copies && hosts[i].now.epoch > hosts[h].now.epoch)
			highest = false;
	note("%s crashes\n", names[h]);
	excused |= highest;
	forced = false;
	disturbed = true;
	seen->crashes++;
	wire_crash(h);
	boot(h);
}

static void force(u32 h)
{
	struct host *host = &hosts[h];
	bool wrong = false;

	if (!host->now.copies || host->now.owner == OWNER_RUNS)
		return;
	for (u32 i = 0; i < HOSTS; i++)
		if (i != h && ((hosts[i].now.copies && hosts[i].now.owner != OWNER_YIELDED) || hosts[i].now.arriving))
			wrong = true;
	/* Most operators look first. */
	if (wrong && wire_random() % 4)
		return;
	note("%s forces%s\n", names[h], wrong ? ", wrongly" : "");
	contradicted |= wrong;
	forced = true;
	disturbed = true;
	truth = host->now.counter;
	seen->forces++;
	seen->contradicted += wrong;
	call(h);
	(void)host->program.api->force();
	look(h);
}

static void destroy(u32 h)
{
	if (!hosts[h].now.copies || hosts[h].now.owner == OWNER_RUNS)
		return;
	note("%s destroys\n", names[h]);
	disturbed = true;
	excused = true;
	forced = false;
	call(h);
	hosts[h].program.api->destroy();
	look(h);
}

/* A host whose operator has something to decide, or any. */
static u32 undecided(u32 h)
{
	for (u32 i = 0; i < HOSTS; i++)
		if (hosts[i].now.copies && hosts[i].now.owner != OWNER_RUNS)
			return i;
	return h;
}

static void act(u32 h)
{
	switch (wire_random() % 16) {
	case 0 ... 4:
		call(h);
		if (hosts[h].now.copies && !hosts[h].program.api->migrate(names[(h + 1 + wire_random() % (HOSTS - 1)) % HOSTS],
								   wire_random() % 2)) {
			note("%s migrates\n", names[h]);
			seen->moves++;
		}
		break;
	case 5:
		call(h);
		if (!hosts[h].program.api->cancel())
			note("%s cancels\n", names[h]);
		break;
	case 6 ... 7:
		seen->cuts += wire_cut();
		break;
	case 8:
		if (wire_random() % 12 == 0)
			crash(h);
		break;
	case 9:
		force(undecided(h));
		break;
	case 10:
		if (wire_random() % 8 == 0)
			destroy(undecided(h));
		break;
	case 11 ... 12:
		call(h);
		/* Most often where the guest changes hands: the last three. */
		hosts[h].program.api->hold(wire_random() % 3 == 0 ? NULL :
				   points[wire_random() % 2 ? ARRAY_SIZE(points) - 1 - wire_random() % 3 :
					  wire_random() % ARRAY_SIZE(points)]);
		break;
	case 13:
		(void)wire_replay();
		break;
	case 14:
		wire.down = wire_random() % 2;
		break;
	case 15:
		pass(wire_random() % (12 * NS_PER_S));
		break;
	}
}

static bool settled(void)
{
	for (u32 i = 0; i < HOSTS; i++)
		if (hosts[i].now.arriving || hosts[i].now.moving ||
		    (hosts[i].now.copies && hosts[i].now.owner == OWNER_DOUBT))
			return false;
	return wire_open_ends() == 0;
}

/* Until all has ended that ends by itself. */
static void calm(void)
{
	u32 quiet = 0;

	note("calm\n");
	wire_calm();
	for (u32 i = 0; i < HOSTS; i++)
		hosts[i].program.api->hold(NULL);
	for (u32 second = 0; second < 60 && quiet < 5; second++) {
		for (u32 k = 0; k < (second < 3 ? 150 : 10); k++) {
			for (u32 h = 0; h < HOSTS; h++)
				turn(h);
			pass(50 * NS_PER_US);
		}
		quiet = settled() ? quiet + 1 : 0;
		pass(NS_PER_S);
	}
}

static void at_rest(void)
{
	u64 highest = 0;

	check(wire_open_ends() == 0, "a connection stays open");
	check(count_running() <= 1, "two run at the end");
	check(count_running() == 1 || disturbed, "none runs at the end");
	for (u32 i = 0; i < HOSTS; i++) {
		const struct image_state *now = &hosts[i].now;

		check(!now->arriving && !now->moving, "a move never ends");
		if (now->copies && now->owner == OWNER_DOUBT) {
			check(strstr(now->why, "unpause --force") && disturbed, "a doubt never ends");
			seen->ended_stuck++;
		}
		highest = MAX(highest, now->epoch);
	}
	for (u32 i = 0; i < HOSTS; i++)
		check(!hosts[i].now.runs || hosts[i].now.epoch == highest || !contradicted, "not the highest epoch runs");
	check(disturbed || count_copies() == 1, "a copy is left behind");
	check(!forced || count_running() == 0 || highest >> EPOCH_FORCE_SHIFT, "it is not the forced one that runs");
	seen->ended_moved += hosts[0].now.copies == 0;
	for (u32 i = 0; i < HOSTS; i++) {
		call(i);
		hosts[i].program.api->destroy();
		excused = true;
		turn(i);
		check(hosts[i].now.pages_used == hosts[i].pages, "pages are missing");
	}
}

static void run(void)
{
	u32 count;

	wire_reset(seed);
	truth = 0;
	disturbed = contradicted = forced = excused = false;
	for (u32 i = 0; i < HOSTS; i++) {
		hosts[i].boots = 0;
		boot(i);
	}
	call(0);
	hosts[0].program.api->create();
	look(0);
	hosts[0].now.owner = OWNER_RUNS;
	wire.put_max = wire_random() % 3 ? 0 : 1 + (u32)(wire_random() % 5000);
	wire.peek_max = wire_random() % 3 ? 0 : 1 + (u32)(wire_random() % 5000);
	wire.delay_ns = wire_random() % 2 ? 0 : wire_random() % NS_PER_MS;
	wire.lose_percent = wire_random() % 2 ? 0 : 30;
	wire.repeat_percent = wire_random() % 2 ? 0 : 30;
	count = 10 + (u32)(wire_random() % 100);
	for (u32 i = 0; i < count; i++) {
		u32 turns = 1 + (u32)(wire_random() % 60);

		act((u32)(wire_random() % HOSTS));
		for (u32 k = 0; k < turns; k++) {
			turn((u32)(wire_random() % HOSTS));
			pass(20 * NS_PER_US);
		}
	}
	calm();
	at_rest();
}

static void one_worker(u32 worker, u64 last)
{
	seen = &all_seen[worker];
	for (seed = 1 + worker; seed <= last; seed += WORKERS)
		run();
}

static void sum_up(u64 last)
{
	struct seen sum = all_seen[0];

	for (u32 i = 1; i < WORKERS; i++)
		for (size_t k = 0; k < sizeof(sum) / sizeof(u64); k++)
			((u64 *)&sum)[k] += ((u64 *)&all_seen[i])[k];
	printf("%llu runs: %llu moves, %llu doubts (%llu for the operator), %llu cuts, %llu crashes, %llu forced (%llu wrongly), "
	       "%llu yielded, %llu ended elsewhere\n", (unsigned long long)last, (unsigned long long)sum.moves,
	       (unsigned long long)sum.doubts, (unsigned long long)sum.ended_stuck, (unsigned long long)sum.cuts,
	       (unsigned long long)sum.crashes, (unsigned long long)sum.forces, (unsigned long long)sum.contradicted,
	       (unsigned long long)sum.yielded, (unsigned long long)sum.ended_moved);
	/* It is no test if none of that came about. */
	if (last >= RUNS_DEFAULT)
		assert_true(sum.moves > last && sum.doubts > last / 20 && sum.contradicted > 20 && sum.yielded > 20);
}

static void test_seeded_runs(unused void **state)
{
	const char *runs = getenv("FAULT_RUNS"), *only = getenv("FAULT_SEED");
	u64 last = runs ? strtoull(runs, NULL, 0) : RUNS_DEFAULT;
	pid_t children[WORKERS];
	bool good = true;

	if (only) {
		verbose = true;
		seen = &all_seen[0];
		seed = strtoull(only, NULL, 0);
		run();
		return;
	}
	for (u32 i = 0; i < WORKERS; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			one_worker(i, last);
			_exit(0);
		}
	}
	for (u32 i = 0; i < WORKERS; i++) {
		int status;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		good &= status == 0;
	}
	assert_true(good);
	sum_up(last);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_seeded_runs) };

	return cmocka_run_group_tests_name("migrate_faults", tests, load_all, unload_all);
}
