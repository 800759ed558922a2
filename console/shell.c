/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell: who has the line (the prompt, a guest's console, a migration's progress, top), the commands'
 * dispatch, and messages above the prompt. Service CPU.
 */
#include "console/console.h"

#include "arch/x86_64/cpu.h"
#include "console/attach.h"
#include "console/command.h"
#include "console/line.h"
#include "console/progress.h"
#include "console/terminal.h"
#include "console/top.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/migrate.h"
#include "vmm/files.h"
#include "vmm/vm.h"

static const struct host_config *host;
static struct line line;
static u64 log_cursor;

static const struct command_group *const groups[] = {
	&commands_guest, &commands_memory, &commands_migrate, &commands_key, &commands_host, &commands_debug,
};

const struct host_config *console_config(void)
{
	return host;
}

const struct command_group *command_group_get(u32 index)
{
	return index < ARRAY_SIZE(groups) ? groups[index] : NULL;
}

const struct command *command_get(u32 index)
{
	for (u32 i = 0; i < ARRAY_SIZE(groups); i++) {
		if (index < groups[i]->count)
			return &groups[i]->commands[index];
		index -= groups[i]->count;
	}
	return NULL;
}

const struct command *command_find(const char *name)
{
	const struct command *command;

	for (u32 i = 0; (command = command_get(i)); i++)
		if (str_equal(command->name, name))
			return command;
	return NULL;
}

void command_usage(const struct command *command)
{
	terminal_printf("usage: %s %s\n", command->name, command->usage);
}

struct vm *command_guest(const char *name)
{
	struct vm *vm = vm_find(name);

	if (!vm)
		terminal_printf("there is no guest '%s' here: see list\n", name);
	return vm;
}

int command_options(u32 *argc, char **argv, const char *const *names, u32 count)
{
	u32 kept = 1;
	int mask = 0;

	for (u32 i = 1; i < *argc; i++) {
		u32 k;

		if (argv[i][0] != '-') {
			argv[kept++] = argv[i];
			continue;
		}
		for (k = 0; k < count && !str_equal(argv[i], names[k]); k++)
			;
		if (k == count) {
			terminal_printf("%s: unknown option %s\n", argv[0], argv[i]);
			return -1;
		}
		mask |= 1 << k;
	}
	*argc = kept;
	return mask;
}

/* Words are separated by blanks; quotes keep blanks in a word. False: a quote has no end. */
static bool split(char *text, u32 *argc, char **argv)
{
	char *to;

	*argc = 0;
	for (;;) {
		char quote = 0;

		while (*text == ' ' || *text == '\t')
			text++;
		if (!*text || *argc == COMMAND_ARGS_MAX)
			return true;
		argv[(*argc)++] = to = text;
		while (*text && (quote || (*text != ' ' && *text != '\t'))) {
			if (quote ? *text == quote : (*text == '\'' || *text == '"'))
				quote = quote ? 0 : *text;
			else
				*to++ = *text;
			text++;
		}
		if (quote)
			return false;
		if (*text)
			text++;
		*to = 0;
	}
}

static void execute(char *text)
{
	char *argv[COMMAND_ARGS_MAX + 1] = { NULL };
	const struct command *command;
	u32 argc;

	if (!split(text, &argc, argv)) {
		terminal_puts("a quote has no end\n");
		return;
	}
	if (!argc)
		return;
	command = command_find(argv[0]);
	if (!command)
		terminal_printf("unknown command '%s': help lists them\n", argv[0]);
	else
		command->run(argc, argv);
}

/* The index-th word that could stand where the cursor is. */
static const char *candidate(enum command_complete kind, u32 index)
{
	const struct command *command;
	const struct host_file *file;
	struct vm *vm;

	switch (kind) {
	case COMPLETE_COMMAND:
		command = command_get(index);
		return command ? command->name : NULL;
	case COMPLETE_FILE:
		file = files_get(index);
		return file ? file->name : NULL;
	case COMPLETE_GUEST:
		for (vm = vm_next(NULL); vm && index; vm = vm_next(vm))
			index--;
		return vm ? vm->config.name : NULL;
	case COMPLETE_NONE:
		break;
	}
	return NULL;
}

static enum command_complete completion_kind(const char *text, const char *word)
{
	char name[32];
	const struct command *command;
	size_t n = 0;

	if (word == text)
		return COMPLETE_COMMAND;
	while (text[n] && text[n] != ' ' && n < sizeof(name) - 1)
		n++;
	memcpy(name, text, n);
	name[n] = 0;
	command = command_find(name);
	return command ? command->complete : COMPLETE_NONE;
}

/* Tab: what all candidates have in common is inserted; when that is nothing, they are listed. */
static void complete(void)
{
	const char *word = line.text + line.cursor;
	const char *first = NULL;
	const char *item;
	char insert[LINE_BYTES];
	enum command_complete kind;
	size_t typed, common = 0;
	u32 matches = 0;

	while (word > line.text && word[-1] != ' ')
		word--;
	typed = (size_t)(line.text + line.cursor - word);
	kind = completion_kind(line.text, word);
	for (u32 i = 0; (item = candidate(kind, i)); i++) {
		if (strncmp(item, word, typed))
			continue;
		if (!first) {
			first = item;
			common = strlen(item);
		}
		while (strncmp(item, first, common))
			common--;
		matches++;
	}
	if (!matches)
		return;
	if (common > typed || matches == 1) {
		str_format(insert, sizeof(insert), "%.*s%s", (int)(common - typed), first + typed,
			   matches == 1 ? " " : "");
		line_insert(&line, insert);
		return;
	}
	terminal_puts("\n");
	for (u32 i = 0; (item = candidate(kind, i)); i++)
		if (!strncmp(item, word, typed))
			terminal_printf("%s  ", item);
	terminal_puts("\n");
	line_redraw(&line);
}

void shell_attach(struct vm *vm)
{
	attach_start(vm);
}

void shell_top(void)
{
	top_start();
}

void shell_watch_migration(void)
{
	struct migrate_progress p;

	migrate_get_progress(&p);
	progress_watch(p.id);
}

void shell_watch_plan(void)
{
	progress_watch_plan();
}

/* After a command: the prompt, unless the command gave the line to somebody. */
static void next_line(void)
{
	if (!attach_active() && !progress_active() && !top_active())
		line_start(&line);
}

static void feed(u8 byte)
{
	static char text[LINE_BYTES];

	switch (line_feed(&line, byte)) {
	case LINE_NONE:
		break;
	case LINE_DONE:
		str_copy(text, sizeof(text), line.text);
		execute(text);
		next_line();
		break;
	case LINE_COMPLETE:
		complete();
		break;
	case LINE_INTERRUPT:
		terminal_puts("^C\n");
		line_start(&line);
		break;
	}
}

static void read_input(void)
{
	u8 bytes[64];
	size_t n = terminal_read(bytes, sizeof(bytes));
	size_t i = 0;

	while (i < n) {
		if (attach_active()) {
			const u8 *rest = bytes + i;
			const u8 *leave = memchr(rest, 0x1d, n - i);

			attach_input(rest, n - i);
			if (!leave)
				return;
			i = (size_t)(leave - bytes) + 1;
			line_start(&line);
		} else if (top_active()) {
			if (top_input(bytes[i++]))
				line_start(&line);
		} else if (progress_active()) {
			if (progress_input(bytes[i])) {
				line_start(&line);
				if (bytes[i] >= ' ')
					feed(bytes[i]);
			}
			i++;
		} else {
			feed(bytes[i++]);
		}
	}
}

/* A line above the prompt; the prompt and what was being typed stay. */
static void above_prompt(const char *text, size_t n)
{
	terminal_puts(TERMINAL_CLEAR_LINE);
	terminal_write(text, n);
	if (progress_active())
		progress_redraw();
	else
		line_redraw(&line);
}

/* Debug lines are for dmesg only. */
static bool is_debug(const char *text, size_t n)
{
	const char *mark = memchr(text, ']', n);

	return mark && n - (size_t)(mark - text) > 8 && !memcmp(mark, "] debug:", 8);
}

static void show_log(void)
{
	char text[1024];
	size_t n;

	if (attach_active() || top_active())
		return; /* that screen is not ours to write on; the lines wait */
	while (terminal_room() > sizeof(text) && (n = log_read(&log_cursor, text, sizeof(text))) > 0) {
		for (size_t at = 0; at < n;) {
			const char *end = memchr(text + at, '\n', n - at);
			size_t length = (size_t)(end - (text + at)) + 1;

			if (!is_debug(text + at, length))
				above_prompt(text + at, length);
			at += length;
		}
	}
}

void console_guest_event(struct vm *vm, const char *what)
{
	attach_last_look(vm);
	log_info("guest %s (ID %u) %s", vm->config.name, vm->id, what);
}

void console_init(const struct console_io *io, const struct host_config *config)
{
	char prompt[64];

	host = config;
	terminal_init(io);
	str_format(prompt, sizeof(prompt), "godwit %s> ", config->name);
	line_init(&line, prompt);
	/* What was logged until now went out by the early sink already. */
	log_cursor = log_end();
	terminal_puts("\nType help for the list of commands.\n");
	line_start(&line);
}

bool console_poll(void)
{
	read_input();
	if (attach_active() && !attach_poll())
		line_start(&line);
	if (progress_active() && !progress_poll())
		line_start(&line);
	progress_poll_unwatched();
	if (top_active())
		top_poll();
	show_log();
	return terminal_flush();
}

u64 console_next_deadline(void)
{
	return deadline_sooner(progress_deadline(), top_deadline());
}
