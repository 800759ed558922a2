/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lexer and parser of configuration files: see cfg.h. Called by the service CPU, at boot, by the
 * console's create and for the configuration that an arriving guest brings.
 */
#include "vmm/config/cfg.h"

#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

struct scanner {
	const char *at, *end;
	u32 line;
	struct cfg_report *report;
};

static void report_line(struct cfg_report *report, bool warning, const char *fmt, va_list ap)
{
	char text[256];

	str_vformat(text, sizeof(text), fmt, ap);
	if (warning)
		report->warnings++;
	else
		report->errors++;
	if (report->line)
		report->line(report->ctx, report->file, report->line_number, warning, text);
}

void cfg_error(struct cfg_report *report, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report_line(report, false, fmt, ap);
	va_end(ap);
}

void cfg_warn(struct cfg_report *report, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report_line(report, true, fmt, ap);
	va_end(ap);
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* Skips blanks and comments; newlines too if lines is set. */
static void skip_blank(struct scanner *s, bool lines)
{
	while (s->at < s->end) {
		if (*s->at == '#') {
			while (s->at < s->end && *s->at != '\n')
				s->at++;
		} else if (*s->at == ' ' || *s->at == '\t' || *s->at == '\r') {
			s->at++;
		} else if (lines && *s->at == '\n') {
			s->line++;
			s->at++;
		} else {
			return;
		}
	}
}

static void skip_line(struct scanner *s)
{
	while (s->at < s->end && *s->at != '\n')
		s->at++;
}

/* A word of letters, digits, _ and -; 0 if there is none, -E_RANGE (reported) if it is too long. */
static int scan_word(struct scanner *s, char *word, size_t size)
{
	size_t n = 0;

	while (s->at < s->end && is_word(*s->at)) {
		if (n + 1 >= size) {
			cfg_error(s->report, "a word of more than %zu characters", size - 1);
			return -1;
		}
		word[n++] = *s->at++;
	}
	word[n] = 0;
	return (int)n;
}

static bool scan_quoted(struct scanner *s, char *text, size_t size)
{
	char quote = *s->at++;
	size_t n = 0;

	while (s->at < s->end && *s->at != quote && *s->at != '\n') {
		unsigned char c = (unsigned char)*s->at++;

		if (c < ' ' && c != '\t') {
			cfg_error(s->report, "a control character (0x%02x) in a string", c);
			return false;
		}
		if (n + 1 >= size) {
			cfg_error(s->report, "a string of more than %zu characters", size - 1);
			return false;
		}
		text[n++] = (char)c;
	}
	text[n] = 0;
	if (s->at == s->end || *s->at != quote) {
		cfg_error(s->report, "the string that begins with %c has no end: add %c", quote, quote);
		return false;
	}
	s->at++;
	return true;
}

static bool scan_list(struct scanner *s, struct cfg_value *value)
{
	u32 first_line = s->line;

	value->item_count = 0;
	s->at++;
	for (;;) {
		skip_blank(s, true);
		if (s->at == s->end) {
			cfg_error(s->report, "the list that begins in line %u has no end: add ]", first_line);
			return false;
		}
		if (*s->at == ']') {
			s->at++;
			return true;
		}
		if (*s->at != '\'' && *s->at != '"') {
			cfg_error(s->report, "a list holds strings: ['one', 'two']");
			return false;
		}
		if (value->item_count == CFG_LIST_MAX) {
			cfg_error(s->report, "a list of more than %u strings", CFG_LIST_MAX);
			return false;
		}
		if (!scan_quoted(s, value->items[value->item_count], CFG_ITEM_BYTES))
			return false;
		value->item_count++;
		skip_blank(s, true);
		if (s->at < s->end && *s->at == ',')
			s->at++;
		else if (s->at < s->end && *s->at != ']') {
			cfg_error(s->report, "a comma is missing between two strings of the list");
			return false;
		}
	}
}

static bool scan_value(struct scanner *s, struct cfg_value *value)
{
	char word[32];

	if (s->at == s->end || *s->at == '\n') {
		cfg_error(s->report, "there is nothing behind the =");
		return false;
	}
	if (*s->at == '\'' || *s->at == '"') {
		value->kind = CFG_STRING;
		return scan_quoted(s, value->string, sizeof(value->string));
	}
	if (*s->at == '[') {
		value->kind = CFG_LIST;
		return scan_list(s, value);
	}
	value->kind = CFG_NUMBER;
	if (scan_word(s, word, sizeof(word)) < 0)
		return false;
	if (str_to_u64(word, &value->number)) {
		if (word[0])
			cfg_error(s->report, "'%s' is no number; a string needs quotes: '%s'", word, word);
		else
			cfg_error(s->report, "'%c' begins no value (a number, 'string' or ['list'])", *s->at);
		return false;
	}
	return true;
}

/* Edit distance of at most 2, for "did you mean": enough for a slip of the finger. */
static bool similar(const char *a, const char *b, u32 budget)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (!*a && !*b)
		return true;
	if (!budget)
		return false;
	return (*a && similar(a + 1, b, budget - 1)) || (*b && similar(a, b + 1, budget - 1)) ||
	       (*a && *b && similar(a + 1, b + 1, budget - 1));
}

static const struct cfg_key *find_key(const struct cfg_key *keys, u32 count, const char *name,
				      struct cfg_report *report)
{
	u32 i;

	for (i = 0; i < count; i++)
		if (str_equal(keys[i].name, name))
			return &keys[i];
	for (i = 0; i < count; i++)
		if (similar(keys[i].name, name, 2))
			break;
	if (i < count)
		cfg_error(report, "unknown key '%s': did you mean '%s'?", name, keys[i].name);
	else
		cfg_error(report, "unknown key '%s'", name);
	return NULL;
}

static const char *kind_name(enum cfg_kind kind)
{
	switch (kind) {
	case CFG_NUMBER:
		return "a number";
	case CFG_STRING:
		return "a string in quotes";
	case CFG_LIST:
		return "a list of strings in brackets";
	}
	return "?";
}

/* One KEY = VALUE, from the key on. Leaves the scanner wherever the error was. */
static void parse_assignment(struct scanner *s, const struct cfg_key *keys, u32 count, u32 *seen_line, void *target)
{
	static struct cfg_value value;
	const struct cfg_key *key;
	char name[64];
	int length = scan_word(s, name, sizeof(name));

	if (length < 0)
		return;
	if (!length) {
		cfg_error(s->report, "a line begins with a key, as in: %s", count ? keys[0].example : "key = 'value'");
		return;
	}
	skip_blank(s, false);
	if (s->at == s->end || *s->at != '=') {
		cfg_error(s->report, "'%s' needs an = and a value", name);
		return;
	}
	s->at++;
	skip_blank(s, false);
	if (!scan_value(s, &value))
		return;
	skip_blank(s, false);
	if (s->at < s->end && *s->at != '\n' && *s->at != ';') {
		cfg_error(s->report, "'%c' and what follows is too much behind the value of '%s'", *s->at, name);
		return;
	}
	key = find_key(keys, count, name, s->report);
	if (!key)
		return;
	if (seen_line[key - keys]) {
		cfg_error(s->report, "'%s' is set twice: in line %u already", name, seen_line[key - keys]);
		return;
	}
	seen_line[key - keys] = s->report->line_number;
	if (key->kind != value.kind) {
		cfg_error(s->report, "'%s' is %s, as in: %s", name, kind_name(key->kind), key->example);
		return;
	}
	key->set(target, &value, s->report);
	/* It may have been a secret. */
	memset(&value, 0, sizeof(value));
}

void cfg_parse(const char *file, const char *text, u64 bytes, const struct cfg_key *keys, u32 key_count,
	       void *target, struct cfg_report *report)
{
	u32 seen_line[CFG_KEYS_MAX] = { 0 };
	struct scanner s = { .at = text, .end = text + bytes, .line = 1, .report = report };

	assert(key_count <= CFG_KEYS_MAX);
	report->file = file;
	report->line_number = 1;
	report->errors = 0;
	report->warnings = 0;
	if (bytes > CFG_FILE_BYTES_MAX) {
		cfg_error(report, "the file has %llu bytes: a configuration has at most %llu",
			  (unsigned long long)bytes,
			  (unsigned long long)CFG_FILE_BYTES_MAX);
		return;
	}
	/* Editors on some systems begin a UTF-8 file with a byte order mark. */
	if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		s.at += 3;
	for (;;) {
		u32 errors = report->errors;

		skip_blank(&s, true);
		if (s.at == s.end)
			return;
		if (*s.at == ';') {
			s.at++;
			continue;
		}
		report->line_number = s.line;
		parse_assignment(&s, keys, key_count, seen_line, target);
		if (report->errors != errors)
			skip_line(&s);
	}
}
