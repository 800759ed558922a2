/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loaders of kernels: a bzImage, or a multiboot kernel, that is right but for what the input says of its header, of
 * any length, with an initrd of any length, in guests of several sizes.
 */
#include "fuzz.h"

#include "fake/fake_cpu.h"
#include "fake/fake_hvm.h"
#include "fake/fake_pages.h"
#include "vmm/files.h"
#include "vmm/vm.h"

#define KERNEL_BYTES 4096
#define HEADER 0x1f1
#define HEADER_BYTES 0x80
#define MULTIBOOT_HEADER 0xc0 /* behind the program headers */

static u8 original[KERNEL_BYTES];
/* The same as a multiboot kernel: ELF, 64 bits, with two segments; or by addresses, when the input sets that flag. */
static u8 multiboot[KERNEL_BYTES];
/* Of the test's own kernel and initrd (fake_hvm.c): here they change from input to input. */
static struct host_file *kernel, *initrd;

static void put(u32 at, u64 value, u32 bytes)
{
	memcpy(multiboot + at, &value, bytes);
}

static void put_segment(u32 at, u64 offset, u64 gpa, u64 memory_bytes)
{
	put(at, 1, 4);
	put(at + 8, offset, 8);
	put(at + 16, gpa, 8);
	put(at + 24, gpa, 8);
	put(at + 32, 0x400, 8);
	put(at + 40, memory_bytes, 8);
}

static void make_multiboot(void)
{
	static const u32 addresses[] = { 0x100000 + MULTIBOOT_HEADER, 0x100000, 0, 0x108000, 0x100800 };

	memcpy(multiboot, "\177ELF\2\1\1", 7);
	put(16, 2, 2);
	put(18, 62, 2);
	put(20, 1, 4);
	put(24, 0x100800, 8);
	put(32, 64, 8);
	put(54, 56, 2);
	put(56, 2, 2);
	put_segment(64, 0x800, 0x100800, 0x2000);
	put_segment(120, 0xc00, 0x200000, 0x400);
	put(MULTIBOOT_HEADER, 0x1badb002, 4);
	memcpy(multiboot + MULTIBOOT_HEADER + 12, addresses, sizeof(addresses));
}

void fuzz_start(void)
{
	fake_pages_set_lazy();
	fake_cpu_reset();
	fake_hvm_install();
	kernel = (struct host_file *)(uintptr_t)files_find("vmlinuz");
	initrd = (struct host_file *)(uintptr_t)files_find("initrd.img");
	memcpy(original, kernel->data, KERNEL_BYTES);
	make_multiboot();
}

/* The checksum of the multiboot header would stop most inputs. */
static void sum_up(u8 *data, u64 bytes)
{
	u32 words[3];

	if (bytes < MULTIBOOT_HEADER + sizeof(words))
		return;
	memcpy(words, data + MULTIBOOT_HEADER, sizeof(words));
	words[2] = 0u - words[0] - words[1];
	memcpy(data + MULTIBOOT_HEADER, words, sizeof(words));
}

void fuzz_one(struct fuzz *in)
{
	static const u32 sizes[] = { 16, 18, 32, 64 };
	u32 what = (u32)fuzz_take(in, 1);
	u32 changes = what % 8;
	bool linux_kernel = what < 0x80;
	u32 cut = (u32)fuzz_take(in, 2) % (KERNEL_BYTES + 1);
	struct vm_config config;
	u8 *data, *ramdisk;
	struct vm *vm;
	char why[200] = "";

	fake_cpu_reset();
	fake_hvm_install();
	fake_vm_config(&config, "kernel", sizes[fuzz_take(in, 1) % ARRAY_SIZE(sizes)]);
	if (fuzz_take(in, 1) & 1)
		config.ramdisk[0] = 0;
	/* Exactly so large: what is read behind the end is found. */
	kernel->bytes = KERNEL_BYTES - cut;
	initrd->bytes = fuzz_take(in, 1) * 16;
	data = malloc(KERNEL_BYTES - cut + 1);
	ramdisk = calloc(1, initrd->bytes + 1);
	memcpy(data, linux_kernel ? original : multiboot, kernel->bytes);
	while (changes--) {
		u32 at = (u32)fuzz_take(in, 1);
		size_t n;
		const u8 *bytes = fuzz_bytes(in, 1 + fuzz_take(in, 1) % 8, &n);

		if (linux_kernel)
			at = HEADER + at % HEADER_BYTES;
		if (at + n <= kernel->bytes)
			memcpy(data + at, bytes, n);
	}
	if (!linux_kernel && what & 0x40)
		sum_up(data, kernel->bytes);
	kernel->data = data;
	initrd->data = ramdisk;
	if (vm_create(&config, &vm, why, sizeof(why))) {
		assert_true(why[0]);
	} else {
		if (cut)
			fuzz_reached();
		vm_destroy(vm);
	}
	assert_int_equal(fake_pages_used(), 0);
	free(data);
	free(ramdisk);
}
