/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual CPU: made and unmade by the service CPU, run by the host CPU that vmm/sched.c chose.
 *
 * Who wants the vCPU to look at something (an interrupt in its IRR, a request, a pause bit, an
 * earlier timer) first stores that, then calls vcpu_kick(). The order that makes a kick safe:
 *
 *	kicker:  store the news;      fence;  look at in_guest and activity
 *	vCPU:    in_guest = 1;        fence;  look for news;  enter the guest
 *	         activity = HALTED;   fence;  look for news;  give the CPU away
 *
 * Both sides store before they look, with a full fence between (TSO alone lets a load pass an
 * earlier store, SDM 3 9.2.3.4), so at least one of the two sees the other: either the vCPU finds
 * the news, or the kicker finds it in the guest and sends an IPI. The IPI is not lost though
 * interrupts are off until the guest runs: it waits in the host's APIC and ends the guest's run
 * at once (APM 2 15.13.1, SDM 3 26.2).
 *
 * So that an entry is cheap, its look for news is a look at one word, vcpu->requests:
 *
 *	news:    store them;             then or VCPU_REQ_LOOK in (vcpu_look(), vcpu_kick())
 *	vCPU:    requests = 0 (swap);    then look at everything: run_look()
 *
 * Both are full fences: news that the look missed come with a bit that the next entry finds. Where
 * the look leaves something waiting (an interrupt that the guest cannot take yet), it sets the bit
 * again. vcpu_run() begins with it. Interrupt handlers' flags (cpu->pending) are a word of their
 * own, which changes only while interrupts are on: around a stay in the guest.
 */
#include "vmm/vcpu.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "compiler.h"
#include "errors.h"
#include "lib/log.h"
#include "lib/string.h"
#include "mm/pages.h"
#include "vmm/cr.h"
#include "vmm/irqchip.h"
#include "vmm/msr.h"
#include "vmm/pvclock.h"
#include "vmm/sched.h"
#include "vmm/startup.h"
#include "vmm/vm.h"

/* Written by each CPU for itself. */
static struct vcpu *current[CPUS_MAX];

/* The state of one vcpu_run() call. */
struct run {
	struct cpu *cpu;
	u64 slice_end_ns; /* in time_ns; 0: none */
	u64 armed_ns;     /* what this CPU's timer is set to; 0: not set */
	bool slice_over;
};

struct vcpu *vcpu_current(void)
{
	return current[cpu_self()->index];
}

int vcpu_init(struct vcpu *vcpu, struct vm *vm, u32 index)
{
	unsigned int order = pages_order(vcpu_xsave_bytes());
	hpa_t apic = pages_alloc(0);
	hpa_t xsave = pages_alloc(order);
	int error = -E_NOMEM;

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->vm = vm;
	vcpu->index = index;
	if (apic == HPA_NONE || xsave == HPA_NONE)
		goto free_pages;
	vcpu->apic_page = page_ptr(apic);
	vcpu->xsave = page_ptr(xsave);
	fpu_area_init(vcpu->xsave);
	vcpu->xcr0 = 1;
	error = msr_file_init(vcpu);
	if (error)
		goto free_pages;
	error = hvm->vcpu_init(vcpu);
	if (error)
		goto free_msrs;
	sched_add(vcpu);
	vcpu_update_tsc(vcpu);
	return 0;
free_msrs:
	msr_file_fini(vcpu);
free_pages:
	if (xsave != HPA_NONE)
		pages_free(xsave, order);
	if (apic != HPA_NONE)
		pages_free(apic, 0);
	vcpu->xsave = NULL;
	vcpu->apic_page = NULL;
	return error;
}

void vcpu_fini(struct vcpu *vcpu)
{
	sched_remove(vcpu);
	/* Nothing there where a reset found no memory. */
	if (vcpu->vendor)
		hvm->vcpu_fini(vcpu);
	msr_file_fini(vcpu);
	pages_free(page_hpa(vcpu->xsave), pages_order(vcpu_xsave_bytes()));
	pages_free(page_hpa(vcpu->apic_page), 0);
	vcpu->xsave = NULL;
	vcpu->apic_page = NULL;
	vcpu->timers = NULL;
}

int vcpu_reset(struct vcpu *vcpu)
{
	hvm->vcpu_fini(vcpu);
	memset(&vcpu->regs, 0, sizeof(vcpu->regs));
	fpu_area_init(vcpu->xsave);
	vcpu->xcr0 = 1;
	vcpu->activity = VCPU_ACTIVE;
	vcpu->startup = 0;
	vcpu->irq_window = false;
	vcpu->tsc_adjust = 0;
	vcpu->pvclock_msr = 0;
	vcpu->pvclock_wall_msr = 0;
	msr_file_reset(vcpu);
	if (hvm->vcpu_init(vcpu))
		return -E_NOMEM;
	vcpu_update_tsc(vcpu);
	return 0;
}

u64 vcpu_tsc(const struct vcpu *vcpu)
{
	return vm_tsc(vcpu->vm) + vcpu->tsc_adjust;
}

void vcpu_update_tsc(struct vcpu *vcpu)
{
	hvm->set_tsc(vcpu, vcpu->vm->tsc_offset + vcpu->tsc_adjust, vcpu->vm->tsc_ratio);
}

void vcpu_kick(struct vcpu *vcpu)
{
	/* The fence, too. */
	vcpu_look(vcpu);
	/* What its own CPU does between two entries, the run loop sees by itself. */
	if (vcpu == vcpu_current())
		return;
	if (READ_ONCE(vcpu->activity) != VCPU_ACTIVE)
		sched_wake(vcpu);
	else if (READ_ONCE(vcpu->in_guest))
		cpu_kick(READ_ONCE(vcpu->cpu));
}

void vcpu_inject_exception(struct vcpu *vcpu, u8 vector, bool has_error_code, u32 error_code)
{
	struct vm_event event = {
		.type = EVENT_EXCEPTION,
		.vector = vector,
	};

	/* In real mode none is pushed. */
	if (has_error_code && hvm->get_cr(vcpu, 0) & CR0_PE) {
		event.has_error_code = 1;
		event.error_code = error_code;
	}
	hvm->inject(vcpu, event);
}

/* May it run at all? */
static bool vcpu_stopped(const struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;

	return READ_ONCE(vm->state) != VM_LIVE || READ_ONCE(vm->paused) || READ_ONCE(vm->want);
}

/* By another one's handler; by the shadow of an STI or a MOV SS. */
enum nmi_block { NMI_FREE, NMI_BLOCKED, NMI_SHADOW };

static enum nmi_block vcpu_nmi_block(const struct vcpu *vcpu)
{
	struct cpu_state state;

	hvm->get_state(vcpu, &state);
	return state.nmi_blocked ? NMI_BLOCKED : state.interrupt_shadow ? NMI_SHADOW : NMI_FREE;
}

/* Would something end its HLT (SDM 2, HLT)? */
static bool vcpu_has_wakeup(struct vcpu *vcpu)
{
	irqchip_gather(vcpu);
	if (hvm->event_pending(vcpu) || (irqchip_nmi_pending(vcpu) && vcpu_nmi_block(vcpu) == NMI_FREE))
		return true;
	return irqchip_pending(vcpu) >= 0 && hvm->irq_ready(vcpu);
}

bool vcpu_runnable(struct vcpu *vcpu)
{
	if (vcpu_stopped(vcpu))
		return false;
	if (unlikely(READ_ONCE(vcpu->startup)))
		return true;
	switch ((enum vcpu_activity)READ_ONCE(vcpu->activity)) {
	case VCPU_ACTIVE:
		return true;
	case VCPU_HALTED:
		return vcpu_has_wakeup(vcpu);
	case VCPU_WAIT_SIPI:
		return false;
	}
	return false;
}

static void vcpu_set_irq_window(struct vcpu *vcpu, bool on)
{
	if (vcpu->irq_window == on)
		return;
	vcpu->irq_window = on;
	hvm->request_irq_window(vcpu, on);
}

static void deliver_nmi(struct vcpu *vcpu)
{
	struct vm_event event = { .type = EVENT_NMI, .vector = 2 };
	enum nmi_block block = vcpu_nmi_block(vcpu);

	hvm->request_nmi_window(vcpu, block == NMI_BLOCKED);
	if (block == NMI_BLOCKED)
		irqchip_nmi_merge(vcpu);
	if (hvm->event_pending(vcpu) || block != NMI_FREE)
		return;
	irqchip_nmi_take(vcpu);
	hvm->inject(vcpu, event);
	if (irqchip_nmi_pending(vcpu))
		hvm->request_nmi_window(vcpu, true);
}

/*
 * An NMI that waits for the end of a shadow, or behind another event, makes no exit by itself, and a guest that spins makes
 * none: but IF will be set again, most often. Where it is set already a window would end the stay at once.
 */
static bool nmi_wants_window(const struct vcpu *vcpu)
{
	return irqchip_nmi_pending(vcpu) && !hvm->irq_ready(vcpu);
}

static void deliver_irq(struct vcpu *vcpu)
{
	struct vm_event event = { .type = EVENT_IRQ };

	if (hvm->apic_sync && hvm->apic_sync(vcpu) && !irqchip_extint_pending(vcpu)) {
		vcpu_set_irq_window(vcpu, nmi_wants_window(vcpu));
		return;
	}
	if (irqchip_pending(vcpu) >= 0 && hvm->irq_ready(vcpu)) {
		event.vector = irqchip_accept(vcpu);
		hvm->inject(vcpu, event);
	}
	vcpu_set_irq_window(vcpu, irqchip_pending(vcpu) >= 0 || nmi_wants_window(vcpu));
}

/*
 * Gives the guest what waits for it: one event an entry, an NMI before interrupts (SDM 3 6.9). What
 * goes on waiting is looked at before every entry.
 */
static void vcpu_deliver(struct vcpu *vcpu)
{
	irqchip_gather(vcpu);
	if (unlikely(irqchip_nmi_pending(vcpu)))
		deliver_nmi(vcpu);
	deliver_irq(vcpu);
	if (vcpu->irq_window || irqchip_nmi_pending(vcpu))
		vcpu_look(vcpu);
}

/* The nearer of slice's end and the guest's timers, in time_ns; 0: neither. */
static u64 run_deadline(const struct vcpu *vcpu, const struct run *run)
{
	u64 guest_ns = vtimer_next(vcpu);
	u64 host_ns;

	if (!guest_ns)
		return run->slice_end_ns;
	host_ns = guest_ns - (u64)vcpu->vm->time_offset_ns;
	/* Long past, as seen on a guest older than this host: at once. */
	if ((s64)host_ns <= 0)
		host_ns = 1;
	return run->slice_end_ns ? MIN(host_ns, run->slice_end_ns) : host_ns;
}

/* What this CPU's interrupt handlers have noted since the last time. */
static void run_take_pending(struct vcpu *vcpu, struct run *run)
{
	struct cpu *cpu = run->cpu;
	u32 pending = READ_ONCE(cpu->pending);

	vcpu_look(vcpu);
	if (cpu->index == SERVICE_CPU && pending & ~(u32)CPU_PENDING_TIMER)
		run->slice_over = true; /* for the service loop, which takes these flags itself */
	else
		atomic_and(&cpu->pending, ~(u32)(CPU_PENDING_TIMER | CPU_PENDING_KICK));
	if (!(pending & CPU_PENDING_TIMER))
		return;
	run->armed_ns = 0;
	if (run->slice_end_ns && time_ns() >= run->slice_end_ns)
		run->slice_over = true;
	vtimer_run(vcpu);
}

static void run_arm_timer(const struct vcpu *vcpu, struct run *run)
{
	u64 deadline_ns = run_deadline(vcpu, run);

	if (likely(deadline_ns == run->armed_ns))
		return;
	run->armed_ns = deadline_ns;
	cpu_timer_set(deadline_ns);
}

/* The look before the guest, with in_guest set; false: it does not go in. */
static bool run_look(struct vcpu *vcpu, struct run *run)
{
	/* First: see the file's head. */
	u32 requests = atomic_swap(&vcpu->requests, 0);

	if (requests & VCPU_REQ_FLUSH)
		hvm->flush_tlb(vcpu);
	if (requests & VCPU_REQ_EXIT || run->slice_over || vcpu_stopped(vcpu))
		return false;
	startup_take(vcpu);
	if (unlikely(vcpu->activity != VCPU_ACTIVE)) {
		/* What starts it may have come since: then it comes back. */
		if (vcpu->activity == VCPU_WAIT_SIPI || !vcpu_runnable(vcpu))
			return false;
		WRITE_ONCE(vcpu->activity, VCPU_ACTIVE);
	}
	vcpu_deliver(vcpu);
	run_arm_timer(vcpu, run);
	return true;
}

/* One stay in the guest and what came of it; false: its time here is over. */
static bool run_once(struct vcpu *vcpu, struct run *run)
{
	struct vm_exit exit;

	if (unlikely(READ_ONCE(run->cpu->pending)))
		run_take_pending(vcpu, run);
	/* An exchange is a full fence: see the file's head. */
	atomic_swap(&vcpu->in_guest, 1);
	if (unlikely(READ_ONCE(vcpu->requests)) && !run_look(vcpu, run)) {
		store_release(&vcpu->in_guest, 0);
		return false;
	}
	hvm->vcpu_run(vcpu, &exit);
	store_release(&vcpu->in_guest, 0);
	vcpu->exits_by_kind[exit.kind]++;
	vcpu_handle_exit(vcpu, &exit);
	return true;
}

bool vcpu_run(struct vcpu *vcpu, u64 slice_end_ns)
{
	struct run run = { .cpu = cpu_self(), .slice_end_ns = slice_end_ns };
	u64 start_ns = time_ns();
	bool runnable;

	current[run.cpu->index] = vcpu;
	vcpu_look(vcpu);
	atomic_swap(&vcpu->running, 1); /* then looks at the pause bits, as vm_pause() looks at running */
	if (!vcpu_stopped(vcpu))
		vtimer_run(vcpu);
	fpu_load(vcpu->xsave, vcpu->xcr0);
	while (run_once(vcpu, &run))
		;
	if (run.armed_ns)
		cpu_timer_set(0);
	fpu_flush(vcpu->xsave);
	vcpu->run_ns += time_ns() - start_ns;
	current[run.cpu->index] = NULL;
	/* The last look at its devices. */
	runnable = vcpu_runnable(vcpu);
	if (hvm->vcpu_leave)
		hvm->vcpu_leave(vcpu);
	/* From here on anybody may save, move, reset or destroy it. */
	store_release(&vcpu->running, 0);
	return runnable;
}
