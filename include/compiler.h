/* SPDX-License-Identifier: Apache-2.0 */
/* Memory ordering and single-access words (compiler built-ins; x86-64 TSO beneath). */
#ifndef COMPILER_H
#define COMPILER_H

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#define compiler_barrier() __asm__ volatile("" ::: "memory")
/* Orders earlier stores before later loads too, which TSO does not (SDM 3 9.2.2). */
#define memory_barrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define atomic_or(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define atomic_and(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
#define atomic_add(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define atomic_swap(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)

#endif
