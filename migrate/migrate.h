/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving guests, as the console and the service loop see it. All on the service CPU. Several go out and come
 * in at once, each guest in one move at most; more than MIGRATE_OUT_MAX and MIGRATE_IN_MAX are refused by name.
 * Many at a time, to one host or spread over all: plan.h.
 */
#ifndef MIGRATE_MIGRATE_H
#define MIGRATE_MIGRATE_H

#include "migrate/forecast.h"
#include "types.h"

struct pipe_maker;
struct vm;

#define MIGRATE_PORT 8002
#define MIGRATE_PEERS_MAX 16
/* Under way at once. Each has a connection; and there are some more, for questions and refusals (net/tls/tls_pipe.c). */
#define MIGRATE_OUT_MAX 4
#define MIGRATE_IN_MAX 4

struct migrate_peer {
	char name[32];
	u8 ip[4];
	bool in, out; /* may guests come from it, go to it? */
};

struct migrate_config {
	char host_name[32];
	struct migrate_peer peers[MIGRATE_PEERS_MAX]; /* localhost always is one */
	u32 peer_count;
	u32 peer_timeout_s; /* a peer that is silent for so long in a move is gone; 0: the default, 10 */
};

#define MIGRATE_BANDWIDTH_MAX 10000u /* MB/s */

struct migrate_options {
	bool live;
	bool check;          /* nothing is moved: would it fit, and what would it be like? */
	u32 max_downtime_ms; /* 0: the default, 50 */
	u32 max_total_s;     /* 0: no limit */
	u32 bandwidth_mb_s;  /* 0: no limit; of a live move's pause there is none in any case */
	/*
	 * Where max_total_s is over or the guest writes too fast for max_downtime_ms: the move is given up and
	 * the guest stays, instead of being paused however long the rest takes.
	 */
	bool cancel_on_timeout;
	bool verify;         /* both copies of memory are compared before the hand-over */
};

enum migrate_step {
	MIGRATE_IDLE, MIGRATE_CONNECT, MIGRATE_HELLO, MIGRATE_ROUNDS, MIGRATE_FINAL, MIGRATE_PREPARED,
	MIGRATE_COMMIT, MIGRATE_DONE, MIGRATE_FAILED,
	MIGRATE_CHECK, /* instead of what follows HELLO */
};

/* Of a check that found that the guest fits. */
struct migrate_forecast {
	struct forecast_input measured;
	struct forecast live;    /* rounds is 0: this host can't move guests live */
	struct forecast offline;
};

struct migrate_progress {
	u32 id;                      /* of the move: never the same, later ones are higher; 0: there is none */
	enum migrate_step step;
	char guest[64], peer[32];
	bool live;
	bool user_pause;             /* it was not to run, and does not run there either */
	u32 round;
	u64 pages_total, pages_sent, pages_zero, pages_left; /* of this round: left */
	u64 bytes_sent;              /* on the pipe, everything included */
	u64 bytes_per_s, dirty_pages_per_s;
	u64 downtime_estimate_ns;
	u64 total_ns, downtime_ns;   /* downtime: valid when done */
	u32 throttled;               /* per cent of its time that the guest is (was, at last) kept from running */
	const char *forced;          /* why it was paused for longer than was asked; NULL: it was not */
	u64 memory_bytes;
	bool check;                  /* it was only asked: then forecast is valid when done */
	bool refused;                /* FAILED: by the peer, as why says */
	bool busy;                   /* refused: not for ever, the peer has its hands full */
	bool peers_fault;            /* FAILED: by the peer or the link to it, so another one may do */
	struct migrate_forecast forecast;
	u64 pages_verified, verify_ns; /* 0: was not asked for, or not there yet */
	char why[320];               /* of a failure: what, and what to do */
};

/* A guest that is on its way in. */
struct migrate_arrival {
	char guest[64], peer[32];
	u32 memory_mib, vcpus;
	u32 percent; /* of its memory that came at least once */
};

/* network: what makes connections to other hosts. */
void migrate_init(const struct migrate_config *config, const struct pipe_maker *network);
/* Starts sending. why says what is wrong. peer: a name or an address from the configuration, or "localhost". */
int must_check migrate_start(struct vm *vm, const char *peer, const struct migrate_options *options, char *why,
			     size_t why_bytes);
/* All that are under way, and those that wait (plan.h). -E_NOENT: there are none; -E_BUSY: committed already, too late. */
int must_check migrate_cancel(void);
/* That of this guest, likewise. */
int must_check migrate_cancel_guest(const struct vm *vm);
/* The outgoing migration that was started last: how it goes, or how it ended. */
void migrate_get_progress(struct migrate_progress *progress);
/* By its number; false: it ended, and several have since. */
bool must_check migrate_progress_of(u32 id, struct migrate_progress *progress);
/* Of those under way, the next one that was started after this; 0: none. */
u32 migrate_next_id(u32 after);
/* The index-th guest that arrives; false: there are not so many. */
bool migrate_get_arrival(u32 index, struct migrate_arrival *arrival);
/* Is this guest on its way to another host? Then destroy, reboot... are refused. */
bool migrate_busy(const struct vm *vm);
bool migrate_poll(void);
u64 migrate_next_deadline(void);
/*
 * An epoch: how often the operator forced the guest (upper half), and how often it changed its host (lower
 * half), so a force outdoes any number of moves of the other copy. What others say is below EPOCH_MAX, far
 * from where it would wrap.
 */
#define EPOCH_FORCE_SHIFT 32
#define EPOCH_MAX (1ull << 62)
/* "3", or "1.3" after one unpause --force; into buf, which is also returned. */
#define EPOCH_TEXT_BYTES 24
const char *migrate_format_epoch(char *buf, size_t size, u64 epoch);
/* unpause --force of a guest whose outcome is unknown: the operator decides. */
int must_check migrate_force_owner(struct vm *vm);

#endif
