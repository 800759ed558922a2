/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test-and-set lock. Interrupts are off in all hypervisor code (handlers only set flags), so
 * there is no IRQ-saving variant. The lock order is in docs/architecture.md.
 */
#ifndef SPINLOCK_H
#define SPINLOCK_H

#include "types.h"

struct spinlock {
	u32 held;
};

static inline void spin_lock(struct spinlock *l)
{
	while (unlikely(__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE)))
		while (__atomic_load_n(&l->held, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
}

static inline bool spin_trylock(struct spinlock *l)
{
	return !__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_unlock(struct spinlock *l)
{
	__atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

#endif
