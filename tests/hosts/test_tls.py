# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the migration port, and that nobody else reads what is said there."""
import contextlib
import re
import secrets
import socket
import threading

import pytest

import bed
from conftest import OUT, amd_only, switched_on

PORT = 8002
# What a guest's memory holds, and nobody on the segment may see.
MARK = "the guest's own secret, which nobody else reads"
PEERS = {"left": "10.77.0.61", "right": "10.77.0.62", "tester": "10.77.0.63"}


def files():
    return {"race.cfg": "name = 'race'\nmemory = 16\nkernel = 'race.bin'\nramdisk = 'mark.img'\n", "mark.img": MARK.encode() * 1000,
            "race.bin": (bed.GUEST / "race.bin").read_bytes()}


@pytest.fixture(scope="module")
def hosts(segment):
    """left has the cluster's key, and so has right; both know an address that the test speaks from."""
    made = {name: bed.host(segment, name, ip, OUT / "tls" / name, "amd", number=61 + n, memory=512, peers=PEERS, files=files())
            for n, (name, ip) in enumerate(PEERS.items()) if name != "tester"}
    with switched_on(made):
        yield made


class Capture(threading.Thread):
    """All that goes over a host's cable, meanwhile."""

    def __init__(self, tap):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)     # (see frames.Sniffer)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 ** 26)
        self.socket.bind((tap, 3))
        self.socket.settimeout(0.2)
        self.data = bytearray()
        self.done = threading.Event()

    def run(self):
        while True:
            try:
                self.data += self.socket.recv(2 ** 17)
            except TimeoutError:
                if self.done.is_set():
                    return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()
        self.socket.close()


@amd_only()
@pytest.mark.parametrize("encrypted", [True, False])
def test_nothing_to_read_on_the_wire(hosts, encrypted):
    """A capture of a whole move has nothing of the guest; one of the same bytes sent in the clear has (so it would be seen)."""
    left, right = hosts["left"], hosts["right"]
    left.command("create race")
    with Capture(left.tap) as capture:
        if encrypted:
            left.migrate("race", "right", "--live")
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(MARK.encode() * 10, (left.ip, PORT))
            bed.until(lambda: MARK.encode()[:16] in capture.data, "the datagram in the capture")
    if encrypted:
        assert right.guests() == {"race": "running"}
        assert len(capture.data) > 50000     # the move is in it
    (right if encrypted else left).command("destroy race")
    assert (MARK.encode()[:16] in capture.data) is not encrypted


@amd_only()
def test_wrong_key(hosts, new_host):
    """Refused on both sides, with the reason; the guest runs on."""
    before = hosts["right"].free_pages()
    other = new_host("tester", PEERS["tester"], peers={"right": PEERS["right"]}, key=secrets.token_hex(32), files=files(),
                     memory=512).boot()
    other.command("create race")
    said = other.command("migrate race right", 60)
    assert "it has another key, or does not know this host" in said, said
    assert other.guests() == {"race": "running"}
    hosts["right"].wait_pages(before)
    assert "refused: it has another key, or none (it calls itself tester)" in hosts["right"].command("dmesg")


@amd_only()
def test_no_key(new_host):
    host = new_host("keyless", "10.77.0.64", peers={"right": PEERS["right"]}, key=None, files=files(), memory=512).boot()
    host.command("create race")
    assert "key new" in host.command("migrate race right")
    line = re.search(r"^key = '([0-9a-f]{64})'", host.command("key new"), re.M)
    assert line and line.group(1) not in host.command("dmesg")
    assert line.group(1) != re.search(r"'([0-9a-f]{64})'", host.command("key new")).group(1)


@amd_only()
def test_one_way(new_host, hosts):
    """A peer that guests may come from, but not go to."""
    host = new_host("oneway", "10.77.0.63", peers={"right": PEERS["right"] + ",in"}, files=files(), memory=512).boot()
    host.command("create race")
    assert "right is not allowed to get guests" in host.command("migrate race right")


def openssl(segment, *words):
    return segment.s_client(PEERS["tester"], PEERS["left"], PORT, *words)


@amd_only()
def test_openssl(hosts, segment):
    """Another implementation of TLS: no TLS 1.2, no stranger; with the key and the peer's name the handshake is done."""
    key = bed.CLUSTER_KEY
    assert "Cipher is (NONE)" in openssl(segment, "-tls1_2")
    assert "Cipher is (NONE)" in openssl(segment, "-tls1_3")
    assert "Cipher is (NONE)" in openssl(segment, "-tls1_3", "-psk", secrets.token_hex(32), "-psk_identity", "tester")
    said = openssl(segment, "-tls1_3", "-psk", key, "-psk_identity", "tester", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")
    assert "Cipher is TLS_CHACHA20_POLY1305_SHA256" in said, said

    def refused():
        """Who is refused often in a second is in the log once."""
        assert "Cipher is (NONE)" in openssl(segment, "-tls1_3", "-psk", key, "-psk_identity", "right")
        return "refused: it calls itself by another name (it calls itself right)" in hosts["left"].command("dmesg")
    bed.until(refused, "the refusal's line in dmesg")


@amd_only()
def test_silent_connections_stop_nobody(hosts, segment):
    """A hundred connections of a peer's address that say nothing, and a move meanwhile."""
    left, right = hosts["left"], hosts["right"]
    with contextlib.ExitStack() as ends:
        ends.enter_context(segment.address(PEERS["tester"]))
        for _ in range(100):
            for host in (left, right):
                sock = ends.enter_context(socket.socket())
                sock.settimeout(5)
                sock.bind((PEERS["tester"], 0))
                try:
                    sock.connect((host.ip, PORT))
                    sock.send(b"\x16")
                except OSError:
                    pass
        left.command("create race")
        left.migrate("race", "right", "--live")
        assert right.guests() == {"race": "running"}
        right.command("destroy race")
