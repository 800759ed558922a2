/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds arriving guests: pages straight from the pipe to their place, state gathered until END,
 * then checked whole and loaded. Owns a guest until arrival_commit() or arrival_drop().
 * Called by receive.c on the service CPU.
 */
#include "migrate/arrival.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/bitmap.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/beacons.h"
#include "migrate/peers.h"
#include "migrate/state.h"
#include "migrate/verify.h"
#include "mm/pages.h"
#include "vmm/vm.h"

struct arrival {
	struct vm *vm; /* NULL: free */
	struct handover handover;
	u64 *seen;     /* pages that came at least once */
	u64 *zeroed;   /* pages that are zero here, and not just as they were found */
	u8 *area;
	u32 area_bytes;
	hpa_t bitmap_block, area_block;
	unsigned int bitmap_order, area_order;
	struct state_parts parts;
	struct verify verify;
	u64 pages, zeros;
	u64 page;      /* that the next byte belongs to */
	u32 offset;    /* in it */
};

static struct arrival arrivals[MIGRATE_IN_MAX];

static struct arrival *free_arrival(void)
{
	for (u32 i = 0; i < MIGRATE_IN_MAX; i++)
		if (!arrivals[i].vm)
			return &arrivals[i];
	return NULL;
}

bool arrival_possible(void)
{
	return free_arrival() != NULL;
}

struct arrival *arrival_find(const u8 uuid[16])
{
	for (u32 i = 0; i < MIGRATE_IN_MAX; i++)
		if (arrivals[i].vm && !memcmp(arrivals[i].vm->config.uuid, uuid, sizeof(arrivals[i].vm->config.uuid)))
			return &arrivals[i];
	return NULL;
}

const char *arrival_name(const struct arrival *in)
{
	return in->vm->config.name;
}

void arrival_describe(const struct arrival *in, struct migrate_arrival *arrival)
{
	u64 pages = in->vm->gmem.pages;

	str_copy(arrival->guest, sizeof(arrival->guest), in->vm->config.name);
	arrival->memory_mib = in->vm->config.memory_mib;
	arrival->vcpus = in->vm->vcpu_count;
	arrival->percent = (u32)(bitmap_count(in->seen, pages) * 100 / pages);
}

bool arrival_is(const struct arrival *in, const struct handover *handover)
{
	return handover_equal(&in->handover, handover);
}

static void free_buffers(struct arrival *in)
{
	if (in->seen)
		pages_free(in->bitmap_block, in->bitmap_order);
	if (in->area)
		pages_free(in->area_block, in->area_order);
}

void arrival_drop(struct arrival *in)
{
	free_buffers(in);
	vm_destroy(in->vm);
	memset(in, 0, sizeof(*in));
}

static int take_buffers(struct arrival *in, const struct vm *vm)
{
	u64 words = BITMAP_WORDS(vm->gmem.pages);

	in->bitmap_order = pages_order(2 * words * sizeof(u64));
	in->bitmap_block = pages_alloc(in->bitmap_order);
	if (in->bitmap_block == HPA_NONE)
		return -E_NOMEM;
	in->seen = page_ptr(in->bitmap_block);
	in->zeroed = in->seen + words;
	/* And for an END, COMMIT or ABORT behind all that is kept. */
	in->area_bytes = state_bytes_max(vm) + (u32)KIB(1);
	in->area_order = pages_order(in->area_bytes);
	in->area_block = pages_alloc(in->area_order);
	if (in->area_block == HPA_NONE)
		return -E_NOMEM;
	in->area = page_ptr(in->area_block);
	return 0;
}

int arrival_begin(const struct hello *hello, struct arrival **out, char *why, size_t why_bytes)
{
	struct arrival *in = free_arrival();
	char missing[128];
	int error;

	assert(in);
	memset(in, 0, sizeof(*in));
	if (vm_create_incoming(&hello->config, &in->vm, missing, sizeof(missing))) {
		in->vm = NULL;
		return say(-E_REFUSED, why, why_bytes, "%s has no room for %s: %s", peers_host_name(),
			   hello->config.name, missing);
	}
	/* Its clocks and devices stand still until it is ours. */
	vm_pause(in->vm, VM_PAUSE_MIGRATE);
	in->vm->epoch = hello->fixed.handover.epoch;
	in->vm->attempt = hello->fixed.handover.attempt;
	*in->vm->cpuid = hello->cpuid;
	(void)vm_tsc_set_khz(in->vm, hello->fixed.tsc_khz);
	in->handover = hello->fixed.handover;
	error = state_devices_check(in->vm, hello->devices, hello->fixed.device_count, peers_host_name(), why,
				    why_bytes);
	if (!error && in->vm->gmem.pages != hello->fixed.memory_bytes / PAGE_SIZE)
		error = say(-E_REFUSED, why, why_bytes, "%s gives %s another size of memory", peers_host_name(),
			    hello->config.name);
	if (!error && take_buffers(in, in->vm))
		error = say(-E_REFUSED, why, why_bytes, "%s has no memory left", peers_host_name());
	if (error)
		arrival_drop(in);
	else
		*out = in;
	return error;
}

void *arrival_area(struct arrival *in, u32 *bytes)
{
	*bytes = in->area_bytes;
	return in->area;
}

/* --- memory ----------------------------------------------------------------------------------- */

static bool in_range(const struct arrival *in, u64 first, u64 count)
{
	return first < in->vm->gmem.pages && count <= in->vm->gmem.pages - first;
}

int arrival_pages(struct arrival *in, const struct wire_page *page, u32 length, char *why, size_t why_bytes)
{
	u64 bytes = length - sizeof(*page);
	u64 count = bytes / PAGE_SIZE;

	if (bytes % PAGE_SIZE || count == 0 || count > STREAM_PAGES_MAX)
		return say(-E_PROTO, why, why_bytes, "a PAGE record has %u bytes, which are no whole pages",
			   length);
	if (!in_range(in, page->first, count))
		return say(-E_PROTO, why, why_bytes, "a PAGE record is for memory that %s has not got",
			   in->vm->config.name);
	in->page = page->first;
	in->offset = 0;
	in->pages += count;
	return 0;
}

void arrival_bytes(struct arrival *in, const void *data, size_t bytes)
{
	const u8 *from = data;

	while (bytes) {
		u64 n = MIN(bytes, PAGE_SIZE - in->offset);
		gpa_t gpa = gmem_page_gpa(&in->vm->gmem, in->page) + in->offset;
		int error = gmem_write(&in->vm->gmem, gpa, from, n);

		assert(!error); /* arrival_pages has checked the range */
		bitmap_clear(in->zeroed, in->page);
		from += n;
		bytes -= n;
		in->offset += (u32)n;
		if (in->offset == PAGE_SIZE) {
			bitmap_set(in->seen, in->page);
			in->page++;
			in->offset = 0;
		}
	}
}

int arrival_zeros(struct arrival *in, const struct wire_zero *zero, char *why, size_t why_bytes)
{
	if (zero->count == 0 || zero->count > STREAM_ZEROS_MAX || !in_range(in, zero->first, zero->count))
		return say(-E_PROTO, why, why_bytes, "a ZERO record is for memory that %s has not got",
			   in->vm->config.name);
	for (u64 page = zero->first; page < zero->first + zero->count; page++) {
		bitmap_set(in->seen, page);
		if (!bitmap_test(in->zeroed, page)) {
			gmem_zero_page(&in->vm->gmem, page);
			bitmap_set(in->zeroed, page);
		}
	}
	in->zeros += zero->count;
	return 0;
}

/* --- state and the hand-over ------------------------------------------------------------------ */

int arrival_state(struct arrival *in, u16 type, const void *body, u32 bytes, char *why, size_t why_bytes)
{
	return state_add(&in->parts, type, body, bytes, why, why_bytes);
}

int arrival_verify(struct arrival *in, const struct wire_verify *verify, char *why, size_t why_bytes)
{
	if (!verify_available())
		return say(-E_NOSYS, why, why_bytes, "%s can't verify memory: move it without --verify",
			   peers_host_name());
	if (in->verify.on)
		return say(-E_PROTO, why, why_bytes, "two VERIFY records came");
	verify_start(&in->verify, verify->key);
	return 0;
}

u32 arrival_digests(struct arrival *in, struct wire_verified *body)
{
	return verify_whole(&in->verify, &in->vm->gmem) ? 0 : verify_next(&in->verify, &in->vm->gmem, body);
}

int arrival_prepare(struct arrival *in, const struct wire_end *end, char *why, size_t why_bytes)
{
	u64 pages = in->vm->gmem.pages;
	int error;

	if (end->pages != in->pages || end->zeros != in->zeros)
		return say(-E_PROTO, why, why_bytes,
			   "END counts %lu pages and %lu zero pages, but %lu and %lu came",
			   (unsigned long)end->pages, (unsigned long)end->zeros, (unsigned long)in->pages,
			   (unsigned long)in->zeros);
	for (u64 page = 0; page < pages; page++)
		if (!bitmap_test(in->seen, page))
			return say(-E_PROTO, why, why_bytes, "page %lu never came", (unsigned long)page);
	error = state_check(&in->parts, in->vm, why, why_bytes);
	if (!error)
		error = state_load(&in->parts, in->vm, why, why_bytes);
	return error;
}

const struct vm *arrival_commit(struct arrival *in, const struct wire_commit *commit, u64 since_hello_ns)
{
	struct wire_time time = state_time(&in->parts);
	struct vm *vm = in->vm;
	/* The pause began after HELLO came; whatever the source says, the clocks stay near the truth. */
	u64 away_ns = MIN(commit->paused_ns, since_hello_ns) + MIN(commit->one_way_ns, since_hello_ns);

	owner_take(&in->handover);
	beacons_changed();
	vm_time_load(vm, time.time_ns + away_ns, time.tsc + ticks_from_ns(vm_tsc_khz(vm), away_ns));
	vm_publish(vm);
	if (time.user_pause)
		vm_pause(vm, VM_PAUSE_USER);
	vm_start(vm);
	vm_unpause(vm, VM_PAUSE_MIGRATE);
	free_buffers(in);
	memset(in, 0, sizeof(*in));
	return vm;
}
