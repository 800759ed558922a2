/* SPDX-License-Identifier: Apache-2.0 */
/* CPU levels: exactly their features, in CPUID, CR4, EFER, XCR0 and MSRs; the same on hosts that differ. */
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
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define MSR_TSC_AUX 0xc0000103u
#define XCR0_V3 (XCR0_X87 | XCR0_SSE | XCR0_AVX)

static char why[256];

/* A CPU that has everything, AVX-512's state too. */
static void rich_cpu(void)
{
	fake_hvm_install();
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 0x2e7, 2696, 2696, 0 });
	fake_cpuid_set(0xd, 5, (struct cpuid_regs){ 64, 1088, 0, 0 });
	fake_cpuid_set(0xd, 6, (struct cpuid_regs){ 512, 1152, 0, 0 });
	fake_cpuid_set(0xd, 7, (struct cpuid_regs){ 1024, 1664, 0, 0 });
	fake_cpuid_set(0xd, 9, (struct cpuid_regs){ 8, 2688, 0, 0 });
}

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	rich_cpu();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return fake_pages_used() == 0 ? 0 : -1;
}

static void build(struct cpuid_policy *policy, enum cpu_level level)
{
	cpuid_policy_build(policy, 1);
	assert_int_equal(cpuid_policy_limit(policy, level, MIB(256), why, sizeof(why)), 0);
	assert_string_equal(why, "");
}

static struct cpuid_entry *entry_of(struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < policy->count; i++)
		if (policy->entries[i].leaf == leaf && policy->entries[i].subleaf == subleaf)
			return &policy->entries[i];
	fail_msg("no leaf %#x", leaf);
	return NULL;
}

static u32 bits(const u8 *list, size_t count)
{
	u32 word = 0;

	for (size_t i = 0; i < count; i++)
		word |= 1u << list[i];
	return word;
}
#define BITS(...) bits((const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

static void expect_words(enum cpu_level level, const u32 want[CPUID_WORDS])
{
	struct cpuid_policy policy;

	build(&policy, level);
	for (u32 word = 0; word < CPUID_WORDS; word++)
		assert_int_equal(cpuid_policy_word(&policy, word), want[word]);
}

/* By the numbers of SDM 2 and APM 3, besides what we emulate: x2APIC, TSC deadline, hypervisor; MCE, APIC, MTRR... */
static void test_exact_bits(void **state)
{
	u32 want[CPUID_WORDS] = { 0 };

	(void)state;
	want[CPUID_1_ECX] = BITS(0, 9, 13, 19, 20, 23, 21, 24, 31);
	want[CPUID_1_EDX] = BITS(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26);
	want[CPUID_6_EAX] = BITS(2);
	want[CPUID_7_EBX] = BITS(1);
	want[CPUID_81_ECX] = BITS(0);
	want[CPUID_81_EDX] = BITS(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 23, 24, 27, 29);
	expect_words(LEVEL_2, want);
	want[CPUID_1_ECX] |= BITS(1, 12, 22, 25, 26, 28, 29);
	want[CPUID_7_EBX] |= BITS(0, 3, 5, 7, 8);
	want[CPUID_D1_EAX] = BITS(0);
	want[CPUID_81_ECX] |= BITS(5);
	expect_words(LEVEL_3, want);
	want[CPUID_7_EBX] |= BITS(16, 17, 18, 19, 20, 23, 28, 30, 31);
	want[CPUID_D1_EAX] |= BITS(1, 2);
	expect_words(LEVEL_4, want);
}

static void test_host_is_all(void **state)
{
	struct cpuid_policy all, policy;

	(void)state;
	cpuid_policy_build(&all, 1);
	build(&policy, LEVEL_HOST);
	assert_memory_equal(&policy, &all, sizeof(all));
}

static void test_registers(void **state)
{
	struct cpuid_policy policy;

	(void)state;
	build(&policy, LEVEL_2);
	assert_int_equal(cpuid_policy_xcr0(&policy), XCR0_X87);
	assert_int_equal(cpuid_policy_state(&policy), XCR0_X87 | XCR0_SSE);
	assert_int_equal(cr4_allowed(&policy) &
			 (CR4_VME | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP), 0);
	assert_int_equal(efer_allowed(&policy), EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(entry_of(&policy, 0xd, 0)->ecx, 0);
	assert_int_equal(entry_of(&policy, 0xd, 2)->eax, 0);
	assert_int_equal(entry_of(&policy, 7, 0)->eax, 0);
	build(&policy, LEVEL_3);
	assert_int_equal(cpuid_policy_xcr0(&policy), XCR0_V3);
	assert_int_equal(xcr0_check(&policy, XCR0_V3 | XCR0_AVX512), -E_INVAL);
	assert_int_equal(cr4_allowed(&policy) & (CR4_UMIP | CR4_PCIDE | CR4_SMAP), 0);
	assert_true(cr4_allowed(&policy) & CR4_OSXSAVE && cr4_allowed(&policy) & CR4_FSGSBASE);
	assert_int_equal(entry_of(&policy, 0xd, 0)->ecx, 832);
	assert_int_equal(entry_of(&policy, 0xd, 5)->eax, 0);
	build(&policy, LEVEL_4);
	assert_int_equal(cpuid_policy_xcr0(&policy), XCR0_V3 | XCR0_AVX512);
	assert_true(cr4_allowed(&policy) & CR4_SMAP);
	assert_int_equal(entry_of(&policy, 0xd, 0)->ecx, 2688);
}

static struct vm *make(enum cpu_level level)
{
	struct vm_config config;
	struct vm *vm;

	fake_vm_config(&config, "level", 16);
	config.cpu = level;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	return vm;
}

/* What a guest does about it gets a fault, and state from a peer that has it is refused. */
static void test_guest_cannot_use_it(void **state)
{
	struct vm *vm = make(LEVEL_2);
	struct vcpu *vcpu = vm->vcpus[0];
	struct vm_exit xsetbv = { .kind = VM_EXIT_XSETBV, .insn_len = 3, .xsetbv = { .value = XCR0_V3 } };
	struct cpu_state s;
	u64 value;

	(void)state;
	vm_start(vm);
	fake_guest_write_cr(vcpu, 4, CR4_PAE | CR4_OSXSAVE);
	fake_guest_exit(vcpu, &xsetbv);
	fake_guest_write_cr(vcpu, 4, CR4_PAE | CR4_FSGSBASE);
	fake_guest_wrmsr(vcpu, MSR_EFER, EFER_LME | EFER_LMA | EFER_FFXSR);
	fake_run();
	assert_int_equal(fake_guest_events(vcpu, 13), 3);
	assert_int_equal(fake_guest_events(vcpu, 6), 1);
	assert_int_equal(hvm->get_cr(vcpu, 4), CR4_PAE);
	assert_int_equal(vcpu->xcr0, XCR0_X87);
	vm_pause(vm, VM_PAUSE_USER);
	vcpu_save(vcpu, &s);
	assert_int_equal(vcpu_load(vcpu, &s), 0);
	s.efer |= EFER_FFXSR;
	assert_int_equal(vcpu_load(vcpu, &s), -E_INVAL);
	/* TSC_AUX goes with RDTSCP and RDPID. */
	entry_of(vm->cpuid, 0x80000001, 0)->edx &= ~(u32)BIT(27);
	assert_int_equal(msr_guest_write(vcpu, MSR_TSC_AUX, 1), -E_INVAL);
	assert_int_equal(msr_guest_read(vcpu, MSR_TSC_AUX, &value), -E_INVAL);
	entry_of(vm->cpuid, 7, 0)->ecx |= BIT(22);
	assert_int_equal(msr_guest_write(vcpu, MSR_TSC_AUX, 1ull << 32), -E_INVAL);
	vm_destroy(vm);
}

static void test_host_lacks_it(void **state)
{
	struct vm_config config;
	struct vm *vm;

	(void)state;
	fake_cpuid_set(7, 0, (struct cpuid_regs){ 1, ~(u32)(BIT(5) | BIT(8) | BIT(18) | BIT(29)), ~0u, ~0u });
	fake_vm_config(&config, "level", 16);
	config.cpu = LEVEL_3;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), -E_NOSYS);
	assert_string_equal(why, "cpu = 'x86-64-v3': this host's CPU lacks avx2, bmi2");
	config.cpu = LEVEL_4;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), -E_NOSYS);
	assert_string_equal(why, "cpu = 'x86-64-v4': this host's CPU lacks avx2, bmi2, rdseed");
	/* AVX-512 in CPUID without its state in XSAVE is none. */
	rich_cpu();
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 7, 832, 832, 0 });
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), -E_NOSYS);
	assert_non_null(strstr(why, "lacks avx512f, avx512dq, avx512cd, avx512bw, avx512vl"));
	vm_destroy(make(LEVEL_3));
	vm_destroy(make(LEVEL_HOST));
}

/* Another CPU by the same vendor, with all its names, caches, addresses; less where the level has nothing. */
static void test_hosts_that_differ(void **state)
{
	struct cpuid_policy all, level, there;

	(void)state;
	cpuid_policy_build(&all, 1);
	build(&level, LEVEL_3);
	fake_cpuid_set(1, 0, (struct cpuid_regs){ 0xa20f10, 0x1000, 0x3ed83203, 0x078babfd });
	fake_cpuid_set(2, 0, (struct cpuid_regs){ 1, 2, 3, 4 });
	fake_cpuid_set(4, 0, (struct cpuid_regs){ 0x21, 2, 3, 4 });
	fake_cpuid_set(7, 0, (struct cpuid_regs){ 0, 0x1a9, 0, 0 });
	fake_cpuid_set(0xd, 0, (struct cpuid_regs){ 7, 832, 832, 0 });
	fake_cpuid_set(0xd, 1, (struct cpuid_regs){ 1, 0, 0, 0 });
	for (u32 subleaf = 5; subleaf <= 9; subleaf++)
		fake_cpuid_set(0xd, subleaf, (struct cpuid_regs){ 0 });
	for (u32 leaf = 0x80000002; leaf < 0x80000007; leaf++)
		fake_cpuid_set(leaf, 0, (struct cpuid_regs){ leaf, 1, 2, 3 });
	fake_cpuid_set(0x80000001, 0, (struct cpuid_regs){ 0xa20f10, 0, 0x21, 0x29d3fbfd });
	fake_cpuid_set(0x80000008, 0, (struct cpuid_regs){ 0x3927, 0, 0, 0 });
	assert_int_equal(cpuid_policy_check(&all, why, sizeof(why)), -E_REFUSED);
	assert_non_null(strstr(why, "sha_ni"));
	assert_int_equal(cpuid_policy_check(&level, why, sizeof(why)), 0);
	assert_string_equal(why, "");
	build(&there, LEVEL_3);
	rich_cpu();
	assert_int_equal(cpuid_policy_check(&there, why, sizeof(why)), 0);
	for (u32 word = 0; word < CPUID_WORDS; word++)
		assert_int_equal(cpuid_policy_word(&there, word), cpuid_policy_word(&level, word));
	assert_memory_equal(entry_of(&there, 0xd, 0), entry_of(&level, 0xd, 0), sizeof(struct cpuid_entry));
	assert_memory_equal(entry_of(&there, 0x80000008, 0), entry_of(&level, 0x80000008, 0), sizeof(struct cpuid_entry));
}

static u32 shown_address_bits(u64 memory_bytes)
{
	struct cpuid_policy policy;

	cpuid_policy_build(&policy, 1);
	assert_int_equal(cpuid_policy_limit(&policy, LEVEL_2, memory_bytes, why, sizeof(why)), 0);
	assert_int_equal(entry_of(&policy, 0x80000008, 0)->eax >> 8, 48);
	return entry_of(&policy, 0x80000008, 0)->eax & 0xff;
}

static void test_address_bits(void **state)
{
	struct cpuid_policy policy;

	(void)state;
	assert_int_equal(shown_address_bits(MIB(256)), 36);
	assert_int_equal(shown_address_bits(GIB(63)), 36);
	assert_int_equal(shown_address_bits(GIB(63) + MIB(2)), 37);
	assert_int_equal(shown_address_bits(GIB(512)), 40);
	fake_cpuid_set(0x80000008, 0, (struct cpuid_regs){ 0x3024, 0, 0, 0 });
	cpuid_policy_build(&policy, 1);
	assert_int_equal(cpuid_policy_limit(&policy, LEVEL_2, GIB(100), why, sizeof(why)), -E_NOSYS);
	assert_string_equal(why, "37 physical address bits");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_exact_bits),          TEST(test_host_is_all),   TEST(test_registers),
		TEST(test_guest_cannot_use_it), TEST(test_host_lacks_it), TEST(test_hosts_that_differ),
		TEST(test_address_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
