/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipe over another pipe, by TLS. Service CPU; nothing blocks, and a call does at most one step of
 * the handshake that computes long, or some records.
 *
 * Out: put() gathers plaintext, a full buffer becomes a record at once, flush() makes one of the rest.
 * A record that the pipe below has no room for waits in mbedTLS' buffer, and nothing more is taken.
 * In: peek() shows a record's plaintext. What the other side sees of a failure is TLS's alert; the
 * operator here reads pipe->why.
 */
/* mbedTLS before ours: some of our words are macros. */
#include "net/tls/tls_internal.h"

#include "net/tls/tls.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "compiler.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

/* migrate/: four moves out, four in, two more that come in, and a question. 33 KB each, and mbedTLS' part (tls.c). */
#define PIPES_MAX 11
/* Of plaintext in a record: some less than mbedTLS' buffer, for what TLS 1.3 adds inside. */
#define RECORD_BYTES 16320u
#define STEPS_MAX 4
#define WARN_EVERY_NS NS_PER_S

struct tls_pipe {
	struct pipe pipe;
	struct pipe *plain;  /* NULL: free */
	mbedtls_ssl_context ssl;
	bool server, open;
	int error;           /* 0, or why it ended */
	u64 begin_ns;
	u64 ticks;           /* of the handshake's computing */
	char peer[32], claims[32];
	u32 out_bytes;       /* gathered */
	u32 pending_bytes;   /* of a record that mbedTLS has, and the pipe below has not */
	u32 in_bytes, in_offset;
	u8 out[RECORD_BYTES], in[MBEDTLS_SSL_IN_CONTENT_LEN];
};

static struct tls_pipe pipes[PIPES_MAX];
static u64 handshake_ticks;

static struct tls_pipe *tls_pipe_of(struct pipe *pipe)
{
	return container_of(pipe, struct tls_pipe, pipe);
}

const char *tls_pipe_peer(const struct tls_pipe *t)
{
	return t->peer;
}

void tls_pipe_claims(struct tls_pipe *t, const unsigned char *name, size_t bytes)
{
	size_t n = MIN(bytes, sizeof(t->claims) - 1);

	for (size_t i = 0; i < n; i++)
		t->claims[i] = name[i] > ' ' && name[i] < 0x7f ? (char)name[i] : '?';
	t->claims[n] = 0;
}

/* --- mbedTLS' side ---------------------------------------------------------------------------- */

static int send_below(void *context, const unsigned char *data, size_t bytes)
{
	struct tls_pipe *t = context;
	size_t done = t->plain->ops->put(t->plain, data, bytes);

	return done ? (int)done : MBEDTLS_ERR_SSL_WANT_WRITE;
}

static int receive_below(void *context, unsigned char *data, size_t bytes)
{
	struct tls_pipe *t = context;
	struct pipe *plain = t->plain;
	const void *from;
	size_t there = plain->ops->peek(plain, &from);
	int status;

	if (there) {
		there = MIN(there, bytes);
		memcpy(data, from, there);
		plain->ops->consume(plain, there);
		return (int)there;
	}
	status = plain->ops->status(plain);
	return status && status != -E_AGAIN ? MBEDTLS_ERR_SSL_CONN_EOF : MBEDTLS_ERR_SSL_WANT_READ;
}

static bool wants(int result)
{
	return result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE;
}

/* A guest's vector registers are not in the CPU: tls.c. */
static void check_cpu(void)
{
	fpu_use();
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* Somebody who tries all the time does not fill the log. */
static void warn(const struct tls_pipe *t)
{
	static u64 last_ns;
	u64 now = time_ns();

	if (last_ns && now - last_ns < WARN_EVERY_NS)
		return;
	last_ns = now;
	log_warn("migration: %s %s: refused: %s%s%s%s", t->server ? "a connection from" : "the host at", t->plain->peer,
		 t->pipe.why, t->claims[0] ? " (it calls itself " : "", t->claims, t->claims[0] ? ")" : "");
}

static void fail_handshake(struct tls_pipe *t, int error, const char *why)
{
	int below = t->plain->ops->status(t->plain);

	/* Who never got as far as a connection needs no talk of keys. */
	if (below && below != -E_AGAIN && !mbedtls_ssl_is_handshake_over(&t->ssl) && below != -E_CLOSED) {
		t->error = below;
		return;
	}
	t->error = error;
	t->pipe.why = t->claims[0] && !str_equal(t->claims, t->peer) ? "it calls itself by another name" : why;
	t->plain->ops->flush(t->plain); /* the alert */
	warn(t);
}

static void shake_hands(struct tls_pipe *t)
{
	int status = t->plain->ops->status(t->plain);
	int result = 0;
	u64 begin;

	if (status == -E_AGAIN)
		return;
	check_cpu();
	begin = tsc_read();
	for (u32 i = 0; i < STEPS_MAX && result == 0 && !mbedtls_ssl_is_handshake_over(&t->ssl); i++)
		result = mbedtls_ssl_handshake_step(&t->ssl);
	t->ticks += tsc_read() - begin;
	if (result == 0 && mbedtls_ssl_is_handshake_over(&t->ssl)) {
		assert(mbedtls_ssl_get_max_out_record_payload(&t->ssl) >= (int)RECORD_BYTES);
		t->open = true;
		handshake_ticks = t->ticks;
	} else if (result && !wants(result)) {
		fail_handshake(t, -E_REFUSED, tls_error_text(result, mbedtls_ssl_get_verify_result(&t->ssl) == ~0u ? 0 :
							     mbedtls_ssl_get_verify_result(&t->ssl)));
		return;
	} else if (time_ns() - t->begin_ns >= tls_handshake_ns()) {
		fail_handshake(t, -E_TIMEOUT, "its handshake takes too long");
		return;
	}
	t->plain->ops->flush(t->plain);
}

static bool usable(struct tls_pipe *t)
{
	if (!t->open && !t->error)
		shake_hands(t);
	return t->open && !t->error;
}

/* --- the pipe's operations -------------------------------------------------------------------- */

static void broken(struct tls_pipe *t, int result)
{
	int below = t->plain->ops->status(t->plain);

	if (result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		t->error = -E_CLOSED;
	else if (result == MBEDTLS_ERR_SSL_CONN_EOF)
		/* Without TLS's own goodbye the end may be anybody's. */
		t->error = below && below != -E_AGAIN && below != -E_CLOSED ? below : -E_IO;
	else
		t->error = -E_PROTO;
}

/* The rest of a record, or a record of what was gathered. False: there is no room below. */
static bool send_record(struct tls_pipe *t)
{
	u32 bytes = t->pending_bytes ? t->pending_bytes : t->out_bytes;
	int result;

	if (!bytes)
		return true;
	check_cpu();
	/*
	 * mbedTLS wants the same call again after WANT_WRITE; it has the record, the bytes do not
	 * matter any more.
	 */
	result = mbedtls_ssl_write(&t->ssl, t->out, bytes);
	if (wants(result)) {
		t->pending_bytes = bytes;
		t->out_bytes = 0;
		return false;
	}
	if (result < 0) {
		broken(t, result);
		return false;
	}
	assert((u32)result == bytes); /* a whole record: RECORD_BYTES */
	if (!t->pending_bytes)
		t->out_bytes = 0;
	t->pending_bytes = 0;
	return true;
}

static int pipe_status(struct pipe *pipe)
{
	struct tls_pipe *t = tls_pipe_of(pipe);
	const void *data;

	if (!usable(t))
		return t->error ? t->error : -E_AGAIN;
	return pipe->ops->peek(pipe, &data) ? 0 : t->error;
}

static size_t pipe_room(struct pipe *pipe)
{
	struct tls_pipe *t = tls_pipe_of(pipe);

	if (!usable(t) || (t->pending_bytes && !send_record(t)))
		return 0;
	if (t->out_bytes == RECORD_BYTES && !send_record(t))
		return 0;
	return RECORD_BYTES - t->out_bytes;
}

static size_t pipe_put(struct pipe *pipe, const void *data, size_t bytes)
{
	struct tls_pipe *t = tls_pipe_of(pipe);
	const u8 *from = data;
	size_t done = 0;

	while (done < bytes) {
		size_t piece = MIN(pipe_room(pipe), bytes - done);

		if (piece == 0)
			break;
		memcpy(t->out + t->out_bytes, from + done, piece);
		t->out_bytes += (u32)piece;
		done += piece;
	}
	return done;
}

static void pipe_flush(struct pipe *pipe)
{
	struct tls_pipe *t = tls_pipe_of(pipe);

	if (usable(t) && send_record(t))
		(void)send_record(t);
	t->plain->ops->flush(t->plain);
}

static size_t pipe_peek(struct pipe *pipe, const void **data)
{
	struct tls_pipe *t = tls_pipe_of(pipe);
	int result;

	if (t->in_offset == t->in_bytes) {
		t->in_offset = t->in_bytes = 0;
		if (!usable(t))
			return 0;
		check_cpu();
		result = mbedtls_ssl_read(&t->ssl, t->in, sizeof(t->in));
		if (result > 0)
			t->in_bytes = (u32)result;
		else if (!wants(result))
			broken(t, result ? result : MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
	}
	*data = t->in + t->in_offset;
	return t->in_bytes - t->in_offset;
}

static void pipe_consume(struct pipe *pipe, size_t bytes)
{
	struct tls_pipe *t = tls_pipe_of(pipe);

	assert(bytes <= t->in_bytes - t->in_offset);
	t->in_offset += (u32)bytes;
}

static u64 pipe_unacked(struct pipe *pipe)
{
	struct tls_pipe *t = tls_pipe_of(pipe);

	return t->plain->ops->unacked(t->plain) + t->out_bytes + t->pending_bytes;
}

static void pipe_close(struct pipe *pipe, bool abort)
{
	struct tls_pipe *t = tls_pipe_of(pipe);

	if (!abort && usable(t) && send_record(t))
		(void)mbedtls_ssl_close_notify(&t->ssl);
	/* Who was refused shall read the alert: it says so much that its operator knows where to look. */
	t->plain->ops->close(t->plain, abort && !t->pipe.why);
	mbedtls_ssl_free(&t->ssl);
	/* Guests' memory, on its way. */
	memset(t, 0, sizeof(*t));
}

static const struct pipe_ops tls_pipe_ops = {
	.status = pipe_status,
	.room = pipe_room,
	.put = pipe_put,
	.flush = pipe_flush,
	.peek = pipe_peek,
	.consume = pipe_consume,
	.unacked = pipe_unacked,
	.close = pipe_close,
};

u64 tls_handshake_ticks(void)
{
	return handshake_ticks;
}

/* --- making one ------------------------------------------------------------------------------- */

static int begin(struct tls_pipe *t, struct pipe *plain, const char *peer, bool server)
{
	memset(t, 0, sizeof(*t));
	mbedtls_ssl_init(&t->ssl);
	if (mbedtls_ssl_setup(&t->ssl, tls_ssl_config(server)) || mbedtls_ssl_set_hostname(&t->ssl, peer)) {
		mbedtls_ssl_free(&t->ssl);
		return -E_NOMEM;
	}
	mbedtls_ssl_set_user_data_p(&t->ssl, t);
	mbedtls_ssl_set_bio(&t->ssl, t, send_below, receive_below, NULL);
	t->plain = plain;
	t->server = server;
	t->begin_ns = time_ns();
	t->pipe.ops = &tls_pipe_ops;
	str_copy(t->peer, sizeof(t->peer), peer);
	str_copy(t->pipe.peer, sizeof(t->pipe.peer), plain->peer);
	return 0;
}

int tls_pipe_secure(struct pipe *plain, const char *peer, bool server, struct pipe **pipe)
{
	struct tls_pipe *t = NULL;
	int error = tls_missing() ? -E_REFUSED : -E_NOMEM;

	for (u32 i = 0; error == -E_NOMEM && i < PIPES_MAX && !t; i++)
		if (!pipes[i].plain)
			t = &pipes[i];
	if (t)
		error = begin(t, plain, peer, server);
	if (error) {
		plain->ops->close(plain, true);
		return trace_error(error);
	}
	*pipe = &t->pipe;
	return 0;
}
