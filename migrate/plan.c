/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who of a plan goes next, and where to. What a peer has free is what its beacon said, less what has gone there since:
 * a hint, as HELLO's check decides (hello.c), and whoever is refused is offered to the next best. A peer is asked for
 * one guest at a time, so its answer, and the beacon that it sends with it, count for the next. The largest guests go
 * first: they are the hardest to place. Driven by migrate_poll() on the service CPU.
 */
#include "migrate/plan.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacons.h"
#include "migrate/peers.h"
#include "migrate/send.h"
#include "migrate/verify.h"
#include "vmm/vm.h"

/* A peer that has its hands full is asked again after so long. */
#define BUSY_NS (2 * NS_PER_S)

static struct {
	char name[48];
	struct migrate_options options;
	bool canceled;
	struct {
		struct migrate_peer peer;
		u64 again_ns;         /* not before; 0: at any time */
	} peers[MIGRATE_PEERS_MAX];
	u32 peer_count;
	struct plan_guest guests[VMS_MAX];
	u32 guest_count;
} plan;
static_assert(MIGRATE_PEERS_MAX <= 32, "a bit each in tried");

enum choice {
	CHOICE_PEER,
	CHOICE_LATER, /* the best is being asked, or busy */
	CHOICE_NONE,  /* all that could be asked were */
};

/* --- what becomes of a guest ------------------------------------------------------------------ */

static void add_why(struct plan_guest *g, const char *text)
{
	size_t used = strlen(g->why);

	str_format(g->why + used, sizeof(g->why) - used, "%s%s", used ? "; " : "", text);
}

static void stays(struct plan_guest *g)
{
	g->state = PLAN_STAYS;
	log_debug("%s: %s stays: %s", plan.name, g->guest, g->why);
}

/* Not to this peer: to another one, if there is one. */
static void not_there(struct plan_guest *g, const char *why)
{
	add_why(g, why);
	g->tried |= BIT(g->peer_index);
	g->state = PLAN_WAITS;
}

static bool may_go(const struct plan_guest *g)
{
	const struct vm *vm = vm_by_id(g->vm_id);

	return vm && vm->state == VM_LIVE && !(vm->paused & VM_PAUSE_OWNER) && !plan.canceled;
}

static void failed(struct plan_guest *g, const struct migrate_progress *p)
{
	if (!may_go(g) || !p->peers_fault) {
		add_why(g, p->why);
		stays(g);
	} else if (p->busy) {
		plan.peers[g->peer_index].again_ns = time_ns() + BUSY_NS;
		g->state = PLAN_WAITS;
	} else {
		not_there(g, p->why);
	}
}

static void follow(struct plan_guest *g)
{
	struct migrate_progress p;

	if (!migrate_progress_of(g->move, &p)) {
		add_why(g, "how its move ended is forgotten");
		stays(g);
		return;
	}
	if (!g->accepted_ns && p.step != MIGRATE_CONNECT && p.step != MIGRATE_HELLO)
		g->accepted_ns = time_ns();
	if (p.step == MIGRATE_DONE) {
		g->state = PLAN_MOVED;
		g->paused = p.user_pause;
		g->total_ns = p.total_ns;
		g->downtime_ns = p.downtime_ns;
	} else if (p.step == MIGRATE_FAILED) {
		failed(g, &p);
	}
}

/* --- where to --------------------------------------------------------------------------------- */

/* Has it still to say whether it takes a guest? */
static bool asked(u32 peer)
{
	for (u32 i = 0; i < plan.guest_count; i++)
		if (plan.guests[i].state == PLAN_MOVES && plan.guests[i].peer_index == peer &&
		    !plan.guests[i].accepted_ns)
			return true;
	return false;
}

/* False: it is not heard. */
static bool free_pages(u32 peer, u64 *pages)
{
	const u8 *ip = plan.peers[peer].peer.ip;

	*pages = 0;
	/* With one there is no choice; and where nobody beacons, all are alike. */
	if (plan.peer_count == 1 || !beacons_on())
		return true;
	if (!beacons_free_pages(ip, pages))
		return false;
	for (u32 i = 0; i < plan.guest_count; i++) {
		const struct plan_guest *g = &plan.guests[i];

		if ((g->state == PLAN_MOVES || g->state == PLAN_MOVED) && g->peer_index == peer &&
		    g->accepted_ns > beacons_heard_ns(ip))
			*pages -= MIN(*pages, g->pages);
	}
	return true;
}

static enum choice choose(const struct plan_guest *g, u32 *peer)
{
	u64 most = 0;
	bool found = false;

	for (u32 i = 0; i < plan.peer_count; i++) {
		u64 pages;

		if (g->tried & BIT(i) || !free_pages(i, &pages) || (found && pages <= most))
			continue;
		found = true;
		most = pages;
		*peer = i;
	}
	if (!found)
		return CHOICE_NONE;
	return asked(*peer) || time_ns() < plan.peers[*peer].again_ns ? CHOICE_LATER : CHOICE_PEER;
}

static void begin(struct plan_guest *g, u32 peer)
{
	char why[256];

	g->peer_index = peer;
	g->accepted_ns = 0;
	str_copy(g->peer, sizeof(g->peer), plan.peers[peer].peer.name);
	switch (migrate_start(vm_by_id(g->vm_id), g->peer, &plan.options, why, sizeof(why))) {
	case 0:
		g->move = send_last_id();
		g->state = PLAN_MOVES;
		break;
	case -E_IO:
		not_there(g, why);
		break;
	default:
		add_why(g, why);
		stays(g);
		break;
	}
}

/* True: it does not wait any more. */
static bool try_next(struct plan_guest *g)
{
	struct vm *vm = vm_by_id(g->vm_id);
	u32 peer;

	if (!vm) {
		g->state = PLAN_GONE;
		return true;
	}
	/* By somebody else, that is: where it goes is seen then. */
	if (send_busy(vm))
		return false;
	switch (choose(g, &peer)) {
	case CHOICE_PEER:
		begin(g, peer);
		return true;
	case CHOICE_LATER:
		return false;
	case CHOICE_NONE:
		break;
	}
	if (!g->why[0])
		add_why(g, "no peer that it may go to is heard: see 'info'");
	stays(g);
	return true;
}

/* --- every call ------------------------------------------------------------------------------- */

bool plan_poll(void)
{
	bool more = false;
	u32 moving = 0;

	for (u32 i = 0; i < plan.guest_count; i++) {
		if (plan.guests[i].state == PLAN_MOVES)
			follow(&plan.guests[i]);
		moving += plan.guests[i].state == PLAN_MOVES;
	}
	for (u32 i = 0; i < plan.guest_count && moving < PLAN_AT_ONCE && send_count() < MIGRATE_OUT_MAX; i++) {
		struct plan_guest *g = &plan.guests[i];

		if (g->state != PLAN_WAITS || !try_next(g))
			continue;
		more = true;
		moving += g->state == PLAN_MOVES;
	}
	return more;
}

u64 plan_next_deadline(void)
{
	u64 next = 0;

	for (u32 i = 0; i < plan.peer_count && plan_active(); i++)
		if (plan.peers[i].again_ns > time_ns())
			next = deadline_sooner(next, plan.peers[i].again_ns);
	return next;
}

/* --- for the console -------------------------------------------------------------------------- */

static int find_peers(const char *host, char *why, size_t why_bytes)
{
	const struct migrate_peer *peer;

	plan.peer_count = 0;
	if (host) {
		plan.peer_count = 1;
		return peers_target(host, &plan.peers[0].peer, why, why_bytes);
	}
	/* (One file for all hosts may name this one, too.) */
	for (u32 i = 0; (peer = peers_get(i)); i++)
		if (peer->out && !peers_missing(peer) && !str_equal(peer->name, peers_host_name()))
			plan.peers[plan.peer_count++].peer = *peer;
	if (plan.peer_count)
		return 0;
	peer = peers_get(0);
	return say(-E_REFUSED, why, why_bytes, "%s", peer && peers_missing(peer) ? peers_missing(peer) :
		   "no host is allowed to get guests: see peers in godwit.cfg");
}

/* Behind those that are as large. */
static void add_guest(const struct vm *vm)
{
	struct plan_guest *g = &plan.guests[plan.guest_count++];

	for (; g > plan.guests && g[-1].pages < vm->gmem.pages; g--)
		g[0] = g[-1];
	memset(g, 0, sizeof(*g));
	str_copy(g->guest, sizeof(g->guest), vm->config.name);
	g->vm_id = vm->id;
	g->pages = vm->gmem.pages;
}

int plan_start(const char *host, const struct migrate_options *options, char *why, size_t why_bytes)
{
	int error;

	if (plan_active())
		return say(-E_BUSY, why, why_bytes, "%s is under way ('migrate --cancel' stops it)", plan.name);
	if (!vm_next(NULL))
		return say(-E_NOENT, why, why_bytes, "there is no guest here");
	if (options->verify && !verify_available())
		return say(-E_NOSYS, why, why_bytes, "this host can't verify memory: do it without --verify");
	memset(&plan, 0, sizeof(plan));
	error = find_peers(host, why, why_bytes);
	if (error)
		return error;
	str_format(plan.name, sizeof(plan.name), "%s%s", host ? "migrate --all " : "evacuate",
		   host ? plan.peers[0].peer.name : "");
	plan.options = *options;
	plan.options.check = false;
	for (struct vm *vm = vm_next(NULL); vm && plan.guest_count < VMS_MAX; vm = vm_next(vm))
		add_guest(vm);
	return 0;
}

static void cancel_waiting(struct plan_guest *g)
{
	add_why(g, "canceled");
	stays(g);
}

int plan_cancel_guest(const struct vm *vm)
{
	for (u32 i = 0; i < plan.guest_count; i++)
		if (plan.guests[i].state == PLAN_WAITS && plan.guests[i].vm_id == vm->id) {
			cancel_waiting(&plan.guests[i]);
			return 0;
		}
	return -E_NOENT;
}

int plan_cancel(void)
{
	int result = -E_NOENT;

	plan.canceled = true;
	for (u32 i = 0; i < plan.guest_count; i++) {
		struct plan_guest *g = &plan.guests[i];
		const struct vm *vm = vm_by_id(g->vm_id);

		if (g->state == PLAN_WAITS) {
			cancel_waiting(g);
			result = 0;
		} else if (g->state == PLAN_MOVES && vm) {
			int error = send_cancel(vm);

			result = result && error != -E_NOENT ? error : result;
		}
	}
	return result;
}

bool plan_active(void)
{
	for (u32 i = 0; i < plan.guest_count; i++)
		if (plan.guests[i].state <= PLAN_MOVES)
			return true;
	return false;
}

const char *plan_name(void)
{
	return plan.name;
}

void plan_count(struct plan_count *count)
{
	memset(count, 0, sizeof(*count));
	count->all = plan.guest_count;
	for (u32 i = 0; i < plan.guest_count; i++) {
		count->waits += plan.guests[i].state == PLAN_WAITS;
		count->moves += plan.guests[i].state == PLAN_MOVES;
		count->moved += plan.guests[i].state == PLAN_MOVED;
		count->stays += plan.guests[i].state == PLAN_STAYS;
		count->gone += plan.guests[i].state == PLAN_GONE;
	}
}

const struct plan_guest *plan_get(u32 index)
{
	return index < plan.guest_count ? &plan.guests[index] : NULL;
}
