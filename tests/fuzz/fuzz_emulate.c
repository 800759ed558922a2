/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instruction decoder and what carries instructions out: any bytes as code, in every mode, with the page tables,
 * registers and segments that the input gives, at an access to a device, to nothing, or to a port. First the decoder
 * alone, over exactly the bytes there are.
 */
#include "fuzz.h"

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/cr.h"
#include "vmm/decode.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define DEVICE 0xc8000000u /* in the PCI window */
#define DEVICE_BYTES 0x1000u
#define PORT 0x2000
#define CODE 0x500000u
#define TABLES 0x600000u

static struct vm *vm;
static struct vcpu *vcpu;
static u32 accesses;

static void device_io(unused void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	assert_true(offset + size <= DEVICE_BYTES);
	accesses++;
	if (!write)
		*value = 0x8877665544332211ull >> (offset & 3) & (size < 8 ? BIT(8 * size) - 1 : ~0ull);
}

void fuzz_start(void)
{
	fake_pages_set_lazy();
}

static void decode(const u8 *bytes, size_t n)
{
	static const enum insn_mode modes[] = { INSN_MODE_16, INSN_MODE_32, INSN_MODE_64 };
	u8 *exact = malloc(n ? n : 1);
	struct insn insn;
	u32 len;

	memcpy(exact, bytes, n);
	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		if (insn_decode(exact, (u32)n, modes[i], &insn) == 0)
			assert_true(insn.len && insn.len <= n && insn.len <= INSN_BYTES_MAX);
		if (insn_length(exact, (u32)n, modes[i], &len) == 0)
			assert_true(len && len <= n && len <= INSN_BYTES_MAX);
	}
	free(exact);
}

static void put(gpa_t gpa, u64 value)
{
	assert_int_equal(gmem_write(&vm->gmem, gpa, &value, 8), 0);
}

/* Tables of four levels: 0 to 2 MiB at CODE and so on, then the device; what the input changes in them comes after. */
static void tables(struct fuzz *in)
{
	u32 changes = (u32)fuzz_take(in, 1) % 4;

	put(TABLES, (TABLES + 0x1000) | 7);
	put(TABLES + 0x1000, (TABLES + 0x2000) | 7);
	put(TABLES + 0x2000, (TABLES + 0x3000) | 7);
	for (u32 i = 0; i < 16; i++)
		put(TABLES + 0x3000 + 8 * i, (i % 4 == 3 ? DEVICE : CODE + i * PAGE_SIZE) | 7);
	while (changes--) {
		u8 where = (u8)fuzz_take(in, 1);

		put(TABLES + (where >> 6) * 0x1000u + 8 * (where & 15), fuzz_take(in, 8));
	}
}

static void mode(struct fuzz *in)
{
	struct cpu_state s;
	u8 what = (u8)fuzz_take(in, 1);

	vcpu_save(vcpu, &s);
	s.cr0 = CR0_ET | (what & 3 ? CR0_PE : 0) | (what & 2 ? CR0_PG : 0) | (what & 4 ? CR0_WP : 0);
	s.efer = (what & 3) == 3 ? 0x500 | 0x800 : 0;
	s.cr4 = (what & 3) == 3 || what & 8 ? CR4_PAE : 0;
	s.cs.attr = (u16)(0x9b | (s.efer ? 0x2000 : what & 16 ? 0x4000 : 0) | (what & 32 ? 0x60 : 0));
	s.ss.attr = (u16)(0x93 | (what & 32 ? 0x60 : 0));
	s.cs.base = what & 64 ? fuzz_take(in, 4) : 0;
	s.ds.base = what & 64 ? fuzz_take(in, 4) : 0;
	s.cr3 = TABLES;
	assert_int_equal(hvm->set_state(vcpu, &s), 0);
	/* Near the code, the device, or anywhere. */
	for (u32 i = 0; i < 16; i++) {
		u8 r = (u8)fuzz_take(in, 1);
		u64 paged = what & 2 ? 0x3000 + r : DEVICE + r;

		vcpu->regs.gpr[i] = r < 128 ? paged : r < 192 ? r - 120 : r < 250 ? PORT + (r & 7) : fuzz_take(in, 8);
	}
	vcpu->regs.rip = what & 128 ? fuzz_take(in, 8) : what & 2 ? 0 : CODE;
}

static void one_exit(struct fuzz *in)
{
	struct vm_exit exit = { 0 };
	u8 what = (u8)fuzz_take(in, 1);
	size_t n;
	const u8 *code;

	if (what & 16)
		mode(in);
	code = fuzz_bytes(in, 16, &n);
	decode(code, n);
	assert_int_equal(gmem_write(&vm->gmem, CODE, code, n), 0);
	if (what & 1) {
		exit.kind = VM_EXIT_IO;
		exit.io.string = true;
		exit.io.port = PORT;
		exit.io.size = (u8)(1 << (what >> 1 & 3) & 7);
		exit.io.size = exit.io.size ? exit.io.size : 1;
		exit.io.in = what & 8;
	} else {
		exit.kind = VM_EXIT_NPT;
		exit.npt.gpa = what & 2 ? DEVICE + (u32)fuzz_take(in, 2) % DEVICE_BYTES : fuzz_take(in, 5);
		exit.npt.write = what & 4;
		if (what & 8) {
			exit.npt.insn_bytes = (u8)MIN(n, sizeof(exit.npt.insn));
			memcpy(exit.npt.insn, code, exit.npt.insn_bytes);
		}
	}
	fake_guest_exit(vcpu, &exit);
	fake_run();
}

void fuzz_one(struct fuzz *in)
{
	struct vm_config config;
	char why[160];

	fake_cpu_reset();
	fake_random_seed(1);
	fake_hvm_install();
	fake_vm_config(&config, "emulate", 16);
	config.on_crash = VM_PRESERVE;
	config.on_reboot = VM_PRESERVE;
	config.on_poweroff = VM_PRESERVE;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vcpu = vm->vcpus[0];
	assert_int_equal(io_bus_add(&vm->mmio, DEVICE, DEVICE_BYTES, device_io, NULL), 0);
	assert_int_equal(io_bus_add(&vm->pio, PORT, 8, device_io, NULL), 0);
	vm_start(vm);
	accesses = 0;
	tables(in);
	mode(in);
	for (u32 i = 0; i < 20 && in->left && vm->state == VM_LIVE; i++)
		one_exit(in);
	if (accesses > 1)
		fuzz_reached();
	vm_destroy(vm);
	assert_int_equal(fake_pages_used(), 0);
}
