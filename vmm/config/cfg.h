/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syntax of configuration files, which is xl.cfg's: lines of KEY = VALUE, where VALUE is a number,
 * a 'string' or "string", or a [list, of, strings]; # begins a comment; a list may span lines.
 * What the keys are is the caller's table. Every wrong line is reported, not only the first.
 */
#ifndef VMM_CONFIG_CFG_H
#define VMM_CONFIG_CFG_H

#include "types.h"

#define CFG_STRING_BYTES 2048
#define CFG_LIST_MAX 32
#define CFG_ITEM_BYTES 160
#define CFG_KEYS_MAX 32
#define CFG_FILE_BYTES_MAX KIB(64)

enum cfg_kind { CFG_NUMBER, CFG_STRING, CFG_LIST };

struct cfg_value {
	enum cfg_kind kind;
	u64 number;
	char string[CFG_STRING_BYTES];
	char items[CFG_LIST_MAX][CFG_ITEM_BYTES];
	u32 item_count;
};

struct cfg_report {
	/* text: what is wrong with this line and what to write instead; warning: the line still counts. */
	void (*line)(void *ctx, const char *file, u32 line, bool warning, const char *text);
	void *ctx;
	/* filled in by the parser: */
	const char *file;
	u32 line_number;
	u32 errors, warnings;
};

struct cfg_key {
	const char *name;
	enum cfg_kind kind;
	/* Stores the value, or reports what is wrong with it by cfg_error / cfg_warn. */
	void (*set)(void *target, const struct cfg_value *value, struct cfg_report *report);
	const char *example; /* shown when the kind is wrong: "memory = 256" */
};

/* About the line being parsed. */
void cfg_error(struct cfg_report *report, const char *fmt, ...) printf_like(2, 3);
void cfg_warn(struct cfg_report *report, const char *fmt, ...) printf_like(2, 3);

/* Parses the whole text; report->errors says how it went. Service CPU (one static work area). */
void cfg_parse(const char *file, const char *text, u64 bytes, const struct cfg_key *keys, u32 key_count,
	       void *target, struct cfg_report *report);

#endif
