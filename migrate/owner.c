/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests whose hand-over ended without an answer (source), and the hand-overs that this host
 * took (peer). A guest in doubt is named by its id, never by a pointer: the operator may destroy
 * it at any time. Called by send.c, receive.c and migrate.c on the service CPU.
 */
#include "migrate/owner.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacon.h"
#include "migrate/beacons.h"
#include "migrate/peers.h"
#include "migrate/send.h"
#include "vmm/vm.h"

#define ASK_EVERY_NS (2 * NS_PER_S)
#define ANSWER_WITHIN_NS (5 * NS_PER_S)
#define TAKEN_MAX 64

struct doubt {
	u32 vm_id; /* 0: free */
	struct migrate_peer peer;
	struct handover handover;
	u64 boot_id;
	u64 ask_ns; /* when to ask (again); 0: asking does not help any more */
};

static struct doubt doubts[VMS_MAX];

/* The one question that is under way. */
static struct {
	struct doubt *doubt; /* NULL: none */
	struct stream stream;
	u64 until_ns;
	bool sent;
	u8 record[sizeof(struct record_header) + sizeof(struct wire_query)] aligned(8);
	u8 body[64] aligned(8);
} question;

static const struct record_rule question_rules[] = {
	{ RECORD_STATUS, sizeof(struct wire_status), sizeof(struct wire_status) },
	{ 0, 0, 0 },
};

/* --- peer ------------------------------------------------------------------------------------- */

static struct handover taken[TAKEN_MAX];
static u32 taken_count; /* ever */

/*
 * What was accepted under one boot id and taken is among the last TAKEN_MAX. A source that asks later, when the
 * answer "unknown" may mean "forgotten", sees another id and believes only "taken".
 */
void owner_take(const struct handover *handover)
{
	taken[taken_count++ % TAKEN_MAX] = *handover;
	if (taken_count % TAKEN_MAX == 0)
		peers_renew_boot_id();
}

static void announce(struct vm *vm)
{
	spin_lock(&vm->lock);
	devices_announce(vm);
	spin_unlock(&vm->lock);
}

void owner_announce(const u8 uuid[16])
{
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		if (!memcmp(vm->config.uuid, uuid, sizeof(vm->config.uuid)))
			announce(vm);
}

void owner_link_is_back(void)
{
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm))
		if (!vm->paused)
			announce(vm);
}

bool owner_taken(const struct handover *handover)
{
	for (u32 i = 0; i < MIN(taken_count, TAKEN_MAX); i++)
		if (handover_equal(&taken[i], handover))
			return true;
	return false;
}

/* --- source ----------------------------------------------------------------------------------- */

static void question_end(void)
{
	if (!question.doubt)
		return;
	question.stream.pipe->ops->close(question.stream.pipe, false);
	question.doubt = NULL;
}

static void forget(struct doubt *doubt)
{
	if (question.doubt == doubt)
		question_end();
	memset(doubt, 0, sizeof(*doubt));
}

static struct doubt *doubt_of(const struct vm *vm)
{
	for (u32 i = 0; i < VMS_MAX; i++)
		if (doubts[i].vm_id && doubts[i].vm_id == vm->id)
			return &doubts[i];
	return NULL;
}

/* Entries of guests that are gone are free again, so there is one for each guest that can be. */
static struct doubt *new_doubt(void)
{
	for (u32 i = 0; i < VMS_MAX; i++) {
		if (doubts[i].vm_id && !vm_by_id(doubts[i].vm_id))
			forget(&doubts[i]);
		if (!doubts[i].vm_id)
			return &doubts[i];
	}
	return NULL;
}

void owner_unknown(struct vm *vm, const struct migrate_peer *peer, const struct handover *handover, u64 boot_id,
		   const char *what)
{
	struct doubt *doubt = new_doubt();

	assert(doubt);
	doubt->vm_id = vm->id;
	doubt->peer = *peer;
	doubt->handover = *handover;
	doubt->boot_id = boot_id;
	doubt->ask_ns = time_ns() + ASK_EVERY_NS / 4;
	/* What to do comes first: the rest may be cut. */
	str_format(vm->why, sizeof(vm->why),
		   "it may run on %s, which is being asked; else 'unpause --force' (if it runs nowhere) or "
		   "'destroy': %s", peer->name, what);
	vm_pause(vm, VM_PAUSE_OWNER);
	vm_unpause(vm, VM_PAUSE_MIGRATE);
	log_warn("%s stays paused: %s", vm->config.name, vm->why);
	beacons_changed();
}

/* Here it runs on: nobody else has it. */
static void take_back(struct vm *vm, struct doubt *doubt)
{
	if (doubt)
		forget(doubt);
	vm->why[0] = 0;
	vm_unpause(vm, VM_PAUSE_OWNER);
	announce(vm);
	beacons_changed();
}

/* Higher than all that was heard, and than what the peer of a doubt got, however often it was moved on since. */
static u64 forced_epoch(const struct vm *vm)
{
	u64 epoch = MAX(vm->epoch, vm->rival_epoch);
	u64 forces = (epoch >> EPOCH_FORCE_SHIFT) + 1;

	return forces << EPOCH_FORCE_SHIFT | (u32)(epoch + 1);
}

int owner_force(struct vm *vm)
{
	char epoch[EPOCH_TEXT_BYTES];

	if (!(vm->paused & VM_PAUSE_OWNER))
		return -E_NOENT;
	vm->epoch = forced_epoch(vm);
	vm->attempt = 0;
	log_warn("%s runs here by the operator's word (epoch %s)", vm->config.name,
		 migrate_format_epoch(epoch, sizeof(epoch), vm->epoch));
	take_back(vm, doubt_of(vm));
	return 0;
}

enum owner_state owner_state(const struct vm *vm)
{
	if (!(vm->paused & VM_PAUSE_OWNER))
		return OWNER_RUNS;
	return doubt_of(vm) ? OWNER_DOUBT : OWNER_YIELDED;
}

static void ask_later(struct doubt *doubt)
{
	question_end();
	doubt->ask_ns = time_ns() + ASK_EVERY_NS;
}

/* It did arrive there. */
static void give_up(struct doubt *doubt, struct vm *vm, const char *peer)
{
	log_info("%s runs on %s, as it says now; it is freed here", vm->config.name, peer);
	forget(doubt);
	vm_destroy(vm);
	beacons_changed();
}

static void answered(struct doubt *doubt, struct vm *vm, const struct wire_status *status)
{
	if (status->owner == WIRE_TAKEN) {
		give_up(doubt, vm, doubt->peer.name);
	} else if (status->owner != WIRE_UNKNOWN) {
		/* No answer that this version knows: no word for it that the guest may run here. */
		ask_later(doubt);
	} else if (status->boot_id == doubt->boot_id) {
		log_info("%s never started on %s; it runs on here", vm->config.name, doubt->peer.name);
		take_back(vm, doubt);
	} else {
		/* It may have run there until the peer was started anew: what was done then is lost either way. */
		str_format(vm->why, sizeof(vm->why),
			   "it was handed to %s, which was started anew since or forgot: 'unpause --force' goes on "
			   "from the hand-over", doubt->peer.name);
		log_warn("%s stays paused: %s", vm->config.name, vm->why);
		question_end();
		doubt->ask_ns = 0;
	}
}

static void ask(struct doubt *doubt)
{
	struct pipe *pipe;

	if (peers_connect(&doubt->peer, &pipe)) {
		ask_later(doubt);
		return;
	}
	question.doubt = doubt;
	question.until_ns = time_ns() + ANSWER_WITHIN_NS;
	question.sent = false;
	stream_init(&question.stream, pipe, question_rules, question.body, sizeof(question.body));
}

static void send_query(const struct doubt *doubt)
{
	struct wire_query *query = (struct wire_query *)(question.record + sizeof(struct record_header));

	memset(query, 0, sizeof(*query));
	query->magic = STREAM_MAGIC;
	query->version = STREAM_VERSION;
	str_copy(query->host, sizeof(query->host), peers_host_name());
	query->handover = doubt->handover;
	stream_send(&question.stream, question.record,
		    record_seal(&question.stream, question.record, RECORD_QUERY, sizeof(*query)));
	question.sent = true;
}

static void question_poll(void)
{
	struct pipe *pipe = question.stream.pipe;
	struct doubt *doubt = question.doubt;
	struct vm *vm = vm_by_id(doubt->vm_id);
	int status = pipe->ops->status(pipe);
	int error;

	if (!vm) {
		forget(doubt);
		return;
	}
	if (status == 0 && !question.sent)
		send_query(doubt);
	stream_pump(&question.stream);
	pipe->ops->flush(pipe);
	error = stream_read(&question.stream);
	if (error == 0)
		answered(doubt, vm, (const struct wire_status *)question.body);
	else if (error != -E_AGAIN || (status && status != -E_AGAIN) || time_ns() >= question.until_ns)
		ask_later(doubt);
}

bool owner_poll(void)
{
	if (question.doubt) {
		question_poll();
		return false;
	}
	for (u32 i = 0; i < VMS_MAX; i++) {
		struct doubt *doubt = &doubts[i];

		if (!doubt->vm_id)
			continue;
		if (!vm_by_id(doubt->vm_id)) {
			forget(doubt);
		} else if (doubt->ask_ns && time_ns() >= doubt->ask_ns) {
			ask(doubt);
			return true;
		}
	}
	return false;
}

u64 owner_next_deadline(void)
{
	u64 next = question.doubt ? question.until_ns : 0;

	for (u32 i = 0; i < VMS_MAX && !question.doubt; i++)
		if (doubts[i].vm_id && doubts[i].ask_ns && (next == 0 || doubts[i].ask_ns < next))
			next = doubts[i].ask_ns;
	return next;
}

/* --- beacons ---------------------------------------------------------------------------------- */

/* The other has the better claim, or one as good: better none runs than both. */
static void yield_to(struct vm *vm, const char *peer, u64 epoch)
{
	char theirs[EPOCH_TEXT_BYTES], ours[EPOCH_TEXT_BYTES];

	vm->rival_epoch = epoch;
	vm_pause(vm, VM_PAUSE_OWNER);
	migrate_format_epoch(theirs, sizeof(theirs), epoch);
	migrate_format_epoch(ours, sizeof(ours), vm->epoch);
	str_format(vm->why, sizeof(vm->why),
		   "'destroy' this copy; or, if it is the right one, 'unpause --force' (that pauses the other): "
		   "%s has it too, at epoch %s, %s epoch %s here", peer, theirs,
		   epoch == vm->epoch ? "the same as" : "higher than", ours);
	log_error("%s is paused: %s", vm->config.name, vm->why);
	beacons_changed();
}

static void heard_of_running(struct vm *vm, const char *peer, const struct beacon_guest *guest)
{
	bool runs = guest->state == BEACON_RUNS || guest->state == BEACON_PAUSED;

	/* On its way, COMMIT sent: it is paused, and the answer or the doubt decides. What has ended runs no more. */
	if (send_committed(vm) || vm->state != VM_LIVE)
		return;
	if (guest->epoch > vm->epoch || (guest->epoch == vm->epoch && runs))
		yield_to(vm, peer, guest->epoch);
	else if (guest->state == BEACON_YIELDED && !vm->paused)
		/* Switches may still send there what is for the guest: it ran there a moment ago. */
		announce(vm);
}

static void heard_of_doubtful(struct vm *vm, const char *peer, const struct beacon_guest *guest)
{
	struct doubt *doubt = doubt_of(vm);
	char epoch[EPOCH_TEXT_BYTES];

	if (guest->attempt == doubt->handover.attempt) {
		give_up(doubt, vm, peer);
	} else if (guest->epoch > doubt->handover.epoch && guest->epoch > vm->rival_epoch) {
		/* Most likely it was moved on from there; but who forced it may have been wrong. */
		vm->rival_epoch = guest->epoch;
		str_format(vm->why, sizeof(vm->why),
			   "%s has it at the higher epoch %s: 'destroy' removes this copy, which was handed to %s; "
			   "'unpause --force' takes it back as it was then", peer,
			   migrate_format_epoch(epoch, sizeof(epoch), guest->epoch), doubt->peer.name);
		log_warn("%s stays paused: %s", vm->config.name, vm->why);
	}
}

static void heard_of(const char *peer, const struct beacon_guest *guest)
{
	struct vm *next;

	for (struct vm *vm = vm_next(NULL); vm; vm = next) {
		next = vm_next(vm);
		if (memcmp(vm->config.uuid, guest->uuid, sizeof(guest->uuid)))
			continue;
		switch (owner_state(vm)) {
		case OWNER_RUNS:
			heard_of_running(vm, peer, guest);
			break;
		case OWNER_DOUBT:
			heard_of_doubtful(vm, peer, guest);
			break;
		case OWNER_YIELDED:
			vm->rival_epoch = MAX(vm->rival_epoch, guest->epoch);
			break;
		}
	}
}

void owner_heard(const struct migrate_peer *peer, const struct beacon *beacon)
{
	/* The link to it works: questions need not wait. */
	for (u32 i = 0; i < VMS_MAX; i++)
		if (doubts[i].vm_id && doubts[i].ask_ns && !memcmp(doubts[i].peer.ip, peer->ip, sizeof(peer->ip)))
			doubts[i].ask_ns = time_ns();
	for (u32 i = 0; i < beacon->header.guest_count; i++)
		heard_of(peer->name, &beacon->guests[i]);
}
