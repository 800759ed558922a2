/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole guest that does what it likes: MSRs, control registers, CPUID, ports (PCI configuration among them), loads
 * and stores to memory and devices (PCI's configuration window, local APIC), and every other kind of exit. Then its state is
 * saved: what a guest can do to itself must not keep it from moving.
 */
#include "fuzz.h"

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/board.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

static struct vm *vm;
static struct vcpu *vcpu;

void fuzz_start(void)
{
	fake_pages_set_lazy();
}

static u32 some_msr(struct fuzz *in)
{
	static const u32 known[] = {
		MSR_TSC, MSR_APIC_BASE, MSR_TSC_ADJUST, MSR_PAT, MSR_TSC_DEADLINE, MSR_EFER, MSR_KVM_WALL_CLOCK_OLD,
		MSR_KVM_SYSTEM_TIME_OLD, MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, 0x174, 0x175, 0x176, 0x1d9, 0xc0000081,
		0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x2ff, 0x200, 0x250, 0xfe,
		0x8b, 0x1a0, 0x17a, 0xda0,
	};
	u8 which = (u8)fuzz_take(in, 1);

	return which < ARRAY_SIZE(known) ? known[which] : which >= 0xe0 ? (u32)fuzz_take(in, 4) : MSR_X2APIC_FIRST + which % 64u;
}

static u16 some_port(struct fuzz *in)
{
	static const u16 known[] = { 0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0xcf9, 0x20, 0x21, 0x40, 0x43, 0x61, 0x64, 0x70, 0x71,
				     0x92, 0x3f8, 0x3fd, 0x600, 0x604, 0x608 };
	u8 which = (u8)fuzz_take(in, 1);

	return which < 192 ? known[which % ARRAY_SIZE(known)] : (u16)fuzz_take(in, 2);
}

static gpa_t some_gpa(struct fuzz *in)
{
	u8 which = (u8)fuzz_take(in, 1);
	u32 offset = (u32)fuzz_take(in, 2);

	switch (which & 7) {
	case 0:
		return BOARD_LAPIC_BASE + (offset & 0xfff);
	case 1:
		return BOARD_IOAPIC_BASE + (offset & 0x1f);
	case 2:
	case 3:
		return BOARD_MCFG_BASE + ((offset & 0x7000) << 3) + (offset & 0xfff);
	case 4:
		return fuzz_take(in, 5);
	case 5:
		return 0xc0000000u + ((u32)fuzz_take(in, 1) << 12) + (offset & 0xfff);
	default:
		return offset;
	}
}

/* Kinds that say all in the exit itself. */
static void any_exit(struct fuzz *in)
{
	static const enum vm_exit_kind kinds[] = {
		VM_EXIT_HLT, VM_EXIT_CACHE, VM_EXIT_PRIVILEGED, VM_EXIT_XSETBV, VM_EXIT_CPUID, VM_EXIT_HYPERCALL,
		VM_EXIT_UNDEFINED, VM_EXIT_PAUSE, VM_EXIT_IRQ_WINDOW,
	};
	struct vm_exit exit = { .kind = kinds[fuzz_take(in, 1) % ARRAY_SIZE(kinds)] };

	exit.insn_len = (u8)fuzz_take(in, 1) % 16;
	if (exit.kind == VM_EXIT_XSETBV) {
		fake_guest_write_cr(vcpu, 4, CR4_PAE | CR4_OSXSAVE);
		exit.xsetbv.value = fuzz_take(in, 2);
		vcpu->regs.gpr[GPR_RCX] = fuzz_take(in, 1) & 1;
	}
	fake_guest_exit(vcpu, &exit);
}

static void step(struct fuzz *in)
{
	u8 what = (u8)fuzz_take(in, 1);
	u32 size = 1u << (what >> 4 & 1) << (what >> 5 & 1);

	switch (what & 15) {
	case 0:
	case 1:
	case 2: {
		u32 msr = some_msr(in);

		fake_guest_wrmsr(vcpu, msr, fuzz_take(in, 8));
		break;
	}
	case 3:
		fake_guest_rdmsr(vcpu, some_msr(in));
		break;
	case 4:
	case 5:
	case 6: {
		u16 port = some_port(in);

		fake_guest_out(vcpu, port, size, port == 0xcf8 ? BIT(31) | (fuzz_take(in, 2) & 0x3fff) : fuzz_take(in, size));
		break;
	}
	case 7:
		fake_guest_in(vcpu, some_port(in), size);
		break;
	case 8:
	case 9: {
		gpa_t gpa = some_gpa(in);

		if (gpa % PAGE_SIZE + 8 <= PAGE_SIZE)
			fake_guest_store(vcpu, gpa, what & 0x80 ? 8 : size, fuzz_take(in, 8));
		break;
	}
	case 10: {
		gpa_t gpa = some_gpa(in);

		if (gpa % PAGE_SIZE + 8 <= PAGE_SIZE)
			fake_guest_load(vcpu, gpa, size);
		break;
	}
	case 11: {
		static const u8 crs[] = { 0, 3, 4, 8 };
		u8 cr = crs[what >> 4 & 3];

		fake_guest_write_cr(vcpu, cr, fuzz_take(in, 4));
		break;
	}
	case 12:
		fake_guest_cpuid(vcpu, (u32)fuzz_take(in, 1) | (what & 16 ? 0x80000000u : what & 32 ? 0x40000000u : 0),
				 (u32)fuzz_take(in, 1));
		break;
	case 13:
		fake_time_advance(fuzz_take(in, 4));
		break;
	default:
		any_exit(in);
		break;
	}
	fake_run();
}

static void save(void)
{
	struct cpu_state state;
	struct msr_value values[MSR_VALUES_MAX];
	char why[200] = "";
	u32 count;

	vm_pause(vm, VM_PAUSE_MIGRATE);
	vcpu_save(vcpu, &state);
	count = msr_save(vcpu, values);
	if (msr_check(values, count, why, sizeof(why)))
		fail_msg("an MSR of our own is refused: %s", why);
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		u8 *data = malloc(device_state_bytes(dev));

		device_save(dev, data);
		assert_int_equal(device_check(dev, data, device_state_bytes(dev)), 0);
		free(data);
	}
	vm_unpause(vm, VM_PAUSE_MIGRATE);
}

void fuzz_one(struct fuzz *in)
{
	struct vm_config config;
	char why[160];
	u32 steps = 0;

	fake_cpu_reset();
	fake_random_seed(1);
	fake_time_set(NS_PER_S);
	fake_hvm_install();
	fake_vm_config(&config, "exits", 16);
	config.vif_count = 1;
	config.vif[0].mac[5] = 1;
	config.vif[0].mtu = 1500;
	config.on_crash = VM_PRESERVE;
	config.on_reboot = VM_PRESERVE;
	config.on_poweroff = VM_PRESERVE;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vcpu = vm->vcpus[0];
	vm_start(vm);
	while (in->left && vm->state == VM_LIVE && steps++ < 100)
		step(in);
	if (steps > 20 && vm->state == VM_LIVE)
		fuzz_reached();
	if (vm->state == VM_LIVE)
		save();
	vm_destroy(vm);
	assert_int_equal(fake_pages_used(), 0);
}
