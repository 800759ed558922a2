/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proof of who made a datagram: HMAC-SHA-256 over both names and the datagram, with a key that HKDF (RFC 5869)
 * derives for this alone. With the cluster key all hosts have the same, which shuts out everybody else. With
 * certificates each two hosts have their own, of ECDH between the keys in their certificates, for which they send
 * these to each other first ("introductions": not secret, and worth nothing without the private key). Called by
 * boot/main.c's struct beacon_auth; service CPU.
 */
/* mbedTLS before ours: some of our words are macros. */
#include "net/tls/tls_internal.h"

#include "mbedtls/constant_time.h"
#include "mbedtls/ecdh.h"
#include "mbedtls/hkdf.h"
#include "mbedtls/md.h"
#include "mbedtls/platform_util.h"
#include "mbedtls/psa_util.h"
#include "mbedtls/sha256.h"
#include "mbedtls/x509_crt.h"

#include "net/tls/tls.h"

#include "arch/x86_64/cpu.h"
#include "lib/log.h"
#include "lib/string.h"

#define NAME_BYTES 32 /* of a host, the rest zeros */
#define LOOK_EVERY_NS NS_PER_S /* at certificates that are said to be one host's: checking a signature takes a while */

static const u8 introduction[8] = "GODWITX1"; /* and the certificate, in DER's form */

/* A host whose certificate was shown and is good. */
struct met {
	char name[NAME_BYTES]; /* empty: the entry is free */
	bool known;
	u8 key[TLS_PROOF_BYTES];
	u8 digest[32];         /* of the certificate */
	mbedtls_x509_time from, to;
	u64 looked_ns;
};

static u8 proof_key[TLS_PROOF_BYTES];
static char own_name[NAME_BYTES];
static bool has_proof;
static const struct tls_certificates *certificates; /* NULL: there is the cluster key, or nothing */
static struct met hosts_met[TLS_HOSTS_MAX];

/* --- keys ------------------------------------------------------------------------------------- */

static int derive(const u8 *secret, size_t bytes, const char *use, u8 key[TLS_PROOF_BYTES])
{
	static const u8 salt[] = "godwit";

	return mbedtls_hkdf(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), salt, sizeof(salt) - 1, secret, bytes,
			    (const u8 *)use, strlen(use), key, TLS_PROOF_BYTES);
}

static void forget_all(void)
{
	mbedtls_platform_zeroize(proof_key, sizeof(proof_key));
	mbedtls_platform_zeroize(hosts_met, sizeof(hosts_met));
	certificates = NULL;
	has_proof = false;
}

int tls_proof_init(const char *host_name, const unsigned char *key, size_t bytes, const struct tls_certificates *with)
{
	int error = 0;

	forget_all();
	memset(own_name, 0, sizeof(own_name));
	str_copy(own_name, sizeof(own_name), host_name);
	if (key)
		error = derive(key, bytes, "beacon 1", proof_key);
	else
		certificates = with;
	has_proof = !error && (key || with);
	return error;
}

bool tls_has_proof(void)
{
	return has_proof;
}

static struct met *met_of(const char *name, bool add)
{
	struct met *free = NULL;

	for (u32 i = 0; i < ARRAY_SIZE(hosts_met); i++) {
		struct met *met = &hosts_met[i];

		if (str_equal(met->name, name))
			return met;
		if (!met->name[0] && !free)
			free = met;
	}
	if (!add || !free || !name[0])
		return NULL;
	str_copy(free->name, sizeof(free->name), name);
	return free;
}

/* Between this host and that one; NULL: there is none (yet, or no more). */
static const u8 *key_with(const char *peer)
{
	const struct met *met;

	if (!certificates)
		return has_proof ? proof_key : NULL;
	met = met_of(peer, false);
	return met && met->known && !mbedtls_x509_time_is_past(&met->to) ? met->key : NULL;
}

/* --- introductions ---------------------------------------------------------------------------- */

u32 tls_introduce(u8 *datagram, u32 bytes_max)
{
	const mbedtls_x509_buf *own = certificates ? &certificates->own->raw : NULL;

	if (!own || own->len > bytes_max - sizeof(introduction))
		return 0;
	memcpy(datagram, introduction, sizeof(introduction));
	memcpy(datagram + sizeof(introduction), own->p, own->len);
	return (u32)(sizeof(introduction) + own->len);
}

/* That the point is on the curve is the parser's to check. Both keys are of P-256, or it fails. */
static int agree(const mbedtls_x509_crt *theirs, u8 key[TLS_PROOF_BYTES])
{
	mbedtls_ecdh_context ecdh;
	u8 secret[32];
	size_t bytes;
	int error = MBEDTLS_ERR_ECP_BAD_INPUT_DATA;

	if (!mbedtls_pk_can_do(&theirs->pk, MBEDTLS_PK_ECDSA))
		return error;
	mbedtls_ecdh_init(&ecdh);
	error = mbedtls_ecdh_get_params(&ecdh, mbedtls_pk_ec(*certificates->key), MBEDTLS_ECDH_OURS);
	if (!error)
		error = mbedtls_ecdh_get_params(&ecdh, mbedtls_pk_ec(theirs->pk), MBEDTLS_ECDH_THEIRS);
	if (!error)
		error = mbedtls_ecdh_calc_secret(&ecdh, &bytes, secret, sizeof(secret), mbedtls_psa_get_random,
						 MBEDTLS_PSA_RANDOM_STATE);
	if (!error)
		error = derive(secret, bytes, "beacon x509 1", key);
	mbedtls_platform_zeroize(secret, sizeof(secret));
	mbedtls_ecdh_free(&ecdh);
	return error;
}

/*
 * An older certificate of the same host, which may be good still, is not taken again: whoever recorded it could
 * make us forget the newer one's key.
 */
static bool newer(const struct met *met, const mbedtls_x509_crt *theirs)
{
	return !met->known || mbedtls_x509_time_cmp(&theirs->valid_from, &met->from) >= 0;
}

static void look_at(struct met *met, const u8 *der, size_t bytes, const u8 digest[32])
{
	mbedtls_x509_crt theirs;
	u8 key[TLS_PROOF_BYTES];
	u32 flags = 0;
	int error;

	mbedtls_x509_crt_init(&theirs);
	error = mbedtls_x509_crt_parse_der(&theirs, der, bytes);
	if (!error && theirs.raw.len == bytes && newer(met, &theirs)) {
		error = mbedtls_x509_crt_verify(&theirs, certificates->ca, NULL, met->name, &flags, NULL, NULL);
		if (!error)
			error = agree(&theirs, key);
		if (!error) {
			memcpy(met->key, key, sizeof(met->key));
			memcpy(met->digest, digest, sizeof(met->digest));
			met->from = theirs.valid_from;
			met->to = theirs.valid_to;
			met->known = true;
		} else {
			log_debug("beacons: what is said to be %s: %s", met->name, tls_error_text(error, flags));
		}
	}
	mbedtls_platform_zeroize(key, sizeof(key));
	mbedtls_x509_crt_free(&theirs);
}

bool tls_meet(const char *from, const u8 *datagram, u32 bytes)
{
	struct met *met;
	u8 digest[32];

	if (!certificates || bytes <= sizeof(introduction) || memcmp(datagram, introduction, sizeof(introduction)))
		return false;
	datagram += sizeof(introduction);
	bytes -= sizeof(introduction);
	met = met_of(from, true);
	if (!met || mbedtls_sha256(datagram, bytes, digest, 0))
		return true;
	if (met->known && !memcmp(met->digest, digest, sizeof(digest)))
		return true;
	if (met->looked_ns && time_ns() - met->looked_ns < LOOK_EVERY_NS)
		return true;
	met->looked_ns = time_ns();
	look_at(met, datagram, bytes, digest);
	return true;
}

/* --- proofs ----------------------------------------------------------------------------------- */

static int proof_of(const u8 *key, const char *from, const char *to, const u8 *datagram, u32 bytes,
		    u8 proof[TLS_PROOF_BYTES])
{
	char names[2][NAME_BYTES] = { { 0 } };
	mbedtls_md_context_t md;
	int error;

	str_copy(names[0], sizeof(names[0]), from);
	str_copy(names[1], sizeof(names[1]), to);
	mbedtls_md_init(&md);
	error = mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 1);
	if (!error)
		error = mbedtls_md_hmac_starts(&md, key, TLS_PROOF_BYTES);
	if (!error)
		error = mbedtls_md_hmac_update(&md, (const u8 *)names, sizeof(names));
	if (!error)
		error = mbedtls_md_hmac_update(&md, datagram, bytes);
	if (!error)
		error = mbedtls_md_hmac_finish(&md, proof);
	mbedtls_md_free(&md);
	return error;
}

u32 tls_seal(const char *to, u8 *datagram, u32 bytes)
{
	const u8 *key = key_with(to);

	if (!key || proof_of(key, own_name, to, datagram, bytes, datagram + bytes))
		return 0;
	return bytes + TLS_PROOF_BYTES;
}

u32 tls_unseal(const char *from, const u8 *datagram, u32 bytes)
{
	const u8 *key = key_with(from);
	u8 proof[TLS_PROOF_BYTES];

	if (!key || bytes <= TLS_PROOF_BYTES)
		return 0;
	bytes -= TLS_PROOF_BYTES;
	if (proof_of(key, from, own_name, datagram, bytes, proof))
		return 0;
	return mbedtls_ct_memcmp(proof, datagram + bytes, sizeof(proof)) ? 0 : bytes;
}
