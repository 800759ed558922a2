/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allow-list of godwit.cfg. Closed by default: a host that is not in it is refused both ways;
 * this host itself (localhost) always is allowed. Service CPU.
 */
#include "migrate/peers.h"

#include "arch/x86_64/cpu.h"
#include "errors.h"
#include "lib/fault.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "migrate/local_pipe.h"

#define PEER_TIMEOUT_DEFAULT_S 10

static struct migrate_config peers;
static const struct pipe_maker *maker;
static u64 boot_id;

void peers_init(const struct migrate_config *config, const struct pipe_maker *network)
{
	maker = network;
	peers = *config;
	peers.peer_count = MIN(peers.peer_count, MIGRATE_PEERS_MAX);
	if (!peers.host_name[0])
		str_copy(peers.host_name, sizeof(peers.host_name), "godwit");
	peers_renew_boot_id();
	if (!peers.peer_timeout_s)
		peers.peer_timeout_s = PEER_TIMEOUT_DEFAULT_S;
}

const char *peers_host_name(void)
{
	return peers.host_name;
}

u64 peers_boot_id(void)
{
	return boot_id;
}

void peers_renew_boot_id(void)
{
	boot_id = random_u64();
}

u64 peers_silence_ns(void)
{
	return peers.peer_timeout_s * NS_PER_S;
}

static bool is_local(const u8 ip[4])
{
	return ip[0] == 127;
}

static void local_peer(struct migrate_peer *peer)
{
	static const u8 loopback[4] = { 127, 0, 0, 1 };

	memset(peer, 0, sizeof(*peer));
	str_copy(peer->name, sizeof(peer->name), peers.host_name);
	memcpy(peer->ip, loopback, sizeof(loopback));
	peer->in = peer->out = true;
}

int peers_find(const char *text, struct migrate_peer *peer)
{
	u8 ip[4];
	bool by_address = str_to_ipv4(text, ip) == 0;

	if (str_equal(text, "localhost") || str_equal(text, peers.host_name) || (by_address && is_local(ip))) {
		local_peer(peer);
		return 0;
	}
	for (u32 i = 0; i < peers.peer_count; i++) {
		const struct migrate_peer *p = &peers.peers[i];

		if (by_address ? !memcmp(p->ip, ip, 4) : str_equal(p->name, text)) {
			*peer = *p;
			return 0;
		}
	}
	return -E_NOENT;
}

int peers_target(const char *text, struct migrate_peer *peer, char *why, size_t why_bytes)
{
	if (peers_find(text, peer))
		return say(-E_NOENT, why, why_bytes, "%s is no peer: add it to peers in godwit.cfg", text);
	if (!peer->out)
		return say(-E_REFUSED, why, why_bytes, "%s is not allowed to get guests: see peers in godwit.cfg", text);
	if (peers_missing(peer))
		return say(-E_REFUSED, why, why_bytes, "%s", peers_missing(peer));
	return 0;
}

int peers_allowed(const u8 ip[4], struct migrate_peer *peer)
{
	if (is_local(ip)) {
		local_peer(peer);
		return 0;
	}
	for (u32 i = 0; i < peers.peer_count; i++)
		if (!memcmp(peers.peers[i].ip, ip, 4)) {
			*peer = peers.peers[i];
			return 0;
		}
	return -E_REFUSED;
}

const struct migrate_peer *peers_get(u32 index)
{
	return index < peers.peer_count ? &peers.peers[index] : NULL;
}

const char *peers_missing(const struct migrate_peer *peer)
{
	return !is_local(peer->ip) && maker->missing ? maker->missing() : NULL;
}

/* Between localhost's two rings there is nobody to hide anything from. (The fault point: bench compares.) */
static int secure(const struct migrate_peer *peer, bool server, struct pipe **pipe)
{
	if (is_local(peer->ip) || !maker->secure || fault_hit("peers.plain"))
		return 0;
	return maker->secure(*pipe, peer->name, server, pipe);
}

int peers_connect(const struct migrate_peer *peer, struct pipe **pipe)
{
	int error;

	if (is_local(peer->ip))
		return local_pipe_connect(pipe);
	if (peers_missing(peer))
		return trace_error(-E_REFUSED);
	error = maker->connect(peer->ip, MIGRATE_PORT, pipe);
	return error ? error : secure(peer, false, pipe);
}

int peers_secure(const struct migrate_peer *peer, struct pipe **pipe)
{
	return secure(peer, true, pipe);
}

int peers_listen(pipe_accept_fn accept)
{
	local_pipe_listen(accept);
	return maker->listen(MIGRATE_PORT, accept);
}
