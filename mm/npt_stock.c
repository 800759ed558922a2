/* SPDX-License-Identifier: Apache-2.0 */
/* Pages for new tables, set aside before the tables are touched. Under the caller's lock. */
#include "errors.h"
#include "lib/log.h"
#include "mm/npt_walk.h"
#include "mm/pages.h"

static void stock_put(struct npt_stock *stock, hpa_t page)
{
	*(hpa_t *)page_ptr(page) = stock->first;
	stock->first = page;
}

hpa_t npt_stock_take(struct npt_stock *stock)
{
	hpa_t page = stock->first;

	assert(page != HPA_NONE);
	stock->first = *(hpa_t *)page_ptr(page);
	return page;
}

void npt_stock_release(struct npt_stock *stock)
{
	while (stock->first != HPA_NONE)
		pages_free(npt_stock_take(stock), 0);
}

int npt_stock_fill(struct npt_stock *stock, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		hpa_t page = pages_alloc_raw(0);

		if (page == HPA_NONE) {
			npt_stock_release(stock);
			return trace_error(-E_NOMEM);
		}
		stock_put(stock, page);
	}
	return 0;
}
