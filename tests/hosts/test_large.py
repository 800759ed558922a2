# SPDX-License-Identifier: Apache-2.0
"""A guest of more than 4 GiB, whose memory has a hole for devices, on hosts whose own memory has one."""
import re

import pytest

import bed
from conftest import OUT, amd_only, switched_on

IPS = {"huge": "10.77.0.77", "vast": "10.77.0.78"}
NUMBER = 77
GUEST_IP = bed.guest_ip(NUMBER)
MEMORY = 5120
# The emulator gets its memory from a machine that may be slow to give it: some 300 MB/s have been seen, for all that is touched first.
SLOW_MEMORY = "peer_timeout = 120\n"


@pytest.fixture(scope="module")
def hosts(segment):
    files = {"large.cfg": bed.guest_config("large", MEMORY, NUMBER), "larger.cfg": bed.guest_config("larger", 9000, NUMBER + 1)}
    made = {name: bed.host(segment, name, ip, OUT / "large" / name, "amd", number=NUMBER + n, memory=8192, peers=IPS, files=files,
                           settings=SLOW_MEMORY) for n, (name, ip) in enumerate(IPS.items())}
    for host in made.values():
        host.standing_faults = ("peers.plain",)
    with switched_on(made):
        for host in made.values():
            host.clear_faults()
        yield made


@amd_only("Bochs zeroes, looks through and hashes some 50 MB a second: minutes for each step of it")
def test_large_guest(hosts):
    """It sees all of its memory, keeps a file on both sides of 4 GiB, and brings it along."""
    huge, vast = hosts["huge"], hosts["vast"]
    before = huge.free_pages()
    assert re.search(r"larger.cfg: no room: it needs 9000 MiB of memory, .* are free", huge.command("create larger"))
    huge.command("create large", 120)
    assert re.search(r"[345] GiB of its memory are pages of 1 GiB", huge.command("list large"))
    bed.wait_guest(GUEST_IP)
    iomem = bed.ssh(GUEST_IP, "cat /proc/iomem")
    assert re.search(r"^00100000-bfffffff : System RAM$", iomem, re.M), iomem
    assert re.search(r"^100000000-17fffffff : System RAM$", iomem, re.M), iomem
    assert int(re.search(r"MemTotal:\s+(\d+)", bed.ssh(GUEST_IP, "cat /proc/meminfo")).group(1)) > 4.8 * (1 << 20)
    checker = bed.SshSession(GUEST_IP, "memcheck 16")
    try:
        checker.wait_lines(2)
        # (The checker looks at its pages; to hash five GiB on both sides would take longer than all the rest.)
        huge.migrate("large", "vast", "--live", "--max-downtime 1000", timeout=300, verify=False)
        assert vast.guests() == {"large": "running"} and huge.guests() == {}
        checker.wait_lines(2)
        texts = [text for _, text in checker.lines]
        assert "ok" in texts[-1] and not any("BAD" in text for text in texts), texts[-5:]
    finally:
        checker.close()
    assert bed.complaints(GUEST_IP) == ""
    assert huge.free_pages() in (before, before + 1)
