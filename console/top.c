/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rates are those between two samples, a second apart. The counters belong to the CPUs that run the guests;
 * they are read while these go on, so a sample may be a few exits old.
 */
#include "console/top.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "console/command.h"
#include "console/terminal.h"
#include "lib/format.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "mm/pages.h"
#include "vmm/hvm.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define REFRESH_NS NS_PER_S
#define FIRST_NS (300 * NS_PER_MS)
#define CTRL_C 3
#define SCREEN_CLEAR "\x1b[H\x1b[J"
#define KINDS_SHOWN 3
#define CPUS_IN_A_ROW 6

static const char *const kind_names[] = {
	[VM_EXIT_HOST] = "host",       [VM_EXIT_IRQ_WINDOW] = "window", [VM_EXIT_IO] = "port",
	[VM_EXIT_MSR_READ] = "rdmsr",  [VM_EXIT_MSR_WRITE] = "wrmsr",   [VM_EXIT_CPUID] = "cpuid",
	[VM_EXIT_HLT] = "hlt",         [VM_EXIT_PAUSE] = "pause",       [VM_EXIT_NPT] = "mmio",
	[VM_EXIT_CR_WRITE] = "cr",     [VM_EXIT_XSETBV] = "xsetbv",     [VM_EXIT_CACHE] = "cache",
	[VM_EXIT_HYPERCALL] = "vmcall", [VM_EXIT_UNDEFINED] = "ud",     [VM_EXIT_PRIVILEGED] = "gp",
	[VM_EXIT_EXCEPTION] = "exception", [VM_EXIT_EOI] = "eoi",       [VM_EXIT_DIRTY_LOG] = "dirty-log",
	[VM_EXIT_TRIPLE_FAULT] = "triple-fault", [VM_EXIT_ENTRY_FAILED] = "entry-failed",
	[VM_EXIT_UNKNOWN] = "unknown",
};
#define KINDS ARRAY_SIZE(kind_names)
static_assert(KINDS <= ARRAY_SIZE(((struct vcpu *)NULL)->exits_by_kind), "a counter for each kind");

struct guest_sample {
	u32 id; /* 0: none */
	u64 run_ns;
	u64 exits[KINDS];
};

struct sample {
	u64 at_ns;
	u64 idle_ns[CPUS_MAX];
	struct guest_sample guests[VMS_MAX];
};

static struct sample samples[2];
static struct sample *last = &samples[0], *now = &samples[1];
static bool active;
static u64 next_ns;

u64 top_idle_ns(u32 cpu)
{
	const struct cpu *c = cpu_get(cpu);
	u64 since_ns = READ_ONCE(c->idle_since_ns);
	u64 idle_ns = READ_ONCE(c->idle_ns);

	return since_ns ? idle_ns + time_ns() - MIN(since_ns, time_ns()) : idle_ns;
}

static void take_sample(struct sample *s)
{
	struct guest_sample *guest = s->guests;

	memset(s, 0, sizeof(*s));
	s->at_ns = time_ns();
	for (u32 i = 0; i < cpu_count(); i++)
		s->idle_ns[i] = top_idle_ns(i);
	for (const struct vm *vm = vm_next(NULL); vm; vm = vm_next((struct vm *)vm), guest++) {
		guest->id = vm->id;
		for (u32 i = 0; i < vm->vcpu_count; i++) {
			const struct vcpu *vcpu = vm->vcpus[i];

			guest->run_ns += READ_ONCE(vcpu->run_ns);
			for (u32 kind = 0; kind < KINDS; kind++)
				guest->exits[kind] += READ_ONCE(vcpu->exits_by_kind[kind]);
		}
	}
}

/* What was then known of the guest; zeros if it was not there. */
static const struct guest_sample *find(const struct sample *s, u32 id)
{
	static const struct guest_sample none;

	for (u32 i = 0; i < VMS_MAX; i++)
		if (s->guests[i].id == id)
			return &s->guests[i];
	return &none;
}

static u64 elapsed_ns(void)
{
	return MAX(now->at_ns - last->at_ns, 1);
}

static u64 rate(u64 before, u64 after)
{
	return (after - before) * NS_PER_S / elapsed_ns();
}

static void print_cpus(void)
{
	for (u32 i = 0; i < cpu_count(); i++) {
		u64 idle_ns = MIN(now->idle_ns[i] - MIN(last->idle_ns[i], now->idle_ns[i]), elapsed_ns());

		if (i % CPUS_IN_A_ROW == 0)
			terminal_printf("%s%-8s", i ? "\n" : "", i ? "" : "CPU(%)");
		terminal_printf("  %u%s: %llu", i, i == SERVICE_CPU ? " (service)" : "",
				(unsigned long long)(100 - idle_ns * 100 / elapsed_ns()));
	}
	terminal_puts("\n");
}

/* The kinds of exit that come most often. */
static void print_kinds(const struct guest_sample *before, const struct guest_sample *after)
{
	bool shown[KINDS] = { false };

	for (u32 i = 0; i < KINDS_SHOWN; i++) {
		u32 most = 0;

		for (u32 kind = 0; kind < KINDS; kind++)
			if (!shown[kind] && (shown[most] || after->exits[kind] - before->exits[kind] >
							     after->exits[most] - before->exits[most]))
				most = kind;
		if (after->exits[most] == before->exits[most])
			break;
		shown[most] = true;
		terminal_printf(" %s %llu", kind_names[most],
				(unsigned long long)rate(before->exits[most], after->exits[most]));
	}
	terminal_puts("\n");
}

/* Measured only while it moves. */
static void print_dirty(const struct vm *vm)
{
	struct migrate_progress p;

	for (u32 id = 0; (id = migrate_next_id(id));) {
		if (!migrate_progress_of(id, &p) || p.step != MIGRATE_ROUNDS || p.round < 2 ||
		    !str_equal(p.guest, vm->config.name))
			continue;
		terminal_printf(" %8llu", (unsigned long long)p.dirty_pages_per_s);
		return;
	}
	terminal_printf(" %8s", "-");
}

static void print_guest(const struct vm *vm)
{
	const struct guest_sample *before = find(last, vm->id);
	const struct guest_sample *after = find(now, vm->id);
	u64 permille = (after->run_ns - before->run_ns) * 1000 / elapsed_ns();
	u64 exits = 0;

	for (u32 kind = 0; kind < KINDS; kind++)
		exits += after->exits[kind] - before->exits[kind];
	terminal_printf("%-16s %4u %6u %5u %4llu.%llu %8llu %8llu", vm->config.name, vm->id, vm->config.memory_mib,
			vm->vcpu_count, (unsigned long long)(permille / 10), (unsigned long long)(permille % 10),
			(unsigned long long)(after->run_ns / NS_PER_S), (unsigned long long)rate(0, exits));
	print_dirty(vm);
	print_kinds(before, after);
}

static void draw(void)
{
	char total[24], free[24];

	terminal_printf(SCREEN_CLEAR TERMINAL_WRAP_OFF "%s, up %llu s; memory %s, %s free; q leaves\n",
			console_config()->name, (unsigned long long)(time_ns() / NS_PER_S),
			format_bytes(total, sizeof(total), pages_total_count() * PAGE_SIZE),
			format_bytes(free, sizeof(free), pages_free_count() * PAGE_SIZE));
	print_cpus();
	terminal_printf("\n%-16s %4s %6s %5s %6s %8s %8s %8s %s\n", "Name", "ID", "Mem", "VCPUs", "CPU(%)", "Time(s)",
			"Exits/s", "Dirty/s", "most often");
	for (const struct vm *vm = vm_next(NULL); vm; vm = vm_next((struct vm *)vm))
		print_guest(vm);
	terminal_puts(TERMINAL_WRAP_ON);
}

void top_start(void)
{
	active = true;
	take_sample(last);
	next_ns = time_ns() + FIRST_NS;
}

bool top_active(void)
{
	return active;
}

bool top_input(u8 byte)
{
	if (byte != 'q' && byte != 'Q' && byte != CTRL_C)
		return false;
	active = false;
	terminal_puts("\n");
	return true;
}

void top_poll(void)
{
	struct sample *old = last;

	if (time_ns() < next_ns)
		return;
	take_sample(now);
	draw();
	last = now;
	now = old;
	next_ns = time_ns() + REFRESH_NS;
}

u64 top_deadline(void)
{
	return active ? next_ns : 0;
}
