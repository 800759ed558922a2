/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments of an ELF kernel (System V ABI, chapters 4 and 5), 32 or 64 bits: multiboot starts it in 32-bit mode
 * in any case. Service CPU. The file is the user's, not trusted. Pure.
 */
#include "vmm/multiboot_image.h"

#include "errors.h"
#include "lib/string.h"

enum { CLASS_32 = 1, CLASS_64 = 2, DATA_LITTLE = 1, TYPE_EXEC = 2, MACHINE_386 = 3, MACHINE_X86_64 = 62, PT_LOAD = 1 };

struct elf_ident {
	u8 magic[4];
	u8 class, data, version, pad[9];
	u16 type, machine;
	u32 file_version;
};
static_assert(sizeof(struct elf_ident) == 24, "what both classes begin with");

struct elf32 {
	struct elf_ident ident;
	u32 entry, phoff, shoff, flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf32) == 52, "Elf32_Ehdr");

struct elf64 {
	struct elf_ident ident;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf64) == 64, "Elf64_Ehdr");

struct elf32_program {
	u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
};
static_assert(sizeof(struct elf32_program) == 32, "Elf32_Phdr");

struct elf64_program {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
static_assert(sizeof(struct elf64_program) == 56, "Elf64_Phdr");

/* Both classes in the wide form. */
struct elf {
	u64 entry, phoff;
	u32 phentsize, phnum;
	bool wide;
};

static bool take(const struct host_file *file, u64 offset, void *to, u64 bytes)
{
	if (offset > file->bytes || bytes > file->bytes - offset)
		return false;
	memcpy(to, (const u8 *)file->data + offset, bytes);
	return true;
}

static int read_ident(struct multiboot_image *image, bool *wide)
{
	struct elf_ident ident;

	if (!take(image->file, 0, &ident, sizeof(ident)) || memcmp(ident.magic, "\177ELF", 4))
		return multiboot_bad(image, "is no valid kernel: its multiboot header has no addresses, and it is no "
				     "ELF file");
	if (ident.data != DATA_LITTLE || ident.version != 1 ||
	    (ident.class != CLASS_32 && ident.class != CLASS_64) ||
	    (ident.machine != MACHINE_386 && ident.machine != MACHINE_X86_64))
		return multiboot_bad(image, "is an ELF file for another kind of machine (%u)", ident.machine);
	if (ident.type != TYPE_EXEC)
		return multiboot_bad(image, "is no executable ELF file, but of type %u", ident.type);
	*wide = ident.class == CLASS_64;
	return 0;
}

static int read_elf(struct multiboot_image *image, struct elf *elf)
{
	struct elf32 narrow;
	struct elf64 wide;
	bool whole;
	int error;

	memset(elf, 0, sizeof(*elf));
	error = read_ident(image, &elf->wide);
	if (error)
		return error;
	if (elf->wide) {
		whole = take(image->file, 0, &wide, sizeof(wide));
		if (whole)
			*elf = (struct elf){ wide.entry, wide.phoff, wide.phentsize, wide.phnum, true };
	} else {
		whole = take(image->file, 0, &narrow, sizeof(narrow));
		if (whole)
			*elf = (struct elf){ narrow.entry, narrow.phoff, narrow.phentsize, narrow.phnum, false };
	}
	if (!whole)
		return multiboot_bad(image, "is cut: its ELF header is not whole");
	if (elf->phentsize < (elf->wide ? sizeof(struct elf64_program) : sizeof(struct elf32_program)))
		return multiboot_bad(image, "is no valid kernel: its ELF program headers have only %u bytes",
				     elf->phentsize);
	return 0;
}

static bool read_program(const struct host_file *file, const struct elf *elf, u32 index, struct elf64_program *program)
{
	u64 offset = elf->phoff + (u64)index * elf->phentsize;
	struct elf32_program narrow;

	/* Wrapped around. */
	if (offset < elf->phoff)
		return false;
	if (elf->wide)
		return take(file, offset, program, sizeof(*program));
	if (!take(file, offset, &narrow, sizeof(narrow)))
		return false;
	*program = (struct elf64_program){ narrow.type, narrow.flags, narrow.offset, narrow.vaddr, narrow.paddr,
					   narrow.filesz, narrow.memsz, narrow.align };
	return true;
}

int multiboot_elf_read(struct multiboot_image *image)
{
	struct elf64_program program;
	struct elf elf;
	int error = read_elf(image, &elf);

	if (error)
		return error;
	image->entry = elf.entry;
	for (u32 i = 0; !error && i < elf.phnum; i++) {
		if (!read_program(image->file, &elf, i, &program))
			return multiboot_bad(image, "is cut: its ELF program header %u is not whole", i);
		if (program.type != PT_LOAD)
			continue;
		/* The entry is a virtual address; there is no paging yet. */
		if (elf.entry - program.vaddr < program.memsz)
			image->entry = elf.entry - program.vaddr + program.paddr;
		error = multiboot_add_segment(image, &(struct multiboot_segment){
			.gpa = program.paddr, .memory_bytes = program.memsz,
			.offset = program.offset, .file_bytes = program.filesz });
	}
	return error;
}
