/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The word that the compiler puts above the arrays of a function and looks at before it returns. Set once, at the UEFI
 * entry, by the boot CPU; read by every function with an array, on any CPU. The compiler calls __stack_chk_fail().
 */
#include "arch/x86_64/init.h"

#include "arch/x86_64/cpu.h"
#include "lib/log.h"

extern const u8 image_start[];

/* The names are the compiler's (-mstack-protector-guard=global). */
extern u64 __stack_chk_guard;
noreturn void __stack_chk_fail(void);

u64 __stack_chk_guard = 0x5b1e0c7a93d46f00ull;

/* Its callers must not be protected either: they would find another word than they left. */
no_stack_protector void stack_guard_init(void)
{
	/* The byte that comes first in memory is zero: a string that runs over can't contain it. */
	__stack_chk_guard = random_u64() & ~0xffull;
}

void __stack_chk_fail(void)
{
	/* The call is the last instruction of that function: where it returns to may be another. */
	panic("a function has written beyond an array on its stack: the one at image + %#llx",
	      (unsigned long long)((uintptr_t)__builtin_return_address(0) - 1 - (uintptr_t)image_start));
}
