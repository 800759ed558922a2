/* SPDX-License-Identifier: Apache-2.0 */
/* A host of the fault runner: image.h. The bed's guest and CPU, page blocks from an arena that is empty after a reset. */
#include <stdlib.h>

#include "types.h"

static void *image_calloc(size_t count, size_t bytes);
static void image_free(void *pointer);
#define calloc image_calloc
#define free image_free
/* Rounds look at all of it, and the runs are many. */
#define BED_MIB 4
#include "migrate_bed.h"
#undef calloc
#undef free

#include "faults/image.h"

#define COUNTER_GPA MIB(1)

/* --- memory ----------------------------------------------------------------------------------- */

static u8 *arena;
static u64 arena_used;
static hpa_t free_blocks[PAGES_ORDER_MAX + 1]; /* each holds the next in its first bytes */
static u64 pages_used;

hpa_t pages_alloc_raw(unsigned int order)
{
	u64 bytes = PAGE_SIZE << order;
	hpa_t block = order <= PAGES_ORDER_MAX ? free_blocks[order] : 0;
	u64 at = ALIGN_UP(arena_used, bytes);

	if (block) {
		free_blocks[order] = *(hpa_t *)page_ptr(block);
	} else {
		if (at + bytes > IMAGE_MEMORY_BYTES)
			return HPA_NONE;
		block = page_hpa(arena + at);
		arena_used = at + bytes;
	}
	pages_used += BIT(order);
	return block;
}

void pages_clear(hpa_t block, unsigned int order)
{
	memset(page_ptr(block), 0, PAGE_SIZE << order);
}

hpa_t pages_alloc(unsigned int order)
{
	hpa_t block = pages_alloc_raw(order);

	if (block != HPA_NONE)
		pages_clear(block, order);
	return block;
}

void pages_free(hpa_t block, unsigned int order)
{
	*(hpa_t *)page_ptr(block) = free_blocks[order];
	free_blocks[order] = block;
	pages_used -= BIT(order);
}

/* No guest of the tests has a GiB. */
void pages_break(unused hpa_t block, unused unsigned int order, unused unsigned int smaller)
{
	abort();
}

u64 pages_free_count(void)
{
	return IMAGE_MEMORY_BYTES / PAGE_SIZE - pages_used;
}

u64 pages_total_count(void)
{
	return IMAGE_MEMORY_BYTES / PAGE_SIZE;
}

unsigned int pages_order(u64 bytes)
{
	unsigned int order = 0;

	while (PAGE_SIZE << order < bytes && order <= PAGES_ORDER_MAX)
		order++;
	return order;
}

u64 fake_pages_used(void)
{
	return pages_used;
}

void fake_pages_fail_after(unused u64 calls)
{
}

void fake_pages_set_total(unused u64 pages)
{
}

static struct bed_cpu bed_cpus[16];

static void *image_calloc(unused size_t count, unused size_t bytes)
{
	for (size_t i = 0; i < ARRAY_SIZE(bed_cpus); i++)
		if (!bed_cpus[i].event) {
			memset(&bed_cpus[i], 0, sizeof(bed_cpus[i]));
			bed_cpus[i].event = true; /* not used by the bed */
			return &bed_cpus[i];
		}
	abort();
}

static void image_free(void *pointer)
{
	((struct bed_cpu *)pointer)->event = false;
}

/* --- the host --------------------------------------------------------------------------------- */

static void boot(const struct migrate_config *config, const struct pipe_maker *pipes, const struct datagram_ops *datagrams,
		 const struct beacon_auth *auth, u64 seed, void *memory)
{
	fake_cpu_reset();
	fake_random_seed(seed);
	bed_cpuid(true);
	hvm = &bed_hvm;
	arena = memory;
	migrate_init(config, pipes);
	verify_init(tls_digest);
	beacons_init(datagrams, auth);
}

static struct vm *copy(void)
{
	return vm_next(NULL);
}

static u64 counter_of(struct vm *vm)
{
	u64 value = 0;

	assert_int_equal(gmem_read(&vm->gmem, COUNTER_GPA, &value, sizeof(value)), 0);
	return value;
}

static void turn(void)
{
	u64 value;

	migrate_poll();
	vm_service();
	for (struct vm *vm = vm_next(NULL); vm; vm = vm_next(vm)) {
		if (!bed_runs(vm))
			continue;
		value = counter_of(vm) + 1;
		assert_int_equal(gmem_write(&vm->gmem, COUNTER_GPA, &value, sizeof(value)), 0);
	}
}

static void create(void)
{
	struct vm_config config;

	bed_config(&config);
	bed_create_of(&config);
}

static int migrate(const char *peer, bool live)
{
	struct migrate_options options = { .live = live, .verify = random_u64() % 4 == 0 };
	char why[320];

	return copy() ? migrate_start(copy(), peer, &options, why, sizeof(why)) : -E_NOENT;
}

static int cancel(void)
{
	return migrate_cancel();
}

static int force(void)
{
	return copy() ? migrate_force_owner(copy()) : -E_NOENT;
}

static void destroy(void)
{
	if (copy() && !migrate_busy(copy()))
		vm_destroy(copy());
}

static void hold(const char *point)
{
	fault_clear_all();
	if (point)
		assert_int_equal(fault_set(point, FAULT_FOREVER), 0);
}

static void look(struct image_state *state)
{
	struct migrate_arrival arrival;
	struct vm *vm = copy();

	memset(state, 0, sizeof(*state));
	for (struct vm *each = vm; each; each = vm_next(each))
		state->copies++;
	state->arriving = migrate_get_arrival(0, &arrival);
	state->pages_used = pages_used;
	if (!vm)
		return;
	state->runs = bed_running() != NULL;
	state->owner = owner_state(vm);
	state->epoch = vm->epoch;
	state->attempt = vm->attempt;
	state->counter = counter_of(vm);
	state->moving = migrate_busy(vm);
	state->why = vm->why;
}

/* --- several guests --------------------------------------------------------------------------- */

static bool create_of(const char *text)
{
	struct cfg_report report = { .line = bed_ignore_line };
	struct vm_config config;
	struct vm *vm;
	char why[200];

	assert_int_equal(vm_config_parse(&config, "guest.cfg", text, strlen(text), &report), 0);
	vm_config_complete(&config);
	if (vm_create_incoming(&config, &vm, why, sizeof(why)))
		return false;
	for (u64 page = 0; page < vm->gmem.pages; page++)
		gmem_zero_page(&vm->gmem, page);
	/* It uses some of it. */
	for (u64 page = 0; page < vm->gmem.pages; page += 5) {
		u64 value = random_u64();

		assert_int_equal(gmem_write(&vm->gmem, page * PAGE_SIZE + 8, &value, sizeof(value)), 0);
	}
	vm_publish(vm);
	vm_start(vm);
	return true;
}

static int start(const char *guest, const char *peer, const struct migrate_options *options, char *why, size_t why_bytes)
{
	return vm_find(guest) ? migrate_start(vm_find(guest), peer, options, why, why_bytes) : -E_NOENT;
}

static int cancel_guest(const char *guest)
{
	return vm_find(guest) ? migrate_cancel_guest(vm_find(guest)) : -E_NOENT;
}

static void look_guest(const char *name, struct image_guest *guest)
{
	struct vm *vm = vm_find(name);

	memset(guest, 0, sizeof(*guest));
	if (!vm)
		return;
	guest->here = true;
	guest->runs = bed_runs(vm);
	guest->moving = migrate_busy(vm);
	guest->counter = counter_of(vm);
	guest->why = vm->why;
}

static u32 arrivals(void)
{
	struct migrate_arrival arrival;
	u32 count = 0;

	while (migrate_get_arrival(count, &arrival))
		count++;
	return count;
}

static bool last_progress(const char *guest, struct migrate_progress *progress)
{
	struct migrate_progress last;

	migrate_get_progress(&last);
	for (u32 id = last.id; id && migrate_progress_of(id, progress); id--)
		if (str_equal(progress->guest, guest))
			return true;
	return false;
}

static const struct plan_guest *plan_guest_of(const char *guest)
{
	const struct plan_guest *g;

	for (u32 i = 0; (g = plan_get(i)); i++)
		if (str_equal(g->guest, guest))
			return g;
	return NULL;
}

static void destroy_all(void)
{
	while (vm_next(NULL))
		vm_destroy(vm_next(NULL));
}

const struct image_api *image_api(void)
{
	static const struct image_api api = {
		.boot = boot, .set_time = fake_time_set, .turn = turn, .create = create, .migrate = migrate, .cancel = cancel,
		.force = force, .destroy = destroy, .hold = hold, .look = look,
		.create_of = create_of, .start = start, .cancel_guest = cancel_guest, .guest = look_guest, .arrivals = arrivals,
		.progress = last_progress, .plan = plan_start, .plan_cancel = plan_cancel, .plan_active = plan_active,
		.plan_guest = plan_guest_of, .free_pages = beacons_free_pages, .destroy_all = destroy_all,
	};

	return &api;
}
