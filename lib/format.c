/* SPDX-License-Identifier: Apache-2.0 */
/* printf into a buffer, without floating point. Any CPU, also in a panic: no state, no locks. */
#include "lib/format.h"

#include "lib/string.h"

#define NUMBER_BYTES 32 /* 64 bits in octal are 22 digits */

struct output {
	char *buf;
	size_t size;
	size_t length; /* of the whole text, also where it does not fit */
};

struct spec {
	bool left;
	bool zero;
	bool upper;
	bool alternate; /* '#': 0x before hexadecimal */
	char sign;      /* '+', ' ' or 0: what stands before positive numbers */
	int width;
	int precision; /* -1: none given */
	int size;      /* of the integer argument, in bytes */
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->buf[out->length] = c;
	out->length++;
}

static void put_many(struct output *out, char c, int n)
{
	for (; n > 0; n--)
		put(out, c);
}

static void put_padded(struct output *out, const struct spec *spec, const char *text, int length)
{
	if (!spec->left)
		put_many(out, ' ', spec->width - length);
	for (int i = 0; i < length; i++)
		put(out, text[i]);
	if (spec->left)
		put_many(out, ' ', spec->width - length);
}

/* prefix: sign or 0x; zeros go between it and the digits. */
static void put_number(struct output *out, const struct spec *spec, u64 value, u32 base,
		       const char *prefix)
{
	const char *letters = spec->upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char digits[NUMBER_BYTES];
	int count = 0;
	int zeros = 0;
	int total;

	for (; value; value /= base)
		digits[count++] = letters[value % base];
	if (count == 0 && spec->precision != 0)
		digits[count++] = '0';
	if (spec->precision > count)
		zeros = spec->precision - count;
	total = (int)strlen(prefix) + zeros + count;
	if (spec->zero && !spec->left && spec->precision < 0 && spec->width > total) {
		zeros += spec->width - total;
		total = spec->width;
	}
	if (!spec->left)
		put_many(out, ' ', spec->width - total);
	for (; *prefix; prefix++)
		put(out, *prefix);
	put_many(out, '0', zeros);
	while (count)
		put(out, digits[--count]);
	if (spec->left)
		put_many(out, ' ', spec->width - total);
}

static void put_string(struct output *out, const struct spec *spec, const char *s)
{
	int n = 0;

	if (!s)
		s = "(null)";
	while ((spec->precision < 0 || n < spec->precision) && s[n])
		n++;
	put_padded(out, spec, s, n);
}

static u64 cut_unsigned(u64 value, int size)
{
	return size == 8 ? value : value & (BIT(size * 8) - 1);
}

static void put_signed(struct output *out, const struct spec *spec, s64 value)
{
	char prefix[2] = { spec->sign, '\0' };

	if (spec->size == 1)
		value = (signed char)value;
	else if (spec->size == 2)
		value = (short)value;
	if (value < 0)
		prefix[0] = '-';
	put_number(out, spec, value < 0 ? 0 - (u64)value : (u64)value, 10, prefix);
}

static const char *parse_flags(const char *p, struct spec *spec)
{
	for (;; p++) {
		if (*p == '-')
			spec->left = true;
		else if (*p == '0')
			spec->zero = true;
		else if (*p == '#')
			spec->alternate = true;
		else if (*p == '+' || (*p == ' ' && spec->sign != '+'))
			spec->sign = *p;
		else
			return p;
	}
}

static const char *parse_number(const char *p, int *value)
{
	*value = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (*value < 100000)
			*value = *value * 10 + (*p - '0');
	return p;
}

static const char *parse_length(const char *p, struct spec *spec)
{
	spec->size = 4;
	for (;; p++) {
		if (*p == 'h')
			spec->size /= 2;
		else if (*p == 'l' || *p == 'z' || *p == 't' || *p == 'j')
			spec->size = 8;
		else
			break;
	}
	if (spec->size == 0)
		spec->size = 1;
	return p;
}

/* The arguments travel in a struct because a va_list can't be passed by reference portably. */
struct arguments {
	va_list ap;
};

static u64 next_unsigned(struct arguments *args, const struct spec *spec)
{
	if (spec->size == 8)
		return va_arg(args->ap, u64);
	return cut_unsigned(va_arg(args->ap, u32), spec->size);
}

static s64 next_signed(struct arguments *args, const struct spec *spec)
{
	if (spec->size == 8)
		return va_arg(args->ap, s64);
	return va_arg(args->ap, int);
}

static const char *parse_spec(const char *p, struct spec *spec, struct arguments *args)
{
	p = parse_flags(p, spec);
	if (*p == '*') {
		spec->width = va_arg(args->ap, int);
		if (spec->width < 0) {
			spec->left = true;
			spec->width = -spec->width;
		}
		p++;
	} else {
		p = parse_number(p, &spec->width);
	}
	spec->precision = -1;
	if (*p == '.') {
		p++;
		if (*p == '*') {
			spec->precision = va_arg(args->ap, int);
			p++;
		} else {
			p = parse_number(p, &spec->precision);
		}
	}
	return parse_length(p, spec);
}

static void convert(struct output *out, char conversion, struct spec *spec, struct arguments *args)
{
	char c;
	u64 value;

	switch (conversion) {
	case 'd':
	case 'i':
		put_signed(out, spec, next_signed(args, spec));
		break;
	case 'u':
		put_number(out, spec, next_unsigned(args, spec), 10, "");
		break;
	case 'o':
		put_number(out, spec, next_unsigned(args, spec), 8, "");
		break;
	case 'X':
		spec->upper = true;
		/* fall through */
	case 'x':
		value = next_unsigned(args, spec);
		put_number(out, spec, value, 16, spec->alternate && value ? "0x" : "");
		break;
	case 'p':
		put_number(out, spec, (uintptr_t)va_arg(args->ap, void *), 16, "0x");
		break;
	case 'c':
		c = (char)va_arg(args->ap, int);
		put_padded(out, spec, &c, 1);
		break;
	case 's':
		put_string(out, spec, va_arg(args->ap, const char *));
		break;
	default: /* %% and what nobody should have written */
		put(out, conversion);
		break;
	}
}

int str_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct output out = { .buf = buf, .size = size };
	struct arguments args;

	va_copy(args.ap, ap);
	while (*fmt) {
		struct spec spec = { 0 };

		if (*fmt != '%') {
			put(&out, *fmt++);
			continue;
		}
		fmt = parse_spec(fmt + 1, &spec, &args);
		if (!*fmt)
			break;
		convert(&out, *fmt++, &spec, &args);
	}
	va_end(args.ap);
	if (size)
		buf[MIN(out.length, size - 1)] = '\0';
	return (int)out.length;
}

int str_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = str_vformat(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

int say(int error, char *why, size_t why_bytes, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vformat(why, why_bytes, fmt, ap);
	va_end(ap);
	return error;
}

const char *format_bytes(char *buf, size_t size, u64 bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	u32 unit = 0;
	u64 tenths;

	while (unit + 1 < ARRAY_SIZE(units) && bytes >> (10 * (unit + 1)))
		unit++;
	if (unit == 0) {
		str_format(buf, size, "%llu %s", (unsigned long long)bytes,
			   bytes == 1 ? "byte" : units[0]);
		return buf;
	}
	/* One decimal, cut, and only where it says something: below 10, and not .0. */
	tenths = (bytes >> (10 * (unit - 1)) & 1023) * 10 / 1024;
	bytes >>= 10 * unit;
	if (bytes < 10 && tenths)
		str_format(buf, size, "%llu.%llu %s", (unsigned long long)bytes,
			   (unsigned long long)tenths, units[unit]);
	else
		str_format(buf, size, "%llu %s", (unsigned long long)bytes, units[unit]);
	return buf;
}

const char *format_mac(char *buf, size_t size, const u8 mac[6])
{
	str_format(buf, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		   mac[4], mac[5]);
	return buf;
}
