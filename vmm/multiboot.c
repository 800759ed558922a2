/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a multiboot loader and the firmware below it would leave in memory and in the CPU (multiboot 0.6.96, 3.2 and
 * 3.3). Service CPU; no vCPU runs.
 */
#include "vmm/multiboot.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/acpi_tables.h"
#include "vmm/cr.h"
#include "vmm/e820.h"
#include "vmm/multiboot_image.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* One page, which the kernel's segments must leave free. */
#define INFO_GPA 0x9e000u
#define LOADER_MAGIC 0x2badb002u

enum {
	INFO_MEMORY = BIT(0),
	INFO_CMDLINE = BIT(2),
	INFO_MODULES = BIT(3),
	INFO_MAP = BIT(6),
	INFO_LOADER_NAME = BIT(9),
};

/* 3.3; what comes after it needs flags that are not set. */
struct boot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
static_assert(sizeof(struct boot_info) == 68, "multiboot 0.6.96 3.3");

struct boot_module {
	u32 start, end, string, reserved;
};
static_assert(sizeof(struct boot_module) == 16, "multiboot 0.6.96 3.3");

/* size does not count itself. */
struct map_entry {
	u32 size;
	struct e820_entry e820;
} packed;
static_assert(sizeof(struct map_entry) == 24, "multiboot 0.6.96 3.3");

struct info_page {
	struct boot_info info;
	struct boot_module module;
	char loader[12];
	struct map_entry map[E820_MAX];
	char module_string[sizeof(((struct vm_config *)0)->ramdisk)];
	char cmdline[sizeof(((struct vm_config *)0)->kernel) + VM_CMDLINE_BYTES];
};
static_assert(sizeof(struct info_page) <= PAGE_SIZE, "room for what the guest is told");
#define INFO_AT(member) (INFO_GPA + (u32)offsetof(struct info_page, member))

/* One load. */
struct multiboot {
	struct vm *vm;
	struct multiboot_image image;
	const struct host_file *module; /* NULL: none */
	gpa_t module_gpa;
	u64 high_end;
};

static gpa_t end_of(const struct multiboot_segment *segment)
{
	return segment->gpa + segment->memory_bytes;
}

/* --- places in memory ------------------------------------------------------------------------- */

static bool overlap(gpa_t a, u64 a_bytes, gpa_t b, u64 b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static int check_segment(struct multiboot *m, u32 index)
{
	struct multiboot_image *image = &m->image;
	const struct multiboot_segment *s = &image->segments[index];
	u64 end = s->gpa < E820_LOW_END ? E820_LOW_END : m->high_end;

	if ((s->gpa >= E820_LOW_END && s->gpa < E820_HIGH_START) || s->gpa >= end || s->memory_bytes > end - s->gpa)
		return multiboot_bad(image, "does not fit: %llu bytes at %#llx are not all memory of the guest, "
				     "which has %u MiB", (unsigned long long)s->memory_bytes,
				     (unsigned long long)s->gpa, m->vm->config.memory_mib);
	if (overlap(s->gpa, s->memory_bytes, INFO_GPA, PAGE_SIZE))
		return multiboot_bad(image, "does not fit: segment %u at %#llx lies where the boot information is "
				     "(%#x)", index, (unsigned long long)s->gpa, INFO_GPA);
	for (u32 i = 0; i < index; i++)
		if (overlap(s->gpa, s->memory_bytes, image->segments[i].gpa, image->segments[i].memory_bytes))
			return multiboot_bad(image, "is no valid kernel: segments %u and %u overlap at %#llx", i, index,
					     (unsigned long long)MAX(s->gpa, image->segments[i].gpa));
	return 0;
}

static int check_image(struct multiboot *m)
{
	struct multiboot_image *image = &m->image;
	bool entry = false;
	int error = 0;

	for (u32 i = 0; !error && i < image->segment_count; i++) {
		error = check_segment(m, i);
		entry = entry || image->entry - image->segments[i].gpa < image->segments[i].memory_bytes;
	}
	if (!error && !image->segment_count)
		return multiboot_bad(image, "is no valid kernel: nothing in it is to be loaded");
	if (!error && !entry)
		return multiboot_bad(image, "is no valid kernel: its entry, %#llx, is in no segment",
				     (unsigned long long)image->entry);
	return error;
}

/* Above the kernel, where kernels don't take memory before they have looked. */
static int place_module(struct multiboot *m)
{
	struct vm_config *config = &m->vm->config;
	gpa_t first = E820_HIGH_START;

	if (!config->ramdisk[0])
		return 0;
	m->module = files_find(config->ramdisk);
	if (!m->module)
		return say(-E_NOENT, m->image.why, m->image.why_bytes, "there is no file %s on this host",
			   config->ramdisk);
	for (u32 i = 0; i < m->image.segment_count; i++)
		first = MAX(first, end_of(&m->image.segments[i]));
	m->module_gpa = ALIGN_UP(first, PAGE_SIZE);
	if (m->module_gpa <= m->high_end && m->module->bytes <= m->high_end - m->module_gpa)
		return 0;
	return say(-E_NOMEM, m->image.why, m->image.why_bytes,
		   "%s does not fit: %llu MiB besides a kernel that ends at %#llx, in %u MiB", config->ramdisk,
		   (unsigned long long)DIV_UP(m->module->bytes, MIB(1)), (unsigned long long)first, config->memory_mib);
}

static int load_files(struct multiboot *m)
{
	struct gmem *gmem = &m->vm->gmem;
	int error = 0;

	for (u32 i = 0; !error && i < m->image.segment_count; i++) {
		const struct multiboot_segment *s = &m->image.segments[i];

		error = gmem_write(gmem, s->gpa, (const u8 *)m->image.file->data + s->offset, s->file_bytes);
	}
	if (!error && m->module)
		error = gmem_write(gmem, m->module_gpa, m->module->data, m->module->bytes);
	return error;
}

/* --- what the kernel is told ------------------------------------------------------------------ */

static u32 fill_map(const struct vm *vm, struct map_entry *map)
{
	struct e820_entry e820[E820_MAX];
	u32 count = e820_fill(vm, e820);

	for (u32 i = 0; i < count; i++)
		map[i] = (struct map_entry){ sizeof(e820[i]), e820[i] };
	return count;
}

static int write_info(struct multiboot *m)
{
	const struct vm_config *config = &m->vm->config;
	struct info_page page;

	memset(&page, 0, sizeof(page));
	page.info = (struct boot_info){
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME,
		.mem_lower = E820_LOW_END / KIB(1),
		.mem_upper = (u32)((m->high_end - E820_HIGH_START) / KIB(1)),
		.cmdline = INFO_AT(cmdline),
		.mods_addr = INFO_AT(module),
		.mmap_addr = INFO_AT(map),
		.boot_loader_name = INFO_AT(loader),
	};
	page.info.mmap_length = fill_map(m->vm, page.map) * (u32)sizeof(page.map[0]);
	str_copy(page.loader, sizeof(page.loader), "Godwit");
	/* As loaders do, the file's name first. */
	str_format(page.cmdline, sizeof(page.cmdline), "%s%s%s", config->kernel, config->extra[0] ? " " : "",
		   config->extra);
	if (m->module) {
		page.info.mods_count = 1;
		page.module = (struct boot_module){ .start = (u32)m->module_gpa,
						    .end = (u32)(m->module_gpa + m->module->bytes),
						    .string = INFO_AT(module_string) };
		str_copy(page.module_string, sizeof(page.module_string), config->ramdisk);
	}
	return gmem_write(&m->vm->gmem, INFO_GPA, &page, sizeof(page));
}

/* --- the CPU ---------------------------------------------------------------------------------- */

enum { CODE_32_ATTR = 0xc9b, DATA_ATTR = 0xc93, TSS_32_BUSY_ATTR = 0x8b };

/* 3.2; the kernel brings its own GDT, so that selectors mean nothing. */
static int start_vcpu(struct multiboot *m)
{
	struct vcpu *vcpu = m->vm->vcpus[0];
	struct segment data = { .selector = 0x18, .attr = DATA_ATTR, .limit = ~0u };
	struct cpu_state s;

	vcpu_save(vcpu, &s);
	memset(s.gpr, 0, sizeof(s.gpr));
	s.gpr[GPR_RAX] = LOADER_MAGIC;
	s.gpr[GPR_RBX] = INFO_GPA;
	s.rip = m->image.entry;
	s.rflags = 2;
	s.cr0 = CR0_PE | CR0_ET;
	s.cs = (struct segment){ .selector = 0x10, .attr = CODE_32_ATTR, .limit = ~0u };
	s.ss = data;
	s.ds = data;
	s.es = data;
	s.fs = data;
	s.gs = data;
	s.tr = (struct segment){ .attr = TSS_32_BUSY_ATTR, .limit = 0xffff };
	s.gdtr = (struct segment){ .base = 0, .limit = 0 };
	s.idtr = (struct segment){ .base = 0, .limit = 0 };
	return vcpu_load(vcpu, &s);
}

int multiboot_boot(struct vm *vm, const struct host_file *kernel, char *why, size_t why_bytes)
{
	struct multiboot m = {
		.vm = vm,
		.image = { .file = kernel, .name = vm->config.kernel, .why = why, .why_bytes = why_bytes },
		.high_end = e820_high_end(vm),
	};
	int error;

	why[0] = '\0';
	error = multiboot_image_read(&m.image);
	if (!error)
		error = check_image(&m);
	if (!error)
		error = place_module(&m);
	if (!error)
		error = load_files(&m);
	if (!error)
		error = write_info(&m);
	if (!error)
		error = acpi_tables_load(vm);
	if (!error)
		error = start_vcpu(&m);
	if (error && !why[0])
		return say(error, why, why_bytes, "%s could not be started: %s", vm->config.kernel, error_name(error));
	return error;
}
