# SPDX-License-Identifier: Apache-2.0
"""Hosts that prove who they are by certificates of the cluster's own CA: moves, beacons, and who is kept out."""
import re
import subprocess

import pytest

import bed
from conftest import OUT, amd_only, switched_on

PORT = 8002
PEERS = {"east": "10.77.0.66", "west": "10.77.0.67", "tester": "10.77.0.68"}
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

UUID = "3f0c3c58-0000-4000-8000-0000000000ce"
pytestmark = amd_only("certificates are the same code on both")


class Authority:
    """A CA as docs/manual.md says to make one, by openssl."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.openssl("req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=cluster", "-days", "30")

    def openssl(self, *words):
        bed.run("openssl", *words, cwd=self.directory)

    def certify(self, stem, name, days):
        self.openssl("req", *NEW_KEY, "-keyout", f"{stem}.key", "-out", f"{stem}.csr", "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "1", "-days", str(days),
                     "-out", f"{stem}.crt")
        return ["-cert", self.directory / f"{stem}.crt", "-key", self.directory / f"{stem}.key"]


# What hosts and the test show, made before the hosts start: their clocks have whole seconds.
CERTIFICATES = {"east": ("cluster", "east"), "west": ("cluster", "west"), "good": ("cluster", "tester"), "foreign": ("elsewhere", "tester"),
                "another": ("cluster", "gamma"), "expired": ("cluster", "tester")}


@pytest.fixture(scope="module")
def certificates():
    """The words of openssl's command line for each, and the cluster's CA's certificate."""
    authorities = {name: Authority(OUT / "certificates" / name) for name in ("cluster", "elsewhere")}
    made = {what: authorities[authority].certify(what, name, -1 if what == "expired" else 30)
            for what, (authority, name) in CERTIFICATES.items()}
    return {"ca": authorities["cluster"].directory / "ca.crt", "none": [], **made}


@pytest.fixture(scope="module")
def hosts(segment, certificates):
    made = {}
    for number, name in enumerate(("east", "west"), 66):
        _, certificate, _, key = certificates[name]
        files = {"ca.crt": certificates["ca"].read_bytes(), "host.crt": certificate.read_bytes(), "host.key": key.read_bytes(),
                 "race.cfg": f"name = 'race'\nuuid = '{UUID}'\nmemory = 6\nkernel = 'race.bin'\n",
                 "race.bin": (bed.GUEST / "race.bin").read_bytes()}
        made[name] = bed.host(segment, name, PEERS[name], OUT / "certificates" / name, number=number, memory=512, peers=PEERS, files=files,
                              key=None, settings="ca = 'ca.crt'\ncertificate = 'host.crt'\nprivate_key = 'host.key'\n")
    with switched_on(made):
        yield made


def test_move_and_beacons(hosts):
    east, west = hosts["east"], hosts["west"]
    assert "certificate of east" in east.command("key")
    east.command("create race")
    east.migrate("race", "west", "--live")
    assert west.guests() == {"race": "running"} and east.guests() == {}
    for host, peer in ((east, "west"), (west, "east")):
        bed.until(lambda: re.search(rf"peer +: {peer} .* heard [0-9]+ s ago", host.command("info")), f"{host.name} to hear {peer}'s beacon")
    # What beacons are for: the same guest once more is noticed, and one of the two is paused.
    east.command("create race")
    bed.until(lambda: any("paused" in host.guests()["race"] for host in hosts.values()), "a copy to be paused")
    for host in hosts.values():
        host.command("destroy race")


# Who shows what, and what the host says of it. A good one is let in as far as TLS goes: what is refused is so for its certificate.
SHOWN = [("good", ""), ("foreign", "its certificate is not of this cluster's CA"), ("expired", "its certificate has expired"),
         ("another", "its certificate is another host's"), ("none", "it showed no certificate")]


@pytest.mark.parametrize("shown, words", SHOWN, ids=[shown for shown, _ in SHOWN])
def test_who_connects(hosts, segment, certificates, shown, words):
    east = hosts["east"]

    def connect():
        return segment.s_client(PEERS["tester"], east.ip, PORT, "-tls1_3", *certificates[shown])

    def refused():
        """Who is refused often in a second is in the log once."""
        connect()
        return f"refused: {words}" in east.command("dmesg")

    if words:
        bed.until(refused, "the refusal's line in dmesg")
    else:
        assert "Cipher is TLS_" in connect()


@pytest.mark.parametrize("shown, words", SHOWN[1:-1], ids=[shown for shown, _ in SHOWN[1:-1]])
def test_who_is_connected_to(hosts, segment, certificates, shown, words):
    east = hosts["east"]
    east.command("create race")
    with segment.address(PEERS["tester"]):
        server = bed.spawn(["openssl", "s_server", "-accept", f"{PEERS['tester']}:{PORT}", "-tls1_3", "-Verify", "1", "-www", *certificates[shown]],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            bed.until(lambda: f"{PEERS['tester']}:{PORT}" in bed.run("ss", "-ltn").stdout, "openssl to listen")
            assert words in east.command("migrate race tester", 60)
        finally:
            server.kill()
            server.wait()
    assert east.guests() == {"race": "running"}
    east.command("destroy race")
