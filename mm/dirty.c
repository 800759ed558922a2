/* SPDX-License-Identifier: Apache-2.0 */
/* Which way of finding a guest's writes is taken. Service CPU, once at boot. */
#include "mm/dirty.h"

#include "lib/string.h"

const struct dirty_method *dirty_method = &dirty_d_bits;

const struct dirty_method *dirty_choose(const char *name, bool has_d_bits, bool has_list)
{
	const struct {
		const struct dirty_method *method;
		bool there;
	} all[] = {
		{ &dirty_pml, has_d_bits && has_list },
		{ &dirty_d_bits, has_d_bits },
		{ &dirty_none, true },
	};

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].there && (str_equal(name, "auto") || str_equal(name, all[i].method->name)))
			return all[i].method;
	return NULL;
}
