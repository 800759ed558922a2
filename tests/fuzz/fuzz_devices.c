/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of the board (interrupt controllers, timers, clock, serial port, ACPI): steps that a guest may
 * take, and states from a hostile peer: each is saved, changed, checked, loaded if the check lets it pass, and used.
 */
#include "fuzz.h"

#include "dev_steps.h"

#define STEPS_MAX 300

static struct fuzz *input;

static u64 rnd(void)
{
	return fuzz_take(input, 4);
}

void fuzz_start(void)
{
}

/* One device's state is changed here and there; the others stay as they are. */
static void hostile_state(struct world *w)
{
	u32 which = (u32)fuzz_take(input, 1);
	u32 changes = (u32)fuzz_take(input, 1) % 16;
	bool changed = changes;
	struct device *dev = w->vm.devices;
	u8 *data;

	while (dev->next && which--)
		dev = dev->next;
	devices_pause(&w->vm);
	data = malloc(device_state_bytes(dev));
	device_save(dev, data);
	assert_int_equal(device_check(dev, data, device_state_bytes(dev)), 0);
	while (changes--) {
		u32 at = (u32)fuzz_take(input, 2) % device_state_bytes(dev);

		data[at] = (u8)fuzz_take(input, 1);
	}
	if (device_check(dev, data, device_state_bytes(dev)) == 0) {
		device_load(dev, data);
		/* What was taken is as good as what was there before: it can move on. */
		device_save(dev, data);
		assert_int_equal(device_check(dev, data, device_state_bytes(dev)), 0);
		if (changed)
			fuzz_reached();
	}
	free(data);
	devices_resume(&w->vm);
}

void fuzz_one(struct fuzz *in)
{
	struct world *w;

	input = in;
	fake_cpu_reset();
	fake_time_set(NS_PER_S);
	w = world_new();
	for (u32 i = 0; i < STEPS_MAX && in->left; i++) {
		u8 what = (u8)fuzz_take(in, 1);
		struct world *there;
		struct step s;

		if (what < 32) {
			hostile_state(w);
		} else if (what < 36) {
			there = world_move(w);
			world_free(w);
			w = there;
		} else if (what < 40) {
			board_reset(&w->vm);
		} else if (what < 64) {
			advance(w, fuzz_take(in, 4));
		} else {
			s = random_step();
			run_step(w, &s);
		}
	}
	world_free(w);
}
