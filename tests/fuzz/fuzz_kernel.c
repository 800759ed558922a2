/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loader of kernels: a bzImage that is right but for what the input says of its header, of any length, with an
 * initrd of any length, in guests of several sizes.
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

static u8 original[KERNEL_BYTES];
/* Of the test's own kernel and initrd (fake_hvm.c): here they change from input to input. */
static struct host_file *kernel, *initrd;

void fuzz_start(void)
{
	fake_pages_set_lazy();
	fake_cpu_reset();
	fake_hvm_install();
	kernel = (struct host_file *)(uintptr_t)files_find("vmlinuz");
	initrd = (struct host_file *)(uintptr_t)files_find("initrd.img");
	memcpy(original, kernel->data, KERNEL_BYTES);
}

void fuzz_one(struct fuzz *in)
{
	static const u32 sizes[] = { 16, 18, 32, 64 };
	u32 changes = (u32)fuzz_take(in, 1) % 8;
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
	memcpy(data, original, kernel->bytes);
	while (changes--) {
		u32 at = HEADER + (u32)fuzz_take(in, 1) % HEADER_BYTES;
		size_t n;
		const u8 *bytes = fuzz_bytes(in, 1 + fuzz_take(in, 1) % 8, &n);

		if (at + n <= kernel->bytes)
			memcpy(data + at, bytes, n);
	}
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
