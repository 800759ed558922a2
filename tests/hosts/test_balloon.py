# SPDX-License-Identifier: Apache-2.0
"""The stock guest's balloon: memory that it gives back is the host's, here and after a move; what it reports free is not sent."""
import re

import pytest

import bed
from conftest import FREED, GUEST_IP, amd_only, intel_only
from test_migrate import assert_at, move

UNITS = {"byte": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
PAGES_PER_MIB = 256
# Of the guest of test_given_back.
MEMORY_GIVEN_BACK, NUMBER = 256, 91


def mem_stat(host, what):
    """A number of bytes that mem-stat prints, by what it prints before it."""
    match = re.search(what + r"\s+([\d.]+) (\w+)", host.command("mem-stat web"))
    return float(match.group(1)) * UNITS[match.group(2)] if match else 0


def memory(host):
    """What `list` shows."""
    return int(re.search(r"^web\s+\d+\s+(\d+)", host.command("list"), re.M).group(1))


def reported(host):
    return mem_stat(host, "came up here:")


@pytest.fixture
def whole(pair):
    """The guest has all of its memory, and gets it again in the end."""
    yield pair
    for host in pair.hosts.values():
        if "web" in host.guests():
            host.command("mem-set web 192")


@amd_only("the shared guest is too small there: test_given_back")
def test_mem_set(whole):
    """Down: the host has it. It moves: the peer has it instead. Up again: the guest has it all, and it is what it was."""
    pair = whole
    has = memory(pair.alpha)
    free = pair.alpha.free_pages()
    peer_free = pair.beta.free_pages()
    available = bed.until(lambda: mem_stat(pair.alpha, "available"), "the guest to say what it has")
    assert f"can have 4 to {has} MiB" in pair.alpha.command(f"mem-set web {has + 2}")
    pair.alpha.command(f"mem-set web {has - 40}")
    bed.until(lambda: memory(pair.alpha) == has - 40, "the guest to give up 40 MiB")
    # What is scattered over chunks stays; most of it is not.
    bed.until(lambda: pair.alpha.free_pages() >= free + 20 * PAGES_PER_MIB, "the host to have most of it")
    bed.until(lambda: 0 < mem_stat(pair.alpha, "available") < available - 30 * UNITS["MiB"], "the guest to say that it has less")
    move(pair, "alpha", "beta", "--live")
    assert memory(pair.beta) == has - 40
    bed.until(lambda: pair.beta.free_pages() >= peer_free - (has - 20) * PAGES_PER_MIB, "the peer to have most of it")
    pair.beta.command(f"mem-set web {has}")
    bed.until(lambda: memory(pair.beta) == has, "the guest to have its memory again")
    bed.until(lambda: mem_stat(pair.beta, "of these") == 0, "the peer to have given all of it")
    # All of it can be used.
    assert bed.ssh(GUEST_IP, "dd if=/dev/zero of=/tmp/x bs=1M count=50 2>/dev/null; stat -c %s /tmp/x; rm /tmp/x").strip() == str(50 << 20)
    move(pair, "beta", "alpha")
    assert_at(pair, "alpha")


@intel_only("test_mem_set is there")
def test_given_back(new_host):
    """A guest's own memory goes to the host and comes back, and all of it can be used."""
    host = new_host(memory=768, files={"web.cfg": bed.guest_config(memory=MEMORY_GIVEN_BACK, number=NUMBER, extra=FREED["intel"])}).boot()
    ip = bed.guest_ip(NUMBER)
    host.command("create web")
    bed.wait_guest(ip)
    has, free = memory(host), host.free_pages()
    available = bed.until(lambda: mem_stat(host, "available"), "the guest to say what it has")
    host.command(f"mem-set web {has - 96}")
    bed.until(lambda: memory(host) == has - 96, "the guest to give up 96 MiB", 120)
    bed.until(lambda: host.free_pages() >= free + 64 * PAGES_PER_MIB, "the host to have most of it")
    bed.until(lambda: 0 < mem_stat(host, "available") < available - 80 * UNITS["MiB"], "the guest to say that it has less")
    host.command(f"mem-set web {has}")
    bed.until(lambda: memory(host) == has and mem_stat(host, "of these") == 0, "the guest to have its memory again", 120)
    checker = bed.SshSession(ip, "memcheck 110")
    try:
        checker.wait_lines(2)
        texts = [text for _, text in checker.lines]
        assert "ok" in texts[-1] and not any("BAD" in text for text in texts), texts
    finally:
        checker.close()
    assert bed.complaints(ip) == ""


@amd_only("what is sent is the same on both")
def test_free_pages_are_not_sent(pair):
    """What the guest has freed and reported is not sent, live and offline; what it has used again since is (both are verified)."""
    bed.ssh(GUEST_IP, "dd if=/dev/urandom of=/tmp/x bs=1M count=40 2>/dev/null")
    full = move(pair, "alpha", "beta", "--live")["sent_mb"]
    before = reported(pair.beta)
    bed.ssh(GUEST_IP, "rm /tmp/x")
    bed.until(lambda: reported(pair.beta) > before + 24 * UNITS["MiB"], "the guest to report most of it as free (whole 2 MiB)")
    live = move(pair, "beta", "alpha", "--live")["sent_mb"]
    assert live < full - 20
    # Used again, and moved at once.
    sums = bed.ssh(GUEST_IP, "dd if=/dev/urandom of=/tmp/y bs=1M count=40 2>/dev/null; md5sum </tmp/y")
    again = move(pair, "alpha", "beta", "--live")["sent_mb"]
    assert again > live + 10    # single pages that were free before were sent before, too
    assert bed.ssh(GUEST_IP, "md5sum </tmp/y; rm /tmp/y") == sums
    # (It may have been reported before we asked.)
    bed.until(lambda: reported(pair.beta) > 8 * UNITS["MiB"], "the guest to report that, too")
    assert move(pair, "beta", "alpha")["sent_mb"] < again - 4
