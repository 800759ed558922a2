/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables (EPT, NPT), format-blind: the vendor backend gives the entry bits as masks.
 * A struct npt belongs to one guest. Its lock protects the structure; the hardware sets A and D
 * bits at any time, so those are only touched atomically.
 *
 * After any call that takes rights away or clears D bits, the caller must have every vCPU flush
 * (vm_flush_tlbs) before it relies on the change (APM 2 15.16, SDM 3 29.4.3.4).
 */
#ifndef MM_NPT_H
#define MM_NPT_H

#include "spinlock.h"
#include "types.h"

struct npt_format {
	const char *name;   /* "NPT", "EPT" */
	u64 table_bits;     /* in an entry that points to a table */
	u64 leaf_bits;      /* in a leaf: present, readable, user, write-back memory type */
	u64 write_bit;      /* leaf and table */
	u64 exec_bit;       /* set = executable (EPT); 0 where execution is denied by nx_bit */
	u64 nx_bit;         /* set = not executable (NPT) */
	u64 large_bit;      /* leaf above level 1 */
	u64 present_mask;   /* any of these set: the entry is present */
	u64 accessed_bit;   /* 0: the CPU keeps none */
	u64 dirty_bit;      /* 0: the CPU keeps none */
	u64 address_mask;
	bool pages_1g;
};

enum npt_prot { NPT_READ = 1, NPT_WRITE = 2, NPT_EXEC = 4, NPT_RWX = 7 };

struct npt {
	const struct npt_format *format;
	hpa_t root;
	struct spinlock lock;
	u64 table_pages; /* owned, the root included */
	hpa_t retired;   /* tables out of use, until npt_reap; HPA_NONE: no list */
};

int must_check npt_init(struct npt *npt, const struct npt_format *format);
/* Frees the tables, never the memory that they map. */
void npt_fini(struct npt *npt);

/* Maps bytes at gpa to hpa with the largest pages that fit. -E_NOMEM, -E_EXIST, -E_INVAL; all or nothing. */
int must_check npt_map(struct npt *npt, gpa_t gpa, hpa_t hpa, u64 bytes, u32 prot);
/* Whole leaves only: who unmaps a part of a large one splits it first. Emptied tables stay until npt_fini. */
void npt_unmap(struct npt *npt, gpa_t gpa, u64 bytes);
/* Where gpa leads: the leaf's entry and level (1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB); false if nowhere. */
bool npt_lookup(const struct npt *npt, gpa_t gpa, u64 *entry, int *level);

/* Splits every large leaf of the range into 4 KiB leaves that inherit its bits. -E_NOMEM: nothing changed. */
int must_check npt_split(struct npt *npt, gpa_t gpa, u64 bytes);
/* If a 1 GiB leaf is at gpa, it becomes 2 MiB leaves that inherit its bits. -E_NOMEM: nothing changed. */
int must_check npt_split_giant(struct npt *npt, gpa_t gpa);
/*
 * The reverse, into 2 MiB leaves, where 512 leaves are contiguous and alike but for A and D; the
 * merged leaf counts as accessed and dirty. Its table may still be walked until the caller's flush.
 */
void npt_merge(struct npt *npt, gpa_t gpa, u64 bytes);
/* Frees the tables that npt_merge took out of use; call after the flush. */
void npt_reap(struct npt *npt);

/*
 * Clears the D bits of the 4 KiB leaves of [gpa, gpa + bytes) and calls found() for each that was
 * set. Tables whose own A bit says that nothing below was touched are skipped: for that, every
 * call must be followed by a flush before the next one.
 */
void npt_harvest_dirty(struct npt *npt, gpa_t gpa, u64 bytes, void (*found)(void *ctx, gpa_t gpa), void *ctx);
/* Clears the D bits of the 4 KiB leaves at gpa + n pages, for each bit n of which; gpa: a multiple of 64 pages. */
void npt_clear_dirty(struct npt *npt, gpa_t gpa, u64 which);

#endif
