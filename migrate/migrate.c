/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Migration as the console and the service loop see it: one door to the source's side (send.c), the
 * peer's side (receive.c) and the guests in doubt (owner.c). Service CPU.
 */
#include "migrate/migrate.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "migrate/beacons.h"
#include "migrate/owner.h"
#include "migrate/plan.h"
#include "migrate/peers.h"
#include "migrate/receive.h"
#include "migrate/send.h"
#include "migrate/verify.h"

void migrate_init(const struct migrate_config *config, const struct pipe_maker *network)
{
	int error;

	peers_init(config, network);
	error = receive_init();
	if (error)
		log_warn("migration: no guests can come in: %s", error_name(error));
}

int migrate_start(struct vm *vm, const char *peer, const struct migrate_options *options, char *why,
		  size_t why_bytes)
{
	struct migrate_peer found;
	int error = peers_target(peer, &found, why, why_bytes);

	if (error)
		return error;
	if (options->verify && !verify_available())
		return say(-E_NOSYS, why, why_bytes, "this host can't verify memory: move it without --verify");
	return send_start(vm, &found, options, why, why_bytes);
}

int migrate_cancel(void)
{
	int planned = plan_cancel();
	int error = send_cancel_all();

	return planned == 0 ? 0 : error;
}

int migrate_cancel_guest(const struct vm *vm)
{
	return send_busy(vm) ? send_cancel(vm) : plan_cancel_guest(vm);
}

void migrate_get_progress(struct migrate_progress *progress)
{
	(void)send_get_progress(send_last_id(), progress);
}

bool migrate_progress_of(u32 id, struct migrate_progress *progress)
{
	return send_get_progress(id, progress);
}

u32 migrate_next_id(u32 after)
{
	return send_next_id(after);
}

bool migrate_get_arrival(u32 index, struct migrate_arrival *arrival)
{
	return receive_get_arrival(index, arrival);
}

bool migrate_busy(const struct vm *vm)
{
	return send_busy(vm);
}

bool migrate_poll(void)
{
	bool more = send_poll();

	more |= plan_poll();
	more |= receive_poll();
	more |= owner_poll();
	more |= beacons_poll();
	return more;
}

u64 migrate_next_deadline(void)
{
	u64 deadlines[] = { send_next_deadline(), plan_next_deadline(), receive_next_deadline(), owner_next_deadline(),
			    beacons_next_deadline() };
	u64 next = 0;

	for (size_t i = 0; i < ARRAY_SIZE(deadlines); i++)
		if (deadlines[i] && (next == 0 || deadlines[i] < next))
			next = deadlines[i];
	return next;
}

const char *migrate_format_epoch(char *buf, size_t size, u64 epoch)
{
	u32 forces = (u32)(epoch >> EPOCH_FORCE_SHIFT);

	if (forces)
		str_format(buf, size, "%u.%u", forces, (u32)epoch);
	else
		str_format(buf, size, "%u", (u32)epoch);
	return buf;
}

int migrate_force_owner(struct vm *vm)
{
	return owner_force(vm);
}
