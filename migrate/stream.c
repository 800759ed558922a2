/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader and writer of the stream's records. Owns nothing: buffers and the pipe are the caller's.
 * Called by send.c, receive.c and owner.c on the service CPU. Everything that comes in is checked
 * here as far as framing goes: type, flags, length, sequence, CRC, padding.
 */
#include "migrate/stream.h"

#include "errors.h"
#include "lib/crc.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

#define HEADER sizeof(struct record_header)

static const struct {
	u16 type;
	const char *name;
} names[] = {
	{ RECORD_HELLO, "HELLO" },       { RECORD_PAGE, "PAGE" },       { RECORD_ZERO, "ZERO" },
	{ RECORD_TIME, "TIME" },         { RECORD_VCPU, "VCPU" },       { RECORD_DEVICE, "DEVICE" },
	{ RECORD_CONSOLE, "CONSOLE" },   { RECORD_END, "END" },         { RECORD_COMMIT, "COMMIT" },
	{ RECORD_QUERY, "QUERY" },       { RECORD_VERIFY, "VERIFY" },   { RECORD_ACCEPT, "ACCEPT" },
	{ RECORD_REFUSE, "REFUSE" },     { RECORD_PREPARED, "PREPARED" }, { RECORD_RUNNING, "RUNNING" },
	{ RECORD_STATUS, "STATUS" },     { RECORD_VERIFIED, "VERIFIED" }, { RECORD_ABORT, "ABORT" },
	{ RECORD_PROBE, "PROBE" },
};

static const char *known_name(u16 type)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return NULL;
}

const char *record_name(u16 type)
{
	const char *name = known_name(type);

	return name ? name : "unknown";
}

void stream_init(struct stream *s, struct pipe *pipe, const struct record_rule *rules, void *body, u32 body_bytes)
{
	memset(s, 0, sizeof(*s));
	s->pipe = pipe;
	s->rules = rules;
	s->body = body;
	s->body_bytes = body_bytes;
}

/* --- out -------------------------------------------------------------------------------------- */

static void fill_header(struct stream *s, struct record_header *header, u16 type, u32 length)
{
	header->type = type;
	header->flags = 0;
	header->length = length;
	header->sequence = s->out_sequence++;
	header->crc = 0;
}

size_t record_seal(struct stream *s, void *record, u16 type, u32 body_bytes)
{
	struct record_header *header = record;
	size_t bytes = HEADER + ALIGN_UP(body_bytes, STREAM_ALIGN);

	memset((u8 *)record + HEADER + body_bytes, 0, bytes - HEADER - body_bytes);
	fill_header(s, header, type, body_bytes);
	header->crc = crc32c(0, record, bytes);
	return bytes;
}

size_t record_seal_pages(struct stream *s, void *record, u64 first, u32 count)
{
	struct record_header *header = record;
	struct wire_page *page = (struct wire_page *)(header + 1);

	assert(count && count <= STREAM_PAGES_MAX);
	page->first = first;
	fill_header(s, header, RECORD_PAGE, (u32)(sizeof(*page) + count * PAGE_SIZE));
	header->crc = crc32c(0, record, HEADER + sizeof(*page));
	return HEADER + sizeof(*page);
}

size_t record_seal_probe(struct stream *s, void *record, u32 bytes)
{
	struct record_header *header = record;
	struct wire_probe *probe = (struct wire_probe *)(header + 1);

	assert(bytes <= STREAM_PROBE_MAX && bytes % STREAM_ALIGN == 0);
	probe->reserved = 0;
	fill_header(s, header, RECORD_PROBE, (u32)sizeof(*probe) + bytes);
	header->crc = crc32c(0, record, HEADER + sizeof(*probe));
	return HEADER + sizeof(*probe);
}

size_t record_seal_reason(struct stream *s, void *record, u16 type, int error, const char *why)
{
	struct wire_reason *reason = (struct wire_reason *)((u8 *)record + HEADER);
	size_t bytes = MIN(strlen(why), STREAM_TEXT_MAX);

	reason->error = (u32)-error;
	reason->reserved = 0;
	memcpy(reason + 1, why, bytes);
	return record_seal(s, record, type, (u32)(sizeof(*reason) + bytes));
}

void stream_send(struct stream *s, const void *data, size_t bytes)
{
	assert(s->out_left == 0);
	s->out = data;
	s->out_left = bytes;
	stream_pump(s);
}

bool stream_pump(struct stream *s)
{
	while (s->out_left) {
		size_t taken = s->pipe->ops->put(s->pipe, s->out, s->out_left);

		if (taken == 0)
			return false;
		s->out += taken;
		s->out_left -= taken;
		s->out_bytes += taken;
	}
	return true;
}

/* --- in --------------------------------------------------------------------------------------- */

static int broken(struct stream *s, const char *fmt, ...) printf_like(2, 3);
static int broken(struct stream *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vformat(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return -E_PROTO;
}

static bool skipping(const struct stream *s)
{
	for (const struct record_rule *rule = s->rules; rule->type; rule++)
		if (rule->type == s->header.type)
			return false;
	return true;
}

/* Its bytes are no body that is gathered: they go to where they belong (a PAGE's) or nowhere (a PROBE's). */
static bool has_bulk(u16 type)
{
	return type == RECORD_PAGE || type == RECORD_PROBE;
}

/* What is gathered before a record is handed out: all of it, but for pages. */
static u32 gather_bytes(const struct stream *s)
{
	if (has_bulk(s->header.type))
		return HEADER + sizeof(struct wire_page);
	return (u32)(HEADER + ALIGN_UP(s->header.length, STREAM_ALIGN));
}

/* The header is there: may such a record come now, and can its body be taken? */
static int check_header(struct stream *s)
{
	const struct record_header *h = &s->header;
	const struct record_rule *rule = s->rules;

	if (h->sequence != s->in_sequence)
		return broken(s, "record %u came where %u was due: lost, repeated or no migration stream at all",
			      h->sequence, s->in_sequence);
	if (h->flags & ~RECORD_OPTIONAL)
		return broken(s, "a %s record has unknown flags 0x%x", record_name(h->type), h->flags);
	while (rule->type && rule->type != h->type)
		rule++;
	if (rule->type == 0) {
		/* Only what a reader does not know is optional to it. */
		if (!(h->flags & RECORD_OPTIONAL) || known_name(h->type))
			return broken(s, "a record of type %u (%s) is not known or not expected here", h->type,
				      record_name(h->type));
		if (h->length > STREAM_SKIP_MAX)
			return broken(s, "an optional record of type %u is too long: %u bytes", h->type, h->length);
		return 0;
	}
	if (h->length < rule->min || h->length > rule->max)
		return broken(s, "a %s record has %u bytes, which is not between %u and %u", record_name(h->type),
			      h->length, rule->min, rule->max);
	if (gather_bytes(s) - HEADER > s->body_bytes)
		return broken(s, "a %s record of %u bytes is more than was announced", record_name(h->type), h->length);
	return 0;
}

static void take(struct stream *s, size_t bytes)
{
	s->pipe->ops->consume(s->pipe, bytes);
	s->in_bytes += bytes;
	s->have += (u32)bytes;
}

static int read_header(struct stream *s)
{
	while (s->have < HEADER) {
		const void *data;
		size_t bytes = s->pipe->ops->peek(s->pipe, &data);

		if (bytes == 0)
			return -E_AGAIN;
		bytes = MIN(bytes, HEADER - s->have);
		memcpy((u8 *)&s->header + s->have, data, bytes);
		take(s, bytes);
	}
	return 0;
}

static u32 header_crc(const struct stream *s)
{
	struct record_header h = s->header;

	h.crc = 0;
	return crc32c(0, &h, sizeof(h));
}

static int read_body(struct stream *s, bool skip)
{
	u32 end = gather_bytes(s);

	while (s->have < end) {
		const void *data;
		size_t bytes = s->pipe->ops->peek(s->pipe, &data);

		if (bytes == 0)
			return -E_AGAIN;
		bytes = MIN(bytes, end - s->have);
		if (skip)
			s->skip_crc = crc32c(s->skip_crc, data, bytes);
		else
			memcpy(s->body + s->have - HEADER, data, bytes);
		take(s, bytes);
	}
	return 0;
}

static int check_body(struct stream *s, bool skip)
{
	u32 bytes = gather_bytes(s) - (u32)HEADER;
	u32 crc = skip ? s->skip_crc : crc32c(header_crc(s), s->body, bytes);

	if (crc != s->header.crc)
		return broken(s, "the checksum of record %u (%s) is wrong", s->header.sequence,
			      record_name(s->header.type));
	for (u32 i = s->header.length; !skip && i < bytes; i++)
		if (s->body[i])
			return broken(s, "record %u (%s) is not padded with zeros", s->header.sequence,
				      record_name(s->header.type));
	return 0;
}

int stream_read(struct stream *s)
{
	for (;;) {
		bool fresh, skip;
		int error;

		assert(s->bulk_left == 0);
		if (s->whole) {
			s->whole = false;
			s->have = 0;
		}
		fresh = s->have < HEADER;
		error = read_header(s);
		if (error)
			return error;
		if (fresh) {
			error = check_header(s);
			if (error)
				return error;
			s->skip_crc = header_crc(s);
		}
		skip = skipping(s);
		error = read_body(s, skip);
		if (error)
			return error;
		error = check_body(s, skip);
		if (error)
			return error;
		s->in_sequence++;
		s->whole = true;
		if (skip)
			continue;
		if (has_bulk(s->header.type))
			s->bulk_left = s->header.length - sizeof(struct wire_page);
		return 0;
	}
}

void stream_keep(struct stream *s)
{
	u32 bytes = (u32)ALIGN_UP(s->header.length, STREAM_ALIGN);

	assert(s->whole && bytes <= s->body_bytes);
	s->body += bytes;
	s->body_bytes -= bytes;
}

size_t stream_bulk(struct stream *s, const void **data, size_t max)
{
	size_t bytes = s->pipe->ops->peek(s->pipe, data);

	return MIN(MIN(bytes, s->bulk_left), max);
}

void stream_bulk_done(struct stream *s, size_t bytes)
{
	assert(bytes <= s->bulk_left);
	s->pipe->ops->consume(s->pipe, bytes);
	s->in_bytes += bytes;
	s->bulk_left -= bytes;
}

void stream_reason(const struct stream *s, char *text, size_t size)
{
	stream_text(text, size, s->body + sizeof(struct wire_reason), s->header.length - sizeof(struct wire_reason));
}

void stream_text(char *dst, size_t size, const void *text, size_t bytes)
{
	const u8 *from = text;
	size_t n = MIN(bytes, size - 1);

	for (size_t i = 0; i < n; i++)
		dst[i] = from[i] >= ' ' && from[i] <= '~' ? (char)from[i] : '?';
	dst[n] = 0;
}
