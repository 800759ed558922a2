/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes over TLS, with the real mbedTLS, over the fake network's rings: who gets in, who does not and
 * what is said of it, cuts at every byte, small pieces, silence. Both ends are this host: its
 * configuration is set anew between them where they differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mbedtls/base64.h"

#include "certificates.h"
#include "errors.h"
#include "fake/fake_cpu.h"
#include "fake/fake_pipe.h"
#include "net/tls/tls.h"

#define PORT 8002
#define STEPS 2000
#define PIPES 11 /* tls_pipe.c */

static const u8 key[TLS_KEY_BYTES] = "the cluster's key, 32 bytes long";
static const u8 other_key[TLS_KEY_BYTES] = "not the cluster's key, as it is";
static struct pipe *accepted;
static char why[200];

static bool on_accept(struct pipe *pipe, unused const u8 ip[4])
{
	accepted = pipe;
	return true;
}

static int host(const char *name, const u8 *with)
{
	struct tls_config config = { .host_name = name, .key = with };

	return tls_init(&config, why, sizeof(why));
}

static int setup(unused void **state)
{
	fake_cpu_reset();
	fake_time_set(NS_PER_S);
	fake_pipe_reset();
	accepted = NULL;
	assert_int_equal(host("alpha", key), 0);
	return fake_network.listen(PORT, on_accept);
}

static int teardown(unused void **state)
{
	return fake_pipe_open() == 0 ? 0 : -1;
}

struct ends {
	struct pipe *client, *server;
};

/* alpha connects to beta, and beta expects who is said to come. */
static struct ends connect_as(const char *to, const char *expected)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };
	struct ends e;

	assert_int_equal(fake_network.connect(ip, PORT, &e.client), 0);
	assert_int_equal(tls_pipe_secure(e.client, to, false, &e.client), 0);
	assert_non_null(accepted);
	assert_int_equal(tls_pipe_secure(accepted, expected, true, &e.server), 0);
	accepted = NULL;
	return e;
}

static void turn(struct ends *e)
{
	(void)e->client->ops->status(e->client);
	e->client->ops->flush(e->client);
	(void)e->server->ops->status(e->server);
	e->server->ops->flush(e->server);
	fake_time_advance(NS_PER_MS);
}

static void settle(struct ends *e)
{
	for (u32 i = 0; i < STEPS && (e->client->ops->status(e->client) == -E_AGAIN ||
				      e->server->ops->status(e->server) == -E_AGAIN); i++)
		turn(e);
}

static void close_both(struct ends *e)
{
	e->client->ops->close(e->client, true);
	e->server->ops->close(e->server, true);
}

/* Sends bytes from one end to the other, and compares. */
static void transfer(struct ends *e, struct pipe *from, struct pipe *to, size_t bytes)
{
	static u8 data[200000];
	size_t sent = 0;
	size_t got = 0;
	const void *there;

	for (size_t i = 0; i < bytes; i++)
		data[i] = (u8)(i * 7 + i / 251);
	for (u32 i = 0; i < 20000 && got < bytes; i++) {
		size_t n;

		sent += from->ops->put(from, data + sent, bytes - sent);
		from->ops->flush(from);
		while ((n = to->ops->peek(to, &there)) != 0) {
			n = MIN(n, (size_t)1000);
			assert_memory_equal(there, data + got, n);
			to->ops->consume(to, n);
			got += n;
		}
		turn(e);
	}
	assert_int_equal(got, bytes);
}

/* --- keys ------------------------------------------------------------------------------------- */

static u8 seen[400000];
static size_t seen_bytes;

static void tap(const void *data, size_t bytes)
{
	size_t n = MIN(bytes, sizeof(seen) - seen_bytes);

	memcpy(seen + seen_bytes, data, n);
	seen_bytes += n;
}

static void test_key(unused void **state)
{
	struct ends e;

	fake_pipe.tap = tap;
	seen_bytes = 0;
	e = connect_as("beta", "alpha");
	assert_int_equal(e.client->ops->status(e.client), -E_AGAIN);
	assert_int_equal(e.client->ops->room(e.client), 0);
	settle(&e);
	assert_int_equal(e.client->ops->status(e.client), 0);
	assert_int_equal(e.server->ops->status(e.server), 0);
	transfer(&e, e.client, e.server, 150000);
	transfer(&e, e.server, e.client, 70000);
	assert_int_equal(e.client->ops->unacked(e.client), 0);
	/* Nothing of it is on the wire as it was: 16 bytes of the pattern would be. */
	assert_true(seen_bytes > 150000);
	for (size_t i = 0; i + 16 <= seen_bytes; i++) {
		size_t same = 0;

		while (same < 16 && seen[i + same] == (u8)((100 + same) * 7))
			same++;
		assert_true(same < 16);
	}
	/* The end is said, and read as an end. */
	e.client->ops->close(e.client, false);
	for (u32 i = 0; i < 10; i++) {
		(void)e.server->ops->status(e.server);
		fake_time_advance(NS_PER_MS);
	}
	assert_int_equal(e.server->ops->status(e.server), -E_CLOSED);
	e.server->ops->close(e.server, false);
}

/* The client's key is another one: the server says what, the client what it can know. */
static void test_wrong_key(unused void **state)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };
	struct ends e;

	assert_int_equal(host("alpha", other_key), 0);
	assert_int_equal(fake_network.connect(ip, PORT, &e.client), 0);
	assert_int_equal(tls_pipe_secure(e.client, "beta", false, &e.client), 0);
	(void)e.client->ops->status(e.client); /* its hello, by that key */
	e.client->ops->flush(e.client);
	assert_int_equal(host("beta", key), 0);
	fake_time_advance(NS_PER_MS);
	assert_int_equal(tls_pipe_secure(accepted, "alpha", true, &e.server), 0);
	settle(&e);
	assert_int_equal(e.server->ops->status(e.server), -E_REFUSED);
	assert_non_null(strstr(e.server->why, "another key"));
	assert_int_equal(e.client->ops->status(e.client), -E_REFUSED);
	assert_non_null(strstr(e.client->why, "another key"));
	assert_int_equal(e.client->ops->room(e.client), 0);
	close_both(&e);
}

/* The key is right, but that address is another host's. */
static void test_wrong_name(unused void **state)
{
	struct ends e = connect_as("beta", "gamma");

	settle(&e);
	assert_int_equal(e.server->ops->status(e.server), -E_REFUSED);
	assert_non_null(strstr(e.server->why, "another name"));
	assert_int_equal(e.client->ops->status(e.client), -E_REFUSED);
	close_both(&e);
}

static void test_no_key(unused void **state)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };
	struct pipe *plain, *pipe;

	assert_int_equal(host("alpha", NULL), -E_NOENT);
	assert_non_null(strstr(tls_missing(), "key new"));
	assert_int_equal(fake_network.connect(ip, PORT, &plain), 0);
	assert_int_equal(tls_pipe_secure(plain, "beta", false, &pipe), -E_REFUSED);
	accepted->ops->close(accepted, true);
}

/* --- certificates ----------------------------------------------------------------------------- */

#define PEM(text) { (text), sizeof(text) - 1 }

static int host_with(const char *name, struct tls_pem certificate, struct tls_pem private_key)
{
	struct tls_config config = { .host_name = name, .ca = PEM(cluster_crt), .certificate = certificate,
				     .private_key = private_key };

	return tls_init(&config, why, sizeof(why));
}

/* Both ends are alpha here, as one process has one configuration. */
static void test_certificates(unused void **state)
{
	struct ends e;

	assert_int_equal(host_with("alpha", (struct tls_pem)PEM(alpha_crt), (struct tls_pem)PEM(alpha_key)), 0);
	assert_string_equal(tls_identity(), "certificate of alpha");
	e = connect_as("alpha", "alpha");
	settle(&e);
	assert_int_equal(e.client->ops->status(e.client), 0);
	transfer(&e, e.client, e.server, 50000);
	transfer(&e, e.server, e.client, 20000);
	close_both(&e);
}

/* Each end looks at the other's name. */
static void test_certificate_of_another(unused void **state)
{
	struct ends e;

	assert_int_equal(host_with("alpha", (struct tls_pem)PEM(alpha_crt), (struct tls_pem)PEM(alpha_key)), 0);
	e = connect_as("beta", "alpha");
	settle(&e);
	assert_int_equal(e.client->ops->status(e.client), -E_REFUSED);
	assert_string_equal(e.client->why, "its certificate is another host's");
	close_both(&e);
	e = connect_as("alpha", "beta");
	settle(&e);
	for (u32 i = 0; i < 10; i++)
		turn(&e);
	assert_int_equal(e.server->ops->status(e.server), -E_REFUSED);
	assert_string_equal(e.server->why, "its certificate is another host's");
	close_both(&e);
}

/* A host with a bad certificate does not start with it: nobody would take it. */
static void test_own_certificate(unused void **state)
{
	static const struct {
		const char *name;
		struct tls_pem certificate, key;
		const char *words;
	} bad[] = {
		{ "alpha", PEM(expired_crt), PEM(expired_key), "has expired" },
		{ "alpha", PEM(early_crt), PEM(early_key), "not valid yet" },
		{ "alpha", PEM(stranger_crt), PEM(stranger_key), "not of this cluster's CA" },
		{ "beta", PEM(alpha_crt), PEM(alpha_key), "another host's" },
		{ "alpha", PEM(alpha_crt), PEM(beta_key), "not the one of certificate" },
		{ "alpha", PEM("nonsense"), PEM(beta_key), "no certificate" },
		{ "alpha", PEM(alpha_crt), PEM("nonsense"), "private key" },
		{ "alpha", PEM(alpha_crt), { NULL, 0 }, "private key" },
	};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(host_with(bad[i].name, bad[i].certificate, bad[i].key), -E_INVAL);
		assert_non_null(strstr(why, bad[i].words));
		assert_string_equal(tls_missing(), why);
	}
	assert_int_equal(host("alpha", key), 0);
	assert_null(tls_missing());
}

/*
 * A client whose certificate is good where it comes from: set up with its own CA, then this host is
 * the cluster's again.
 */
static void test_foreign_certificate(unused void **state)
{
	struct tls_config config = { .host_name = "alpha", .ca = PEM(stranger_crt), .certificate = PEM(stranger_crt),
				     .private_key = PEM(stranger_key) };

	/* A host's certificate is no CA's, so it can't even be trusted by itself. */
	assert_int_equal(tls_init(&config, why, sizeof(why)), -E_INVAL);
}

/* --- trouble ---------------------------------------------------------------------------------- */

/* Whatever comes instead of a handshake is refused, and takes nothing with it. */
static void test_garbage(unused void **state)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };

	for (u32 seed = 0; seed < 200; seed++) {
		struct pipe *plain, *server;
		u8 data[300];
		int status = -E_AGAIN;

		srand(seed);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (u8)rand();
		if (seed % 2)
			memcpy(data, (u8[]){ 22, 3, 1, 1, 0x27, 1, 0, 1, 0x23, 3, 3 }, 11);
		assert_int_equal(fake_network.connect(ip, PORT, &plain), 0);
		(void)plain->ops->put(plain, data, sizeof(data));
		plain->ops->flush(plain);
		fake_time_advance(NS_PER_MS);
		assert_int_equal(tls_pipe_secure(accepted, "alpha", true, &server), 0);
		accepted = NULL;
		for (u32 i = 0; i < 100 && status == -E_AGAIN; i++) {
			fake_time_advance(200 * NS_PER_MS);
			status = server->ops->status(server);
		}
		assert_true(status == -E_REFUSED || status == -E_TIMEOUT);
		assert_non_null(server->why);
		server->ops->close(server, true);
		plain->ops->close(plain, true);
	}
}

/* A byte now and then keeps nobody's place for ever. */
static void test_slow(unused void **state)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };
	static const u8 hello[] = { 22, 3, 1, 1, 0x27, 1, 0, 1, 0x23, 3, 3 };
	struct pipe *plain, *server;
	u32 s = 0;

	assert_int_equal(fake_network.connect(ip, PORT, &plain), 0);
	assert_int_equal(tls_pipe_secure(accepted, "alpha", true, &server), 0);
	while (s < 60 && server->ops->status(server) == -E_AGAIN) {
		(void)plain->ops->put(plain, &hello[MIN(s, sizeof(hello) - 1)], 1);
		fake_time_advance(NS_PER_S);
		s++;
	}
	assert_int_equal(server->ops->status(server), -E_TIMEOUT);
	assert_in_range(s, 9, 11);
	server->ops->close(server, true);
	plain->ops->close(plain, true);
}

/*
 * Cut after every so many bytes: an error at both ends in the end, never data that was not sent, and
 * no memory lost.
 */
static void test_cut(unused void **state)
{
	static u8 data[20000];
	u32 whole = 0;

	for (u64 cut = 0; cut < 24000; cut += cut < 1500 ? 1 : 97) {
		struct ends e;
		size_t put = 0;
		size_t got = 0;
		const void *there;

		fake_pipe_reset();
		assert_int_equal(fake_network.listen(PORT, on_accept), 0);
		fake_pipe.cut_after = cut;
		fake_pipe.notice_ns = 20 * NS_PER_MS;
		e = connect_as("beta", "alpha");
		for (u32 i = 0; i < 200; i++) {
			size_t n;

			if (e.client->ops->status(e.client) == 0)
				put += e.client->ops->put(e.client, data, sizeof(data) - put);
			while ((n = e.server->ops->peek(e.server, &there)) != 0) {
				got += n;
				e.server->ops->consume(e.server, n);
			}
			turn(&e);
		}
		assert_true(got <= put);
		whole += got == sizeof(data);
		close_both(&e);
	}
	assert_true(whole > 0);
}

static void test_small_pieces(unused void **state)
{
	struct ends e;

	fake_pipe.put_max = 7;
	fake_pipe.peek_max = 3;
	e = connect_as("beta", "alpha");
	for (u32 i = 0; i < 20000 && (e.client->ops->status(e.client) || e.server->ops->status(e.server)); i++)
		turn(&e);
	fake_pipe.put_max = 777;
	fake_pipe.peek_max = 333;
	transfer(&e, e.client, e.server, 50000);
	close_both(&e);
}

/* As many as there may be, and one more; then all of it is there again. */
static void test_many(unused void **state)
{
	static const u8 ip[4] = { 10, 0, 0, 2 };

	for (u32 round = 0; round < 3; round++) {
		struct pipe *pipes[16];
		u32 count = 0;
		struct pipe *plain;

		for (;;) {
			assert_int_equal(fake_network.connect(ip, PORT, &plain), 0);
			if (tls_pipe_secure(plain, "beta", false, &pipes[count]))
				break;
			assert_true(++count < ARRAY_SIZE(pipes));
		}
		assert_int_equal(count, PIPES);
		while (count)
			count--, pipes[count]->ops->close(pipes[count], true);
		fake_pipe_reset();
		assert_int_equal(fake_network.listen(PORT, on_accept), 0);
	}
}

/* All at once, both ends of each here: mbedTLS' memory is enough for their handshakes, and for what they carry then. */
static void all_at_once(void)
{
	struct ends ends[PIPES / 2];

	for (u32 i = 0; i < ARRAY_SIZE(ends); i++)
		ends[i] = connect_as("alpha", "alpha");
	for (u32 step = 0; step < STEPS; step++)
		for (u32 i = 0; i < ARRAY_SIZE(ends); i++)
			turn(&ends[i]);
	for (u32 i = 0; i < ARRAY_SIZE(ends); i++) {
		assert_int_equal(ends[i].client->ops->status(ends[i].client), 0);
		assert_int_equal(ends[i].server->ops->status(ends[i].server), 0);
	}
	for (u32 i = 0; i < ARRAY_SIZE(ends); i++)
		transfer(&ends[i], ends[i].client, ends[i].server, 50000);
	for (u32 i = 0; i < ARRAY_SIZE(ends); i++)
		close_both(&ends[i]);
}

static void test_all_at_once(unused void **state)
{
	static const struct tls_pem certificate = PEM(alpha_crt), private_key = PEM(alpha_key);

	all_at_once();
	assert_int_equal(host_with("alpha", certificate, private_key), 0);
	all_at_once();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Datagrams: who made them, for whom, and that nobody changed them. */
static void test_proof(unused void **state)
{
	static const char text[] = "alpha has three guests";
	u8 datagram[sizeof(text) + TLS_PROOF_BYTES];
	u32 bytes;

	memcpy(datagram, text, sizeof(text));
	assert_true(tls_has_proof());
	bytes = tls_seal("beta", datagram, sizeof(text));
	assert_int_equal(bytes, sizeof(datagram));
	assert_memory_equal(datagram, text, sizeof(text));
	/* Not for alpha itself, and not for gamma. */
	assert_int_equal(tls_unseal("alpha", datagram, bytes), 0);
	assert_int_equal(host("gamma", key), 0);
	assert_int_equal(tls_unseal("alpha", datagram, bytes), 0);
	assert_int_equal(host("beta", key), 0);
	assert_int_equal(tls_unseal("alpha", datagram, bytes), sizeof(text));
	assert_int_equal(tls_unseal("gamma", datagram, bytes), 0);
	for (u32 cut = 0; cut < bytes; cut++)
		assert_int_equal(tls_unseal("alpha", datagram, cut), 0);
	for (u32 bit = 0; bit < bytes * 8; bit++) {
		datagram[bit / 8] ^= (u8)(1 << bit % 8);
		assert_int_equal(tls_unseal("alpha", datagram, bytes), 0);
		datagram[bit / 8] ^= (u8)(1 << bit % 8);
	}
	assert_int_equal(host("beta", other_key), 0);
	assert_int_equal(tls_unseal("alpha", datagram, bytes), 0);
	assert_int_not_equal(host("beta", NULL), 0);
	assert_false(tls_has_proof());
	assert_int_equal(tls_unseal("alpha", datagram, bytes), 0);
	assert_int_equal(tls_seal("alpha", datagram, sizeof(text)), 0);
}

/* --- datagrams, by certificates --------------------------------------------------------------- */

static const struct tls_pem pem_alpha[] = { PEM(alpha_crt), PEM(alpha_key) }, pem_beta[] = { PEM(beta_crt), PEM(beta_key) };

static void be(const char *name, const struct tls_pem pem[2])
{
	assert_int_equal(host_with(name, pem[0], pem[1]), 0);
	assert_true(tls_has_proof());
}

/* What a host with that certificate would send: "GODWITX1" and the bytes between the lines of the PEM. */
static u32 introduction_of(const char *pem, u8 *datagram)
{
	const char *begin = strchr(pem, '\n') + 1;
	char text[2000];
	size_t bytes = 0, count = 0;

	for (const char *c = begin; *c != '-'; c++)
		if (*c != '\n')
			text[count++] = *c;
	memcpy(datagram, "GODWITX1", 8);
	assert_int_equal(mbedtls_base64_decode(datagram + 8, 1000, &bytes, (const u8 *)text, count), 0);
	return 8 + (u32)bytes;
}

/* Two hosts send each other their certificates; then they have a key that no third has. */
static void test_meet(unused void **state)
{
	static const char text[] = "beta has two guests";
	u8 from_alpha[1000], from_beta[1000], made[1000], datagram[sizeof(text) + TLS_PROOF_BYTES];
	u32 alpha_bytes, beta_bytes, bytes;

	be("alpha", pem_alpha);
	alpha_bytes = tls_introduce(from_alpha, sizeof(from_alpha));
	assert_int_equal(alpha_bytes, introduction_of(alpha_crt, made));
	assert_memory_equal(from_alpha, made, alpha_bytes);
	assert_int_equal(tls_introduce(from_alpha, alpha_bytes - 1), 0);

	be("beta", pem_beta);
	beta_bytes = tls_introduce(from_beta, sizeof(from_beta));
	memcpy(datagram, text, sizeof(text));
	assert_int_equal(tls_seal("alpha", datagram, sizeof(text)), 0);
	assert_true(tls_meet("alpha", from_alpha, alpha_bytes));
	bytes = tls_seal("alpha", datagram, sizeof(text));
	assert_int_equal(bytes, sizeof(datagram));
	assert_int_equal(tls_seal("gamma", datagram, sizeof(text)), 0);
	assert_int_equal(tls_unseal("alpha", datagram, bytes), 0); /* its own, sent back to it */

	be("alpha", pem_alpha);
	assert_int_equal(tls_unseal("beta", datagram, bytes), 0);
	assert_true(tls_meet("beta", from_beta, beta_bytes));
	assert_int_equal(tls_unseal("beta", datagram, bytes), sizeof(text));
	assert_int_equal(tls_unseal("gamma", datagram, bytes), 0);
	datagram[3] ^= 1;
	assert_int_equal(tls_unseal("beta", datagram, bytes), 0);
	/* Shown again, or another one shown in its name: nothing changes. */
	datagram[3] ^= 1;
	fake_time_advance(2 * NS_PER_S);
	assert_true(tls_meet("beta", from_beta, beta_bytes));
	assert_true(tls_meet("beta", from_alpha, alpha_bytes));
	assert_int_equal(tls_unseal("beta", datagram, bytes), sizeof(text));
	/* With the cluster key nobody is met. */
	assert_int_equal(host("alpha", key), 0);
	assert_false(tls_meet("beta", from_beta, beta_bytes));
	assert_int_equal(tls_introduce(from_alpha, sizeof(from_alpha)), 0);
}

/* Whose certificate is not good for the name, or no certificate, is not met; one a second is looked at. */
static void test_not_met(unused void **state)
{
	static const char *const bad[] = { expired_crt, early_crt, stranger_crt, beta_crt };
	u8 shown[1000], datagram[4 + TLS_PROOF_BYTES] = { 0 };
	u32 bytes;

	be("beta", pem_beta);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_time_advance(NS_PER_S);
		bytes = introduction_of(bad[i], shown);
		assert_true(tls_meet("alpha", shown, bytes));
		assert_int_equal(tls_seal("alpha", datagram, 4), 0);
	}
	bytes = introduction_of(alpha_crt, shown);
	assert_true(tls_meet("alpha", shown, bytes));
	assert_int_equal(tls_seal("alpha", datagram, 4), 0);
	fake_time_advance(NS_PER_S);
	/* Cut, longer than it is, and with any bit changed, which breaks its form or its signature. */
	for (u32 cut = 0; cut < bytes; cut++, fake_time_advance(NS_PER_S)) {
		assert_int_equal(tls_meet("alpha", shown, cut), cut > 8);
		assert_int_equal(tls_seal("alpha", datagram, 4), 0);
	}
	shown[bytes] = 0;
	assert_true(tls_meet("alpha", shown, bytes + 1));
	assert_int_equal(tls_seal("alpha", datagram, 4), 0);
	for (u32 bit = 64; bit < bytes * 8; bit += 37) {
		fake_time_advance(NS_PER_S);
		shown[bit / 8] ^= (u8)(1 << bit % 8);
		assert_true(tls_meet("alpha", shown, bytes));
		assert_int_equal(tls_seal("alpha", datagram, 4), 0);
		shown[bit / 8] ^= (u8)(1 << bit % 8);
	}
	fake_time_advance(NS_PER_S);
	assert_true(tls_meet("alpha", shown, bytes));
	assert_int_equal(tls_seal("alpha", datagram, 4), sizeof(datagram));
}

/* A host's certificate is renewed; the old one, which is good still and anybody may have recorded, is not taken again. */
static void test_renewed(unused void **state)
{
	static const char *const shown[] = { alpha_crt, newer_crt, alpha_crt };
	u8 introduction[1000], sealed[3][4 + TLS_PROOF_BYTES] = { { 0 } };

	be("beta", pem_beta);
	for (u32 i = 0; i < ARRAY_SIZE(shown); i++) {
		fake_time_advance(NS_PER_S);
		assert_true(tls_meet("alpha", introduction, introduction_of(shown[i], introduction)));
		assert_int_equal(tls_seal("alpha", sealed[i], 4), sizeof(sealed[i]));
	}
	assert_memory_not_equal(sealed[0], sealed[1], sizeof(sealed[0]));
	assert_memory_equal(sealed[1], sealed[2], sizeof(sealed[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_key), TEST(test_wrong_key), TEST(test_wrong_name), TEST(test_no_key), TEST(test_certificates),
		TEST(test_certificate_of_another), TEST(test_own_certificate), TEST(test_foreign_certificate), TEST(test_garbage),
		TEST(test_slow), TEST(test_cut), TEST(test_small_pieces), TEST(test_many), TEST(test_all_at_once), TEST(test_proof),
		TEST(test_meet), TEST(test_not_met), TEST(test_renewed),
	};

	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
