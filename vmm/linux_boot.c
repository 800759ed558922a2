/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 64-bit boot protocol of Linux (Documentation/arch/x86/boot.rst): what a boot loader and the
 * firmware below it would leave in memory. Service CPU; no vCPU runs. The kernel file is the
 * user's, not trusted: its header is copied once and checked.
 */
#include "vmm/linux_boot.h"

#include "errors.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmm/acpi_tables.h"
#include "vmm/cr.h"
#include "vmm/e820.h"
#include "vmm/files.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Where things go, all below E820_LOW_END. */
enum {
	GDT_GPA = 0x6000,
	ZERO_PAGE_GPA = 0x7000,
	PAGE_TABLES_GPA = 0x9000, /* PML4, PDPT, four PDs: 6 pages */
	CMDLINE_GPA = 0x20000,
};

/* Boot protocol: offsets in the zero page; those from 0x1f1 on are in the kernel's file too. */
enum {
	BP_ACPI_RSDP = 0x070,
	BP_E820_COUNT = 0x1e8,
	BP_SETUP_SECTS = 0x1f1,
	BP_VID_MODE = 0x1fa,
	BP_BOOT_FLAG = 0x1fe,
	BP_JUMP_OFFSET = 0x201, /* the header ends at 0x202 + this byte */
	BP_MAGIC = 0x202,
	BP_VERSION = 0x206,
	BP_LOADER = 0x210,
	BP_LOAD_FLAGS = 0x211,
	BP_CODE32_START = 0x214,
	BP_INITRD_GPA = 0x218,
	BP_INITRD_BYTES = 0x21c,
	BP_CMDLINE_GPA = 0x228,
	BP_INITRD_MAX = 0x22c,
	BP_ALIGNMENT = 0x230,
	BP_RELOCATABLE = 0x234,
	BP_XLOAD_FLAGS = 0x236,
	BP_CMDLINE_SIZE = 0x238,
	BP_PREF_ADDRESS = 0x258,
	BP_INIT_SIZE = 0x260,
	BP_HEADER_MIN = 0x268,  /* protocol 2.12's header ends here */
	BP_HEADER_MAX = 0x290,
	BP_E820 = 0x2d0,
};

#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448u /* "HdrS" */
#define PROTOCOL_MIN 0x20c
#define LOAD_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL 0xffff
#define ENTRY_64_OFFSET 0x200
#define SECTOR_BYTES 512
/* Text from the configuration; Linux of protocol 2.12 takes 2047 characters. */
static_assert(VM_CMDLINE_BYTES <= 2048, "the command line fits");

/* One load. */
struct loader {
	struct vm *vm;
	const struct host_file *kernel;
	u8 header[BP_HEADER_MAX]; /* the file's beginning, read once */
	gpa_t kernel_gpa;
	u64 kernel_bytes;         /* that it wants in memory: init_size */
	gpa_t initrd_gpa;
	u64 initrd_bytes;
	u64 low_ram_end;
	char *why;
	size_t why_bytes;
};

static int must_check fail(struct loader *l, int error, const char *fmt, ...) printf_like(3, 4);
static int fail(struct loader *l, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vformat(l->why, l->why_bytes, fmt, ap);
	va_end(ap);
	return error;
}

static u64 field(const struct loader *l, u32 offset, u32 bytes)
{
	u64 value = 0;

	memcpy(&value, l->header + offset, bytes);
	return value;
}

static void set_field(u8 *page, u32 offset, u64 value, u32 bytes)
{
	memcpy(page + offset, &value, bytes);
}

/* --- the kernel's header ---------------------------------------------------------------------- */

static u64 setup_bytes(const struct loader *l)
{
	u64 sectors = field(l, BP_SETUP_SECTS, 1);

	return ((sectors ? sectors : 4) + 1) * SECTOR_BYTES;
}

static int check_header(struct loader *l)
{
	const char *name = l->vm->config.kernel;
	u32 version;

	if (l->kernel->bytes < sizeof(l->header))
		return fail(l, -E_INVAL, "%s is no bzImage: it has only %llu bytes", name,
			    (unsigned long long)l->kernel->bytes);
	memcpy(l->header, l->kernel->data, sizeof(l->header));
	if (field(l, BP_BOOT_FLAG, 2) != BOOT_FLAG)
		return fail(l, -E_INVAL, "%s is no bzImage: no boot flag 0xaa55 at 0x1fe", name);
	if (field(l, BP_MAGIC, 4) != HEADER_MAGIC)
		return fail(l, -E_INVAL, "%s is no bzImage: no \"HdrS\" at 0x202", name);
	version = (u32)field(l, BP_VERSION, 2);
	if (version < PROTOCOL_MIN)
		return fail(l, -E_INVAL, "%s is too old: boot protocol %u.%02u, 2.12 (Linux 3.8) is the least", name,
			    version >> 8, version & 0xff);
	if (!(field(l, BP_LOAD_FLAGS, 1) & LOAD_HIGH))
		return fail(l, -E_INVAL, "%s is a zImage, not a bzImage", name);
	if (!(field(l, BP_XLOAD_FLAGS, 2) & XLF_KERNEL_64))
		return fail(l, -E_INVAL, "%s is no 64-bit kernel", name);
	if (setup_bytes(l) + ENTRY_64_OFFSET >= l->kernel->bytes)
		return fail(l, -E_INVAL, "%s is cut: nothing after its setup code", name);
	return 0;
}

/* --- places in memory ------------------------------------------------------------------------- */

/*
 * Where the kernel prefers to be. One that can be moved may be anywhere above: below, it moves itself
 * there when it unpacks, so that memory must reach to there anyway.
 */
static int place_kernel(struct loader *l)
{
	u64 payload = l->kernel->bytes - setup_bytes(l);
	u64 alignment = field(l, BP_ALIGNMENT, 4);
	u64 end = l->low_ram_end;

	l->kernel_bytes = MAX(field(l, BP_INIT_SIZE, 4), payload);
	l->kernel_gpa = field(l, BP_PREF_ADDRESS, 8);
	if (l->kernel_gpa > end)
		return fail(l, -E_NOMEM, "%s does not fit: it wants to be at %#llx, the guest has %u MiB",
			    l->vm->config.kernel, (unsigned long long)l->kernel_gpa, l->vm->config.memory_mib);
	if (l->kernel_gpa < E820_HIGH_START && field(l, BP_RELOCATABLE, 1) && alignment &&
	    !(alignment & (alignment - 1)))
		l->kernel_gpa = ALIGN_UP(E820_HIGH_START, alignment);
	if (l->kernel_gpa >= E820_HIGH_START && l->kernel_gpa < end && l->kernel_bytes <= end - l->kernel_gpa)
		return 0;
	return fail(l, -E_NOMEM, "%s does not fit: it needs %llu MiB of memory, the guest has %u",
		    l->vm->config.kernel, (unsigned long long)DIV_UP(l->kernel_gpa + l->kernel_bytes, MIB(1)),
		    l->vm->config.memory_mib);
}

/* As high as the kernel can reach it. */
static int place_initrd(struct loader *l, const struct host_file *initrd)
{
	u64 end = MIN(l->low_ram_end, field(l, BP_INITRD_MAX, 4) + 1);
	u64 first = l->kernel_gpa + l->kernel_bytes;

	l->initrd_bytes = initrd->bytes;
	if (initrd->bytes > end || ALIGN_DOWN(end - initrd->bytes, PAGE_SIZE) < first)
		return fail(l, -E_NOMEM, "%s does not fit: %llu MiB besides a kernel that needs %llu, in %u MiB",
			    l->vm->config.ramdisk, (unsigned long long)DIV_UP(initrd->bytes, MIB(1)),
			    (unsigned long long)DIV_UP(first, MIB(1)), l->vm->config.memory_mib);
	l->initrd_gpa = ALIGN_DOWN(end - initrd->bytes, PAGE_SIZE);
	return 0;
}

static int load_files(struct loader *l)
{
	struct gmem *gmem = &l->vm->gmem;
	const struct host_file *initrd = NULL;
	u64 skip = setup_bytes(l);
	int error = place_kernel(l);

	if (!error && l->vm->config.ramdisk[0]) {
		initrd = files_find(l->vm->config.ramdisk);
		if (!initrd)
			return fail(l, -E_NOENT, "there is no file %s on this host", l->vm->config.ramdisk);
		error = place_initrd(l, initrd);
	}
	if (error)
		return error;
	error = gmem_write(gmem, l->kernel_gpa, (const u8 *)l->kernel->data + skip, l->kernel->bytes - skip);
	if (!error && initrd)
		error = gmem_write(gmem, l->initrd_gpa, initrd->data, initrd->bytes);
	if (error)
		return fail(l, error, "%s could not be loaded: %s", l->vm->config.kernel, error_name(error));
	return 0;
}

/* --- what the kernel is told ------------------------------------------------------------------ */

static int write_zero_page(struct loader *l)
{
	struct e820_entry map[E820_MAX];
	u32 header_end = MIN(BP_MAGIC + (u32)field(l, BP_JUMP_OFFSET, 1), BP_HEADER_MAX);
	u32 count = e820_fill(l->vm, map);
	u8 page[PAGE_SIZE];

	memset(page, 0, sizeof(page));
	/* A header shorter than the protocol that it claims: zeroes, which mean "none". */
	memcpy(page + BP_SETUP_SECTS, l->header + BP_SETUP_SECTS, MAX(header_end, BP_HEADER_MIN) - BP_SETUP_SECTS);
	set_field(page, BP_ACPI_RSDP, ACPI_RSDP_GPA, 8);
	set_field(page, BP_VID_MODE, VID_MODE_NORMAL, 2);
	set_field(page, BP_LOADER, LOADER_UNDEFINED, 1);
	set_field(page, BP_CODE32_START, l->kernel_gpa, 4);
	set_field(page, BP_INITRD_GPA, l->initrd_gpa, 4);
	set_field(page, BP_INITRD_BYTES, l->initrd_bytes, 4);
	set_field(page, BP_CMDLINE_GPA, CMDLINE_GPA, 4);
	set_field(page, BP_E820_COUNT, count, 1);
	memcpy(page + BP_E820, map, count * sizeof(map[0]));
	return gmem_write(&l->vm->gmem, ZERO_PAGE_GPA, page, sizeof(page));
}

static int write_cmdline(struct loader *l)
{
	const char *text = l->vm->config.extra;
	size_t bytes = strlen(text) + 1;
	u64 max = field(l, BP_CMDLINE_SIZE, 4);

	if (bytes - 1 > max)
		return fail(l, -E_RANGE, "extra is too long for %s: %llu characters, it takes %llu",
			    l->vm->config.kernel, (unsigned long long)(bytes - 1), (unsigned long long)max);
	return gmem_write(&l->vm->gmem, CMDLINE_GPA, text, bytes);
}

/* The first 4 GiB, identity-mapped by 2 MiB pages. */
static int write_page_tables(struct vm *vm)
{
	u64 table[512];
	gpa_t pdpt = PAGE_TABLES_GPA + PAGE_SIZE;
	gpa_t pd = pdpt + PAGE_SIZE;
	int error;

	memset(table, 0, sizeof(table));
	table[0] = pdpt | 3; /* present, writable */
	error = gmem_write(&vm->gmem, PAGE_TABLES_GPA, table, sizeof(table));
	for (u64 i = 0; i < 4; i++)
		table[i] = (pd + i * PAGE_SIZE) | 3;
	if (!error)
		error = gmem_write(&vm->gmem, pdpt, table, sizeof(table));
	for (u64 i = 0; !error && i < 4; i++) {
		for (u64 j = 0; j < 512; j++)
			table[j] = (i * 512 + j) * LARGE_SIZE | 0x83; /* and large */
		error = gmem_write(&vm->gmem, pd + i * PAGE_SIZE, table, sizeof(table));
	}
	return error;
}

/* --- the CPU ---------------------------------------------------------------------------------- */

enum { BOOT_CS = 0x10, BOOT_DS = 0x18, CODE_64_ATTR = 0xa9b, DATA_ATTR = 0xc93, TSS_64_BUSY_ATTR = 0x8b };
#define GDT_CODE_64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull

static int start_vcpu(struct loader *l)
{
	static const u64 gdt[] = { 0, 0, GDT_CODE_64, GDT_DATA };
	struct vcpu *vcpu = l->vm->vcpus[0];
	struct segment data = { .selector = BOOT_DS, .attr = DATA_ATTR, .limit = ~0u };
	struct cpu_state s;
	int error = gmem_write(&l->vm->gmem, GDT_GPA, gdt, sizeof(gdt));

	if (error)
		return error;
	vcpu_save(vcpu, &s);
	memset(s.gpr, 0, sizeof(s.gpr));
	s.gpr[GPR_RSI] = ZERO_PAGE_GPA;
	s.rip = l->kernel_gpa + ENTRY_64_OFFSET;
	s.rflags = 2;
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = PAGE_TABLES_GPA;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME | EFER_LMA;
	s.cs = (struct segment){ .selector = BOOT_CS, .attr = CODE_64_ATTR, .limit = ~0u };
	s.ss = data;
	s.ds = data;
	s.es = data;
	s.fs = data;
	s.gs = data;
	s.tr = (struct segment){ .attr = TSS_64_BUSY_ATTR, .limit = 0xffff };
	s.gdtr = (struct segment){ .base = GDT_GPA, .limit = sizeof(gdt) - 1 };
	s.idtr = (struct segment){ .base = 0, .limit = 0 };
	return vcpu_load(vcpu, &s);
}

bool linux_boot_is(const struct host_file *kernel)
{
	const u8 *data = kernel->data;
	u32 magic;

	if (kernel->bytes < BP_MAGIC + sizeof(magic))
		return false;
	memcpy(&magic, data + BP_MAGIC, sizeof(magic));
	return magic == HEADER_MAGIC;
}

int linux_boot(struct vm *vm, const struct host_file *kernel, char *why, size_t why_bytes)
{
	struct loader l = {
		.vm = vm,
		.kernel = kernel,
		.low_ram_end = e820_high_end(vm),
		.why = why,
		.why_bytes = why_bytes,
	};
	int error;

	why[0] = '\0';
	error = check_header(&l);
	if (!error)
		error = load_files(&l);
	if (!error)
		error = write_zero_page(&l);
	if (!error)
		error = write_cmdline(&l);
	if (!error)
		error = write_page_tables(vm);
	if (!error)
		error = acpi_tables_load(vm);
	if (!error)
		error = start_vcpu(&l);
	if (error && !why[0])
		return fail(&l, error, "%s could not be started: %s", vm->config.kernel, error_name(error));
	return error;
}
