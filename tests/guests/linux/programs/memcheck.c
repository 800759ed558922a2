/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcheck [MIB [PASSES]]: proves that no page of memory is lost, mixed up or stale while the guest is moved.
 *
 * Every page of a buffer of MIB (64) is stamped: page number, generation, checksum, and contents that follow from both
 * numbers. A pass verifies all pages, then stamps about a quarter of them anew with the next generation; so that some
 * pages change all the time and others rest for long. Every so often a page becomes all zeroes instead (the stream
 * sends those differently). Which generation a page should have is kept apart, so a stale page is found as well.
 *
 * Prints "memcheck: ok N passes" at most once a second, "memcheck: BAD page ..." for errors, and at the end (SIGINT,
 * SIGTERM or PASSES done) "memcheck: verdict ok N passes" or "memcheck: verdict BAD N passes E errors"; exit status 0 or 1.
 */
#include "programs.h"

#include <stdio.h>
#include <string.h>

#define MAGIC 0x74697764u
#define WORDS (PAGE_BYTES / sizeof(uint64_t))
#define HEADER_WORDS 3u
#define ZERO_EVERY 16u
#define ERRORS_SHOWN 20u

struct check {
	uint64_t *buffer;
	uint32_t *generation; /* per page, what it should be */
	uint64_t pages;
	uint64_t errors;
	uint64_t random;
};

/* xorshift64: cheap, and the same everywhere. */
static uint64_t scramble(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ (x << 17);
}

static int should_be_zero(uint64_t page, uint32_t generation)
{
	return (page + generation) % ZERO_EVERY == 0;
}

static uint64_t first_value(uint64_t page, uint32_t generation)
{
	return scramble((page + 1) << 32 | generation);
}

static void stamp(struct check *c, uint64_t page, uint32_t generation)
{
	uint64_t *p = c->buffer + page * WORDS;
	uint64_t value = first_value(page, generation);
	uint64_t sum = 0;

	c->generation[page] = generation;
	if (should_be_zero(page, generation)) {
		memset(p, 0, PAGE_BYTES);
		return;
	}
	for (unsigned i = HEADER_WORDS; i < WORDS; i++) {
		value = scramble(value);
		p[i] = value;
		sum += value;
	}
	p[0] = (uint64_t)MAGIC << 32 | generation;
	p[1] = page;
	p[2] = sum;
}

static void complain(struct check *c, uint64_t page, const char *what)
{
	const uint64_t *p = c->buffer + page * WORDS;

	if (c->errors++ < ERRORS_SHOWN)
		printf("memcheck: BAD page %llu: %s (generation %u, its header says page %llu generation %u)\n",
		       (unsigned long long)page, what, c->generation[page], (unsigned long long)p[1],
		       (unsigned)p[0]);
}

static void verify(struct check *c, uint64_t page)
{
	const uint64_t *p = c->buffer + page * WORDS;
	uint32_t generation = c->generation[page];
	uint64_t value = first_value(page, generation);
	uint64_t sum = 0;
	uint64_t differs = 0;

	if (should_be_zero(page, generation)) {
		for (unsigned i = 0; i < WORDS; i++)
			differs |= p[i];
		if (differs)
			complain(c, page, "should be zero");
		return;
	}
	for (unsigned i = HEADER_WORDS; i < WORDS; i++) {
		value = scramble(value);
		differs |= p[i] ^ value;
		sum += p[i];
	}
	if (p[0] != ((uint64_t)MAGIC << 32 | generation) || p[1] != page)
		complain(c, page, "header differs");
	else if (p[2] != sum)
		complain(c, page, "checksum differs");
	else if (differs)
		complain(c, page, "contents differ");
}

static void pass(struct check *c)
{
	for (uint64_t page = 0; page < c->pages && !stop_asked; page++) {
		verify(c, page);
		c->random = scramble(c->random);
		if ((c->random >> 20) % 4 == 0)
			stamp(c, page, c->generation[page] + 1);
	}
}

int memcheck_main(int argc, char **argv)
{
	struct check c = {
		.pages = number_argument(argc, argv, 1, 64) * MIB_PAGES,
		.random = 88172645463325252u,
	};
	uint64_t wanted = number_argument(argc, argv, 2, UINT64_MAX);
	uint64_t told_ns = 0;
	uint64_t passes = 0;

	c.buffer = get_pages(c.pages);
	c.generation = get_pages(c.pages * sizeof(*c.generation) / PAGE_BYTES + 1);
	for (uint64_t page = 0; page < c.pages; page++)
		stamp(&c, page, 1);
	printf("memcheck: started %llu pages\n", (unsigned long long)c.pages);
	while (passes < wanted && !stop_asked) {
		pass(&c);
		passes++;
		if (monotonic_ns() - told_ns >= 1000000000u) {
			told_ns = monotonic_ns();
			printf("memcheck: %s %llu passes\n", c.errors ? "BAD" : "ok", (unsigned long long)passes);
		}
	}
	if (c.errors) {
		printf("memcheck: verdict BAD %llu passes %llu errors\n", (unsigned long long)passes,
		       (unsigned long long)c.errors);
		return 1;
	}
	printf("memcheck: verdict ok %llu passes\n", (unsigned long long)passes);
	return 0;
}
