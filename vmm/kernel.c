/* SPDX-License-Identifier: Apache-2.0 */
/* Which loader a kernel's file is for. Service CPU. */
#include "vmm/kernel.h"

#include "errors.h"
#include "lib/format.h"
#include "vmm/files.h"
#include "vmm/linux_boot.h"
#include "vmm/multiboot.h"
#include "vmm/vm.h"

int kernel_load(struct vm *vm, char *why, size_t why_bytes)
{
	const struct host_file *kernel = files_find(vm->config.kernel);

	if (!kernel)
		return say(-E_NOENT, why, why_bytes, "there is no file %s on this host", vm->config.kernel);
	/* Linux first: a bzImage's code may hold multiboot's magic number by chance. */
	if (!linux_boot_is(kernel) && multiboot_is(kernel))
		return multiboot_boot(vm, kernel, why, why_bytes);
	return linux_boot(vm, kernel, why, why_bytes);
}
