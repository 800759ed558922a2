/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's page tables in all formats, arithmetic and its flags, instructions on device memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/cr.h"
#include "vmm/emulate_internal.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

#define DEVICE 0xc8000000u /* in the PCI window */
#define DEVICE_BYTES 0x1000u
#define CODE 0x500000u

static struct vm *vm;
static struct vcpu *vcpu;
static u8 registers[DEVICE_BYTES];
static u32 accesses;
static unsigned int last_size;

static void device_io(void *ctx, u64 offset, unsigned int size, bool write, u64 *value)
{
	(void)ctx;
	accesses++;
	last_size = size;
	if (write) {
		memcpy(registers + offset, value, size);
		return;
	}
	*value = 0;
	memcpy(value, registers + offset, size);
}

static int setup(void **state)
{
	struct vm_config config;
	char why[160];

	(void)state;
	fake_cpu_reset();
	fake_hvm_install();
	fake_vm_config(&config, "emulate", 16);
	config.on_crash = VM_PRESERVE;
	if (vm_create(&config, &vm, why, sizeof(why)))
		return -1;
	vcpu = vm->vcpus[0];
	if (io_bus_add(&vm->mmio, DEVICE, DEVICE_BYTES, device_io, NULL))
		return -1;
	if (io_bus_add(&vm->pio, 0x2000, 8, device_io, NULL))
		return -1;
	vm_start(vm);
	memset(registers, 0, sizeof(registers));
	accesses = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_destroy(vm);
	return fake_pages_used() == 0 ? 0 : -1;
}

static void put(gpa_t gpa, u64 value, u32 bytes)
{
	assert_int_equal(gmem_write(&vm->gmem, gpa, &value, bytes), 0);
}

static u64 get(gpa_t gpa, u32 bytes)
{
	u64 value = 0;

	assert_int_equal(gmem_read(&vm->gmem, gpa, &value, bytes), 0);
	return value;
}

/* --- the walk --------------------------------------------------------------------------------- */

static u32 error_code;

static gpa_t walk(const struct paging_mode *mode, u64 linear, enum walk_access access)
{
	gpa_t gpa = 0;

	if (walk_translate(vm, mode, 0, linear, access, &gpa, &error_code))
		return ~0ull;
	return gpa;
}

static void test_walk_none(void **state)
{
	struct paging_mode mode = { .cr0 = CR0_PE };

	(void)state;
	assert_int_equal(walk(&mode, 0x123456, WALK_READ), 0x123456);
	assert_int_equal(walk(&mode, 0x100123456, WALK_READ), 0x123456);
}

static void test_walk_32(void **state)
{
	struct paging_mode mode = { .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = 0x600018, .cr4 = CR4_PSE };

	(void)state;
	put(0x600000 + 4 * 3, 0x601007, 4);       /* a table */
	put(0x601000 + 4 * 5, 0x702001, 4);       /* read-only, supervisor */
	put(0x600000 + 4 * 4, 0x00802083, 4);     /* 4 MiB, bit 13: address bit 32 */
	assert_int_equal(walk(&mode, 0x00c05123, WALK_READ), 0x702123);
	assert_int_equal(get(0x601000 + 4 * 5, 4), 0x702021);
	assert_int_equal(get(0x600000 + 4 * 3, 4), 0x601027);
	assert_int_equal(walk(&mode, 0x00c05123, WALK_WRITE), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_WRITE);
	mode.cr0 &= ~CR0_WP;
	assert_int_equal(walk(&mode, 0x00c05123, WALK_WRITE), 0x702123);
	assert_int_equal(get(0x601000 + 4 * 5, 4), 0x702061);
	assert_int_equal(walk(&mode, 0x01012345, WALK_READ), 0x100812345);
	mode.cpl = 3;
	assert_int_equal(walk(&mode, 0x00c05123, WALK_READ), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_USER);
	assert_int_equal(walk(&mode, 0x08000000, WALK_READ), ~0ull);
	assert_int_equal(error_code, PF_USER);
}

static void test_walk_pae(void **state)
{
	struct paging_mode mode = { .cr0 = CR0_PE | CR0_PG, .cr3 = 0x600020, .cr4 = CR4_PAE, .efer = EFER_NXE };

	(void)state;
	put(0x600020 + 8 * 2, 0x601001, 8);
	put(0x601000 + 8 * 1, 0x602007, 8);
	put(0x602000 + 8 * 7, 0x8000000000703007, 8);
	put(0x601000 + 8 * 2, 0xa00087, 8);
	assert_int_equal(walk(&mode, 0x80207abc, WALK_WRITE), 0x703abc);
	assert_int_equal(walk(&mode, 0x80207abc, WALK_FETCH), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_FETCH);
	assert_int_equal(walk(&mode, 0x80412345, WALK_READ), 0xa12345);
	assert_int_equal(get(0x600020 + 8 * 2, 8), 0x601001); /* no A bit in a PDPTE */
	mode.efer = 0;
	assert_int_equal(walk(&mode, 0x80207abc, WALK_READ), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_RESERVED);
}

static void test_walk_64(void **state)
{
	struct paging_mode mode = {
		.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = 0x600000, .cr4 = CR4_PAE, .efer = EFER_LME | EFER_LMA | EFER_NXE,
	};

	(void)state;
	put(0x600000 + 8 * 511, 0x601007, 8);
	put(0x601000 + 8 * 510, 0x602007, 8);
	put(0x602000 + 8 * 1, 0x603007, 8);
	put(0x603000 + 8 * 2, 0x704007, 8);
	put(0x602000 + 8 * 3, 0xc00085, 8);   /* 2 MiB, user, read-only */
	put(0x601000 + 8 * 511, 0x40000083, 8); /* 1 GiB */
	put(0x600000 + 8 * 0, 0xf0000007, 8); /* a table where no memory is */
	assert_int_equal(walk(&mode, 0xffffffff80202123, WALK_READ), 0x704123);
	assert_int_equal(walk(&mode, 0xffffffff80612345, WALK_READ), 0xc12345);
	assert_int_equal(walk(&mode, 0xffffffffc0612345, WALK_READ), 0x40612345);
	assert_int_equal(walk(&mode, 0x1000, WALK_READ), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_RESERVED);
	assert_int_equal(walk_translate(vm, &mode, 0, 0x8000000000000000, WALK_READ, &(gpa_t){ 0 }, &error_code),
			 -E_RANGE);
	/* SMEP and SMAP: the supervisor on a user's page. */
	mode.cr4 |= CR4_SMEP;
	assert_int_equal(walk(&mode, 0xffffffff80202123, WALK_FETCH), ~0ull);
	mode.cr4 |= CR4_SMAP;
	assert_int_equal(walk(&mode, 0xffffffff80202123, WALK_READ), ~0ull);
	assert_int_equal(walk_translate(vm, &mode, BIT(18), 0xffffffff80202123, WALK_READ, &(gpa_t){ 0 }, &error_code), 0);
	mode.cpl = 3;
	assert_int_equal(walk(&mode, 0xffffffff80202123, WALK_FETCH), 0x704123);
	assert_int_equal(walk(&mode, 0xffffffff80612345, WALK_WRITE), ~0ull);
	assert_int_equal(error_code, PF_PRESENT | PF_WRITE | PF_USER);
}

/* --- arithmetic: against the machine that runs the test ---------------------------------------- */

#define ARITHMETIC_FLAGS 0x8d5ull

#define MACHINE(type, name, text)                                                                              \
	static u64 name(u64 a, u64 b, u64 *flags)                                                              \
	{                                                                                                      \
		type x = (type)a;                                                                              \
		u64 out;                                                                                       \
		__asm__ volatile("push %[in]; popf; " text "; pushf; pop %[out]"                                \
				 : [x] "+r"(x), [out] "=&r"(out)                                               \
				 : [y] "r"((type)b), [in] "r"(*flags)                                          \
				 : "cc", "memory");                                                            \
		*flags = out & ARITHMETIC_FLAGS;                                                               \
		return x;                                                                                      \
	}

#define MACHINE_SIZES(op, text)                                                                                \
	MACHINE(u8, op##_1, text)                                                                              \
	MACHINE(u16, op##_2, text)                                                                             \
	MACHINE(u32, op##_4, text)                                                                             \
	MACHINE(u64, op##_8, text)

MACHINE_SIZES(add, "add %[y], %[x]")
MACHINE_SIZES(adc, "adc %[y], %[x]")
MACHINE_SIZES(sub, "sub %[y], %[x]")
MACHINE_SIZES(sbb, "sbb %[y], %[x]")
MACHINE_SIZES(and, "and %[y], %[x]")
MACHINE_SIZES(or, "or %[y], %[x]")
MACHINE_SIZES(xor, "xor %[y], %[x]")
MACHINE_SIZES(neg, "neg %[x]")
MACHINE_SIZES(inc, "inc %[x]")
MACHINE_SIZES(dec, "dec %[x]")

typedef u64 machine_op(u64 a, u64 b, u64 *flags);

static const struct {
	enum insn_op op;
	machine_op *machine[4];
} operations[] = {
	{ INSN_ADD, { add_1, add_2, add_4, add_8 } }, { INSN_ADC, { adc_1, adc_2, adc_4, adc_8 } },
	{ INSN_SUB, { sub_1, sub_2, sub_4, sub_8 } }, { INSN_SBB, { sbb_1, sbb_2, sbb_4, sbb_8 } },
	{ INSN_AND, { and_1, and_2, and_4, and_8 } }, { INSN_OR, { or_1, or_2, or_4, or_8 } },
	{ INSN_XOR, { xor_1, xor_2, xor_4, xor_8 } }, { INSN_NEG, { neg_1, neg_2, neg_4, neg_8 } },
	{ INSN_INC, { inc_1, inc_2, inc_4, inc_8 } }, { INSN_DEC, { dec_1, dec_2, dec_4, dec_8 } },
};

static void check_operation(u32 i, u32 log2_size, u64 a, u64 b, u64 flags_in)
{
	enum insn_op op = operations[i].op;
	u64 mask = op == INSN_AND || op == INSN_OR || op == INSN_XOR ? ARITHMETIC_FLAGS & ~0x10ull : ARITHMETIC_FLAGS;
	u64 flags = flags_in | 2;
	u64 expected_flags = flags_in | 0x202;
	u64 expected = operations[i].machine[log2_size](a, b, &expected_flags);

	assert_int_equal(alu_compute(op, 1u << log2_size, a, b, &flags), expected);
	/* AF is undefined after logic. */
	assert_int_equal(flags & mask, expected_flags & mask);
}

static void test_arithmetic(void **state)
{
	static const u64 values[] = {
		0, 1, 2, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x123456789abcdef0,
	};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(operations); i++)
		for (u32 size = 0; size < 4; size++)
			for (u32 a = 0; a < ARRAY_SIZE(values); a++)
				for (u32 b = 0; b < ARRAY_SIZE(values); b++)
					for (u64 carry = 0; carry < 2; carry++)
						check_operation(i, size, values[a], values[b], carry);
}

/* --- whole instructions ----------------------------------------------------------------------- */

/* As if the CPU had met these bytes at CODE: identity-mapped by linux_boot's tables. */
static void execute(const u8 *bytes, u32 count, u64 linear)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT };

	assert_int_equal(gmem_write(&vm->gmem, CODE, bytes, count), 0);
	exit.npt.gpa = linear;
	vcpu->regs.rip = CODE;
	fake_guest_exit(vcpu, &exit);
	fake_run();
}
#define EXECUTE(linear, ...) execute((const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }), linear)

static void expect_done(u32 insn_bytes)
{
	assert_int_equal(vm->state, VM_LIVE);
	/* And the HLT with which the program ends. */
	assert_int_equal(vcpu->regs.rip, CODE + insn_bytes + 1);
}

static void test_moves(void **state)
{
	u64 *gpr = vcpu->regs.gpr;

	(void)state;
	gpr[GPR_RDI] = DEVICE + 0x10;
	gpr[GPR_RAX] = 0x1122334455667788;
	EXECUTE(DEVICE + 0x10, 0x89, 0x07); /* mov %eax,(%rdi) */
	expect_done(2);
	assert_int_equal(*(u32 *)(registers + 0x10), 0x55667788);
	assert_int_equal(last_size, 4);
	registers[0x11] = 0x99;
	gpr[GPR_RAX] = ~0ull;
	EXECUTE(DEVICE + 0x11, 0x8a, 0x67, 0x01); /* mov 1(%rdi),%ah */
	expect_done(3);
	assert_int_equal(gpr[GPR_RAX], 0xffffffffffff99ff);
	EXECUTE(DEVICE + 0x11, 0x0f, 0xbe, 0x47, 0x01); /* movsbl 1(%rdi),%eax */
	assert_int_equal(gpr[GPR_RAX], 0xffffff99);
	EXECUTE(DEVICE + 0x10, 0x0f, 0xb7, 0x07); /* movzwl (%rdi),%eax */
	assert_int_equal(gpr[GPR_RAX], 0x9988);
	EXECUTE(DEVICE + 0x10, 0x66, 0x8b, 0x07); /* mov (%rdi),%ax: the upper part stays */
	gpr[GPR_RAX] = 0xaaaaaaaaaaaaaaaa;
	EXECUTE(DEVICE + 0x10, 0x66, 0x8b, 0x07);
	assert_int_equal(gpr[GPR_RAX], 0xaaaaaaaaaaaa9988);
}

static void test_read_modify_write(void **state)
{
	u64 *gpr = vcpu->regs.gpr;

	(void)state;
	gpr[GPR_RDI] = DEVICE;
	registers[0] = 0xf0;
	EXECUTE(DEVICE, 0x80, 0x0f, 0x01); /* orb $1,(%rdi) */
	expect_done(3);
	assert_int_equal(registers[0], 0xf1);
	assert_int_equal(accesses, 2);
	EXECUTE(DEVICE, 0xf6, 0x07, 0x02); /* testb $2,(%rdi): no write */
	assert_int_equal(accesses, 3);
	assert_true(vcpu->regs.rflags & BIT(6));
	gpr[GPR_RCX] = 0x55;
	EXECUTE(DEVICE, 0x86, 0x0f); /* xchg %cl,(%rdi) */
	assert_int_equal(registers[0], 0x55);
	assert_int_equal(gpr[GPR_RCX] & 0xff, 0xf1);
	gpr[GPR_RAX] = 0x54;
	EXECUTE(DEVICE, 0x0f, 0xb0, 0x0f); /* cmpxchg %cl,(%rdi): not equal */
	assert_int_equal(gpr[GPR_RAX] & 0xff, 0x55);
	assert_false(vcpu->regs.rflags & BIT(6));
	EXECUTE(DEVICE, 0x0f, 0xb0, 0x0f); /* equal */
	assert_int_equal(registers[0], 0xf1);
	assert_true(vcpu->regs.rflags & BIT(6));
	gpr[GPR_RAX] = 35;
	EXECUTE(DEVICE + 4, 0x0f, 0xab, 0x07); /* bts %eax,(%rdi): in the next word */
	assert_int_equal(registers[4], 8);
	assert_false(vcpu->regs.rflags & BIT(0));
}

static void test_strings(void **state)
{
	u64 *gpr = vcpu->regs.gpr;

	(void)state;
	put(0x700000, 0x4433221144332211, 8);
	gpr[GPR_RSI] = 0x700000;
	gpr[GPR_RDI] = DEVICE + 0x20;
	gpr[GPR_RCX] = 2;
	EXECUTE(DEVICE + 0x20, 0xf3, 0xa5); /* rep movsl: the first of two */
	assert_int_equal(gpr[GPR_RCX], 1);
	assert_int_equal(gpr[GPR_RDI], DEVICE + 0x24);
	EXECUTE(DEVICE + 0x24, 0xf3, 0xa5);
	expect_done(2);
	assert_memory_equal(registers + 0x20, "\x11\x22\x33\x44\x11\x22\x33\x44", 8);
	gpr[GPR_RAX] = 0xab;
	vcpu->regs.rflags |= BIT(10); /* downwards */
	EXECUTE(DEVICE + 0x28, 0xaa); /* stosb */
	expect_done(1);
	assert_int_equal(registers[0x28], 0xab);
	assert_int_equal(gpr[GPR_RDI], DEVICE + 0x27);
}

static void test_string_io(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_IO };
	u64 *gpr = vcpu->regs.gpr;

	(void)state;
	registers[0] = 0x5a;
	put(CODE, 0x6cf3, 2); /* rep insb */
	exit.io.string = true;
	exit.io.in = true;
	exit.io.size = 1;
	exit.io.port = 0x2000;
	vcpu->regs.rip = CODE;
	gpr[GPR_RDX] = 0x2000;
	gpr[GPR_RDI] = 0x700ffe;
	gpr[GPR_RCX] = 5;
	fake_guest_exit(vcpu, &exit);
	fake_run();
	expect_done(2);
	assert_int_equal(get(0x700ffe, 5), 0x5a5a5a5a5a);
	assert_int_equal(gpr[GPR_RCX], 0);
	assert_int_equal(accesses, 5);
	/* To where nothing is mapped: the fault comes before the port is read. */
	put(CODE, 0x6c, 1);
	vcpu->regs.rip = CODE;
	gpr[GPR_RDI] = GIB(5);
	fake_guest_exit(vcpu, &exit);
	fake_run();
	assert_int_equal(accesses, 5);
	assert_int_equal(fake_guest_events(vcpu, 14), 1);
	assert_int_equal(fake_guest_cr2(vcpu), GIB(5));
	assert_int_equal(fake_guest_error_code(vcpu), PF_WRITE);
}

static void test_crossing(void **state)
{
	u64 *gpr = vcpu->regs.gpr;

	(void)state;
	/* The instruction over two pages, the operand over the end of the device: the rest reads as ones. */
	memcpy(registers + 0xffe, "\x34\x12", 2);
	put(0x500fff, 0x078b, 2);
	gpr[GPR_RDI] = DEVICE + 0xffe;
	vcpu->regs.rip = 0x500fff;
	fake_guest_exit(vcpu, &(struct vm_exit){ .kind = VM_EXIT_NPT, .npt.gpa = DEVICE + 0xffe });
	fake_run();
	assert_int_equal(gpr[GPR_RAX], 0xffff1234);
	assert_int_equal(vcpu->regs.rip, 0x501002);
}

/* Code where no memory is: #UD, as from FF FF. Tables there: #PF with the reserved bit. */
static void test_fetch_nowhere(void **state)
{
	struct vm_exit exit = { .kind = VM_EXIT_NPT };

	(void)state;
	exit.npt.gpa = DEVICE;
	exit.npt.fetch = true;
	vcpu->regs.rip = DEVICE;
	fake_guest_exit(vcpu, &exit);
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 6), 1);
	assert_int_equal(vm->state, VM_LIVE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_walk_none), TEST(test_walk_32), TEST(test_walk_pae),
		TEST(test_walk_64),   TEST(test_arithmetic),
		TEST(test_moves),     TEST(test_read_modify_write),
		TEST(test_strings),   TEST(test_string_io), TEST(test_crossing),
		TEST(test_fetch_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
