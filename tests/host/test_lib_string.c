/* SPDX-License-Identifier: Apache-2.0 */
/* lib/string.c against the C library, at every length and alignment that its code treats apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "errors.h"
#include "types.h"

/* The build gives our versions this prefix on the host. */
void *own_memcpy(void *dst, const void *src, size_t n);
void *own_memmove(void *dst, const void *src, size_t n);
void *own_memset(void *dst, int c, size_t n);
int own_memcmp(const void *a, const void *b, size_t n);
void *own_memchr(const void *s, int c, size_t n);
size_t own_strlen(const char *s);
int own_strcmp(const char *a, const char *b);
int own_strncmp(const char *a, const char *b, size_t n);
char *own_strchr(const char *s, int c);
char *own_strstr(const char *s, const char *needle);

bool str_copy(char *dst, size_t size, const char *src);
bool str_starts(const char *s, const char *prefix);
int must_check str_to_u64(const char *s, u64 *value);
int must_check str_to_mac(const char *s, u8 mac[6]);
int must_check str_to_ipv4(const char *s, u8 ip[4]);

#define BYTES 96

static void fill(u8 *buf)
{
	for (int i = 0; i < BYTES; i++)
		buf[i] = (u8)(i * 7 + 1);
}

static void test_copy(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 40; n++)
		for (size_t from = 0; from < 9; from++)
			for (size_t to = 0; to < 9; to++) {
				u8 src[BYTES], mine[BYTES] = { 0 }, theirs[BYTES] = { 0 };

				fill(src);
				assert_ptr_equal(own_memcpy(mine + to, src + from, n), mine + to);
				memcpy(theirs + to, src + from, n);
				assert_memory_equal(mine, theirs, BYTES);
			}
}

static void test_move_overlapping(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 40; n++)
		for (size_t from = 0; from < 20; from++)
			for (size_t to = 0; to < 20; to++) {
				u8 mine[BYTES], theirs[BYTES];

				fill(mine);
				fill(theirs);
				assert_ptr_equal(own_memmove(mine + to, mine + from, n), mine + to);
				memmove(theirs + to, theirs + from, n);
				assert_memory_equal(mine, theirs, BYTES);
			}
}

static void test_set(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 40; n++)
		for (size_t to = 0; to < 9; to++) {
			u8 mine[BYTES], theirs[BYTES];

			fill(mine);
			fill(theirs);
			own_memset(mine + to, 0x1a5, n);
			memset(theirs + to, 0x1a5, n);
			assert_memory_equal(mine, theirs, BYTES);
		}
}

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void test_compare(void **state)
{
	u8 a[BYTES], b[BYTES];

	(void)state;
	for (size_t at = 0; at < 30; at++)
		for (size_t n = 0; n < 30; n++) {
			fill(a);
			fill(b);
			b[at] ^= 0x80;
			assert_int_equal(sign(own_memcmp(a, b, n)), sign(memcmp(a, b, n)));
			assert_int_equal(sign(own_memcmp(b, a, n)), sign(memcmp(b, a, n)));
			assert_ptr_equal(own_memchr(b, b[at], n), memchr(b, b[at], n));
		}
}

static void test_strings(void **state)
{
	static const char *const words[] = { "", "a", "ab", "abc", "abd", "b", "\xff", "abcabd", "aab" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (size_t k = 0; k < ARRAY_SIZE(words); k++) {
			const char *a = words[i];
			const char *b = words[k];

			assert_int_equal(sign(own_strcmp(a, b)), sign(strcmp(a, b)));
			for (size_t n = 0; n < 5; n++)
				assert_int_equal(sign(own_strncmp(a, b, n)), sign(strncmp(a, b, n)));
			assert_ptr_equal(own_strstr(a, b), strstr(a, b));
			assert_ptr_equal(own_strchr(a, b[0]), strchr(a, b[0]));
			assert_int_equal(own_strlen(a), strlen(a));
			assert_int_equal(str_starts(a, b), strncmp(a, b, strlen(b)) == 0);
		}
}

static void test_str_copy(void **state)
{
	char buf[4] = "???";

	(void)state;
	assert_true(str_copy(buf, sizeof(buf), "abc"));
	assert_string_equal(buf, "abc");
	assert_false(str_copy(buf, sizeof(buf), "wxyz"));
	assert_string_equal(buf, "wxy");
	assert_false(str_copy(buf, 0, ""));
	assert_string_equal(buf, "wxy");
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int error;
		u64 value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "1234567890", 0, 1234567890 },
		{ "18446744073709551615", 0, ~0ull },
		{ "18446744073709551616", -E_RANGE, 0 },
		{ "0xffffffffffffffff", 0, ~0ull },
		{ "0x10000000000000000", -E_RANGE, 0 },
		{ "0XaBc", 0, 0xabc },
		{ "", -E_INVAL, 0 },
		{ "0x", -E_INVAL, 0 },
		{ "12a", -E_INVAL, 0 },
		{ " 1", -E_INVAL, 0 },
		{ "-1", -E_INVAL, 0 },
		{ "+1", -E_INVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		u64 value = 0;

		assert_int_equal(str_to_u64(cases[i].text, &value), cases[i].error);
		assert_int_equal(value, cases[i].value);
	}
}

static void test_addresses(void **state)
{
	static const char *const bad_macs[] = { "", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5",
						"52-54-00-12-34-56", "g2:54:00:12:34:56", "52:54:00:12:34:567" };
	static const char *const bad_ips[] = { "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.1000", "1..2.3",
					       "1.2.3.4 ", "a.b.c.d", "1.2.3." };
	static const u8 mac_bytes[] = { 0x52, 0x54, 0x00, 0x12, 0xab, 0xFF };
	static const u8 ip_bytes[] = { 192, 168, 0, 255 };
	u8 mac[6];
	u8 ip[4];

	(void)state;
	assert_int_equal(str_to_mac("52:54:00:12:aB:Ff", mac), 0);
	assert_memory_equal(mac, mac_bytes, 6);
	assert_int_equal(str_to_ipv4("192.168.0.255", ip), 0);
	assert_memory_equal(ip, ip_bytes, 4);
	for (size_t i = 0; i < ARRAY_SIZE(bad_macs); i++)
		assert_int_equal(str_to_mac(bad_macs[i], mac), -E_INVAL);
	for (size_t i = 0; i < ARRAY_SIZE(bad_ips); i++)
		assert_int_equal(str_to_ipv4(bad_ips[i], ip), -E_INVAL);
	assert_memory_equal(mac, mac_bytes, 6);
	assert_memory_equal(ip, ip_bytes, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),     cmocka_unit_test(test_move_overlapping),
		cmocka_unit_test(test_set),      cmocka_unit_test(test_compare),
		cmocka_unit_test(test_strings),  cmocka_unit_test(test_str_copy),
		cmocka_unit_test(test_numbers),  cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
