/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC against SDM 3 chapter 10, and interrupts' way from line or message to the vCPU. */
#include "dev_world.h"

#define APIC(reg) (BOARD_LAPIC_BASE + 16u * (reg))
#define MSR(reg) (0x800u + (reg))

static struct world *w;

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_time_set(1000000);
	w = world_new();
	/* As a kernel does it first: on, LINT0 off. */
	mmio_write(w, APIC(LAPIC_SVR), 0x1ff);
	mmio_write(w, APIC(LAPIC_LVT_LINT0), 0x10700);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

static void wrmsr(u32 msr, u64 value)
{
	assert_int_equal(irqchip_msr_write(&w->vcpu, msr, value), 0);
}

static u64 rdmsr(u32 msr)
{
	u64 value = 0;

	assert_int_equal(irqchip_msr_read(&w->vcpu, msr, &value), 0);
	return value;
}

static void x2apic_on(void)
{
	wrmsr(0x1b, BOARD_LAPIC_BASE | APIC_BASE_EN | APIC_BASE_EXTD | APIC_BASE_BSP);
}

static void msi(u8 vector)
{
	irqchip_msi(&w->vm, 0xfee00000, vector);
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(mmio_read(w, APIC(LAPIC_ID)), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_VERSION)), 0x50014);
	mmio_write(w, APIC(LAPIC_VERSION), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_VERSION)), 0x50014);
	mmio_write(w, APIC(LAPIC_LDR), 0x01ffffff);
	assert_int_equal(mmio_read(w, APIC(LAPIC_LDR)), 0x01000000);
	mmio_write(w, APIC(LAPIC_DFR), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_DFR)), 0x0fffffff);
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0xffffffff);
	assert_int_equal(mmio_read(w, APIC(LAPIC_LVT_TIMER)), 0x700ff);
	/* No such register: ESR says so after the write that latches it. */
	mmio_write(w, APIC(LAPIC_ESR), 0);
	assert_int_equal(mmio_read(w, APIC(1)), 0);
	mmio_write(w, APIC(LAPIC_ESR), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_ESR)), LAPIC_ESR_REGISTER);
	mmio_write(w, APIC(LAPIC_ESR), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_ESR)), 0);
}

static void test_priorities(void **state)
{
	(void)state;
	assert_int_equal(take(w), -1);
	msi(0x41);
	msi(0x62);
	assert_int_equal(mmio_read(w, APIC(LAPIC_IRR + 2)), 1u << 1);
	assert_int_equal(mmio_read(w, APIC(LAPIC_IRR + 3)), 1u << 2);
	assert_int_equal(take(w), 0x62);
	assert_int_equal(mmio_read(w, APIC(LAPIC_PPR)), 0x60);
	assert_int_equal(mmio_read(w, APIC(LAPIC_ISR + 3)), 1u << 2);
	assert_int_equal(take(w), -1);
	msi(0x6f); /* the same class waits */
	assert_int_equal(take(w), -1);
	msi(0x70);
	assert_int_equal(take(w), 0x70);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(take(w), -1);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(take(w), 0x6f);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	irqchip_set_tpr(&w->vcpu, 4);
	assert_int_equal(take(w), -1);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TPR)), 0x40);
	mmio_write(w, APIC(LAPIC_TPR), 0x3f);
	assert_int_equal(irqchip_get_tpr(&w->vcpu), 3);
	assert_int_equal(take(w), 0x41);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_PPR)), 0x3f);
}

static void test_software_disable(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x50);
	mmio_write(w, APIC(LAPIC_SVR), 0xff);
	assert_int_equal(mmio_read(w, APIC(LAPIC_LVT_TIMER)), 0x10050);
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x50);
	assert_int_equal(mmio_read(w, APIC(LAPIC_LVT_TIMER)), 0x10050);
	msi(0x41);
	assert_int_equal(take(w), -1);
	irqchip_msi(&w->vm, 0xfee00000, 0x400); /* NMIs come through */
	assert_true(irqchip_nmi_pending(&w->vcpu));
	irqchip_nmi_take(&w->vcpu);
	assert_false(irqchip_nmi_pending(&w->vcpu));
}

/* One is handled and one is kept: of three that come at once, two are delivered, and of two one while one is handled. */
static void test_several_nmis(void **state)
{
	(void)state;
	for (u32 i = 0; i < 3; i++)
		irqchip_msi(&w->vm, 0xfee00000, 0x400);
	for (u32 i = 0; i < 2; i++) {
		assert_true(irqchip_nmi_pending(&w->vcpu));
		irqchip_nmi_take(&w->vcpu);
	}
	assert_false(irqchip_nmi_pending(&w->vcpu));
	irqchip_nmi_merge(&w->vcpu);
	for (u32 i = 0; i < 2; i++)
		irqchip_msi(&w->vm, 0xfee00000, 0x400);
	irqchip_nmi_merge(&w->vcpu);
	assert_true(irqchip_nmi_pending(&w->vcpu));
	irqchip_nmi_take(&w->vcpu);
	assert_false(irqchip_nmi_pending(&w->vcpu));
}

static void test_destinations(void **state)
{
	(void)state;
	irqchip_msi(&w->vm, 0xfee01000, 0x51); /* APIC 1: nobody */
	assert_int_equal(take(w), -1);
	irqchip_msi(&w->vm, 0xfeeff000, 0x51);
	assert_int_equal(take(w), 0x51);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	mmio_write(w, APIC(LAPIC_LDR), 0x02000000);
	irqchip_msi(&w->vm, 0xfee01004, 0x52); /* logical, flat */
	assert_int_equal(take(w), -1);
	irqchip_msi(&w->vm, 0xfee03004, 0x53);
	assert_int_equal(take(w), 0x53);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	mmio_write(w, APIC(LAPIC_DFR), 0); /* clusters */
	mmio_write(w, APIC(LAPIC_LDR), 0x14000000);
	irqchip_msi(&w->vm, 0xfee24004, 0x54);
	assert_int_equal(take(w), -1);
	irqchip_msi(&w->vm, 0xfee16004, 0x154); /* lowest priority */
	assert_int_equal(take(w), 0x54);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	irqchip_msi(&w->vm, 0xfed00000, 0x55); /* no MSI at all */
	assert_int_equal(take(w), -1);
	irqchip_msi(&w->vm, 0xfee00000, 0x0f); /* a vector that does not exist */
	assert_int_equal(take(w), -1);
	mmio_write(w, APIC(LAPIC_ESR), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_ESR)), LAPIC_ESR_RECEIVE_VECTOR);
}

static void test_ipi(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_ICR), 0x40000 | 0x61); /* self */
	assert_int_equal(take(w), 0x61);
	mmio_write(w, APIC(LAPIC_ICR), 0x80000 | 0x62); /* all */
	mmio_write(w, APIC(LAPIC_ICR), 0xc0000 | 0x73); /* all but me: nobody */
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(take(w), 0x62);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(take(w), -1);
	mmio_write(w, APIC(LAPIC_ICR_HIGH), 0);
	mmio_write(w, APIC(LAPIC_ICR), 0x400); /* NMI to 0 */
	assert_true(irqchip_nmi_pending(&w->vcpu));
	mmio_write(w, APIC(LAPIC_ICR), 0x05);
	mmio_write(w, APIC(LAPIC_ESR), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_ESR)), LAPIC_ESR_SEND_VECTOR);
	mmio_write(w, APIC(LAPIC_ICR), 0xc4500); /* INIT to the others: there are none */
	assert_int_equal(w->vm.want, 0);
	mmio_write(w, APIC(LAPIC_ICR), 0x4500); /* to itself, the boot CPU */
	assert_int_equal(w->vm.want, VM_WANT_REBOOT);
}

static void test_x2apic(void **state)
{
	u64 value;

	(void)state;
	assert_int_equal(irqchip_msr_read(&w->vcpu, MSR(LAPIC_ID), &value), -E_INVAL);
	/* SDM 3 figure 10-27. */
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x1b, BOARD_LAPIC_BASE | APIC_BASE_EXTD), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x1b, 0xfed00000 | APIC_BASE_EN), -E_INVAL);
	x2apic_on();
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x1b, BOARD_LAPIC_BASE | APIC_BASE_EN), -E_INVAL);
	assert_int_equal(mmio_read(w, APIC(LAPIC_VERSION)), 0xffffffff);
	assert_int_equal(rdmsr(MSR(LAPIC_ID)), 0);
	assert_int_equal(rdmsr(MSR(LAPIC_LDR)), 1);
	assert_int_equal(irqchip_msr_write(&w->vcpu, MSR(LAPIC_LDR), 1), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, MSR(LAPIC_DFR), 0), -E_INVAL);
	assert_int_equal(irqchip_msr_read(&w->vcpu, MSR(LAPIC_DFR), &value), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, MSR(LAPIC_EOI), 1), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, MSR(LAPIC_SVR), 0x1000), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, MSR(LAPIC_VERSION), 0), -E_INVAL);
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x8ff, 0), -E_INVAL);
	wrmsr(MSR(LAPIC_SELF_IPI), 0x44);
	assert_int_equal(take(w), 0x44);
	wrmsr(MSR(LAPIC_EOI), 0);
	wrmsr(MSR(LAPIC_ICR), 0xffffffff00000045);
	assert_int_equal(rdmsr(MSR(LAPIC_ICR)), 0xffffffff00000045);
	assert_int_equal(take(w), 0x45);
	wrmsr(MSR(LAPIC_EOI), 0);
	wrmsr(MSR(LAPIC_ICR), 0x0000000100000846); /* logical, cluster 0, CPU 0 */
	assert_int_equal(take(w), 0x46);
	wrmsr(MSR(LAPIC_EOI), 0);
	wrmsr(MSR(LAPIC_ICR), 0x0001000100000847); /* cluster 1 */
	assert_int_equal(take(w), -1);
	/* Off, and as new when on again. */
	wrmsr(0x1b, BOARD_LAPIC_BASE);
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x1b, BOARD_LAPIC_BASE | APIC_BASE_EN | APIC_BASE_EXTD),
			 -E_INVAL);
	wrmsr(0x1b, BOARD_LAPIC_BASE | APIC_BASE_EN);
	assert_int_equal(rdmsr(0x1b), BOARD_LAPIC_BASE | APIC_BASE_EN | APIC_BASE_BSP);
	assert_int_equal(mmio_read(w, APIC(LAPIC_SVR)), 0xff);
	assert_int_equal(irqchip_msr_read(&w->vcpu, 0x10, &value), -E_NOENT);
	assert_int_equal(irqchip_msr_write(&w->vcpu, 0x10, 0), -E_NOENT);
}

static void test_timer_count(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_TIMER_DIVIDE), 3); /* by 16 */
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x40);
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 1000);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 1000);
	world_advance(w, 1600);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 900);
	mmio_write(w, APIC(LAPIC_TIMER_DIVIDE), 0xb); /* by 1 */
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 900);
	world_advance(w, 899);
	assert_int_equal(take(w), -1);
	world_advance(w, 1);
	assert_int_equal(take(w), 0x40);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 0);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	world_advance(w, NS_PER_S);
	assert_int_equal(take(w), -1);
	/* Masked it counts too. */
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x10040);
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 500);
	world_advance(w, 500);
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x40);
	world_advance(w, 500);
	assert_int_equal(take(w), -1);
}

static void test_timer_periodic(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_TIMER_DIVIDE), 0xb);
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x20041);
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 100000);
	for (u32 i = 0; i < 10; i++) {
		world_advance(w, 99999);
		assert_int_equal(take(w), -1);
		world_advance(w, 1);
		assert_int_equal(take(w), 0x41);
		mmio_write(w, APIC(LAPIC_EOI), 0);
	}
	/* Away for 3.5 periods: one interrupt, then in step again. */
	fake_time_advance(350000);
	vtimer_run(&w->vcpu);
	assert_int_equal(take(w), 0x41);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 50000);
	world_advance(w, 49999);
	assert_int_equal(take(w), -1);
	world_advance(w, 1);
	assert_int_equal(take(w), 0x41);
	/* A period of a nanosecond does not stop the host. */
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 1);
	world_advance(w, NS_PER_MS);
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 0);
	assert_int_equal(vtimer_next(&w->vcpu) > vm_time_ns(&w->vm) + NS_PER_MS, 0);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 0);
}

static void test_timer_deadline(void **state)
{
	u64 now = vm_tsc(&w->vm);

	(void)state;
	wrmsr(0x6e0, now + 5000); /* not in this mode */
	assert_int_equal(rdmsr(0x6e0), 0);
	x2apic_on();
	wrmsr(MSR(LAPIC_LVT_TIMER), 0x40042);
	wrmsr(0x6e0, now + 5000);
	assert_int_equal(rdmsr(0x6e0), now + 5000);
	wrmsr(MSR(LAPIC_TIMER_INITIAL), 77);
	assert_int_equal(rdmsr(MSR(LAPIC_TIMER_CURRENT)), 0);
	world_advance(w, 4999);
	assert_int_equal(take(w), -1);
	world_advance(w, 2);
	assert_int_equal(take(w), 0x42);
	assert_int_equal(rdmsr(0x6e0), 0);
	wrmsr(MSR(LAPIC_EOI), 0);
	wrmsr(0x6e0, 1); /* long ago */
	assert_int_equal(take(w), 0x42);
	wrmsr(MSR(LAPIC_EOI), 0);
	wrmsr(0x6e0, ~0ull);
	world_advance(w, NS_PER_S);
	assert_int_equal(take(w), -1);
	wrmsr(0x6e0, 0);
	wrmsr(0x6e0, vm_tsc(&w->vm) + 10);
	wrmsr(MSR(LAPIC_LVT_TIMER), 0x42); /* another mode disarms it */
	world_advance(w, NS_PER_S);
	assert_int_equal(take(w), -1);
}

static void test_error_interrupt(void **state)
{
	(void)state;
	mmio_write(w, APIC(LAPIC_LVT_ERROR), 0x66);
	irqchip_msi(&w->vm, 0xfee00000, 3);
	assert_int_equal(take(w), 0x66);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	mmio_write(w, APIC(LAPIC_LVT_ERROR), 0x06); /* itself wrong: no endless loop */
	irqchip_msi(&w->vm, 0xfee00000, 3);
	assert_int_equal(take(w), -1);
}

static void test_odd_accesses(void **state)
{
	(void)state;
	assert_int_equal(world_access(w, &w->vm.mmio, APIC(LAPIC_VERSION) + 2, 1, false, 0), 5);
	assert_int_equal(world_access(w, &w->vm.mmio, APIC(LAPIC_VERSION) + 8, 4, false, 0), 0);
	assert_int_equal(world_access(w, &w->vm.mmio, APIC(LAPIC_VERSION), 8, false, 0), 0x50014);
	world_access(w, &w->vm.mmio, APIC(LAPIC_TPR), 1, true, 0xff);
	assert_int_equal(mmio_read(w, APIC(LAPIC_TPR)), 0);
	assert_int_equal(world_access(w, &w->vm.mmio, BOARD_LAPIC_BASE + 0xffc, 4, false, 0), 0);
	running_world = NULL; /* nobody runs: no APIC answers */
	{
		u64 value = 0;

		lapic_mmio(&w->vm, 0x30, 4, false, &value);
		assert_int_equal(value, 0xffffffff);
		lapic_mmio(&w->vm, 0x80, 4, true, &value);
	}
}

static void test_move(void **state)
{
	struct world *there;

	(void)state;
	mmio_write(w, APIC(LAPIC_TIMER_DIVIDE), 0xb);
	mmio_write(w, APIC(LAPIC_LVT_TIMER), 0x20041);
	mmio_write(w, APIC(LAPIC_TIMER_INITIAL), 100000);
	world_advance(w, 30000);
	msi(0x90);
	msi(0x50);
	assert_int_equal(take(w), 0x90);
	there = world_move(w);
	world_free(w);
	w = there;
	running_world = w;
	assert_int_equal(mmio_read(w, APIC(LAPIC_TIMER_CURRENT)), 70000);
	assert_int_equal(mmio_read(w, APIC(LAPIC_PPR)), 0x90);
	assert_int_equal(take(w), -1);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	assert_int_equal(take(w), 0x50);
	mmio_write(w, APIC(LAPIC_EOI), 0);
	world_advance(w, 70000);
	assert_int_equal(take(w), 0x41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_software_disable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_nmis, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destinations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ipi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x2apic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_error_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_accesses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
