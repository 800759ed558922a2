/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of docs/migration-stream.md: their layouts, and a reader and a writer over a pipe.
 * All integers are little-endian, all layouts fixed; what is variable follows its fixed part.
 */
#ifndef MIGRATE_STREAM_H
#define MIGRATE_STREAM_H

#include "migrate/pipe.h"
#include "types.h"

#define STREAM_MAGIC 0x3130544957444f47ull /* the bytes "GODWIT01" */
#define STREAM_VERSION 1
#define STREAM_ALIGN 8
#define STREAM_PAGES_MAX 64      /* of one PAGE record */
#define STREAM_ZEROS_MAX 4096    /* of one ZERO record */
#define STREAM_VERIFY_PAGES 64   /* of one VERIFIED record */
#define STREAM_TEXT_MAX 192      /* of a reason, without a NUL */
#define STREAM_PROBE_MAX KIB(64) /* bytes of one PROBE record */
#define STREAM_HELLO_MAX KIB(16) /* header and padding included */
#define STREAM_SKIP_MAX KIB(64)  /* of a record that is not known and optional */

/* Never reused, never renumbered. */
enum record_type {
	/* to the peer */
	RECORD_HELLO = 1,
	RECORD_PAGE = 2,
	RECORD_ZERO = 3,
	RECORD_TIME = 4,
	RECORD_VCPU = 5,
	RECORD_DEVICE = 6,
	RECORD_CONSOLE = 7,
	RECORD_END = 8,
	RECORD_COMMIT = 9,
	RECORD_QUERY = 10,
	RECORD_VERIFY = 11,
	RECORD_PROBE = 12,
	/* from the peer */
	RECORD_ACCEPT = 32,
	RECORD_REFUSE = 33,
	RECORD_PREPARED = 34,
	RECORD_RUNNING = 35,
	RECORD_STATUS = 36,
	RECORD_VERIFIED = 37,
	/* both ways */
	RECORD_ABORT = 64,
};

enum { RECORD_OPTIONAL = 1 }; /* flags: who does not know the type skips it */

struct record_header {
	u16 type;
	u16 flags;
	u32 length;   /* of the body, without the zeros that pad it to 8 bytes */
	u32 sequence; /* 0, 1, 2... in each direction of a connection */
	u32 crc;      /* CRC-32C of header (crc = 0) and padded body; of a PAGE: up to its first page's number */
};
static_assert(sizeof(struct record_header) == 16, "wire layout");

/* One try to hand a guest over; in HELLO, in QUERY, and what both hosts remember. */
struct handover {
	u8 uuid[16];
	u64 epoch;   /* of ownership, as it will be at the peer: one more than at the source */
	u64 attempt; /* a random number, not 0: this very try */
};
static_assert(sizeof(struct handover) == 32, "wire layout, and no padding: it is compared as bytes");

enum wire_purpose { WIRE_OFFLINE = 0, WIRE_LIVE = 1, WIRE_CHECK = 2 /* would it fit? Nothing is moved */ };

/* Then device_count wire_devices, the CPUID policy and the configuration's text. */
struct wire_hello {
	u64 magic;
	u32 version;
	u32 board_version;
	char host[32];      /* what the source calls itself */
	char extension[16]; /* "SVM", "VT-x" */
	struct handover handover;
	u64 memory_bytes;
	u32 xsave_bytes;
	u32 tsc_khz;
	u32 device_count;
	u32 cpuid_bytes;
	u32 config_bytes;
	u32 purpose;        /* enum wire_purpose */
};
static_assert(sizeof(struct wire_hello) == 128, "wire layout");

struct wire_device {
	u16 type;
	u16 instance;
	u16 version;
	u16 reserved;
	u32 state_bytes;
	u32 reserved2;
};
static_assert(sizeof(struct wire_device) == 16, "wire layout");

/* The pages' bytes follow. The record's length says how many there are. */
struct wire_page {
	u64 first;
};
static_assert(sizeof(struct wire_page) == 8, "wire layout");

/* Bytes follow that mean nothing: how fast do they come? A multiple of 8. */
struct wire_probe {
	u64 reserved;
};
static_assert(sizeof(struct wire_probe) == sizeof(struct wire_page), "both go before bytes that are no body");

struct wire_zero {
	u64 first;
	u64 count;
};
static_assert(sizeof(struct wire_zero) == 16, "wire layout");

struct wire_time {
	u64 time_ns;   /* vm_time_ns at the pause */
	u64 tsc;       /* vm_tsc at the pause */
	u32 user_pause; /* 1: the user holds it paused, so it does not run there either */
	u32 reserved;
};
static_assert(sizeof(struct wire_time) == 24, "wire layout");

/* Then struct cpu_state (vmm/hvm.h), msr_count struct msr_values (vmm/msr.h), and the XSAVE area. */
struct wire_vcpu {
	u32 index;
	u32 activity;    /* enum vcpu_activity */
	u32 state_bytes; /* sizeof(struct cpu_state) */
	u32 msr_count;
	u32 xsave_bytes;
	u32 reserved;
};
static_assert(sizeof(struct wire_vcpu) == 24, "wire layout");

/* Then what was printed (the scroll-back), then what was typed and not yet read. */
struct wire_console {
	u32 output_bytes;
	u32 input_bytes;
	u64 unseen_bytes; /* of the output: nobody has seen them yet */
};
static_assert(sizeof(struct wire_console) == 16, "wire layout");

struct wire_end {
	u64 pages; /* in PAGE records, counted as often as they were sent */
	u64 zeros; /* in ZERO records */
};
static_assert(sizeof(struct wire_end) == 16, "wire layout");

/* The peer is to send digests of all memory, by this key, before it has PREPARED. */
struct wire_verify {
	u8 key[32];
};
static_assert(sizeof(struct wire_verify) == 32, "wire layout");

struct wire_digest {
	u8 bytes[16];
};

/* Of STREAM_VERIFY_PAGES pages. Then a wire_digest for each bit that is set in filled, in their order. */
struct wire_verified {
	u64 first;  /* page */
	u64 filled; /* bit n: page first + n is not all zero */
};
static_assert(sizeof(struct wire_verified) == 16, "wire layout");
#define WIRE_VERIFIED_MAX (sizeof(struct wire_verified) + STREAM_VERIFY_PAGES * sizeof(struct wire_digest))
/* Room for such a record. */
#define RECORD_VERIFIED_BYTES (sizeof(struct record_header) + WIRE_VERIFIED_MAX)

struct wire_commit {
	u64 paused_ns;  /* from the pause until this record was put into the pipe */
	u64 one_way_ns; /* what the way to the peer takes: half of the round trip of HELLO */
};
static_assert(sizeof(struct wire_commit) == 16, "wire layout");

struct wire_query {
	u64 magic;
	u32 version;
	u32 reserved;
	char host[32];
	struct handover handover;
};
static_assert(sizeof(struct wire_query) == 80, "wire layout");

struct wire_accept {
	char host[32];
	u64 boot_id;  /* a random number that changes whenever the peer starts or forgets hand-overs */
	u64 held_ns;  /* from HELLO's arrival to this answer: not the link's fault */
};
static_assert(sizeof(struct wire_accept) == 48, "wire layout");

/* REFUSE and ABORT; the text follows, without a NUL. */
struct wire_reason {
	u32 error; /* of errors.h */
	u32 reserved;
};
static_assert(sizeof(struct wire_reason) == 8, "wire layout");
#define WIRE_REASON_MAX (sizeof(struct wire_reason) + STREAM_TEXT_MAX)
/* Room for such a record. */
#define RECORD_REASON_BYTES (sizeof(struct record_header) + WIRE_REASON_MAX + STREAM_ALIGN)

struct wire_running {
	u64 load_ns; /* from COMMIT's arrival until the guest ran */
};
static_assert(sizeof(struct wire_running) == 8, "wire layout");

enum wire_owner { WIRE_UNKNOWN = 0, WIRE_TAKEN = 1 };

struct wire_status {
	u64 boot_id;
	u32 owner; /* enum wire_owner: did this host take the guest in that attempt? */
	u32 reserved;
};
static_assert(sizeof(struct wire_status) == 16, "wire layout");

/* What a reader takes in its place of the protocol; everything else breaks it. Ends with type 0. */
struct record_rule {
	u16 type;
	u32 min, max; /* length; of a PAGE record the rest is checked by who reads it */
};

struct stream {
	struct pipe *pipe;
	/* out */
	const u8 *out;    /* put as far as the pipe had room; stays the caller's */
	size_t out_left;
	u32 out_sequence;
	u64 out_bytes;    /* put, ever */
	/* in */
	const struct record_rule *rules;
	u8 *body;         /* where bodies are gathered */
	u32 body_bytes;   /* how much there is for them */
	u32 in_sequence;
	u32 have;         /* of the record being read: header and body (and padding) so far */
	struct record_header header;
	u64 bulk_left;    /* of a PAGE or PROBE record: bytes to come */
	u32 skip_crc;
	bool whole;       /* the record was handed out; the next read starts anew */
	u64 in_bytes;     /* consumed, ever */
	char why[STREAM_TEXT_MAX];
};

void stream_init(struct stream *s, struct pipe *pipe, const struct record_rule *rules, void *body, u32 body_bytes);

/* --- out --- */
/* A record whose body is at record + 16 already: header, padding, CRC. Returns its size on the wire. */
size_t record_seal(struct stream *s, void *record, u16 type, u32 body_bytes);
/* The same for count pages from first: the 24 bytes that go before them. */
size_t record_seal_pages(struct stream *s, void *record, u64 first, u32 count);
/* The same for a PROBE record. */
size_t record_seal_probe(struct stream *s, void *record, u32 bytes);
/* REFUSE or ABORT with why, which may be cut. */
size_t record_seal_reason(struct stream *s, void *record, u16 type, int error, const char *why);
/* Hands bytes to the pipe, which may take them later: they must stay until stream_pump says so. */
void stream_send(struct stream *s, const void *data, size_t bytes);
/* True: all that was sent is in the pipe. */
bool stream_pump(struct stream *s);
static inline bool stream_idle(const struct stream *s)
{
	return s->out_left == 0;
}

/* --- in --- */
/*
 * 0: a record is whole: s->header, its body at s->body (of a PAGE or PROBE its first 8
 * bytes; then stream_bulk gives the rest). -E_AGAIN: not yet. -E_PROTO: the peer broke the protocol, see why.
 */
int must_check stream_read(struct stream *s);
/* The body stays where it is; the next ones are gathered behind it. */
void stream_keep(struct stream *s);
/* A contiguous piece of the bytes of a PAGE or PROBE record, at most max bytes; 0: none there yet. */
size_t stream_bulk(struct stream *s, const void **data, size_t max);
void stream_bulk_done(struct stream *s, size_t bytes);
/* The text of the REFUSE or ABORT that was read, as it may be shown. */
void stream_reason(const struct stream *s, char *text, size_t size);
/* A text of the peer as it may be shown: printable ASCII only, cut to size. */
void stream_text(char *dst, size_t size, const void *text, size_t bytes);
const char *record_name(u16 type);

#endif
