/* SPDX-License-Identifier: Apache-2.0 */
/* Multiboot kernels: what a guest finds that one starts, and images that are wrong in each way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/acpi_tables.h"
#include "vmm/cr.h"
#include "vmm/files.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_internal.h"

#define MAGIC 0x1badb002u
#define ADDRESSES 0x10000u
#define BYTES 0x3000

/* An image, made anew for each case; the file's size is exact, so that reads behind its end are seen. */
static u8 image[BYTES];
static struct host_file *file;
static u8 *exact;
static char why[256];

static int setup(void **state)
{
	(void)state;
	fake_cpu_reset();
	fake_hvm_install();
	if (!files_find("kernel.mb"))
		files_add("kernel.mb", image, 0);
	file = (struct host_file *)(uintptr_t)files_find("kernel.mb");
	memset(image, 0, sizeof(image));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(exact);
	exact = NULL;
	return fake_pages_used() == 0 ? 0 : -1;
}

static void put(u32 at, u64 value, u32 bytes)
{
	memcpy(image + at, &value, bytes);
}

static void put_words(u32 at, const u32 *words, u32 count)
{
	memcpy(image + at, words, count * 4);
}
#define PUT(at, ...) put_words(at, (const u32[]){ __VA_ARGS__ }, ARRAY_SIZE(((const u32[]){ __VA_ARGS__ })))

static void header(u32 at, u32 flags)
{
	PUT(at, MAGIC, flags, 0u - MAGIC - flags);
}

/* By addresses: the header at 0x40 of the file and 1 MiB + 0x40 of memory. */
static void flat(void)
{
	header(0x40, ADDRESSES);
	PUT(0x4c, 0x100040, 0x100000, 0, 0x108000, 0x100060);
	image[0x60] = 0xf4;
}

static void elf_ident(u8 class, u16 machine)
{
	memcpy(image, "\177ELF", 4);
	image[4] = class;
	image[5] = 1;
	image[6] = 1;
	put(16, 2, 2);
	put(18, machine, 2);
	put(20, 1, 4);
}

/* One segment, 0x1000 of the file at 2 MiB, linked elsewhere; another one with no bytes, and one of notes. */
static void elf32(void)
{
	elf_ident(1, 3);
	PUT(24, 0xc0200010, 52);
	put(42, 32, 2);
	put(44, 3, 2);
	PUT(52, 1, 0x1000, 0xc0200000, 0x200000, 0x800, 0x4000);
	PUT(84, 4, 0x7fffffff, 0, 0, 0x1000, 0x1000);
	PUT(116, 1, 0x7fffffff, 0, 0x300000, 0, 0);
	header(0x100, 3);
	image[0x1010] = 0xf4;
}

static void elf64(void)
{
	elf_ident(2, 62);
	put(24, 0x200010, 8);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, 1, 2);
	PUT(64, 1, 5);
	put(72, 0x1000, 8);
	put(80, 0x200000, 8);
	put(88, 0x200000, 8);
	put(96, 0x800, 8);
	put(104, 0x4000, 8);
	header(0x100, 0);
	image[0x1010] = 0xf4;
}

static int load(u32 bytes, const char *ramdisk, u32 memory_mib, struct vm **vm)
{
	struct vm_config config;

	free(exact);
	exact = malloc(bytes + 1);
	memcpy(exact, image, bytes);
	file->data = exact;
	file->bytes = bytes;
	fake_vm_config(&config, "mb", memory_mib);
	strcpy(config.kernel, "kernel.mb");
	strcpy(config.ramdisk, ramdisk);
	strcpy(config.extra, "one two=3");
	return vm_create(&config, vm, why, sizeof(why));
}

static void expect_bad_in(u32 bytes, u32 memory_mib, const char *text)
{
	struct vm *vm;

	assert_true(load(bytes, "", memory_mib, &vm) < 0);
	if (!strstr(why, text))
		fprintf(stderr, "wanted '%s', got '%s'\n", text, why);
	assert_non_null(strstr(why, text));
	assert_non_null(strstr(why, "kernel.mb"));
	assert_int_equal(fake_pages_used(), 0);
}

static void expect_bad(const char *text)
{
	expect_bad_in(BYTES, 16, text);
}

static struct vm *expect_good(const char *ramdisk, u64 entry)
{
	struct cpu_state s;
	struct vm *vm;
	u8 byte;

	if (load(BYTES, ramdisk, 16, &vm))
		fail_msg("%s", why);
	vcpu_save(vm->vcpus[0], &s);
	assert_int_equal(s.rip, entry);
	assert_int_equal(s.gpr[GPR_RAX], 0x2badb002);
	assert_int_equal(s.cr0, CR0_PE | CR0_ET);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.cs.attr & (SEGMENT_L | SEGMENT_DB), SEGMENT_DB);
	assert_int_equal(s.rflags & BIT(9), 0);
	assert_int_equal(gmem_read(&vm->gmem, entry, &byte, 1), 0);
	assert_int_equal(byte, 0xf4);
	return vm;
}

static u32 word_at(struct vm *vm, gpa_t gpa)
{
	u32 value;

	assert_int_equal(gmem_read(&vm->gmem, gpa, &value, sizeof(value)), 0);
	return value;
}

static void expect_text(struct vm *vm, gpa_t gpa, const char *text)
{
	char found[64];

	assert_int_equal(gmem_read(&vm->gmem, gpa, found, strlen(text) + 1), 0);
	assert_string_equal(found, text);
}

/* Multiboot 3.3, by its offsets. */
static void test_boot_info(void **state)
{
	struct vm *vm;
	struct cpu_state s;
	gpa_t info, module, map;
	u64 ram = 0;

	(void)state;
	flat();
	vm = expect_good("initrd.img", 0x100060);
	vcpu_save(vm->vcpus[0], &s);
	info = s.gpr[GPR_RBX];
	assert_int_equal(word_at(vm, info), BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9));
	assert_int_equal(word_at(vm, info + 4), 639);
	assert_int_equal(word_at(vm, info + 8), 15 * 1024);
	expect_text(vm, word_at(vm, info + 16), "kernel.mb one two=3");
	expect_text(vm, word_at(vm, info + 64), "Godwit");
	assert_int_equal(word_at(vm, info + 20), 1);
	module = word_at(vm, info + 24);
	/* Behind the BSS. */
	assert_int_equal(word_at(vm, module), 0x108000);
	assert_int_equal(word_at(vm, module + 4), 0x108000 + 100);
	expect_text(vm, word_at(vm, module + 8), "initrd.img");
	expect_text(vm, 0x108000, "initrd");
	map = word_at(vm, info + 48);
	for (gpa_t end = map + word_at(vm, info + 44); map < end; map += word_at(vm, map) + 4)
		if (word_at(vm, map + 20) == 1)
			ram += word_at(vm, map + 12);
	assert_int_equal(ram, MIB(15) + 0x9fc00);
	assert_memory_equal("RSD PTR ", (u64[]){ word_at(vm, ACPI_RSDP_GPA) | (u64)word_at(vm, ACPI_RSDP_GPA + 4) << 32 }, 8);
	/* And again after a reset. */
	assert_int_equal(vm_reset(vm, why, sizeof(why)), 0);
	expect_text(vm, 0x108000, "initrd");
	vm_destroy(vm);
}

static void test_formats(void **state)
{
	struct vm *vm;

	(void)state;
	flat();
	vm = expect_good("", 0x100060);
	assert_int_equal(word_at(vm, 0x9e000 + 20), 0);
	vm_destroy(vm);
	/* Not all of the file: what is behind load_end_addr is not loaded, and behind bss_end_addr nothing is asked for. */
	memset(image, 0xcc, sizeof(image));
	flat();
	put(0x54, 0x100070, 4);
	put(0x58, 0, 4);
	vm = expect_good("", 0x100060);
	assert_int_equal(word_at(vm, 0x100070), 0);
	assert_int_equal(word_at(vm, 0x10006c), 0xcccccccc);
	vm_destroy(vm);
	memset(image, 0, sizeof(image));
	elf32();
	vm_destroy(expect_good("", 0x200010));
	/* Address fields count before ELF. */
	header(0x100, ADDRESSES);
	PUT(0x10c, 0x100100, 0x100000, 0, 0, 0x101010);
	vm_destroy(expect_good("", 0x101010));
	memset(image, 0, sizeof(image));
	elf64();
	vm_destroy(expect_good("", 0x200010));
	/* A magic number by chance before the header. */
	put(0x80, MAGIC, 4);
	vm_destroy(expect_good("", 0x200010));
}

static void test_bad_headers(void **state)
{
	(void)state;
	expect_bad("is no bzImage");
	flat();
	put(0x48, 1, 4);
	expect_bad("the header's checksum at 0x40 is wrong");
	flat();
	expect_bad_in(0x4a, 16, "is cut: its multiboot header at 0x40 is not whole");
	expect_bad_in(0x5f, 16, "is cut: its multiboot header at 0x40 is not whole");
	/* Not within the first 8 KiB: none. */
	memset(image, 0, sizeof(image));
	header(0x2000, 0);
	expect_bad("is no bzImage");
	header(0x1ff8, ADDRESSES);
	expect_bad("is cut: its multiboot header at 0x1ff8 is not whole");
	memset(image, 0, sizeof(image));
	header(0x1ff4, ADDRESSES);
	expect_bad("is cut: its multiboot header at 0x1ff4 is not whole");
	header(0x40, ADDRESSES | 4);
	expect_bad("asks for a video mode");
	header(0x40, ADDRESSES | 0x8000);
	expect_bad("asks for what multiboot 0.6.96 does not know: flags 0x18000");
	header(0x40, 0);
	expect_bad("its multiboot header has no addresses, and it is no ELF file");
}

static void test_bad_addresses(void **state)
{
	(void)state;
	flat();
	put(0x4c, 0xfffff, 4);
	expect_bad("load_addr 0x100000 does not fit to header_addr 0xfffff");
	put(0x4c, 0x100044, 4);
	expect_bad("load_addr 0x100000 does not fit to header_addr 0x100044");
	flat();
	put(0x54, 0xfffff, 4);
	expect_bad("its addresses do not rise");
	flat();
	put(0x58, 0x100010, 4);
	expect_bad("its addresses do not rise");
	flat();
	put(0x54, 0x200000, 4);
	put(0x58, 0, 4);
	expect_bad("is cut: segment 0 ends behind the file's end");
	flat();
	put(0x58, MIB(16) + 1, 4);
	expect_bad("bytes at 0x100000 are not all memory of the guest, which has 16 MiB");
	put(0x58, ~0u, 4);
	expect_bad("are not all memory of the guest");
	flat();
	put(0x5c, 0x108000, 4);
	expect_bad("its entry, 0x108000, is in no segment");
	PUT(0x4c, 0x40, 0, 0, 0, 0x60);
	put(0x54, 1, 4);
	expect_bad("its entry, 0x60, is in no segment");
	/* Ports and ROMs; where the boot information is. */
	PUT(0x4c, 0xa0040, 0xa0000, 0, 0, 0xa0060);
	expect_bad("at 0xa0000 are not all memory of the guest");
	PUT(0x4c, 0x9d040, 0x9d000, 0, 0, 0x9d060);
	expect_bad("bytes at 0x9d000 are not all memory");
	PUT(0x4c, 0x9c040, 0x9c000, 0, 0, 0x9c060);
	expect_bad("segment 0 at 0x9c000 lies where the boot information is (0x9e000)");
	PUT(0x4c, 0xfffff040, 0xfffff000, 0, 0, 0xfffff060);
	expect_bad("at 0xfffff000 are not all memory");
}

static void test_bad_elf(void **state)
{
	(void)state;
	elf32();
	put(18, 8, 2);
	expect_bad("is an ELF file for another kind of machine (8)");
	elf32();
	put(16, 3, 2);
	expect_bad("is no executable ELF file, but of type 3");
	elf32();
	put(42, 31, 2);
	expect_bad("its ELF program headers have only 31 bytes");
	elf32();
	put(28, BYTES - 33, 4);
	expect_bad("is cut: its ELF program header 1 is not whole");
	put(28, ~0u, 4);
	expect_bad("is cut: its ELF program header 0 is not whole");
	elf32();
	put(44, 0, 2);
	expect_bad("nothing in it is to be loaded");
	elf32();
	put(68, 0x4001, 4);
	expect_bad("segment 0 is larger in the file than in memory");
	elf32();
	put(56, BYTES - 0x7ff, 4);
	expect_bad("is cut: segment 0 ends behind the file's end");
	elf32();
	put(24, 0xc0204000, 4);
	expect_bad("its entry, 0xc0204000, is in no segment");
	elf32();
	PUT(84, 1, 0x1000, 0x203fff, 0x203fff, 1, 1);
	expect_bad("segments 0 and 1 overlap at 0x203fff");
	elf32();
	memset(image + 0x200, 0, 0x400);
	put(28, 0x200, 4);
	put(44, 17, 2);
	for (u32 i = 0; i < 17; i++)
		PUT(0x200 + 32 * i, 1, 0, 0, 0x200000 + i * 0x1000, 0, 0x1000);
	expect_bad("has more than 16 segments");
	memset(image, 0, sizeof(image));
	elf64();
	put(88, ~0ull - 0xfff, 8);
	expect_bad("are not all memory of the guest");
	elf64();
	put(104, ~0ull, 8);
	expect_bad("are not all memory of the guest");
	elf64();
	put(72, ~0ull, 8);
	expect_bad("is cut: segment 0 ends behind the file's end");
	elf64();
	put(32, ~0ull - 8, 8);
	put(56, 2, 2);
	expect_bad("is cut: its ELF program header 0 is not whole");
	/* Less than a header. */
	header(0x20, 0);
	expect_bad_in(0x30, 16, "is cut: its ELF header is not whole");
}

static void test_module(void **state)
{
	struct vm *vm;

	(void)state;
	flat();
	assert_int_equal(load(BYTES, "nothing", 16, &vm), -E_NOENT);
	assert_string_equal(why, "there is no file nothing on this host");
	put(0x58, MIB(16) - 99, 4);
	assert_int_equal(load(BYTES, "initrd.img", 16, &vm), -E_NOMEM);
	assert_non_null(strstr(why, "initrd.img does not fit: 1 MiB besides a kernel that ends at 0xffff9d, in 16 MiB"));
	put(0x58, MIB(16) - 4096, 4);
	vm = expect_good("initrd.img", 0x100060);
	expect_text(vm, MIB(16) - 4096, "initrd");
	vm_destroy(vm);
}

/* --- the ports that test kernels end by ------------------------------------------------------- */

static char event[128];

static void note_event(struct vm *vm, const char *what)
{
	(void)vm;
	snprintf(event, sizeof(event), "%s", what);
}

static struct vm *with_ports(bool test_ports)
{
	struct vm_config config;
	struct vm *vm;

	fake_vm_config(&config, "ports", 16);
	config.test_ports = test_ports;
	config.on_poweroff = VM_PRESERVE;
	assert_int_equal(vm_create(&config, &vm, why, sizeof(why)), 0);
	vm_set_listener(note_event);
	event[0] = 0;
	vm_start(vm);
	return vm;
}

static void test_ports_end(void **state)
{
	struct vm *vm = with_ports(true);
	struct vcpu *vcpu = vm->vcpus[0];

	(void)state;
	fake_guest_out(vcpu, 0xe0, 4, 0x12345678);
	fake_guest_out(vcpu, 0xe1, 1, 0xab);
	fake_guest_in(vcpu, 0xe0, 4);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0x1234ab78);
	fake_guest_out(vcpu, 0xf4, 4, 35);
	fake_run();
	assert_int_equal(vm->state, VM_SHUTDOWN);
	assert_string_equal(event, "ended itself with value 35");
	vm_set_listener(NULL);
	vm_destroy(vm);
}

static void say_to(struct vcpu *vcpu, const char *text)
{
	while (*text)
		fake_guest_out(vcpu, 0x8900, 1, (u8)*text++);
	fake_run();
}

static void test_ports_shutdown(void **state)
{
	struct vm *vm = with_ports(true);
	struct vcpu *vcpu = vm->vcpus[0];

	(void)state;
	say_to(vcpu, "ShutdowShutSShutdow");
	assert_int_equal(vm->state, VM_LIVE);
	say_to(vcpu, "n");
	assert_int_equal(vm->state, VM_SHUTDOWN);
	assert_string_equal(event, "switched itself off");
	vm_set_listener(NULL);
	vm_destroy(vm);
}

static void test_ports_not_asked_for(void **state)
{
	struct vm *vm = with_ports(false);
	struct vcpu *vcpu = vm->vcpus[0];

	(void)state;
	fake_guest_out(vcpu, 0xf4, 4, 0);
	say_to(vcpu, "Shutdown");
	fake_guest_in(vcpu, 0xe0, 1);
	fake_run();
	assert_int_equal(fake_guest_result(vcpu), 0xff);
	assert_int_equal(vm->state, VM_LIVE);
	assert_null(device_find(vm, DEVICE_TEST_PORTS, 0));
	vm_set_listener(NULL);
	vm_destroy(vm);
}

static void test_ports_state(void **state)
{
	struct vm *vm = with_ports(true);
	struct device *dev = device_find(vm, DEVICE_TEST_PORTS, 0);
	u32 words[2];

	(void)state;
	say_to(vm->vcpus[0], "Shut");
	device_save(dev, words);
	assert_int_equal(words[1], 4);
	words[1] = 8;
	assert_int_equal(device_check(dev, words, sizeof(words)), -E_INVAL);
	words[1] = 7;
	assert_int_equal(device_check(dev, words, sizeof(words)), 0);
	device_load(dev, words);
	say_to(vm->vcpus[0], "n");
	assert_int_equal(vm->state, VM_SHUTDOWN);
	vm_set_listener(NULL);
	vm_destroy(vm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_boot_info),    TEST(test_formats),        TEST(test_bad_headers),
		TEST(test_bad_addresses), TEST(test_bad_elf),       TEST(test_module),
		TEST(test_ports_end),    TEST(test_ports_shutdown), TEST(test_ports_not_asked_for),
		TEST(test_ports_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
