/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest finds when it starts: ACPI tables, the zero page, its CPU; and what it is shown of the CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/acpi_tables.h"
#include "vmm/board.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/files.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

static u8 tables[ACPI_TABLES_BYTES];
static char why[200];

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_hvm_install();
	memset(tables, 0, sizeof(tables));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return fake_pages_used() == 0 ? 0 : -1;
}

/* --- ACPI ------------------------------------------------------------------------------------- */

static u64 word(const u8 *at, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static const u8 *at_gpa(u64 gpa)
{
	assert_in_range(gpa, ACPI_TABLES_GPA, ACPI_TABLES_GPA + ACPI_TABLES_BYTES - 36);
	return tables + gpa - ACPI_TABLES_GPA;
}

static void assert_sum(const u8 *table, u32 bytes)
{
	u8 sum = 0;

	for (u32 i = 0; i < bytes; i++)
		sum = (u8)(sum + table[i]);
	assert_int_equal(sum, 0);
}

static const u8 *find_table(const char *signature)
{
	const u8 *xsdt = at_gpa(word(tables + 24, 8));
	u32 bytes = (u32)word(xsdt + 4, 4);

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_sum(xsdt, bytes);
	for (u32 i = 36; i < bytes; i += 8) {
		const u8 *table = at_gpa(word(xsdt + i, 8));

		assert_sum(table, (u32)word(table + 4, 4));
		if (!memcmp(table, signature, 4))
			return table;
	}
	fail_msg("no %s", signature);
	return NULL;
}

static void test_acpi(void **state)
{
	const u8 *fadt, *dsdt, *facs, *madt;

	(void)state;
	assert_int_equal(acpi_tables_build(tables, 3), 0);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_sum(tables, 20);
	assert_sum(tables, 36);
	fadt = find_table("FACP");
	assert_int_equal(word(fadt + 46, 2), BOARD_SCI_GSI);
	assert_int_equal(word(fadt + 76, 4), BOARD_PM_TMR_PORT);
	assert_int_equal(word(fadt + 116 + 4, 8), BOARD_RESET_PORT);
	dsdt = at_gpa(word(fadt + 140, 8));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_sum(dsdt, (u32)word(dsdt + 4, 4));
	facs = at_gpa(word(fadt + 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal((facs - tables) % 64, 0);
	madt = find_table("APIC");
	assert_int_equal(word(madt + 4, 4), 36 + 8 + 3 * 8 + 12 + 2 * 10 + 6);
	assert_int_equal(word(find_table("MCFG") + 44, 8), BOARD_MCFG_BASE);
}

static int write_file(const char *name, const u8 *table)
{
	FILE *file = fopen(name, "wb");

	if (!file)
		return -1;
	fwrite(table, 1, word(table + 4, 4), file);
	return fclose(file);
}

/* ACPICA's own disassembler and compiler take every table, there and back. */
static void test_iasl(void **state)
{
	static const char *const signatures[] = { "FACP", "APIC", "MCFG", "DSDT" };
	char folder[] = "/tmp/godwit-acpi-XXXXXX";
	char command[600];

	(void)state;
	if (system("iasl -v >/dev/null 2>&1") != 0)
		skip();
	assert_int_equal(acpi_tables_build(tables, 2), 0);
	assert_non_null(mkdtemp(folder));
	for (u32 i = 0; i < ARRAY_SIZE(signatures); i++) {
		const u8 *table = i < 3 ? find_table(signatures[i]) : at_gpa(word(find_table("FACP") + 140, 8));
		char name[64];

		snprintf(name, sizeof(name), "%s/%s.dat", folder, signatures[i]);
		assert_int_equal(write_file(name, table), 0);
	}
	snprintf(command, sizeof(command),
		 "cd %s && for t in FACP APIC MCFG DSDT; do iasl -d $t.dat >$t.log 2>&1 && "
		 "! grep -iE 'error|invalid|warning' $t.log && iasl -we $t.dsl >$t.log 2>&1 || { cat $t.log; exit 1; }; done",
		 folder);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

/* --- the boot protocol ------------------------------------------------------------------------ */

static struct vm *make(struct vm_config *config, int expected)
{
	struct vm *vm = NULL;

	assert_int_equal(vm_create(config, &vm, why, sizeof(why)), expected);
	return vm;
}

static u64 get(struct vm *vm, gpa_t gpa, u32 bytes)
{
	u64 value = 0;

	assert_int_equal(gmem_read(&vm->gmem, gpa, &value, bytes), 0);
	return value;
}

static void test_zero_page(void **state)
{
	struct vm_config config;
	struct cpu_state s;
	struct vm *vm;
	char text[16];
	u64 initrd;

	(void)state;
	fake_vm_config(&config, "boot", 16);
	vm = make(&config, 0);
	vcpu_save(vm->vcpus[0], &s);
	assert_int_equal(s.gpr[GPR_RSI], 0x7000);
	assert_int_equal(s.rip, 0x200200);
	assert_int_equal(get(vm, 0x7000 + 0x202, 4), 0x53726448);
	assert_int_equal(get(vm, 0x7000 + 0x210, 1), 0xff);
	assert_int_equal(get(vm, 0x7000 + 0x070, 8), ACPI_RSDP_GPA);
	assert_int_equal(gmem_read(&vm->gmem, get(vm, 0x7000 + 0x228, 4), text, 14), 0);
	assert_string_equal(text, "console=ttyS0");
	initrd = get(vm, 0x7000 + 0x218, 4);
	assert_int_equal(initrd, MIB(16) - PAGE_SIZE);
	assert_int_equal(get(vm, 0x7000 + 0x21c, 4), 100);
	assert_int_equal(get(vm, initrd, 6), 0x647274696e69); /* "initrd" */
	/* The last E820 entries: memory from 1 MiB to its end, then MCFG's window. */
	assert_int_equal(get(vm, 0x7000 + 0x1e8, 1), 6);
	assert_int_equal(get(vm, 0x7000 + 0x2d0 + 4 * 20, 8), 0x100000);
	assert_int_equal(get(vm, 0x7000 + 0x2d0 + 4 * 20 + 8, 8), MIB(15));
	assert_int_equal(get(vm, ACPI_RSDP_GPA, 8), 0x2052545020445352);
	vm_destroy(vm);
}

/* Each thing that a kernel can lack is named. */
static void test_bad_kernels(void **state)
{
	static const struct {
		u32 offset;
		u8 value;
		const char *says;
	} changes[] = {
		{ 0x1fe, 0, "boot flag" },   { 0x203, 0, "HdrS" },       { 0x206, 11, "2.11" },
		{ 0x211, 0, "zImage" },      { 0x236, 0, "64-bit" },     { 0x1f1, 60, "cut" },
		{ 0x263, 0x10, "needs" },
	};
	static u8 kernels[ARRAY_SIZE(changes)][4096];
	static char names[ARRAY_SIZE(changes)][8];
	const struct host_file *good = files_find("vmlinuz");

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(changes); i++) {
		struct vm_config config;

		memcpy(kernels[i], good->data, sizeof(kernels[i]));
		kernels[i][changes[i].offset] = changes[i].value;
		snprintf(names[i], sizeof(names[i]), "bad%u", i);
		files_add(names[i], kernels[i], sizeof(kernels[i]));
		fake_vm_config(&config, "bad", 16);
		strcpy(config.kernel, names[i]);
		assert_null(make(&config, changes[i].offset == 0x263 ? -E_NOMEM : -E_INVAL));
		if (!strstr(why, changes[i].says) || !strstr(why, names[i]))
			fail_msg("\"%s\" does not say \"%s\"", why, changes[i].says);
	}
}

static void test_initrd_too_big(void **state)
{
	static u8 big[4096];
	struct vm_config config;

	(void)state;
	files_add("big.img", big, MIB(15));
	fake_vm_config(&config, "big", 16);
	strcpy(config.ramdisk, "BIG.img");
	assert_null(make(&config, -E_NOMEM));
	assert_non_null(strstr(why, "BIG.img does not fit"));
}

/* --- CPUID ------------------------------------------------------------------------------------ */

static struct cpuid_entry *entry_of(struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < policy->count; i++)
		if (policy->entries[i].leaf == leaf && policy->entries[i].subleaf == subleaf)
			return &policy->entries[i];
	fail_msg("no leaf %#x", leaf);
	return NULL;
}

static void test_cpuid_hidden(void **state)
{
	struct cpuid_policy policy;

	(void)state;
	/* The fake CPU has every bit set. */
	cpuid_policy_build(&policy, 1);
	assert_int_equal(cpuid_policy_word(&policy, CPUID_1_ECX) & (BIT(3) | BIT(5) | BIT(6) | BIT(27)), 0);
	assert_int_equal(cpuid_policy_word(&policy, CPUID_81_ECX) & (BIT(2) | BIT(10) | BIT(29)), 0);
	assert_int_equal(cpuid_policy_word(&policy, CPUID_7_ECX) & (BIT(3) | BIT(7) | BIT(16)), 0);
	assert_int_equal(cpuid_policy_word(&policy, CPUID_7_EBX) & (BIT(4) | BIT(11) | BIT(14)), 0);
	assert_int_equal(cpuid_policy_word(&policy, CPUID_D1_EAX), 7);
	/* There is no AVX-512 state in its XSAVE. */
	assert_int_equal(cpuid_policy_word(&policy, CPUID_7_EBX) & BIT(16), 0);
	assert_true(cpuid_policy_word(&policy, CPUID_7_EBX) & BIT(5));
	assert_int_equal(cpuid_policy_xcr0(&policy), 7);
	assert_int_equal(xcr0_check(&policy, 7), 0);
	assert_int_equal(xcr0_check(&policy, 5), -E_INVAL);
	assert_int_equal(xcr0_check(&policy, 0xe7), -E_INVAL);
	assert_int_equal(xcr0_check(&policy, 6), -E_INVAL);
	assert_int_equal(cr4_allowed(&policy) & (CR4_LA57 | CR4_PKE), 0);
}

static struct cpuid_regs cpuid_guest(struct vcpu *vcpu, u32 leaf, u32 subleaf)
{
	u64 *gpr = vcpu->regs.gpr;

	gpr[GPR_RAX] = leaf | 0xabcd00000000;
	gpr[GPR_RCX] = subleaf | 0xabcd00000000;
	cpuid_execute(vcpu);
	for (u32 i = GPR_RAX; i <= GPR_RBX; i++)
		assert_int_equal(gpr[i] >> 32, 0);
	return (struct cpuid_regs){ (u32)gpr[GPR_RAX], (u32)gpr[GPR_RBX], (u32)gpr[GPR_RCX], (u32)gpr[GPR_RDX] };
}

/* Wherever the hints point to, the answer is that of a search. */
static void test_cpuid_hints(void **state)
{
	static const u32 leaves[] = { 0, 1, 2, 3, 4, 6, 7, 8, 0xb, 0xd, 0xe, 0x40000000, 0x40000001, 0x80000000,
				      0x80000001, 0x80000004, 0x80000008, 0x80000009, ~0u };
	struct vm_config config;
	struct vcpu *vcpu;
	struct vm *vm;

	(void)state;
	fake_vm_config(&config, "cpuid", 16);
	vm = make(&config, 0);
	vcpu = vm->vcpus[0];
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		for (u32 subleaf = 0; subleaf < 10; subleaf++) {
			struct cpuid_regs want;

			memset(vcpu->cpuid_hints, 0, sizeof(vcpu->cpuid_hints));
			want = cpuid_guest(vcpu, leaves[i], subleaf);
			for (u32 hint = 0; hint < vm->cpuid->count; hint++) {
				struct cpuid_regs got;

				memset(vcpu->cpuid_hints, (int)hint, sizeof(vcpu->cpuid_hints));
				got = cpuid_guest(vcpu, leaves[i], subleaf);
				assert_memory_equal(&got, &want, sizeof(got));
			}
		}
	}
	vm_destroy(vm);
}

static void test_cpuid_instruction(void **state)
{
	struct vm_config config;
	struct cpuid_regs regs;
	struct vm *vm;

	(void)state;
	fake_vm_config(&config, "cpuid", 16);
	vm = make(&config, 0);
	regs = cpuid_guest(vm->vcpus[0], 0x40000000, 0);
	assert_memory_equal(&regs.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0x40000001, 0).eax, BIT(3) | BIT(24));
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0xd, 0).ebx, 576);
	vm->vcpus[0]->xcr0 = 7;
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0xd, 0).ebx, 832);
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0xd, 1).ebx, 832);
	assert_false(cpuid_guest(vm->vcpus[0], 1, 0).ecx & BIT(27));
	hvm->set_cr(vm->vcpus[0], 4, CR4_PAE | CR4_OSXSAVE);
	assert_true(cpuid_guest(vm->vcpus[0], 1, 0).ecx & BIT(27));
	assert_true(cpuid_guest(vm->vcpus[0], 1, 0).edx & cpuid_guest(vm->vcpus[0], 0x80000001, 0).edx & BIT(9));
	assert_int_equal(msr_guest_write(vm->vcpus[0], MSR_APIC_BASE, 0xfee00100), 0);
	assert_false((cpuid_guest(vm->vcpus[0], 1, 0).edx | cpuid_guest(vm->vcpus[0], 0x80000001, 0).edx) & BIT(9));
	assert_int_equal(msr_guest_write(vm->vcpus[0], MSR_APIC_BASE, 0xfee00900), 0);
	assert_true(cpuid_guest(vm->vcpus[0], 1, 0).edx & BIT(9));
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0xb, 1).ecx, 0x201);
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0x12345, 0).eax, 0);
	assert_int_equal(cpuid_guest(vm->vcpus[0], 0x8000000a, 0).edx, 0);
	vm_destroy(vm);
}

static void test_cpuid_peer(void **state)
{
	struct cpuid_policy policy;

	(void)state;
	cpuid_policy_build(&policy, 1);
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), 0);
	/* This host becomes a lesser one. */
	fake_cpuid_set(7, 0, (struct cpuid_regs){ 1, 0xffffffff & ~BIT(5) & ~BIT(29), 0xffffffff, 0xffffffff });
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_REFUSED);
	assert_string_equal(why, "avx2, sha_ni");
	fake_cpuid_set(0, 0, (struct cpuid_regs){ 0xd, 1, 1, 1 });
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_REFUSED);
	assert_non_null(strstr(why, "FakeFakeFake"));
}

static void test_cpuid_hostile(void **state)
{
	struct cpuid_policy good, policy;

	(void)state;
	cpuid_policy_build(&good, 1);
	policy = good;
	entry_of(&policy, 0x80000001, 0)->ecx |= BIT(2);
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_REFUSED);
	assert_string_equal(why, "CPUID 0x80000001 ecx bit 2");
	policy = good;
	entry_of(&policy, 0xd, 0)->eax |= BIT(9);
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_REFUSED);
	policy = good;
	policy.count = 0xffffffff;
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_INVAL);
	policy = good;
	policy.vcpus = 0xffffffff;
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_INVAL);
	policy = good;
	policy.entries[3].leaf = 0x99;
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_INVAL);
	policy = good;
	policy.entries[CPUID_ENTRIES_MAX - 1].eax = 1;
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_INVAL);
	/* All bits set: a long list, cut, never beyond the buffer. */
	policy = good;
	for (u32 i = 0; i < policy.count; i++)
		memset(&policy.entries[i].eax, 0xff, 16);
	assert_int_equal(cpuid_policy_check(&policy, why, sizeof(why)), -E_REFUSED);
	assert_true(strlen(why) < sizeof(why));
}

/* --- XSAVE areas from a peer ------------------------------------------------------------------ */

static void test_xsave(void **state)
{
	u8 area[1024] = { 0 };

	(void)state;
	assert_int_equal(vcpu_xsave_check(area, 832, 7), 0);
	assert_int_equal(vcpu_xsave_check(area, 831, 7), -E_INVAL);
	assert_int_equal(vcpu_xsave_check(area, 575, 1), -E_INVAL);
	assert_int_equal(vcpu_xsave_check(area, 2048, 7), -E_INVAL);
	area[512] = 7;
	assert_int_equal(vcpu_xsave_check(area, 832, 7), 0);
	assert_int_equal(vcpu_xsave_check(area, 832, 3), -E_INVAL);
	area[512] = 0x20;
	assert_int_equal(vcpu_xsave_check(area, 832, 7), -E_INVAL);
	area[512] = 0;
	area[527] = 0x80; /* compacted */
	assert_int_equal(vcpu_xsave_check(area, 832, 7), -E_INVAL);
	area[527] = 0;
	area[26] = 1; /* MXCSR bit 16 */
	assert_int_equal(vcpu_xsave_check(area, 832, 7), -E_INVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_acpi),        TEST(test_iasl),          TEST(test_zero_page),
		TEST(test_bad_kernels), TEST(test_initrd_too_big), TEST(test_cpuid_hidden),
		TEST(test_cpuid_instruction), TEST(test_cpuid_hints), TEST(test_cpuid_peer), TEST(test_cpuid_hostile),
		TEST(test_xsave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
