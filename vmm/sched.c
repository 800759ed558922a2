/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which vCPU runs where and when.
 *
 * There is one queue for all CPUs: whoever waits is taken by the next CPU that may run it, so no CPU idles
 * while somebody waits, and shares are fair over the whole machine. Who is first is decided by virtual time
 * (vtime): what a vCPU has run, divided by its share of its guest's weight; the least goes first. A guest's
 * weight is shared by its vCPUs that want to run. Who comes back from sleep has no claim on the time that it
 * slept but for a small credit, by which it runs before those who never sleep, and interrupts them.
 *
 * vtime is compared between vCPUs that compete for a CPU. With pinning those of one CPU may go on faster
 * than those of another; so each CPU keeps its own clock, which follows those it runs, and whoever comes to
 * it is at most LAG_NS behind that.
 *
 * A vCPU that halts leaves the queue; vcpu_kick() or its next timer bring it back. So does one that has used
 * up what its cap lets it have (vmm/cap.h), until it may run again. The CPU that ran it last looks after
 * that: without work it idles until the nearest of these times; with work, it interrupts it then.
 *
 * A vCPU that spins (PAUSE) waits for another one, most likely of its own guest, that does not run: it makes
 * room (sched_give_way) where the CPU tells. Where it does not, the slices of a guest whose other vCPUs wait
 * are short.
 */
#include "vmm/sched.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "lib/log.h"
#include "spinlock.h"
#include "vmm/hvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* In the service loop, which has other things to do, a slice is shorter. */
#define SERVICE_SLICE_NS (2 * NS_PER_MS)
/* And so it is where a spinning vCPU can't be seen and its fellows wait. */
#define SPIN_SLICE_NS (2 * NS_PER_MS)
/* Of virtual time: what a sleeper has ahead; what it takes to interrupt somebody; what one can be behind. */
#define WAKE_CREDIT_NS (4 * NS_PER_MS)
#define PREEMPT_NS (1 * NS_PER_MS)
#define LAG_NS (20 * NS_PER_MS)
/* What a CPU's cached memory of a vCPU is worth. */
#define MOVE_NS (NS_PER_MS / 2)

static_assert(CPUS_MAX <= 64, "struct vm_config's cpus is a mask of 64");

struct sched_cpu {
	struct vcpu *running;
	const struct vcpu *yielder; /* others first, at the next choice */
	u64 since_ns;               /* when running began */
	u64 vtime_ns;               /* its clock */
	bool sliced;                /* running has a slice: it will come back by itself */
	bool alone;                 /* nobody waited when running began */
	bool idle;                  /* found nothing to run */
};

static struct spinlock lock;
/* Under lock: */
static struct sched_cpu cpus[CPUS_MAX];
static struct vcpu *all; /* linked by sched_next */

bool sched_cpu_runs_guests(u32 cpu)
{
	return cpu < cpu_count() && cpu_get(cpu)->online && (cpu != SERVICE_CPU || cpu_count() == 1);
}

static bool cpu_in(u64 mask, u32 cpu)
{
	return sched_cpu_runs_guests(cpu) && (!mask || mask & BIT(cpu));
}

bool sched_has_cpu(u64 mask)
{
	for (u32 i = 0; i < cpu_count(); i++)
		if (cpu_in(mask, i))
			return true;
	return false;
}

static bool may_run(const struct vcpu *vcpu, u32 cpu)
{
	return cpu_in(vcpu->vm->config.cpus, cpu);
}

/* --- under the lock: who waits ------------------------------------------------------------------ */

static bool counts(const struct vcpu *vcpu)
{
	return vcpu->queued || vcpu->on_cpu || vcpu->capped_until_ns;
}

/* All three change here only, so that the guest's count of its active vCPUs is right. */
static void set_place(struct vcpu *vcpu, bool queued, bool on_cpu, u64 capped_until_ns)
{
	bool was = counts(vcpu);

	vcpu->queued = queued;
	vcpu->on_cpu = on_cpu;
	vcpu->capped_until_ns = capped_until_ns;
	vcpu->vm->active += (u32)counts(vcpu) - (u32)was;
}

/* It could be taken by this CPU now. */
static bool waits_for(const struct vcpu *vcpu, u32 cpu)
{
	return vcpu->queued && !vcpu->on_cpu && may_run(vcpu, cpu);
}

/* The time that a vCPU ran, as its virtual time counts it. */
static u64 weighed(const struct vcpu *vcpu, u64 ns)
{
	const struct vm *vm = vcpu->vm;
	u32 weight = vm->config.weight ? vm->config.weight : VM_WEIGHT_DEFAULT;

	return ns * MAX(vm->active, 1u) * VM_WEIGHT_DEFAULT / weight;
}

static u64 vtime_of_running(u32 cpu)
{
	const struct sched_cpu *own = &cpus[cpu];
	u64 now_ns = time_ns();

	return own->running->vtime_ns + weighed(own->running, now_ns - MIN(own->since_ns, now_ns));
}

static void tell(u32 cpu)
{
	if (cpu != cpu_self()->index)
		cpu_kick(cpu);
}

/* Some CPU without work takes it; the one that ran it last if possible. */
static bool offer_to_idle(const struct vcpu *vcpu)
{
	u32 found = CPUS_MAX;

	for (u32 i = 0; i < cpu_count(); i++)
		if (cpus[i].idle && may_run(vcpu, i) && (found == CPUS_MAX || i == vcpu->cpu))
			found = i;
	if (found == CPUS_MAX)
		return false;
	/* Not offered to it again until it has looked. */
	cpus[found].idle = false;
	tell(found);
	return true;
}

/* Whoever is farthest ahead makes room, or at least gets a slice. */
static void interrupt_somebody(const struct vcpu *vcpu)
{
	u32 found = CPUS_MAX;
	u64 ahead_ns = 0;

	for (u32 i = 0; i < cpu_count(); i++) {
		if (!cpus[i].running || !may_run(vcpu, i))
			continue;
		if (found == CPUS_MAX || vtime_of_running(i) > ahead_ns) {
			found = i;
			ahead_ns = vtime_of_running(i);
		}
	}
	if (found == CPUS_MAX || cpus[found].running == vcpu)
		return;
	if (cpus[found].sliced && ahead_ns < vcpu->vtime_ns + PREEMPT_NS)
		return;
	cpus[found].sliced = true;
	atomic_or(&cpus[found].running->requests, VCPU_REQ_EXIT);
	tell(found);
}

/* Whoever runs alone, with no end to its slice, has taken its CPU's clock along. */
static u64 clock_of_cpu(u32 cpu)
{
	const struct sched_cpu *own = &cpus[cpu];

	return own->running && own->alone ? MAX(own->vtime_ns, vtime_of_running(cpu)) : own->vtime_ns;
}

/* The least clock of the CPUs that may run it. */
static u64 clock_of(const struct vcpu *vcpu)
{
	u64 least_ns = ~0ull;

	for (u32 i = 0; i < cpu_count(); i++)
		if (may_run(vcpu, i))
			least_ns = MIN(least_ns, clock_of_cpu(i));
	return least_ns == ~0ull ? 0 : least_ns;
}

/* Back from sleep, or from its cap. */
static void enqueue(struct vcpu *vcpu)
{
	u64 clock_ns;

	if (vcpu->queued || !vcpu->scheduled)
		return;
	set_place(vcpu, true, vcpu->on_cpu, 0);
	/* One that is not off its CPU yet did not sleep; and its CPU is the first to look for work. */
	if (vcpu->on_cpu)
		return;
	clock_ns = clock_of(vcpu);
	vcpu->vtime_ns = MAX(vcpu->vtime_ns, clock_ns - MIN(clock_ns, WAKE_CREDIT_NS));
	if (!offer_to_idle(vcpu))
		interrupt_somebody(vcpu);
}

/* When the vCPU outside of the queue wants to run: its cap's end or, halted, its next timer; 0: by itself never. */
static u64 waiting_deadline(const struct vcpu *vcpu)
{
	u64 guest_ns = vtimer_next(vcpu);
	u64 host_ns = guest_ns - (u64)vcpu->vm->time_offset_ns;

	if (vcpu->queued || vcpu->on_cpu || READ_ONCE(vcpu->vm->paused) || READ_ONCE(vcpu->vm->state) != VM_LIVE)
		return 0;
	if (vcpu->capped_until_ns)
		return vcpu->capped_until_ns;
	if (!guest_ns || READ_ONCE(vcpu->activity) != VCPU_HALTED)
		return 0;
	return (s64)host_ns <= 0 ? 1 : host_ns;
}

/* The nearest of them that this CPU looks after; 0: none. Who runs looks after its own timers. */
static u64 waiting_nearest(u32 cpu)
{
	u64 nearest_ns = 0;

	for (const struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next)
		if (vcpu->cpu == cpu)
			nearest_ns = deadline_sooner(nearest_ns, waiting_deadline(vcpu));
	return nearest_ns;
}

/* Queues those whose time has come. */
static void enqueue_due(u32 cpu)
{
	u64 now_ns = time_ns();

	for (struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next) {
		u64 deadline_ns = vcpu->cpu == cpu ? waiting_deadline(vcpu) : 0;

		if (deadline_ns && deadline_ns <= now_ns)
			enqueue(vcpu);
	}
}

/* --- under the lock: the choice ----------------------------------------------------------------- */

/* By who waits for whom, if somebody on this CPU waits: its guest's others, then anybody else, then itself. */
static u32 rank(const struct vcpu *vcpu, const struct vcpu *yielder)
{
	if (!yielder)
		return 0;
	if (vcpu == yielder)
		return 2;
	return vcpu->vm == yielder->vm ? 0 : 1;
}

static u64 price(const struct vcpu *vcpu, u32 cpu)
{
	return vcpu->vtime_ns + (vcpu->cpu == cpu ? 0 : MOVE_NS);
}

static struct vcpu *first_for(u32 cpu)
{
	const struct vcpu *yielder = cpus[cpu].yielder;
	struct vcpu *first = NULL;

	for (struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next) {
		if (!waits_for(vcpu, cpu))
			continue;
		if (!first || rank(vcpu, yielder) < rank(first, yielder) ||
		    (rank(vcpu, yielder) == rank(first, yielder) && price(vcpu, cpu) < price(first, cpu)))
			first = vcpu;
	}
	return first;
}

/* Per cent of a CPU that it may have: what a throttling move leaves, and its part of its guest's cap; 100: all. */
static u32 allowance(const struct vm *vm)
{
	u32 percent = READ_ONCE(vm->cap) ? READ_ONCE(vm->cap) : 100;

	if (vm->config.cap)
		percent = MIN(percent, MAX(vm->config.cap / MAX(vm->active, 1u), 1u));
	return percent;
}

/* Until when it waits, if it has had what it may have; 0: it does not. */
static u64 capped_until(struct vcpu *vcpu)
{
	u32 percent = allowance(vcpu->vm);

	vcpu->cap_left_ns = 0;
	if (percent >= 100)
		return 0;
	return cap_check(&vcpu->cap, percent, time_ns(), vcpu->run_ns, &vcpu->cap_left_ns);
}

static struct vcpu *take_first(u32 cpu)
{
	struct vcpu *vcpu;

	while ((vcpu = first_for(cpu))) {
		u64 until_ns = capped_until(vcpu);

		set_place(vcpu, false, !until_ns, until_ns);
		if (!until_ns)
			return vcpu;
		/* Its time to come back is looked after here. */
		vcpu->cpu = cpu;
	}
	return NULL;
}

/* Who waits here, and of which guest: none, others, the running one's. */
enum waiting { WAITING_NONE, WAITING_OTHERS, WAITING_FELLOWS };

static enum waiting who_waits(u32 cpu, const struct vcpu *running)
{
	enum waiting waiting = WAITING_NONE;

	for (const struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next) {
		if (!waits_for(vcpu, cpu))
			continue;
		if (vcpu->vm == running->vm)
			return WAITING_FELLOWS;
		waiting = WAITING_OTHERS;
	}
	return waiting;
}

static void offer_the_rest(void)
{
	for (const struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next)
		if (vcpu->queued && !vcpu->on_cpu)
			(void)offer_to_idle(vcpu);
}

static u64 slice_for(enum waiting waiting)
{
	bool spins_seen = hvm->has_pause_exits && hvm->has_pause_exits();

	switch (waiting) {
	case WAITING_NONE:
		return 0;
	case WAITING_OTHERS:
		break;
	case WAITING_FELLOWS:
		return spins_seen ? SCHED_SLICE_NS : SPIN_SLICE_NS;
	}
	return SCHED_SLICE_NS;
}

/* --- running ------------------------------------------------------------------------------------ */

/* The next vCPU to run here, and for how long at most; 0: until something happens. */
static struct vcpu *sched_pick(u64 *slice_ns)
{
	u32 cpu = cpu_self()->index;
	struct sched_cpu *own = &cpus[cpu];
	struct vcpu *vcpu;

	spin_lock(&lock);
	enqueue_due(cpu);
	vcpu = take_first(cpu);
	own->running = vcpu;
	own->yielder = NULL;
	own->idle = !vcpu;
	if (vcpu) {
		vcpu->cpu = cpu;
		vcpu->vtime_ns = MAX(vcpu->vtime_ns, own->vtime_ns - MIN(own->vtime_ns, LAG_NS));
		own->vtime_ns = MAX(own->vtime_ns, vcpu->vtime_ns);
		own->since_ns = time_ns();
		*slice_ns = slice_for(who_waits(cpu, vcpu));
		own->alone = *slice_ns == 0;
		own->sliced = !own->alone;
		offer_the_rest();
	}
	spin_unlock(&lock);
	return vcpu;
}

/*
 * When the running vCPU must come back: after its slice, if it has one, when its cap says so, and when
 * the time of one that waits comes, which nobody else looks at. 0: never.
 */
static u64 slice_end(const struct vcpu *vcpu, u64 slice_ns)
{
	u64 end_ns, nearest_ns;

	slice_ns = deadline_sooner(slice_ns, vcpu->cap_left_ns);
	end_ns = slice_ns ? time_ns() + slice_ns : 0;
	spin_lock(&lock);
	nearest_ns = waiting_nearest(cpu_self()->index);
	spin_unlock(&lock);
	return deadline_sooner(end_ns, nearest_ns);
}

static void sched_run(struct vcpu *vcpu, u64 slice_ns)
{
	u32 cpu = cpu_self()->index;
	u64 ran_before_ns = vcpu->run_ns;
	/* What wakes it from here on queues it by itself; once it is off the CPU it may be gone. */
	bool runnable = vcpu_run(vcpu, slice_end(vcpu, slice_ns));

	spin_lock(&lock);
	vcpu->vtime_ns += weighed(vcpu, vcpu->run_ns - ran_before_ns);
	if (cpus[cpu].alone)
		cpus[cpu].vtime_ns = MAX(cpus[cpu].vtime_ns, vcpu->vtime_ns);
	cpus[cpu].running = NULL;
	set_place(vcpu, (vcpu->queued || runnable) && vcpu->scheduled, false, 0);
	spin_unlock(&lock);
}

bool sched_run_slice(void)
{
	u64 slice_ns;
	struct vcpu *vcpu = sched_pick(&slice_ns);

	if (!vcpu)
		return false;
	sched_run(vcpu, SERVICE_SLICE_NS);
	return true;
}

void sched_main(void)
{
	for (;;) {
		u64 slice_ns;
		struct vcpu *vcpu = sched_pick(&slice_ns);

		if (vcpu)
			sched_run(vcpu, slice_ns);
		else
			cpu_idle(sched_next_deadline());
		cpu_take_pending();
	}
}

u64 sched_next_deadline(void)
{
	u32 cpu = cpu_self()->index;
	u64 nearest_ns;

	spin_lock(&lock);
	nearest_ns = first_for(cpu) ? 1 : waiting_nearest(cpu);
	spin_unlock(&lock);
	return nearest_ns;
}

/* --- from outside ------------------------------------------------------------------------------- */

static u32 vcpus_on(u32 cpu)
{
	u32 n = 0;

	for (const struct vcpu *vcpu = all; vcpu; vcpu = vcpu->sched_next)
		n += vcpu->cpu == cpu;
	return n;
}

void sched_add(struct vcpu *vcpu)
{
	u32 best = CPUS_MAX;

	spin_lock(&lock);
	for (u32 i = 0; i < cpu_count(); i++)
		if (may_run(vcpu, i) && (best == CPUS_MAX || vcpus_on(i) < vcpus_on(best)))
			best = i;
	assert(best != CPUS_MAX);
	vcpu->cpu = best;
	vcpu->sched_next = all;
	vcpu->scheduled = true;
	all = vcpu;
	spin_unlock(&lock);
}

void sched_remove(struct vcpu *vcpu)
{
	struct vcpu **link = &all;

	spin_lock(&lock);
	while (*link != vcpu)
		link = &(*link)->sched_next;
	*link = vcpu->sched_next;
	vcpu->scheduled = false;
	set_place(vcpu, false, vcpu->on_cpu, 0);
	for (u32 i = 0; i < cpu_count(); i++)
		if (cpus[i].yielder == vcpu)
			cpus[i].yielder = NULL;
	spin_unlock(&lock);
	/* Between its CPU's choice and the end of vcpu_run(), which returned at once: not for long. */
	for (;;) {
		bool gone;

		spin_lock(&lock);
		gone = !vcpu->on_cpu;
		spin_unlock(&lock);
		if (gone)
			return;
		cpu_relax();
	}
}

void sched_wake(struct vcpu *vcpu)
{
	spin_lock(&lock);
	enqueue(vcpu);
	spin_unlock(&lock);
}

void sched_give_way(struct vcpu *vcpu)
{
	u32 cpu = cpu_self()->index;

	spin_lock(&lock);
	if (who_waits(cpu, vcpu) != WAITING_NONE) {
		cpus[cpu].yielder = vcpu;
		atomic_or(&vcpu->requests, VCPU_REQ_EXIT);
	}
	spin_unlock(&lock);
}

void sched_set_cap(struct vm *vm, u32 percent)
{
	WRITE_ONCE(vm->cap, percent);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		/* Whoever runs without a slice comes back for a new one; whoever waits need not any more. */
		atomic_or(&vcpu->requests, VCPU_REQ_EXIT);
		vcpu_kick(vcpu);
		if (!vm->paused)
			sched_wake(vcpu);
	}
}
