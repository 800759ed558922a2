/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which vCPU runs where and when: each CPU has a queue of its own, round robin. A vCPU that halts
 * leaves the queue; vcpu_kick() or its next timer bring it back. So does one that has used up what its
 * guest's cap lets it have (vmm/cap.h), until it may run again. A CPU without work idles until the
 * nearest of these times; one with work interrupts it then.
 */
#include "vmm/sched.h"

#include "arch/x86_64/cpu.h"
#include "compiler.h"
#include "lib/log.h"
#include "spinlock.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* In the service loop, which has other things to do, a slice is shorter. */
#define SERVICE_SLICE_NS (2 * NS_PER_MS)

struct cpu_queue {
	struct spinlock lock;
	/* under lock: */
	struct vcpu *first; /* waiting to run, linked by run_next */
	struct vcpu *last;
	struct vcpu *all;   /* every vCPU of this CPU, linked by cpu_next */
	u32 count;
	struct vcpu *running;
	bool running_sliced; /* it has a slice: it will come back by itself */
};

static struct cpu_queue queues[CPUS_MAX];

static struct cpu_queue *own_queue(void)
{
	return &queues[cpu_self()->index];
}

static void push(struct cpu_queue *queue, struct vcpu *vcpu)
{
	if (vcpu->queued || !vcpu->scheduled)
		return;
	vcpu->queued = true;
	vcpu->run_next = NULL;
	if (queue->last)
		queue->last->run_next = vcpu;
	else
		queue->first = vcpu;
	queue->last = vcpu;
}

static struct vcpu *pop(struct cpu_queue *queue)
{
	struct vcpu *vcpu = queue->first;

	if (!vcpu)
		return NULL;
	queue->first = vcpu->run_next;
	if (!queue->first)
		queue->last = NULL;
	vcpu->run_next = NULL;
	vcpu->queued = false;
	return vcpu;
}

static void unqueue(struct cpu_queue *queue, struct vcpu *vcpu)
{
	struct vcpu *previous = NULL;

	if (!vcpu->queued)
		return;
	for (struct vcpu *v = queue->first; v != vcpu; v = v->run_next)
		previous = v;
	if (previous)
		previous->run_next = vcpu->run_next;
	else
		queue->first = vcpu->run_next;
	if (queue->last == vcpu)
		queue->last = previous;
	vcpu->run_next = NULL;
	vcpu->queued = false;
}

/* CPUS_MAX: none runs guests. */
static u32 least_loaded_cpu(void)
{
	/* The service CPU runs guests only where it is the only CPU. */
	u32 first = cpu_count() > 1 ? SERVICE_CPU + 1 : SERVICE_CPU;
	u32 best = CPUS_MAX;

	for (u32 i = first; i < cpu_count(); i++)
		if (cpu_get(i)->online && (best == CPUS_MAX || queues[i].count < queues[best].count))
			best = i;
	return best;
}

bool sched_has_cpu(void)
{
	return least_loaded_cpu() != CPUS_MAX;
}

void sched_add(struct vcpu *vcpu)
{
	u32 cpu = least_loaded_cpu();
	struct cpu_queue *queue;

	assert(cpu != CPUS_MAX);
	queue = &queues[cpu];
	spin_lock(&queue->lock);
	vcpu->cpu = cpu;
	vcpu->cpu_next = queue->all;
	vcpu->scheduled = true;
	queue->all = vcpu;
	queue->count++;
	spin_unlock(&queue->lock);
}

void sched_remove(struct vcpu *vcpu)
{
	struct cpu_queue *queue = &queues[vcpu->cpu];
	struct vcpu **link = &queue->all;

	spin_lock(&queue->lock);
	unqueue(queue, vcpu);
	while (*link != vcpu)
		link = &(*link)->cpu_next;
	*link = vcpu->cpu_next;
	vcpu->scheduled = false;
	queue->count--;
	spin_unlock(&queue->lock);
	/* Between its CPU's pop() and the end of vcpu_run(), which returned at once: not for long. */
	while (READ_ONCE(queue->running) == vcpu)
		cpu_relax();
}

void sched_wake(struct vcpu *vcpu)
{
	struct cpu_queue *queue = &queues[vcpu->cpu];
	bool interrupt;

	spin_lock(&queue->lock);
	push(queue, vcpu);
	/* Who runs there without a slice, because nobody waited, must come back now. */
	interrupt = queue->running && queue->running != vcpu && !queue->running_sliced;
	if (interrupt)
		atomic_or(&queue->running->requests, VCPU_REQ_EXIT);
	spin_unlock(&queue->lock);
	if (vcpu->cpu != cpu_self()->index)
		cpu_kick(vcpu->cpu);
}

/* When the vCPU outside of the queue wants to run: its cap's end or, halted, its next timer; 0: by itself never. */
static u64 waiting_deadline(const struct vcpu *vcpu)
{
	u64 guest_ns = vtimer_next(vcpu);
	u64 host_ns = guest_ns - (u64)vcpu->vm->time_offset_ns;

	if (vcpu->queued || READ_ONCE(vcpu->vm->paused) || READ_ONCE(vcpu->vm->state) != VM_LIVE)
		return 0;
	if (vcpu->capped_until_ns)
		return vcpu->capped_until_ns;
	if (!guest_ns || READ_ONCE(vcpu->activity) != VCPU_HALTED)
		return 0;
	return (s64)host_ns <= 0 ? 1 : host_ns;
}

/* The nearest of them, under the lock; 0: none. Who runs looks after its own timers. */
static u64 waiting_nearest(const struct cpu_queue *queue)
{
	u64 nearest = 0;

	for (const struct vcpu *vcpu = queue->all; vcpu; vcpu = vcpu->cpu_next) {
		u64 deadline_ns = vcpu == queue->running ? 0 : waiting_deadline(vcpu);

		if (deadline_ns && (!nearest || deadline_ns < nearest))
			nearest = deadline_ns;
	}
	return nearest;
}

u64 sched_next_deadline(void)
{
	struct cpu_queue *queue = own_queue();
	u64 nearest;

	spin_lock(&queue->lock);
	nearest = queue->first ? 1 : waiting_nearest(queue);
	spin_unlock(&queue->lock);
	return nearest;
}

/* Queues those whose time has come. Under the lock. */
static void push_due(struct cpu_queue *queue)
{
	u64 now_ns = time_ns();

	for (struct vcpu *vcpu = queue->all; vcpu; vcpu = vcpu->cpu_next) {
		u64 deadline_ns = waiting_deadline(vcpu);

		if (deadline_ns && deadline_ns <= now_ns)
			push(queue, vcpu);
	}
}

/* Has it had what its guest's cap allows? Then it waits. Under the lock. */
static bool capped(struct vcpu *vcpu)
{
	u32 percent = READ_ONCE(vcpu->vm->cap);

	vcpu->cap_left_ns = 0;
	vcpu->capped_until_ns = 0;
	if (percent)
		vcpu->capped_until_ns = cap_check(&vcpu->cap, percent, time_ns(), vcpu->run_ns, &vcpu->cap_left_ns);
	return vcpu->capped_until_ns != 0;
}

/* The next vCPU to run. */
static struct vcpu *sched_pick(struct cpu_queue *queue)
{
	struct vcpu *vcpu;

	spin_lock(&queue->lock);
	push_due(queue);
	do {
		vcpu = pop(queue);
	} while (vcpu && capped(vcpu));
	queue->running = vcpu;
	queue->running_sliced = queue->first != NULL;
	spin_unlock(&queue->lock);
	return vcpu;
}

/*
 * When the running vCPU must come back: after its slice, if it has one, when its cap says so, and when
 * the time of one that waits comes, which nobody else looks at. 0: never.
 */
static u64 slice_end(struct cpu_queue *queue, const struct vcpu *vcpu, u64 slice_ns)
{
	u64 end_ns, nearest;

	if (vcpu->cap_left_ns)
		slice_ns = slice_ns ? MIN(slice_ns, vcpu->cap_left_ns) : vcpu->cap_left_ns;
	end_ns = slice_ns ? time_ns() + slice_ns : 0;

	spin_lock(&queue->lock);
	nearest = waiting_nearest(queue);
	spin_unlock(&queue->lock);
	if (!end_ns || !nearest)
		return end_ns | nearest;
	return MIN(end_ns, nearest);
}

static void sched_run(struct cpu_queue *queue, struct vcpu *vcpu, u64 slice_ns)
{
	/* What wakes it from here on queues it by itself; once running is NULL it may be gone. */
	bool runnable = vcpu_run(vcpu, slice_end(queue, vcpu, slice_ns));

	spin_lock(&queue->lock);
	/* In front of who had the CPU until now. */
	push_due(queue);
	if (runnable)
		push(queue, vcpu);
	queue->running = NULL;
	spin_unlock(&queue->lock);
}

void sched_set_cap(struct vm *vm, u32 percent)
{
	WRITE_ONCE(vm->cap, percent);
	for (u32 i = 0; i < vm->vcpu_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		/* Whoever runs without a slice comes back for a new one; whoever waits need not any more. */
		atomic_or(&vcpu->requests, VCPU_REQ_EXIT);
		if (!vm->paused)
			sched_wake(vcpu);
	}
}

void sched_main(void)
{
	struct cpu_queue *queue = own_queue();

	for (;;) {
		struct vcpu *vcpu = sched_pick(queue);

		if (vcpu)
			sched_run(queue, vcpu, queue->running_sliced ? SCHED_SLICE_NS : 0);
		else
			cpu_idle(sched_next_deadline());
		cpu_take_pending();
	}
}

bool sched_run_slice(void)
{
	struct cpu_queue *queue = own_queue();
	struct vcpu *vcpu = sched_pick(queue);

	if (!vcpu)
		return false;
	sched_run(queue, vcpu, SERVICE_SLICE_NS);
	return true;
}
