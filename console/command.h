/* SPDX-License-Identifier: Apache-2.0 */
/* The commands: one table, which is also the help and (by tools/manual) the manual's list. */
#ifndef CONSOLE_COMMAND_H
#define CONSOLE_COMMAND_H

#include "types.h"
#include "vmm/config/config.h"

struct vm;

#define COMMAND_ARGS_MAX 16

/* What a word at the Tab key may be completed from. */
enum command_complete { COMPLETE_NONE, COMPLETE_GUEST, COMPLETE_FILE, COMPLETE_COMMAND };

struct command {
	const char *name;
	const char *usage;   /* arguments only: "[--live] GUEST HOST" */
	const char *help;    /* one line */
	const char *details; /* for help COMMAND; may be NULL */
	enum command_complete complete;
	/* argv[0] is the command. */
	void (*run)(u32 argc, char **argv);
};

struct command_group {
	const char *title;
	const struct command *commands;
	u32 count;
};

extern const struct command_group commands_host, commands_guest, commands_memory, commands_migrate, commands_key, commands_debug;
/* All groups, in the order of help; NULL past the last. */
const struct command_group *command_group_get(u32 index);

/* index-th command over all groups; NULL past the last. */
const struct command *command_get(u32 index);
const struct command *command_find(const char *name);
/* Prints "usage: ..." of the command. */
void command_usage(const struct command *command);
/* The guest that argv names, or NULL with a message printed. */
struct vm *command_guest(const char *name);
/* The same; it is not being moved, has not ended, and is no copy whose owner is unknown. */
struct vm *command_live_guest(const char *name);
/* Takes options ("--name", "-n") from argv; -1 (message printed) if one is unknown. Returns a bit mask by index. */
int command_options(u32 *argc, char **argv, const char *const *names, u32 count);

const struct host_config *console_config(void);
/* Reads, checks and starts a guest from a file of \godwit\, or leaves it paused; NULL: why not was printed. */
struct vm *console_create_guest(const char *file, bool paused);

/* --- what takes over the console until it is done; console/shell.c --- */
void shell_attach(struct vm *vm);
/* The move that was just begun; the plan (migrate/plan.h). */
void shell_watch_migration(void);
void shell_watch_plan(void);
void shell_top(void);

#endif
