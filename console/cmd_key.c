/* SPDX-License-Identifier: Apache-2.0 */
/* The command key: what this host proves itself by, and making a cluster's key. Service CPU. */
#include "console/command.h"

#include "arch/x86_64/random.h"
#include "console/terminal.h"
#include "lib/string.h"
#include "net/tls/tls.h"

/* The only time that a key is shown: whoever sits here takes it to the other hosts. */
static void key_new(void)
{
	u64 words[TLS_KEY_BYTES / sizeof(u64)];
	int error = random_seed(words);

	static_assert(sizeof(words) == 4 * sizeof(u64), "what random_seed() fills");
	if (error) {
		terminal_printf("key: %s\n", random_trouble(error));
		return;
	}
	terminal_puts("key = '");
	for (u32 i = 0; i < 4; i++)
		terminal_printf("%016llx", (unsigned long long)words[i]);
	terminal_puts("'\n");
	memset(words, 0, sizeof(words));
	__asm__ volatile("" : : "r"(words) : "memory");
	terminal_puts("Put this line into godwit.cfg of every host of the cluster, and start them anew. Whoever knows\n"
		      "it can send guests and take them: keep it from others. It is not stored here.\n");
}

static void run_key(u32 argc, char **argv)
{
	if (argc == 2 && str_equal(argv[1], "new"))
		key_new();
	else if (argc != 1)
		command_usage(command_find(argv[0]));
	else
		terminal_printf("%s\n", tls_missing() ? tls_missing() : tls_identity());
}

static const struct command key_commands[] = {
	{ "key", "[new]", "what this host proves itself to its peers by; makes a new cluster key",
	  "Moves are encrypted, and both hosts prove who they are: by a key that all hosts of the cluster\n"
	  "share (key in godwit.cfg), or by certificates (ca, certificate, private_key).", COMPLETE_NONE, run_key },
};

const struct command_group commands_key = { "Keys", key_commands, ARRAY_SIZE(key_commands) };
