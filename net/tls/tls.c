/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This host's keys and how TLS is done with them. Service CPU.
 *
 * mbedTLS' memory is one static block: what connections take of it they can't take of the guests', and
 * a peer that wants more gets an error. Vector registers are used by its aesni.c and by Intel's
 * AES-GCM (gcm_alt.c), and by nothing else: guests' vector state is in the CPU only inside of
 * vcpu_run(), which saves it before it returns to the service loop, and no interrupt handler uses any.
 */
/* mbedTLS before ours: some of our words are macros. */
#include "net/tls/tls_internal.h"

#include "mbedtls/chachapoly.h"
#include "mbedtls/gcm.h"
#include "mbedtls/memory_buffer_alloc.h"
#include "mbedtls/pk.h"
#include "mbedtls/platform_util.h"
#include "mbedtls/psa_util.h"
#include "mbedtls/sha256.h"
#include "mbedtls/ssl.h"
#include "mbedtls/x509_crt.h"
#include "psa/crypto.h"

#include "net/tls/tls.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/random.h"
#include "errors.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

/* For all of tls_pipe.c's pipes, ten handshakes by certificates at once too (test_tls.c; 384 KiB were enough). */
#define MEMORY_BYTES KIB(512)
#define TIMEOUT_DEFAULT_S 10

static u8 memory[MEMORY_BYTES] aligned(16);
static mbedtls_ssl_config configs[2]; /* client, server */
static mbedtls_x509_crt ca, certificate;
static mbedtls_pk_context private_key;
static u8 cluster_key[TLS_KEY_BYTES];
static bool has_key;
static char missing[160] = "peers need a key to prove who they are: type 'key new', and put the line it prints into "
			   "every host's godwit.cfg";
static char identity[80] = "none";
static bool started, ready;
static u64 handshake_ns;
static u64 aes_ticks = ~0ull, chacha_ticks = ~0ull;

const char *tls_missing(void)
{
	return ready ? NULL : missing;
}

void tls_cipher_ticks(u64 *aes, u64 *chacha)
{
	*aes = aes_ticks;
	*chacha = chacha_ticks;
}

const char *tls_identity(void)
{
	return identity;
}

unsigned long long tls_handshake_ns(void)
{
	return handshake_ns;
}

const mbedtls_ssl_config *tls_ssl_config(int server)
{
	return &configs[server];
}

/* --- the handshake's questions ---------------------------------------------------------------- */

/* Server: the client has named itself. Only the host that the address belongs to may come from there. */
static int key_of(unused void *context, mbedtls_ssl_context *ssl, const unsigned char *name, size_t bytes)
{
	struct tls_pipe *t = mbedtls_ssl_get_user_data_p(ssl);
	const char *peer = tls_pipe_peer(t);

	tls_pipe_claims(t, name, bytes);
	if (bytes != strlen(peer) || memcmp(name, peer, bytes))
		return MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
	return mbedtls_ssl_set_hs_psk(ssl, cluster_key, sizeof(cluster_key));
}

const char *tls_error_text(int error, unsigned int flags)
{
	if (flags & MBEDTLS_X509_BADCERT_MISSING)
		return "it showed no certificate";
	if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
		return "its certificate has expired (or this host's clock is wrong)";
	if (flags & MBEDTLS_X509_BADCERT_FUTURE)
		return "its certificate is not valid yet (or this host's clock is wrong)";
	if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
		return "its certificate is another host's";
	if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return "its certificate is not of this cluster's CA";
	if (flags)
		return "its certificate is not good";
	switch (error) {
	case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
		return "it broke the handshake off: it has another key, or does not know this host by its name and "
		       "address";
	case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
		return "it does not speak TLS 1.3";
	case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE:
	case MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET:
		return "it has another key, or none";
	case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE:
		return "it showed no certificate";
	case MBEDTLS_ERR_SSL_ALLOC_FAILED:
		return "too many connections at once";
	case MBEDTLS_ERR_SSL_CONN_EOF:
	case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
		return "it hung up in the handshake";
	case MBEDTLS_ERR_SSL_INVALID_MAC:
		return "it has another key, or somebody on the way changes what is sent";
	default:
		return "what it sends is no TLS 1.3 handshake of a host of this cluster";
	}
}

/* --- setting up ------------------------------------------------------------------------------- */

/* Ticks for a few KiB, the least of some tries; ~0: it does not work. */
static u64 cost_of(int (*cipher)(void))
{
	u64 best = ~0ull;

	for (u32 i = 0; i < 3; i++) {
		u64 begin = tsc_read();

		if (cipher())
			return ~0ull;
		best = MIN(best, tsc_read() - begin);
	}
	return best;
}

/* Under a key of zeros. */
static u8 trial[KIB(4)];

static int try_aes(void)
{
	mbedtls_gcm_context gcm;
	u8 tag[16];
	int error;

	mbedtls_gcm_init(&gcm);
	error = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, trial, 128);
	if (!error)
		error = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, sizeof(trial), trial, 12, NULL, 0,
						  trial, trial, sizeof(tag), tag);
	mbedtls_gcm_free(&gcm);
	return error;
}

static int try_chacha(void)
{
	mbedtls_chachapoly_context chacha;
	u8 tag[16];
	int error;

	mbedtls_chachapoly_init(&chacha);
	error = mbedtls_chachapoly_setkey(&chacha, trial);
	if (!error)
		error = mbedtls_chachapoly_encrypt_and_tag(&chacha, sizeof(trial), trial, NULL, 0, trial, trial, tag);
	mbedtls_chachapoly_free(&chacha);
	return error;
}

/*
 * AES-GCM where the CPU has instructions for it (without, its tables would tell others on the CPU of the
 * key) and it is the faster one, as it is on every real CPU; an emulated one's may not be. The one that
 * the client likes best is taken.
 */
static const int *ciphersuites(void)
{
	static const int aes_first[] = {
		MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, 0,
	};
	static const int chacha_first[] = {
		MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 0,
	};
	static const int chacha_alone[] = { MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, 0 };

	if (!gcm_alt_works())
		return chacha_alone;
	aes_ticks = cost_of(try_aes);
	chacha_ticks = cost_of(try_chacha);
	return aes_ticks < chacha_ticks ? aes_first : chacha_first;
}

static int config_end(mbedtls_ssl_config *conf, const struct tls_config *config, const int *suites, int endpoint)
{
	static const u16 groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, 0 };
	static const u16 signatures[] = { MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256, MBEDTLS_TLS1_3_SIG_NONE };
	int error;

	mbedtls_ssl_config_free(conf);
	mbedtls_ssl_config_init(conf);
	error = mbedtls_ssl_config_defaults(conf, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
	if (error)
		return error;
	mbedtls_ssl_conf_rng(conf, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	mbedtls_ssl_conf_min_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_max_tls_version(conf, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(conf, suites);
	mbedtls_ssl_conf_groups(conf, groups);
	mbedtls_ssl_conf_sig_algs(conf, signatures);
	mbedtls_ssl_conf_authmode(conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	if (!has_key) {
		mbedtls_ssl_conf_tls13_key_exchange_modes(conf, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL);
		mbedtls_ssl_conf_ca_chain(conf, &ca, NULL);
		return mbedtls_ssl_conf_own_cert(conf, &certificate, &private_key);
	}
	mbedtls_ssl_conf_tls13_key_exchange_modes(conf, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
	if (endpoint == MBEDTLS_SSL_IS_CLIENT)
		return mbedtls_ssl_conf_psk(conf, cluster_key, sizeof(cluster_key), (const u8 *)config->host_name,
					    strlen(config->host_name));
	mbedtls_ssl_conf_psk_cb(conf, key_of, NULL);
	return 0;
}

/* mbedTLS wants PEM with a NUL behind it: a copy, wiped at once. */
static u8 pem_text[KIB(16)];

static int parse_pem(const struct tls_pem *pem, mbedtls_x509_crt *chain, mbedtls_pk_context *key)
{
	int error = MBEDTLS_ERR_X509_INVALID_FORMAT;

	if (pem->text && pem->bytes < sizeof(pem_text)) {
		memcpy(pem_text, pem->text, pem->bytes);
		pem_text[pem->bytes] = 0;
		error = chain ? mbedtls_x509_crt_parse(chain, pem_text, pem->bytes + 1) :
				mbedtls_pk_parse_key(key, pem_text, pem->bytes + 1, NULL, 0, mbedtls_psa_get_random,
						     MBEDTLS_PSA_RANDOM_STATE);
	}
	mbedtls_platform_zeroize(pem_text, sizeof(pem_text));
	return error;
}

static int load_certificates(const struct tls_config *config, char *why, size_t why_bytes)
{
	u32 flags = 0;

	mbedtls_x509_crt_free(&ca);
	mbedtls_x509_crt_free(&certificate);
	mbedtls_pk_free(&private_key);
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&certificate);
	mbedtls_pk_init(&private_key);
	if (parse_pem(&config->ca, &ca, NULL))
		return say(-E_INVAL, why, why_bytes, "ca: this is no certificate in PEM's form");
	if (parse_pem(&config->certificate, &certificate, NULL))
		return say(-E_INVAL, why, why_bytes, "certificate: this is no certificate in PEM's form");
	if (parse_pem(&config->private_key, NULL, &private_key))
		return say(-E_INVAL, why, why_bytes,
			   "private_key: this is no unencrypted private key in PEM's form (EC, P-256)");
	if (mbedtls_pk_check_pair(&certificate.pk, &private_key, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE))
		return say(-E_INVAL, why, why_bytes,
			   "private_key is not the one of certificate, or not on the curve P-256");
	if (mbedtls_x509_crt_verify(&certificate, &ca, NULL, config->host_name, &flags, NULL, NULL))
		return say(-E_INVAL, why, why_bytes, "certificate: as this host's own, %s", tls_error_text(0, flags));
	str_format(identity, sizeof(identity), "certificate of %s", config->host_name);
	return 0;
}

static void load_key(const struct tls_config *config)
{
	u8 digest[32];

	memcpy(cluster_key, config->key, sizeof(cluster_key));
	has_key = true;
	/* Of a hash of it: says whether two hosts have the same, and nothing else. */
	if (mbedtls_sha256(cluster_key, sizeof(cluster_key), digest, 0))
		memset(digest, 0, sizeof(digest));
	str_format(identity, sizeof(identity), "cluster key, fingerprint %02x%02x%02x%02x", digest[0], digest[1],
		   digest[2], digest[3]);
}

static int set_up(const struct tls_config *config, char *why, size_t why_bytes)
{
	static const struct tls_certificates own = { .ca = &ca, .own = &certificate, .key = &private_key };
	bool certificates = config->ca.text || config->certificate.text || config->private_key.text;
	const int *suites;
	int error;

	has_key = false;
	if (tls_proof_init(config->host_name, NULL, 0, NULL))
		return say(-E_NOSYS, why, why_bytes, "mbedTLS does not start");
	if (!config->key && !certificates)
		return say(-E_NOENT, why, why_bytes, "%s", missing);
	error = tls_platform_init();
	if (error)
		return say(-E_NOSYS, why, why_bytes, "%s", random_trouble(error));
	if (!started) {
		mbedtls_memory_buffer_alloc_init(memory, sizeof(memory));
		if (psa_crypto_init())
			return say(-E_NOSYS, why, why_bytes, "mbedTLS does not start");
		started = true;
	}
	if (config->key) {
		load_key(config);
	} else {
		error = load_certificates(config, why, why_bytes);
		if (error)
			return error;
	}
	if (tls_proof_init(config->host_name, config->key, TLS_KEY_BYTES, &own))
		return say(-E_NOSYS, why, why_bytes, "mbedTLS derives no key for the beacons");
	suites = ciphersuites();
	if (config_end(&configs[0], config, suites, MBEDTLS_SSL_IS_CLIENT) ||
	    config_end(&configs[1], config, suites, MBEDTLS_SSL_IS_SERVER))
		return say(-E_NOSYS, why, why_bytes, "mbedTLS does not take this configuration");
	return 0;
}

int tls_init(const struct tls_config *config, char *why, size_t why_bytes)
{
	int error = set_up(config, why, why_bytes);

	handshake_ns = (config->timeout_s ? config->timeout_s : TIMEOUT_DEFAULT_S) * NS_PER_S;
	ready = !error;
	if (error && error != -E_NOENT)
		str_copy(missing, sizeof(missing), why);
	return error;
}
