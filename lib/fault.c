/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The armed fault points, in a small table: asked from any CPU, armed by the service CPU.
 */
#include "lib/fault.h"

#if defined(GODWIT_DEBUG) || defined(GODWIT_MEASURE)

#include "compiler.h"
#include "errors.h"
#include "lib/string.h"
#include "spinlock.h"

#define POINTS_MAX 32

struct fault_point {
	char name[FAULT_NAME_BYTES];
	u64 left;
	u64 hits;
};

static struct spinlock fault_lock;
/* Under fault_lock: */
static struct fault_point points[POINTS_MAX];
/* Nonzero if any point has something left: the common question costs one load. */
static u32 armed;

static struct fault_point *find(const char *name)
{
	for (u32 i = 0; i < POINTS_MAX; i++)
		if (points[i].name[0] && str_equal(points[i].name, name))
			return &points[i];
	return NULL;
}

static void count_armed(void)
{
	u32 n = 0;

	for (u32 i = 0; i < POINTS_MAX; i++)
		n += points[i].left != 0;
	WRITE_ONCE(armed, n);
}

bool fault_hit(const char *name)
{
	struct fault_point *point;
	bool hit;

	if (!READ_ONCE(armed))
		return false;
	spin_lock(&fault_lock);
	point = find(name);
	hit = point && point->left;
	if (hit) {
		point->hits++;
		if (point->left != FAULT_FOREVER)
			point->left--;
		count_armed();
	}
	spin_unlock(&fault_lock);
	return hit;
}

bool fault_hold(const char *name)
{
	struct fault_point *point;
	bool hold;

	if (!READ_ONCE(armed))
		return false;
	spin_lock(&fault_lock);
	point = find(name);
	hold = point && point->left;
	if (hold)
		point->hits++;
	spin_unlock(&fault_lock);
	return hold;
}

int fault_set(const char *name, u64 count)
{
	struct fault_point *point;
	int error = 0;

	spin_lock(&fault_lock);
	point = find(name);
	for (u32 i = 0; !point && i < POINTS_MAX; i++)
		if (!points[i].name[0])
			point = &points[i];
	if (!point) {
		error = -E_NOMEM;
	} else {
		str_copy(point->name, sizeof(point->name), name);
		point->left = count;
		count_armed();
	}
	spin_unlock(&fault_lock);
	return error;
}

void fault_clear(const char *name)
{
	struct fault_point *point;

	spin_lock(&fault_lock);
	point = find(name);
	if (point)
		point->left = 0;
	count_armed();
	spin_unlock(&fault_lock);
}

void fault_clear_all(void)
{
	spin_lock(&fault_lock);
	memset(points, 0, sizeof(points));
	count_armed();
	spin_unlock(&fault_lock);
}

const char *fault_get(u32 index, u64 *left)
{
	for (u32 i = 0; i < POINTS_MAX; i++) {
		if (!points[i].left)
			continue;
		if (index-- == 0) {
			*left = points[i].left;
			return points[i].name;
		}
	}
	return NULL;
}

u64 fault_hits(const char *name)
{
	struct fault_point *point;
	u64 hits;

	spin_lock(&fault_lock);
	point = find(name);
	hits = point ? point->hits : 0;
	spin_unlock(&fault_lock);
	return hits;
}

#endif
