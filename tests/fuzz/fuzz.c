/* SPDX-License-Identifier: Apache-2.0 */
/* Between libFuzzer and a target. */
#include "fuzz.h"

#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool control;

u64 fuzz_take(struct fuzz *in, u32 bytes)
{
	u64 value = 0;
	size_t n = MIN(in->left, (size_t)bytes);

	memcpy(&value, in->at, n);
	in->at += n;
	in->left -= n;
	return value;
}

const u8 *fuzz_bytes(struct fuzz *in, size_t max, size_t *bytes)
{
	const u8 *at = in->at;

	*bytes = MIN(in->left, max);
	in->at += *bytes;
	in->left -= *bytes;
	return at;
}

void fuzz_reached(void)
{
	volatile u8 *small;

	if (!control)
		return;
	fputs("fuzz_reached: here is a bug\n", stderr);
	small = malloc(8);
	small[8] = 1;
	free((void *)small);
}

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	/* The asserts of cmocka end the program, as no test of its runs. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	control = getenv("FUZZ_CONTROL") != NULL;
	fuzz_start();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	/* A copy: what is read behind its end is found. */
	u8 *copy = malloc(bytes ? bytes : 1);
	struct fuzz in = { copy, bytes };

	if (bytes)
		memcpy(copy, data, bytes);
	fuzz_one(&in);
	free(copy);
	return 0;
}
