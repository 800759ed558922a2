/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock's registers: BCD or binary, 12 or 24 hours (MC146818 data sheet, "Time, calendar and
 * alarm locations"), and the calendar behind them.
 */
#include "devices/rtc.h"

enum { B_24_HOURS = BIT(1), B_BINARY = BIT(2) };
#define HOUR_PM 0x80
#define ALARM_ANY 0xc0 /* both top bits: matches always */
#define DAY_S 86400u

static u8 encode(const u8 *cmos, u32 value)
{
	if (cmos[RTC_B] & B_BINARY)
		return (u8)value;
	return (u8)(value / 10 << 4 | value % 10);
}

static u32 decode(const u8 *cmos, u8 value)
{
	if (cmos[RTC_B] & B_BINARY)
		return value;
	return (value >> 4) * 10u + (value & 15);
}

static u8 encode_hour(const u8 *cmos, u32 hour)
{
	u8 byte;

	if (cmos[RTC_B] & B_24_HOURS)
		return encode(cmos, hour);
	byte = encode(cmos, hour % 12 == 0 ? 12 : hour % 12);
	return hour >= 12 ? byte | HOUR_PM : byte;
}

static u32 decode_hour(const u8 *cmos, u8 value)
{
	u32 hour;

	if (cmos[RTC_B] & B_24_HOURS)
		return decode(cmos, value);
	hour = decode(cmos, value & (u8)~HOUR_PM) % 12;
	return value & HOUR_PM ? hour + 12 : hour;
}

/* 1970-2099: every fourth year is a leap year, 2000 too. */
static bool leap(u32 year)
{
	return year % 4 == 0;
}

static u32 month_days(u32 year, u32 month)
{
	static const u8 days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && leap(year) ? 1u : 0u);
}

void rtc_time_encode(u8 cmos[RTC_BYTES], u64 seconds)
{
	u64 shown = MIN(seconds, RTC_SECONDS_MAX);
	u32 days = (u32)(shown / DAY_S);
	u32 rest = (u32)(shown % DAY_S);
	u32 year = 1970;
	u32 month = 1;

	cmos[RTC_WEEKDAY] = encode(cmos, (days + 4) % 7 + 1); /* 1970-01-01 was a Thursday; Sunday is 1 */
	cmos[RTC_SECONDS] = encode(cmos, rest % 60);
	cmos[RTC_MINUTES] = encode(cmos, rest / 60 % 60);
	cmos[RTC_HOURS] = encode_hour(cmos, rest / 3600);
	while (days >= (leap(year) ? 366u : 365u)) {
		days -= leap(year) ? 366 : 365;
		year++;
	}
	while (days >= month_days(year, month)) {
		days -= month_days(year, month);
		month++;
	}
	cmos[RTC_DAY] = encode(cmos, days + 1);
	cmos[RTC_MONTH] = encode(cmos, month);
	cmos[RTC_YEAR] = encode(cmos, year % 100);
	cmos[RTC_CENTURY] = encode(cmos, year / 100);
}

static u32 clamp(u32 value, u32 low, u32 high)
{
	return MIN(MAX(value, low), high);
}

u64 rtc_time_decode(const u8 cmos[RTC_BYTES])
{
	u32 year = clamp(decode(cmos, cmos[RTC_CENTURY]) * 100 + MIN(decode(cmos, cmos[RTC_YEAR]), 99u), 1970, 2099);
	u32 month = clamp(decode(cmos, cmos[RTC_MONTH]), 1, 12);
	u32 day = clamp(decode(cmos, cmos[RTC_DAY]), 1, month_days(year, month));
	u64 days = day - 1;

	for (u32 y = 1970; y < year; y++)
		days += leap(y) ? 366 : 365;
	for (u32 m = 1; m < month; m++)
		days += month_days(year, m);
	return days * DAY_S + MIN(decode_hour(cmos, cmos[RTC_HOURS]), 23u) * 3600 +
	       MIN(decode(cmos, cmos[RTC_MINUTES]), 59u) * 60 + MIN(decode(cmos, cmos[RTC_SECONDS]), 59u);
}

u64 rtc_time_alarm(const u8 cmos[RTC_BYTES], u64 from)
{
	bool any_hour = cmos[RTC_HOURS_ALARM] >= ALARM_ANY;
	bool any_minute = cmos[RTC_MINUTES_ALARM] >= ALARM_ANY;
	bool any_second = cmos[RTC_SECONDS_ALARM] >= ALARM_ANY;
	u32 hour = decode_hour(cmos, cmos[RTC_HOURS_ALARM]);
	u32 minute = decode(cmos, cmos[RTC_MINUTES_ALARM]);
	u32 second = decode(cmos, cmos[RTC_SECONDS_ALARM]);
	u64 t = from;

	/* Skips whole hours, then minutes: at most 25 + 60 + 60 steps within a day. */
	while (t < from + DAY_S) {
		if (!any_hour && t / 3600 % 24 != hour)
			t = (t / 3600 + 1) * 3600;
		else if (!any_minute && t / 60 % 60 != minute)
			t = (t / 60 + 1) * 60;
		else if (!any_second && t % 60 != second)
			t++;
		else
			return t;
	}
	return ~0ull;
}
