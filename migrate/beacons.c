/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends this host's beacons and decides which of those that come count: authentic, new, and answers to
 * something that this host said lately (its stamp comes back in them), so nothing that was recorded can be
 * played again, not even after a restart of either host. migrate_poll() drives it on the service CPU; the
 * network's callback only queues.
 */
#include "migrate/beacons.h"

#include "arch/x86_64/cpu.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacon.h"
#include "migrate/owner.h"
#include "migrate/peers.h"
#include "mm/pages.h"
#include "vmm/vm.h"

#define BEAT_NS (2 * NS_PER_S)
#define QUEUE_LENGTH 16 /* a power of two */

/* What was said last, in one direction; instance 0: nothing. */
struct mark {
	u64 instance, stamp;
};

/* By the peer's place in godwit.cfg. */
struct heard {
	struct mark last;    /* of what counted */
	u64 echo_stamp;      /* that it had */
	u64 ns;              /* when it came; 0: nothing counted yet */
	u64 free_pages;      /* that it says it has */
	struct mark to_echo; /* authentic, and perhaps old: what we send back, for the peer to judge */
};

struct queued {
	u8 ip[4];
	u32 bytes;
	u8 data[DATAGRAM_BYTES_MAX] aligned(8);
};

static const struct datagram_ops *network;
static const struct beacon_auth *auth;
static struct heard heard[MIGRATE_PEERS_MAX];
static struct mark own; /* what we said last */
static bool changed;
static u64 beat_ns;
static struct queued queue[QUEUE_LENGTH];
static u32 queue_head, queue_tail; /* ever put, ever taken */

/* --- out -------------------------------------------------------------------------------------- */

static u64 next_stamp(void)
{
	own.stamp = MAX(time_ns(), own.stamp + 1);
	return own.stamp;
}

static void send_page(const struct migrate_peer *peer, const struct mark *echo, const struct beacon_guest *guests,
		      u32 count)
{
	static struct {
		struct beacon_header header;
		u8 rest[DATAGRAM_BYTES_MAX - sizeof(struct beacon_header)];
	} datagram aligned(8);
	u32 bytes = (u32)(sizeof(datagram.header) + count * sizeof(*guests));

	datagram.header = (struct beacon_header){
		.magic = BEACON_MAGIC,
		.version = BEACON_VERSION,
		.guest_count = count,
		.instance = own.instance,
		.stamp = next_stamp(),
		.echo_instance = echo->instance,
		.echo_stamp = echo->stamp,
		.free_pages = pages_free_count(),
	};
	str_copy(datagram.header.host, sizeof(datagram.header.host), peers_host_name());
	memcpy(datagram.rest, guests, count * sizeof(*guests));
	bytes = auth->seal(peer->name, (u8 *)&datagram, bytes);
	if (bytes)
		network->send(peer->ip, BEACON_PORT, &datagram, bytes);
}

static bool silent(const struct heard *h)
{
	return !h->ns || time_ns() - h->ns > peers_silence_ns();
}

/* What it says counts, so it had a stamp of ours out of a beacon that it could open: it knows us. */
static void introduce(const struct migrate_peer *peer, const struct heard *h)
{
	u8 datagram[DATAGRAM_BYTES_MAX];
	u32 bytes = auth->introduce && silent(h) ? auth->introduce(datagram, sizeof(datagram)) : 0;

	if (bytes)
		network->send(peer->ip, BEACON_PORT, datagram, bytes);
}

/* What this host says of a guest. */
static void describe(const struct vm *vm, struct beacon_guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	memcpy(guest->uuid, vm->config.uuid, sizeof(guest->uuid));
	guest->epoch = vm->epoch;
	guest->attempt = vm->attempt;
	switch (owner_state(vm)) {
	case OWNER_RUNS:
		guest->state = vm->paused || vm->state != VM_LIVE ? BEACON_PAUSED : BEACON_RUNS;
		break;
	case OWNER_DOUBT:
		guest->state = BEACON_DOUBT;
		break;
	case OWNER_YIELDED:
		guest->state = BEACON_YIELDED;
		break;
	}
}

static void beat(void)
{
	static struct beacon_guest guests[VMS_MAX];
	const struct migrate_peer *peer;
	u32 count = 0;

	for (struct vm *vm = vm_next(NULL); vm && count < ARRAY_SIZE(guests); vm = vm_next(vm))
		describe(vm, &guests[count++]);
	for (u32 i = 0; (peer = peers_get(i)); i++) {
		u32 from = 0;

		introduce(peer, &heard[i]);
		/* Without guests it still says that it is there, and what it heard. */
		do {
			u32 page = MIN(count - from, BEACON_GUESTS_MAX);

			send_page(peer, &heard[i].to_echo, guests + from, page);
			from += page;
		} while (from < count);
	}
}

/* --- in --------------------------------------------------------------------------------------- */

static void arrived(const u8 ip[4], const void *data, size_t bytes)
{
	struct queued *q = &queue[queue_head % QUEUE_LENGTH];

	if (queue_head - queue_tail == QUEUE_LENGTH || bytes > sizeof(q->data))
		return;
	memcpy(q->ip, ip, sizeof(q->ip));
	memcpy(q->data, data, bytes);
	q->bytes = (u32)bytes;
	queue_head++;
}

/* Made after something that this host said less than peers_silence_ns() ago. */
static bool fresh(const struct beacon_header *header)
{
	return header->echo_instance == own.instance && header->echo_stamp <= own.stamp &&
	       time_ns() - MIN(header->echo_stamp, time_ns()) <= peers_silence_ns();
}

/* Later than all that counted: of the same start of the peer, or of a later one. */
static bool later(const struct heard *h, const struct beacon_header *header)
{
	if (header->instance == h->last.instance)
		return header->stamp > h->last.stamp;
	return header->echo_stamp > h->echo_stamp;
}

/* What is not fresh may be the peer's first words, which can't be: it learns our stamp from our answer. */
static void note(struct heard *h, const struct beacon_header *header)
{
	if (header->instance == h->to_echo.instance ? header->stamp > h->to_echo.stamp : silent(h))
		h->to_echo = (struct mark){ header->instance, header->stamp };
}

static void hear(u32 index, const struct migrate_peer *peer, const struct beacon *beacon)
{
	const struct beacon_header *header = &beacon->header;
	struct heard *h = &heard[index];

	if (!str_equal(header->host, peer->name) || header->instance == own.instance)
		return;
	if (!fresh(header)) {
		note(h, header);
		return;
	}
	if (!later(h, header))
		return;
	if (silent(h))
		log_debug("%s is heard", peer->name);
	/* One did not come: what was announced meanwhile may be lost too, and the source of a move may never ask. */
	if (h->ns && time_ns() - h->ns > BEAT_NS + BEAT_NS / 2)
		owner_link_is_back();
	h->last = (struct mark){ header->instance, header->stamp };
	h->to_echo = h->last;
	h->echo_stamp = header->echo_stamp;
	h->ns = time_ns();
	h->free_pages = header->free_pages;
	owner_heard(peer, beacon);
}

static void take(const struct queued *q)
{
	static struct beacon beacon;
	const struct migrate_peer *peer;
	u32 bytes;

	for (u32 i = 0; (peer = peers_get(i)); i++) {
		if (memcmp(peer->ip, q->ip, sizeof(q->ip)))
			continue;
		if (auth->meet && auth->meet(peer->name, q->data, q->bytes))
			return;
		bytes = auth->open(peer->name, q->data, q->bytes);
		if (bytes && bytes <= q->bytes && !beacon_parse(q->data, bytes, &beacon))
			hear(i, peer, &beacon);
		return;
	}
}

/* --- every call ------------------------------------------------------------------------------- */

bool beacons_poll(void)
{
	if (!beacons_on())
		return false;
	/* What came until now; who floods us waits for the next turn. */
	for (u32 end = queue_head; queue_tail != end; queue_tail++)
		take(&queue[queue_tail % QUEUE_LENGTH]);
	if (changed || time_ns() >= beat_ns) {
		changed = false;
		beat_ns = time_ns() + BEAT_NS;
		beat();
	}
	return false;
}

u64 beacons_next_deadline(void)
{
	return beacons_on() ? beat_ns : 0;
}

void beacons_changed(void)
{
	changed = true;
}

bool beacons_on(void)
{
	return auth && peers_get(0);
}

static const struct heard *heard_from(const u8 ip[4])
{
	const struct migrate_peer *peer;

	for (u32 i = 0; (peer = peers_get(i)); i++)
		if (!memcmp(peer->ip, ip, sizeof(peer->ip)))
			return &heard[i];
	return NULL;
}

u64 beacons_heard_ns(const u8 ip[4])
{
	const struct heard *h = heard_from(ip);

	return h ? h->ns : 0;
}

bool beacons_free_pages(const u8 ip[4], u64 *pages)
{
	const struct heard *h = heard_from(ip);

	if (!beacons_on() || !h || silent(h))
		return false;
	*pages = h->free_pages;
	return true;
}

/* Another one for each start of each host, though two CPUs may draw the same numbers: emulated ones do, and broken ones. (FNV-1a.) */
static u64 new_instance(void)
{
	u64 value = random_u64();

	for (const char *c = peers_host_name(); *c; c++)
		value = (value ^ (u8)*c) * 0x100000001b3ull;
	return value | 1;
}

void beacons_init(const struct datagram_ops *datagrams, const struct beacon_auth *proof)
{
	memset(heard, 0, sizeof(heard));
	queue_head = 0;
	queue_tail = 0;
	network = datagrams;
	own = (struct mark){ new_instance(), 0 };
	beat_ns = 0;
	auth = proof;
	if (!beacons_on())
		return;
	if (network->open(BEACON_PORT, arrived)) {
		log_warn("beacons: this host neither sends nor hears any: no network");
		auth = NULL;
	}
}
