/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest page tables: 4-level, PAE and 32-bit (SDM 3 4.3 to 4.5). Called by the emulator on the
 * vCPU's CPU. The tables are the guest's: every read goes through the bounds-checked door.
 */
#include "vmm/walk.h"

#include "errors.h"
#include "lib/string.h"
#include "vmm/cr.h"
#include "vmm/vm.h"

#define ENTRY_P BIT(0)
#define ENTRY_W BIT(1)
#define ENTRY_U BIT(2)
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)
#define ENTRY_PS BIT(7)
#define ENTRY_NX BIT(63)
#define ENTRY_ADDRESS 0x000ffffffffff000ull
#define RFLAGS_AC BIT(18)

#define LEVELS_MAX 4

/* One of the formats. */
struct walk_format {
	u32 levels;
	u32 entry_bytes;
	u32 index_bits;
	u64 root_mask;
	bool is_pae; /* 3 levels, the topmost without rights */
};

struct walk {
	struct vm *vm;
	const struct paging_mode *mode;
	const struct walk_format *format;
	gpa_t entry_gpa[LEVELS_MAX + 1]; /* by level */
	u64 entry[LEVELS_MAX + 1];
	int leaf;
	bool user, write, nx;
};

static const struct walk_format *walk_format(const struct paging_mode *mode)
{
	static const struct walk_format long_mode = { 4, 8, 9, ENTRY_ADDRESS, false };
	static const struct walk_format pae = { 3, 8, 9, 0xffffffe0, true };
	static const struct walk_format legacy = { 2, 4, 10, 0xfffff000, false };

	if (mode->efer & EFER_LMA)
		return &long_mode;
	return mode->cr4 & CR4_PAE ? &pae : &legacy;
}

static bool canonical(u64 linear)
{
	return (u64)((s64)(linear << 16) >> 16) == linear;
}

static bool is_leaf(const struct walk *w, int level)
{
	if (level == 1)
		return true;
	if (!(w->entry[level] & ENTRY_PS))
		return false;
	if (w->format->levels == 4)
		return level <= 3;
	if (w->format->is_pae)
		return level == 2;
	return w->mode->cr4 & CR4_PSE;
}

/* Down to the leaf; 0, or the error code's own part (PF_PRESENT, PF_RESERVED), or -1: not present. */
static int walk_down(struct walk *w, u64 linear)
{
	const struct walk_format *format = w->format;
	u64 table = w->mode->cr3 & format->root_mask;
	u32 index_mask = (1u << format->index_bits) - 1;

	w->user = true;
	w->write = true;
	w->nx = false;
	for (int level = (int)format->levels; level > 0; level--) {
		u32 shift = PAGE_SHIFT + format->index_bits * (u32)(level - 1);
		u32 index = (u32)(linear >> shift) & index_mask;
		bool has_rights = !(format->is_pae && level == 3);
		u64 entry = 0;

		if (!has_rights)
			index &= 3;
		w->entry_gpa[level] = table + index * format->entry_bytes;
		/* Nobody answers there: all ones, so reserved bits are set. */
		if (gmem_read(&w->vm->gmem, w->entry_gpa[level], &entry, format->entry_bytes))
			return PF_PRESENT | PF_RESERVED;
		w->entry[level] = entry;
		if (!(entry & ENTRY_P))
			return -1;
		if (entry & ENTRY_NX && !(w->mode->efer & EFER_NXE))
			return PF_PRESENT | PF_RESERVED;
		if (has_rights) {
			w->user &= (entry & ENTRY_U) != 0;
			w->write &= (entry & ENTRY_W) != 0;
			w->nx |= (entry & ENTRY_NX) != 0;
		}
		w->leaf = level;
		if (is_leaf(w, level))
			return 0;
		table = entry & ENTRY_ADDRESS;
	}
	return 0;
}

/* SDM 3 4.6.1. */
static bool walk_allowed(const struct walk *w, u64 rflags, enum walk_access access)
{
	const struct paging_mode *mode = w->mode;
	bool as_user = mode->cpl == 3;

	if (as_user && !w->user)
		return false;
	switch (access) {
	case WALK_FETCH:
		return !w->nx && (as_user || !w->user || !(mode->cr4 & CR4_SMEP));
	case WALK_WRITE:
		if (!w->write && (as_user || mode->cr0 & CR0_WP))
			return false;
		break;
	case WALK_READ:
		break;
	}
	return as_user || !w->user || !(mode->cr4 & CR4_SMAP) || rflags & RFLAGS_AC;
}

/* In the lowest byte of each entry; only where one is missing, as the CPU does. */
static void walk_set_accessed(struct walk *w, enum walk_access access)
{
	for (int level = (int)w->format->levels; level >= w->leaf; level--) {
		u64 bits = ENTRY_A;

		if (w->format->is_pae && level == 3)
			continue;
		if (level == w->leaf && access == WALK_WRITE)
			bits |= ENTRY_D;
		if ((w->entry[level] & bits) == bits)
			continue;
		gmem_or_u8(&w->vm->gmem, w->entry_gpa[level], (u8)bits);
	}
}

static gpa_t walk_address(const struct walk *w, u64 linear)
{
	u32 shift = PAGE_SHIFT + w->format->index_bits * (u32)(w->leaf - 1);
	u64 offset_mask = BIT(shift) - 1;
	u64 entry = w->entry[w->leaf];
	u64 base = entry & ENTRY_ADDRESS & ~offset_mask;

	/* PSE-36: bits 13-20 are address bits 32-39 (SDM 3 table 4-4). */
	if (w->format->entry_bytes == 4 && w->leaf == 2)
		base |= (entry >> 13 & 0xff) << 32;
	return base | (linear & offset_mask);
}

int walk_translate(struct vm *vm, const struct paging_mode *mode, u64 rflags, u64 linear,
		   enum walk_access access, gpa_t *gpa, u32 *error_code)
{
	struct walk w = { .vm = vm, .mode = mode, .format = walk_format(mode) };
	u32 code = 0;
	int fault;

	if (!(mode->cr0 & CR0_PG)) {
		*gpa = (u32)linear;
		return 0;
	}
	if (!(mode->efer & EFER_LMA))
		linear = (u32)linear;
	else if (!canonical(linear))
		return -E_RANGE;
	if (access == WALK_WRITE)
		code |= PF_WRITE;
	if (mode->cpl == 3)
		code |= PF_USER;
	if (access == WALK_FETCH && (mode->efer & EFER_NXE || mode->cr4 & CR4_SMEP))
		code |= PF_FETCH;
	fault = walk_down(&w, linear);
	if (!fault && !walk_allowed(&w, rflags, access))
		fault = PF_PRESENT;
	if (fault) {
		*error_code = code | (fault > 0 ? (u32)fault : 0);
		return -E_INVAL;
	}
	walk_set_accessed(&w, access);
	*gpa = walk_address(&w, linear);
	return 0;
}
