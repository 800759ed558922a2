/* SPDX-License-Identifier: Apache-2.0 */
/* The MC146818 clock with its CMOS memory (ports 0x70, 0x71). Shows UTC. vm->lock held. */
#ifndef DEVICES_RTC_H
#define DEVICES_RTC_H

#include "types.h"
#include "vmm/device.h"
#include "vmm/io_bus.h"
#include "vmm/vtimer.h"

#define RTC_BYTES 128
#define RTC_GSI 8

enum rtc_reg {
	RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
	RTC_WEEKDAY, RTC_DAY, RTC_MONTH, RTC_YEAR,
	RTC_A, RTC_B, RTC_C, RTC_D,
	RTC_CENTURY = 0x32, /* as the FADT says: BOARD_RTC_CENTURY */
};

struct rtc_state {
	s64 offset_ns; /* UTC in ns since 1970 = vm time + this */
	u64 seen_ns;   /* vm time up to which events are in register C */
	u8 cmos[RTC_BYTES]; /* time registers count only while SET holds them */
	u8 index;
	u8 reserved[7];
};
static_assert(sizeof(struct rtc_state) == 152, "wire layout");

struct rtc {
	struct device dev;
	struct vtimer timer;
	struct rtc_state s;
};

void rtc_init(struct rtc *rtc, struct vm *vm);
io_handler rtc_io; /* ctx: the rtc */

/* --- rtc_time.c: between seconds and registers; pure --- */
/* The last second that the clock can show: 2099-12-31 23:59:59. */
#define RTC_SECONDS_MAX 4102444799ull

/* Fills the time registers of cmos in the format that its register B says. */
void rtc_time_encode(u8 cmos[RTC_BYTES], u64 seconds);
/* The other way round; what is out of range is taken as the nearest that is not. */
u64 rtc_time_decode(const u8 cmos[RTC_BYTES]);
/* The first second at or after from that matches the alarm registers; ~0: none. */
u64 rtc_time_alarm(const u8 cmos[RTC_BYTES], u64 from);

#endif
