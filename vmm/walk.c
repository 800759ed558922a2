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
	int levels;
	int large_top; /* the highest level where PS makes an entry a leaf */
	u32 entry_bytes;
	u32 index_bits;
	u64 root_mask;
	bool is_pae; /* 3 levels, the topmost without rights */
};

struct walk {
	struct vm *vm;
	const struct paging_mode *mode;
	const struct walk_format *format;
	/* walk_down() sets these, arrays by level: */
	gpa_t entry_gpa[LEVELS_MAX + 1];
	u64 entry[LEVELS_MAX + 1];
	int leaf;
	u64 all; /* the bits that all entries with rights have: U, W, A */
	u64 any; /* that any of them has: NX */
};

static const struct walk_format long_mode = { 4, 3, 8, 9, ENTRY_ADDRESS, false };

static const struct walk_format *old_format(const struct paging_mode *mode)
{
	static const struct walk_format pae = { 3, 2, 8, 9, 0xffffffe0, true };
	static const struct walk_format legacy = { 2, 1, 4, 10, 0xfffff000, false };
	static const struct walk_format legacy_pse = { 2, 2, 4, 10, 0xfffff000, false };

	if (mode->cr4 & CR4_PAE)
		return &pae;
	return mode->cr4 & CR4_PSE ? &legacy_pse : &legacy;
}

static bool canonical(u64 linear)
{
	return (u64)((s64)(linear << 16) >> 16) == linear;
}

static inline int read_entry(const struct gmem *gm, u32 entry_bytes, gpa_t gpa, u64 *entry)
{
	u32 narrow;
	int error;

	if (entry_bytes == 8)
		return gmem_read_u64(gm, gpa, entry);
	error = gmem_read_u32(gm, gpa, &narrow);
	if (!error)
		*entry = narrow;
	return error;
}

/*
 * Down to the leaf; 0, or the error code's own part (PF_PRESENT, PF_RESERVED), or -1: not present.
 * Inline: long mode has a copy of its own, where the format is known.
 */
static inline int walk_down(struct walk *w, const struct walk_format *format, u64 linear)
{
	const struct gmem *gm = &w->vm->gmem;
	u64 forbidden = w->mode->efer & EFER_NXE ? 0 : ENTRY_NX;
	u64 table = w->mode->cr3 & format->root_mask;
	u32 index_mask = (1u << format->index_bits) - 1;
	u32 shift = PAGE_SHIFT + format->index_bits * (u32)format->levels;
	u64 all = ~0ull;
	u64 any = 0;

	for (int level = format->levels; level > 0; level--) {
		u64 entry;

		/* PAE's topmost index has two bits, as linear addresses have 32 there. */
		shift -= format->index_bits;
		w->entry_gpa[level] = table + ((u32)(linear >> shift) & index_mask) * format->entry_bytes;
		/* Nobody answers there: all ones, so reserved bits are set. */
		if (read_entry(gm, format->entry_bytes, w->entry_gpa[level], &entry))
			return PF_PRESENT | PF_RESERVED;
		w->entry[level] = entry;
		if (!(entry & ENTRY_P))
			return -1;
		if (entry & forbidden)
			return PF_PRESENT | PF_RESERVED;
		if (!(format->is_pae && level == 3)) {
			all &= entry;
			any |= entry;
		}
		w->leaf = level;
		if (entry & ENTRY_PS && level <= format->large_top)
			break;
		table = entry & ENTRY_ADDRESS;
	}
	w->all = all;
	w->any = any;
	return 0;
}

static noinline int walk_down_long(struct walk *w, u64 linear)
{
	w->format = &long_mode;
	return walk_down(w, &long_mode, linear);
}

static noinline int walk_down_old(struct walk *w, u32 linear)
{
	w->format = old_format(w->mode);
	return walk_down(w, w->format, linear);
}

/* SDM 3 4.6.1. */
static bool walk_allowed(const struct walk *w, u64 rflags, enum walk_access access)
{
	const struct paging_mode *mode = w->mode;
	bool as_user = mode->cpl == 3;
	bool user = w->all & ENTRY_U;

	if (as_user && !user)
		return false;
	switch (access) {
	case WALK_FETCH:
		return !(w->any & ENTRY_NX) && (as_user || !user || !(mode->cr4 & CR4_SMEP));
	case WALK_WRITE:
		if (!(w->all & ENTRY_W) && (as_user || mode->cr0 & CR0_WP))
			return false;
		break;
	case WALK_READ:
		break;
	}
	return as_user || !user || !(mode->cr4 & CR4_SMAP) || rflags & RFLAGS_AC;
}

/* In the lowest byte of each entry; only where one is missing, as the CPU does. */
static noinline void walk_set_accessed(struct walk *w, enum walk_access access)
{
	for (int level = w->format->levels; level >= w->leaf; level--) {
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

static noinline u32 fault_code(const struct paging_mode *mode, enum walk_access access, int fault)
{
	u32 code = fault > 0 ? (u32)fault : 0;

	if (access == WALK_WRITE)
		code |= PF_WRITE;
	if (mode->cpl == 3)
		code |= PF_USER;
	if (access == WALK_FETCH && (mode->efer & EFER_NXE || mode->cr4 & CR4_SMEP))
		code |= PF_FETCH;
	return code;
}

int walk_translate(struct vm *vm, const struct paging_mode *mode, u64 rflags, u64 linear,
		   enum walk_access access, gpa_t *gpa, u32 *error_code)
{
	struct walk w;
	int fault;

	if (!(mode->cr0 & CR0_PG)) {
		*gpa = (u32)linear;
		return 0;
	}
	w.vm = vm;
	w.mode = mode;
	if (likely(mode->efer & EFER_LMA)) {
		if (!canonical(linear))
			return -E_RANGE;
		fault = walk_down_long(&w, linear);
	} else {
		linear = (u32)linear;
		fault = walk_down_old(&w, (u32)linear);
	}
	if (!fault && !walk_allowed(&w, rflags, access))
		fault = PF_PRESENT;
	if (fault) {
		*error_code = fault_code(mode, access, fault);
		return -E_INVAL;
	}
	if (unlikely(!(w.all & ENTRY_A) || (access == WALK_WRITE && !(w.entry[w.leaf] & ENTRY_D))))
		walk_set_accessed(&w, access);
	*gpa = walk_address(&w, linear);
	return 0;
}
