# SPDX-License-Identifier: Apache-2.0
"""What is refused, by name, before any memory is sent; the guest runs on at the source and the peer keeps nothing."""
import contextlib
import errno
import re
import socket
import struct

import pytest

import bed
from conftest import ALPHA_IP, FOREIGN_IP, GUEST_IP, OUT, PEERS, amd_only, started

PORT = 8002


def refused(source, guest, target, pattern):
    with pytest.raises(bed.Trouble) as trouble:
        source.migrate(guest, target, "--live")
    assert re.search(pattern, source.line.tail(6)), f"no /{pattern}/ in\n{source.line.tail(6)}\n{trouble.value}"
    assert source.guests()[guest] == "running"


@amd_only()
def test_unknown_peer(pair):
    refused(pair.alpha, "web", "gamma", "gamma is no peer: add it")
    refused(pair.alpha, "web", "10.77.0.77", "10.77.0.77 is no peer: add it")


@amd_only()
def test_peer_is_down(pair, segment):
    segment.link(pair.beta.tap, False)
    refused(pair.alpha, "web", "beta", r"web was not moved to beta")
    segment.link(pair.beta.tap, True)
    pair.alpha.migrate("web", "beta", "--live")


@amd_only()
def test_not_allowed_by_the_peer(pair, new_host):
    """delta knows nobody: it takes no guest although alpha's side is willing."""
    delta = new_host("delta", "10.77.0.20", peers={"alpha": ALPHA_IP}, memory=512,
                     files={"t.cfg": bed.guest_config("t", 96, 40)}).boot()
    delta.command("create t")
    refused(delta, "t", "alpha", r"t was not moved to alpha")
    assert "t" not in pair.alpha.guests()


@amd_only()
def test_no_room(pair, new_host):
    """A peer with too little memory says how much it has and how much is needed."""
    files = {"big.cfg": bed.guest_config("big", 700, 41)}
    small = new_host("small", "10.77.0.21", peers={"big": "10.77.0.22"}, memory=512).boot()
    big = new_host("big", "10.77.0.22", peers={"small": "10.77.0.21"}, memory=1200, files=files).boot()
    before = small.free_pages()
    big.command("create big")
    refused(big, "big", "small", r"small has .* of memory free, and big needs 700 MiB")
    small.wait_pages(before)


@pytest.mark.parametrize("vendor, cpu, feature", [("amd", "EPYC,svm=on", "umip"), ("intel", "corei7_haswell_4770", "avx512f")],
                         indirect=["vendor"])
def test_missing_cpu_feature(new_host, vendor, cpu, feature):
    """A guest that was shown a feature does not move to a host whose CPU lacks it; one of a level that both have does, both ways."""
    level = "cpu = 'x86-64-v3'\n"
    # Encrypted moves of a Linux guest take minutes in Bochs.
    small = "name = 'level'\nmemory = 16\nkernel = 'faults.bin'\nextra = 'halt'\n"
    files = {"web.cfg": bed.guest_config("web", 96, 42), "faults.bin": (bed.GUEST / "faults.bin").read_bytes(),
             "level.cfg": (bed.guest_config("level", 96, 46) if vendor == "amd" else small) + level,
             "best.cfg": bed.guest_config("best", 96, 47) + level.replace("v3", "v4")}
    poor = new_host("poor", "10.77.0.23", peers={"rich": "10.77.0.24"}, memory=512, cpu=cpu, files=files).boot()
    rich = new_host("rich", "10.77.0.24", peers={"poor": "10.77.0.23"}, memory=512, files=files).boot()
    rich.command("create web")
    refused(rich, "web", "poor", rf"poor lacks .*{feature}.*, which web was shown")
    assert poor.guests() == {}
    assert re.search(r"cpu = 'x86-64-v4': this host's CPU lacks .*avx512f", poor.command("create best"))
    rich.command("destroy web")
    rich.command("create level")
    if vendor == "amd":
        bed.wait_guest(bed.guest_ip(46))
    rich.migrate("level", "poor", "--live")
    poor.migrate("level", "rich", "--live")
    if vendor == "amd":
        flags = bed.ssh(bed.guest_ip(46), "cat /proc/cpuinfo").split()
        assert {"avx2", "fma", "movbe", "abm", "bmi2", "xsave", "fsgsbase", "smep", "aes"} <= set(flags)
        assert not {"umip", "smap", "sha_ni", "rdseed", "xgetbv1", "sse4a", "vme"} & set(flags)


@pytest.mark.anywhere
@pytest.mark.parametrize("vendor", ["intel"], indirect=True)
def test_other_vendor(pair, new_host):
    """A Bochs host and a QEMU host on one bridge: neither takes the other's guest, and both say what they have."""
    files = {"t.cfg": bed.guest_config("t", 96, 45)}
    foreign = new_host("foreign", FOREIGN_IP, vendor="amd", peers=PEERS, memory=512, files=files).boot()
    foreign.standing_faults = pair.alpha.standing_faults    # as they speak to each other
    foreign.clear_faults()
    before = foreign.free_pages()
    refused(pair.here, "web", "foreign", r"foreign has SVM, and web runs on VT-x")
    foreign.wait_pages(before)
    foreign.command("create t")
    refused(foreign, "t", "alpha", r"alpha has VT-x, and t runs on SVM")
    assert "t" not in pair.alpha.guests()


@amd_only()
def test_name_and_mac_clashes(pair):
    alpha, beta = pair.alpha, pair.beta
    alpha.command("create small")
    beta.command("create small")
    refused(alpha, "small", "beta", "there is a guest named small")
    for host in (alpha, beta):
        host.command("destroy small")


@amd_only()
def test_mac_clash(new_host):
    mac = "52:54:00:77:04:04"
    one = new_host("one", "10.77.0.25", peers={"two": "10.77.0.26"}, memory=512,
                   files={"a.cfg": bed.guest_config("a", 96, 43, mac=mac).replace("8000-", "8001-")}).boot()
    two = new_host("two", "10.77.0.26", peers={"one": "10.77.0.25"}, memory=512,
                   files={"b.cfg": bed.guest_config("b", 96, 44, mac=mac)}).boot()
    one.command("create a")
    two.command("create b")
    refused(one, "a", "two", f"guest b has the same MAC {mac}")


def send_raw(target, source_ip, data, segment):
    """Sends bytes to the migration port, perhaps from an address that this machine takes for the moment; returns the answer."""
    answer = b""
    with segment.address(source_ip) if source_ip else contextlib.nullcontext():
        try:
            with socket.create_connection((target, PORT), timeout=20, source_address=(source_ip or bed.NODE_IP, 0)) as sock:
                sock.settimeout(30)
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while chunk := sock.recv(4096):
                    answer += chunk
        except OSError as why:
            # It was closed in our face, perhaps before we had sent all.
            if not isinstance(why, ConnectionError) and why.errno != errno.ENOTCONN:
                raise
    return answer


@amd_only()
def test_strangers_are_turned_away(pair, segment):
    assert send_raw(ALPHA_IP, None, b"GET / HTTP/1.0\r\n\r\n", segment) == b""
    log = pair.alpha.command("dmesg")
    assert re.search(re.escape(bed.NODE_IP), log), log[-500:]


STREAMS = {
    "nothing": b"",
    "http": b"GET / HTTP/1.0\r\n\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 65536,
    "huge record": struct.pack("<IIQ", 1, 0xffffffff, 0) * 64,
    "text": b"\n" * 100000,
}


@pytest.fixture(scope="module")
def lonely(segment, vendor):
    """A host whose only peer is an address that the test itself speaks from."""
    host = bed.host(segment, "lonely", "10.77.0.30", OUT / "lonely", vendor, number=30, memory=512, peers={"tester": "10.77.0.31"})
    started.append(host)
    host.boot()
    yield host
    host.kill()
    started.remove(host)


@amd_only()
@pytest.mark.parametrize("name", STREAMS)
def test_garbage_streams(lonely, segment, name):
    before = lonely.free_pages()
    send_raw(lonely.ip, "10.77.0.31", STREAMS[name], segment)
    assert lonely.guests() == {}
    lonely.wait_pages(before)


@pytest.mark.anywhere
def test_ssh_still_works_after_all(pair):
    assert pair.here.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
