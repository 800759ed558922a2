/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may talk to this host's migration port, proved by TLS 1.3 (mbedTLS): pipes that are encrypted
 * and mutually authenticated, over any other pipe. Service CPU.
 *
 * Either all hosts share a cluster key (a PSK of 256 bits; a host's identity is its name), or each has
 * a certificate that the cluster's own CA signed for its name. An ephemeral key exchange in both
 * cases: who learns the key later reads nothing of what was recorded before.
 */
#ifndef NET_TLS_TLS_H
#define NET_TLS_TLS_H

#include "migrate/pipe.h"
#include "types.h"

#define TLS_KEY_BYTES 32

struct tls_pem {
	const void *text; /* of the file; NULL: none */
	size_t bytes;
};

struct tls_config {
	const char *host_name;
	const u8 *key;    /* the cluster key, TLS_KEY_BYTES; NULL: none */
	struct tls_pem ca, certificate, private_key;
	u32 timeout_s;    /* for a handshake, from the first byte to the last; 0: the default, 10 */
};

/*
 * Once. Keeps copies of what it needs of config, which the caller wipes. -E_NOENT: there are neither
 * keys nor certificates; -E_INVAL, -E_NOSYS: why says what is wrong. No pipe is made then, and
 * tls_missing() repeats it.
 */
int must_check tls_init(const struct tls_config *config, char *why, size_t why_bytes);
/* NULL, or why no pipe can be made and what to do. */
const char *tls_missing(void);
/* For people: "cluster key 1a2b3c4d" (a fingerprint), "certificate of alpha"... */
const char *tls_identity(void);

/*
 * Over plain, which it owns from now on, also when this fails (it is closed then). peer: the name that
 * the other side must prove. server: it has connected to us. status() is -E_AGAIN until the handshake
 * is done, and -E_REFUSED or -E_TIMEOUT if it failed; pipe->why has a text for the operator then.
 * -E_REFUSED: tls_missing(); -E_NOMEM.
 */
int must_check tls_pipe_secure(struct pipe *plain, const char *peer, bool server, struct pipe **pipe);

/*
 * For datagrams, which TLS 1.3 has no place for: a proof (HMAC-SHA-256) of who made the bytes, and for whom. Its key
 * is derived by HKDF from the cluster key; or from ECDH between the two hosts' certificates' keys, and then hosts
 * have to meet first: each sends the other its introduction. It says nothing of when, and hides nothing.
 */
#define TLS_PROOF_BYTES 32
#define TLS_HOSTS_MAX 16 /* that this one can meet */
/* Whether this host has keys for it: without, the others return 0. */
bool tls_has_proof(void);
/* Appends the proof that this host made it for `to`, TLS_PROOF_BYTES; returns the length of all, 0: it could not. */
u32 tls_seal(const char *to, u8 *datagram, u32 bytes);
/* Without the proof, if `from` made it for this host; 0: no. */
u32 tls_unseal(const char *from, const u8 *datagram, u32 bytes);
/* Writes this host's introduction; returns its length, 0: there is none (the cluster key), or it is too long. */
u32 tls_introduce(u8 *datagram, u32 bytes_max);
/* True: this is an introduction, and was looked at if it may be `from`'s. At most one a second of each host is. */
bool tls_meet(const char *from, const u8 *datagram, u32 bytes);

/*
 * Poly1305 (RFC 8439), for copies of memory that are compared; the key is as random as can be, and new each time.
 * -E_INVAL: bytes is no multiple of 16.
 */
#define TLS_DIGEST_KEY_BYTES 32
#define TLS_DIGEST_BYTES 16
int must_check tls_digest(const u8 key[TLS_DIGEST_KEY_BYTES], const void *data, size_t bytes,
			  u8 digest[TLS_DIGEST_BYTES]);

/* What this end of the last handshake that was done has computed, in TSC ticks. */
u64 tls_handshake_ticks(void);
/* TSC ticks for 4 KiB by AES-128-GCM and by ChaCha20-Poly1305, as measured at the start; ~0: not used here. */
void tls_cipher_ticks(u64 *aes, u64 *chacha);

#endif
