/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-over of one guest between HOSTS hosts, as docs/ownership.md says it, for spin. tools/model runs it; its negative
 * controls are MUTANT_*, each of which must be caught.
 *
 * What may go wrong: a connection is cut at any moment, and what was under way in it is lost or still arrives; either side
 * notices late, or gives up although nothing is wrong; a question or its answer is lost or comes late; beacons are lost,
 * repeated, late; a host crashes and starts anew (its guests, its memory of hand-overs and its boot id are gone), or forgets
 * hand-overs; the operator cancels, forces, destroys. At any moment it may become calm: nothing goes wrong from then on.
 *
 * T(name) marks a transition that migrate/ has too: tests/host/test_migrate_walk.c takes every one in the real code.
 * The states' names are migrate/'s: enum migrate_step (source), enum session_state (peer).
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef FORCES
#define FORCES 1
#endif
#define CONNECTIONS 2
#define T(name)

/* Of the protocol: chosen when the checker starts, by VARIANT in the environment; one compilation is enough for all. */
hidden byte variant;
#define TWINS 100		/* no mutant: the guest was created on two hosts from one file, with its uuid */
#define MUTANT_RUN_AT_PREPARED 1
#define MUTANT_FREE_AT_COMMIT 2
#define MUTANT_RESUME_AFTER_COMMIT 3
#define MUTANT_BELIEVE_OVER_REBOOT 4
#define MUTANT_QUERY_KEEPS_ARRIVAL 5
#define MUTANT_EPOCH_AT_TRY 6
#define MUTANT_FORCE_KEEPS_EPOCH 7
#define MUTANT_NO_BEACON 8

/* --- states --- */
#define NONE 0			/* own: the guest is not on this host */
#define RUNS 1			/*   it is, and may run; while step is COMMIT it is paused */
#define DOUBT 2			/*   paused: handed over, and no answer came */
#define YIELDED 3		/*   paused: another host owns it at a higher epoch */

#define IDLE 0			/* step: the source's side; enum migrate_step */
#define CONNECT 1
#define HELLO 2
#define ROUNDS 3
#define FINAL 4
#define PREPARED 5
#define COMMIT 6

#define FREE 0			/* session: the peer's side; enum session_state */
#define FIRST 1
#define MEMORY 2
#define S_PREPARED 3
#define RUNNING 4
#define LINGER 5

/* --- records --- */
#define R_HELLO 1
#define R_ACCEPT 2
#define R_REFUSE 3
#define R_END 4
#define R_PREPARED 5
#define R_COMMIT 6
#define R_RUNNING 7
#define R_ABORT 8

/* ask: the question of a host in doubt */
#define SILENT 0
#define ASKED 1			/* QUERY is under way */
#define TAKEN 2			/* STATUS is under way */
#define UNKNOWN 3

#define GENERATION 16		/* epochs: the operator's forces * GENERATION + moves */

typedef host {
	byte own, epoch, attempt;
	byte rival;		/* the epoch that it yielded to */
	byte step, conn;
	byte arriving;		/* connection + 1 */
	byte boot, taken;	/* taken: bit per attempt */
	byte doubt, peer, doubt_boot, ask, status_boot;
	bit stuck;		/* asking does not help: the operator decides */
	byte late, late_peer;	/* attempt of a QUERY that was given up and may still arrive */
	byte beacon_own, beacon_epoch, beacon_attempt
};
typedef connection {
	bit used, source_open, peer_open, cut;
	byte source, peer, attempt, epoch, boot, session
};

host H[HOSTS];
connection C[CONNECTIONS];
chan up[CONNECTIONS] = [2] of { byte };
chan down[CONNECTIONS] = [2] of { byte };

byte tries, crashes, forces;
/* What the properties speak of. */
bit calm, contradicted, excused, disturbed;
byte newest;			/* the highest epoch that ever ran */

/* --- properties --- */
#define EXISTS(i) (H[i].own != NONE)
#define MAY_RUN(i) (H[i].own == RUNS && H[i].step != COMMIT)
#if HOSTS == 2
#define COUNT(what) (what(0) + what(1))
#define HIGHEST(h) (!EXISTS(1 - h) || H[h].epoch >= H[1 - h].epoch)
#else
#define COUNT(what) (what(0) + what(1) + what(2))
#define HIGHER(h, o) (!EXISTS(o) || H[h].epoch >= H[o].epoch)
#define HIGHEST(h) (HIGHER(h, (h + 1) % 3) && HIGHER(h, (h + 2) % 3))
#endif

/* The guest runs at h from here on: nowhere else, and nothing newer of it ever ran. */
inline runs(h)
{
	H[h].own = RUNS;
	assert(COUNT(MAY_RUN) == 1 || contradicted);
	assert(H[h].epoch >= newest || contradicted);
	newest = (H[h].epoch > newest -> H[h].epoch : newest)
}

/* The copy at h is gone. */
inline gone(h)
{
	H[h].own = NONE;
	H[h].epoch = 0;
	H[h].attempt = 0;
	H[h].rival = 0;
	no_doubt(h);
	assert(COUNT(EXISTS) > 0 || excused)
}

inline no_doubt(h)
{
	H[h].doubt = 0; H[h].peer = 0; H[h].doubt_boot = 0; H[h].ask = SILENT; H[h].status_boot = 0; H[h].stuck = 0
}

/* --- connections --- */
inline put(queue, k, record)
{
	if
	:: C[k].cut || !C[k].source_open || !C[k].peer_open || len(queue) == 2 -> skip
	:: else -> queue!record
	fi
}

inline empty_queue(queue)
{
	do
	:: nempty(queue) -> queue?_
	:: empty(queue) -> break
	od
}

inline closed(k)
{
	if
	:: !C[k].source_open && !C[k].peer_open ->
		empty_queue(up[k]);
		empty_queue(down[k]);
		C[k].used = 0; C[k].cut = 0; C[k].source = 0; C[k].peer = 0; C[k].attempt = 0; C[k].epoch = 0;
		C[k].boot = 0; C[k].session = FREE
	:: else -> skip
	fi
}

inline source_hangs_up(h)
{
	C[H[h].conn].source_open = 0;
	closed(H[h].conn);
	H[h].step = IDLE;
	H[h].conn = 0
}

inline peer_hangs_up(h, k)
{
	C[k].peer_open = 0;
	C[k].session = FREE;
	closed(k)
}

/* What was arriving over k is freed. */
inline drop(h, k)
{
	if
	:: H[h].arriving == k + 1 -> H[h].arriving = 0
	:: else -> skip
	fi
}

/* REFUSE or ABORT: what still comes is thrown away. */
inline turn_down(h, k, record)
{
	drop(h, k);
	C[k].session = LINGER;
	put(down[k], k, record)
}

#define K (H[h].conn)
#define BROKEN_FOR_SOURCE(k) (C[k].cut || (!C[k].peer_open && empty(down[k])))
#define BROKEN_FOR_PEER(k) (C[k].cut || (!C[k].source_open && empty(up[k])))
/* A silence that lasts long enough, without a fault that anybody could find later. */
#define IMPATIENT (!calm)

/* --- source --- */
/* Before COMMIT: the guest runs on. The peer is told if that is possible. */
inline keep(h)
{
	if
	:: put(up[K], K, R_ABORT)
	:: skip
	fi;
	source_hangs_up(h)
}

inline start_move(h)
{
	k = (C[0].used -> 1 : 0);
	p = (h + 1) % HOSTS;
#if HOSTS > 2
	if
	:: skip
	:: p = (h + 2) % HOSTS
	fi;
#endif
	tries++;
	C[k].used = 1; C[k].source_open = 1; C[k].peer_open = 1;
	C[k].source = h; C[k].peer = p; C[k].attempt = tries;
	C[k].epoch = H[h].epoch + 1;
	C[k].session = FIRST;
	H[h].conn = k;
	H[h].step = CONNECT;
	H[h].epoch = H[h].epoch + (variant == MUTANT_EPOCH_AT_TRY);
	p = 0; k = 0
}

inline doubts(h)
{
	H[h].own = DOUBT;
	H[h].doubt = C[K].attempt;
	H[h].doubt_boot = C[K].boot;
	H[h].peer = C[K].peer;
	source_hangs_up(h)
}

inline source_acts(h)
{
	if
	:: atomic { IMPATIENT && H[h].own == RUNS && H[h].step == IDLE && tries < TRIES && (!C[0].used || !C[1].used) ->
		T(source_idle_start) start_move(h) }
	:: atomic { H[h].step == CONNECT && !C[K].cut && C[K].peer_open ->
		T(source_connect_open) put(up[K], K, R_HELLO); H[h].step = HELLO }
	:: atomic { H[h].step == HELLO && down[K]?[R_ACCEPT] ->
		T(source_hello_accept) down[K]?R_ACCEPT; H[h].step = ROUNDS }
	:: atomic { H[h].step == HELLO && down[K]?[R_REFUSE] ->
		T(source_hello_refuse) down[K]?R_REFUSE; source_hangs_up(h) }
	:: atomic { H[h].step == ROUNDS && empty(down[K]) ->
		T(source_rounds_done) H[h].step = FINAL }
	:: atomic { H[h].step == FINAL && empty(down[K]) ->
		T(source_final_end) put(up[K], K, R_END); H[h].step = PREPARED }
	:: atomic { H[h].step == PREPARED && down[K]?[R_PREPARED] ->
		T(source_prepared_prepared) down[K]?R_PREPARED; put(up[K], K, R_COMMIT); H[h].step = COMMIT;
		if
		:: variant == MUTANT_FREE_AT_COMMIT -> source_hangs_up(h); gone(h)
		:: else -> skip
		fi }
	:: atomic { H[h].step == COMMIT && down[K]?[R_RUNNING] ->
		T(source_commit_running) down[K]?R_RUNNING; source_hangs_up(h); gone(h) }
	/* The peer has given it up, and read no COMMIT. */
	:: atomic { H[h].step == CONNECT && down[K]?[R_ABORT] ->
		T(source_connect_abort) source_hangs_up(h) }
	:: atomic { H[h].step == HELLO && down[K]?[R_ABORT] ->
		T(source_hello_abort) source_hangs_up(h) }
	:: atomic { H[h].step == ROUNDS && down[K]?[R_ABORT] ->
		T(source_rounds_abort) source_hangs_up(h) }
	:: atomic { H[h].step == FINAL && down[K]?[R_ABORT] ->
		T(source_final_abort) source_hangs_up(h) }
	:: atomic { H[h].step == PREPARED && down[K]?[R_ABORT] ->
		T(source_prepared_abort) source_hangs_up(h) }
	:: atomic { H[h].step == COMMIT && down[K]?[R_ABORT] ->
		T(source_commit_abort) source_hangs_up(h); runs(h) }
	/* The link broke, or the peer was silent for too long. */
	:: atomic { H[h].step == CONNECT && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_connect_broke) keep(h) }
	:: atomic { H[h].step == HELLO && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_hello_broke) keep(h) }
	:: atomic { H[h].step == ROUNDS && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_rounds_broke) keep(h) }
	:: atomic { H[h].step == FINAL && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_final_broke) keep(h) }
	:: atomic { H[h].step == PREPARED && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_prepared_broke) keep(h) }
	:: atomic { H[h].step == COMMIT && (IMPATIENT || BROKEN_FOR_SOURCE(K)) ->
		T(source_commit_broke)
		if
		:: variant == MUTANT_RESUME_AFTER_COMMIT -> source_hangs_up(h); runs(h)
		:: else -> doubts(h)
		fi }
	/* migrate --cancel, or the guest ended or was paused by a beacon: before COMMIT only. */
	:: atomic { IMPATIENT && H[h].step >= CONNECT && H[h].step <= PREPARED ->
		T(source_cancel) keep(h) }
	fi
}

/* --- peer, connection k --- */
inline take(h, k)
{
	H[h].epoch = C[k].epoch;
	H[h].attempt = C[k].attempt;
	H[h].taken = H[h].taken | (1 << C[k].attempt);
	H[h].arriving = 0;
	C[k].session = RUNNING;
	runs(h);
	put(down[k], k, R_RUNNING)
}

inline session_first(h, k)
{
	up[k]?R_HELLO;
	if
	:: H[h].arriving || H[h].own != NONE || (H[h].taken & (1 << C[k].attempt)) ->
		T(session_first_refuse) turn_down(h, k, R_REFUSE)
	:: else ->
		T(session_first_accept) H[h].arriving = k + 1; C[k].boot = H[h].boot; C[k].session = MEMORY;
		put(down[k], k, R_ACCEPT)
	fi
}

inline session_acts(h, k)
{
	if
	:: atomic { C[k].session == FIRST && C[k].peer == h && up[k]?[R_HELLO] -> session_first(h, k) }
	:: atomic { C[k].session == MEMORY && C[k].peer == h && up[k]?[R_END] ->
		T(session_memory_end) up[k]?R_END; C[k].session = S_PREPARED; put(down[k], k, R_PREPARED);
		if
		:: variant == MUTANT_RUN_AT_PREPARED -> take(h, k)
		:: else -> skip
		fi }
	:: atomic { C[k].session == S_PREPARED && C[k].peer == h && up[k]?[R_COMMIT] ->
		T(session_prepared_commit) up[k]?R_COMMIT; take(h, k) }
	:: atomic { C[k].session == MEMORY && C[k].peer == h && up[k]?[R_ABORT] ->
		T(session_memory_abort) drop(h, k); peer_hangs_up(h, k) }
	:: atomic { C[k].session == S_PREPARED && C[k].peer == h && up[k]?[R_ABORT] ->
		T(session_prepared_abort) drop(h, k); peer_hangs_up(h, k) }
	/* A bad record, or silence: ABORT. */
	:: atomic { C[k].session == FIRST && C[k].peer == h && up[k]?[R_ABORT] ->
		T(session_first_abort) up[k]?R_ABORT; turn_down(h, k, R_ABORT) }
	:: atomic { IMPATIENT && C[k].session == FIRST && C[k].peer == h ->
		T(session_first_turn_down) turn_down(h, k, R_ABORT) }
	:: atomic { IMPATIENT && C[k].session == MEMORY && C[k].peer == h ->
		T(session_memory_turn_down) turn_down(h, k, R_ABORT) }
	:: atomic { IMPATIENT && C[k].session == S_PREPARED && C[k].peer == h ->
		T(session_prepared_turn_down) turn_down(h, k, R_ABORT) }
	/* The connection has ended. */
	:: atomic { C[k].session == FIRST && C[k].peer == h && BROKEN_FOR_PEER(k) ->
		T(session_first_broke) peer_hangs_up(h, k) }
	:: atomic { C[k].session == MEMORY && C[k].peer == h && BROKEN_FOR_PEER(k) ->
		T(session_memory_broke) drop(h, k); peer_hangs_up(h, k) }
	:: atomic { C[k].session == S_PREPARED && C[k].peer == h && BROKEN_FOR_PEER(k) ->
		T(session_prepared_broke) drop(h, k); peer_hangs_up(h, k) }
	:: atomic { C[k].session == RUNNING && C[k].peer == h && (IMPATIENT || C[k].cut || !C[k].source_open) ->
		T(session_running_end) peer_hangs_up(h, k) }
	/* It hangs up after three seconds in any case. */
	:: atomic { C[k].session == LINGER && C[k].peer == h ->
		T(session_linger_end) peer_hangs_up(h, k) }
	fi
}

/* --- questions --- */
/* QUERY arrives at p: once it is said to be unknown, the attempt never comes true. */
inline query(which)
{
	a = H[p].arriving;
	if
	:: a && C[a - 1].attempt == which && variant != MUTANT_QUERY_KEEPS_ARRIVAL -> T(session_query_drops_arrival) turn_down(p, (a - 1), R_ABORT)
	:: else -> skip
	fi;
	a = 0
}

inline answer(h)
{
	p = H[h].peer;
	query(H[h].doubt);
	H[h].status_boot = H[p].boot;
	if
	:: H[p].taken & (1 << H[h].doubt) -> T(session_query_taken) H[h].ask = TAKEN
	:: else -> T(session_query_unknown) H[h].ask = UNKNOWN
	fi;
	p = 0
}

inline doubt_acts(h)
{
	if
	:: atomic { H[h].own == DOUBT && !H[h].stuck && H[h].ask == SILENT ->
		T(doubt_ask) H[h].ask = ASKED }
	:: atomic { H[h].ask == ASKED -> answer(h) }
	:: atomic { IMPATIENT && H[h].ask == ASKED ->
		T(doubt_question_lost) H[h].late = H[h].doubt; H[h].late_peer = H[h].peer; H[h].ask = SILENT }
	:: atomic { IMPATIENT && (H[h].ask == TAKEN || H[h].ask == UNKNOWN) ->
		T(doubt_answer_lost) H[h].ask = SILENT; H[h].status_boot = 0 }
	:: atomic { H[h].late -> p = H[h].late_peer; query(H[h].late); H[h].late = 0; H[h].late_peer = 0; p = 0 }
	:: atomic { H[h].ask == TAKEN -> T(doubt_taken) gone(h) }
	:: atomic { H[h].ask == UNKNOWN ->
		if
		:: H[h].status_boot == H[h].doubt_boot || variant == MUTANT_BELIEVE_OVER_REBOOT ->
			T(doubt_unknown) no_doubt(h); runs(h)
		:: else -> T(doubt_unknown_other_boot) H[h].ask = SILENT; H[h].status_boot = 0; H[h].stuck = 1
		fi }
	fi
}

/* --- beacons --- */
/* h hears what s says, or once said. Only what changes something is a step. */
inline hears(h, said_own, said_epoch, said_attempt)
{
	if
	:: H[h].own == DOUBT && said_attempt == H[h].doubt -> T(beacon_doubt_taken) gone(h)
	:: H[h].own == RUNS && H[h].step != COMMIT && said_epoch > H[h].epoch ->
		T(beacon_higher)
		if
		:: H[h].step != IDLE -> keep(h)
		:: else -> skip
		fi;
		H[h].own = YIELDED;
		H[h].rival = said_epoch
	:: H[h].own == RUNS && H[h].step != COMMIT && said_epoch == H[h].epoch && said_own == RUNS ->
		T(beacon_equal)
		if
		:: H[h].step != IDLE -> keep(h)
		:: else -> skip
		fi;
		H[h].own = YIELDED;
		H[h].rival = said_epoch
	fi
}

#define NEWS(h, said_own, said_epoch, said_attempt) (said_own != NONE && variant != MUTANT_NO_BEACON && \
	((H[h].own == DOUBT && said_attempt == H[h].doubt) || \
	 (H[h].own == RUNS && H[h].step != COMMIT && (said_epoch > H[h].epoch || \
	  (said_epoch == H[h].epoch && said_own == RUNS)))))

inline beacon_acts(h, s)
{
	if
	/* What is said now may be heard at any time from now on, as often as the network likes, or never. */
	:: atomic { IMPATIENT && H[h].own != NONE && (H[h].beacon_own != H[h].own || H[h].beacon_epoch != H[h].epoch) ->
		H[h].beacon_own = H[h].own; H[h].beacon_epoch = H[h].epoch; H[h].beacon_attempt = H[h].attempt }
	:: atomic { IMPATIENT && NEWS(h, H[s].beacon_own, H[s].beacon_epoch, H[s].beacon_attempt) ->
		hears(h, H[s].beacon_own, H[s].beacon_epoch, H[s].beacon_attempt) }
	:: atomic { calm && NEWS(h, H[s].own, H[s].epoch, H[s].attempt) ->
		hears(h, H[s].own, H[s].epoch, H[s].attempt) }
	fi
}

/* --- what else happens to a host --- */
inline crash_connection(h, k)
{
	if
	:: C[k].used && C[k].source == h -> C[k].source_open = 0; C[k].cut = 1; closed(k)
	:: C[k].used && C[k].peer == h && C[k].peer_open -> C[k].cut = 1; peer_hangs_up(h, k)
	:: else -> skip
	fi
}

inline crash_acts(h)
{
	crashes++;
	disturbed = 1;
	excused = excused || (EXISTS(h) && HIGHEST(h));
	H[h].step = IDLE; H[h].conn = 0; H[h].arriving = 0;
	H[h].taken = 0; H[h].boot++; H[h].late = 0; H[h].late_peer = 0;
	crash_connection(h, 0);
	crash_connection(h, 1);
	gone(h)
}

#define FORCEABLE(h) (H[h].own == DOUBT || H[h].own == YIELDED)
#define COMMIT_UNDER_WAY(k) (C[k].used && C[k].peer_open && C[k].session == S_PREPARED && up[k]?[R_COMMIT])
#define OWNS(i) (H[i].own == RUNS || H[i].own == DOUBT)

inline force_acts(h)
{
	forces++;
	disturbed = 1;
	contradicted = contradicted || COUNT(OWNS) - OWNS(h) > 0 || COMMIT_UNDER_WAY(0) || COMMIT_UNDER_WAY(1);
	H[h].epoch = (H[h].rival > H[h].epoch -> H[h].rival : H[h].epoch);
	H[h].epoch = (variant == MUTANT_FORCE_KEEPS_EPOCH -> H[h].epoch :
		      (H[h].epoch / GENERATION + 1) * GENERATION + H[h].epoch % GENERATION + 1);
	H[h].attempt = 0;
	H[h].rival = 0;
	no_doubt(h);
	runs(h)
}

inline world(h)
{
	if
	:: atomic { IMPATIENT && crashes < CRASHES -> crash_acts(h) }
	:: atomic { IMPATIENT && crashes < CRASHES && H[h].taken ->
		crashes++; disturbed = 1; H[h].taken = 0; H[h].boot++ }
	:: atomic { IMPATIENT && forces < FORCES && FORCEABLE(h) -> T(operator_force) force_acts(h) }
	:: atomic { IMPATIENT && forces < FORCES && FORCEABLE(h) ->
		T(operator_destroy) forces++; disturbed = 1; excused = 1; gone(h) }
	fi
}

inline cut_link(k)
{
	C[k].cut = 1;
	if
	:: skip
	:: empty_queue(up[k])
	:: empty_queue(down[k])
	:: empty_queue(up[k]); empty_queue(down[k])
	fi
}

proctype Host(byte h)
{
	byte p, k, a;	/* of one atomic step */

end:	do
	:: source_acts(h)
	:: session_acts(h, 0)
	:: session_acts(h, 1)
	:: doubt_acts(h)
	:: beacon_acts(h, ((h + 1) % HOSTS))
#if HOSTS > 2
	:: beacon_acts(h, ((h + 2) % HOSTS))
#endif
	:: world(h)
	od
}

#define SETTLED(i) (H[i].step == IDLE && !H[i].arriving && H[i].ask == SILENT && (H[i].own != DOUBT || H[i].stuck))
#define RUNS_NOW(i) (H[i].own == RUNS)
#define HIGHEST_RUNS(i) (H[i].own == RUNS && HIGHEST(i))

/* Nothing goes wrong any more, and nothing more happens. */
inline at_rest()
{
	assert(!C[0].used && !C[1].used);
	assert(COUNT(SETTLED) == HOSTS);
	assert(COUNT(RUNS_NOW) <= 1);
	assert(COUNT(RUNS_NOW) == 1 || disturbed);
	assert(COUNT(RUNS_NOW) == COUNT(HIGHEST_RUNS))
}

init
{
	atomic {
		H[0].own = RUNS; H[0].epoch = 1; newest = 1;
		c_code { variant = getenv("VARIANT") ? atoi(getenv("VARIANT")) : 0; };
		if
		:: variant == TWINS ->
			H[1].own = RUNS; H[1].epoch = 1; contradicted = 1; disturbed = 1; forces = FORCES
		:: else -> skip
		fi;
		run Host(0); run Host(1);
#if HOSTS > 2
		run Host(2);
#endif
	}
end:	do
	:: atomic { !calm && C[0].used && !C[0].cut -> cut_link(0) }
	:: atomic { !calm && C[1].used && !C[1].cut -> cut_link(1) }
	:: atomic { !calm -> calm = 1 }
	:: timeout -> assert(calm); at_rest(); break
	od
}
