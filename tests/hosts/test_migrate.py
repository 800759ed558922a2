# SPDX-License-Identifier: Apache-2.0
"""Moves that work: live, offline, to localhost, to and fro under load, with sessions open and memory checked."""
import re
import time

import pytest

import bed
from conftest import GUEST_IP, amd_only


def assert_at(pair, name, guest="web"):
    """The guest runs on that host and is not on the other."""
    other = "beta" if name == "alpha" else "alpha"
    assert pair.hosts[name].guests().get(guest) == "running"
    assert guest not in pair.hosts[other].guests()


def move(pair, source, target, *options):
    figures = pair.hosts[source].migrate("web", target, *options)
    assert_at(pair, target)
    return figures


def ahead_s():
    """Of our clock, the guest's (which stands while the pair rests)."""
    return float(bed.ssh(GUEST_IP, "date +%s")) - time.time()


@pytest.mark.anywhere
@pytest.mark.encrypted
def test_live_with_session(pair):
    """An ssh session, a ping, what the guest printed and its clock all come along. (In Bochs one way: the next test goes back.)"""
    here, there = pair.here.name, pair.there.name
    session = bed.SshSession(GUEST_IP)
    pinger = bed.Pinger(GUEST_IP)
    try:
        session.wait_lines(5)
        free = {name: host.free_pages() for name, host in pair.hosts.items()}
        boot_id = bed.boot_id(GUEST_IP)
        ahead = ahead_s()
        begin = time.time()
        moves = []
        for source, target in [(here, there), (there, here)][:2 if pair.vendor == "amd" else 1]:
            moves.append(move(pair, source, target, "--live"))
            session.wait_lines(5)
        assert session.unbroken(), session.lines[-5:]
        assert all(figures["rounds"] >= 2 for figures in moves)
        # The gap that ping sees is what the hypervisor says, give or take what the emulator and the network add.
        assert pinger.gap_ms(begin) < max(figures["downtime_ms"] for figures in moves) + 2000
        assert bed.boot_id(GUEST_IP) == boot_id
        if pair.vendor == "amd":    # an hour of Bochs' is not ours
            assert abs(ahead_s() - ahead) < 5
        # (A guest whose writes have been logged may have had a page for that, which it has not where it comes to.)
        if pair.vendor == "amd":
            assert all(host.free_pages() - free[name] in (0, 1) for name, host in pair.hosts.items())
    finally:
        session.close()
        pinger.close()


@pytest.mark.anywhere
def test_offline(pair):
    session = bed.SshSession(GUEST_IP)
    try:
        session.wait_lines(3)
        figures = move(pair, pair.here.name, pair.there.name)
        assert figures["rounds"] == 1
        session.wait_lines(5)
        assert session.unbroken(), session.lines[-5:]
    finally:
        session.close()


@pytest.mark.anywhere
def test_localhost(pair):
    """The guest moves into a new copy of itself on the same host."""
    host = pair.here
    before = host.free_pages()
    session = bed.SshSession(GUEST_IP)
    try:
        session.wait_lines(3)
        for options in (["--live"], []):
            host.migrate("web", "localhost", *options)
            assert host.guests() == {"web": "running"}
            session.wait_lines(5)
        assert session.unbroken(), session.lines[-5:]
    finally:
        session.close()
    host.wait_pages(before)


@amd_only("with one CPU, a guest that keeps it busy leaves Bochs little for the move")
def test_ten_moves_under_load(pair):
    """A checker stamps and proves every page of its buffer, and memory is dirtied, while the guest goes to and fro."""
    session = bed.SshSession(GUEST_IP)
    checker = bed.SshSession(GUEST_IP, "memcheck 16")
    writer = bed.SshSession(GUEST_IP, "dirty 500")
    try:
        for watched in (session, checker, writer):
            watched.wait_lines(2)
        for turn in range(10):
            source, target = ("alpha", "beta") if turn % 2 == 0 else ("beta", "alpha")
            move(pair, source, target, "--live --max-downtime 500")   # (50: slowed by 80 %, and so is the test)
            session.wait_lines(3)
        checker.wait_lines(2)
        assert session.unbroken(), session.lines[-5:]
        texts = [text for _, text in checker.lines]
        assert "ok" in texts[-1] and not any("BAD" in text for text in texts), texts[-5:]
        assert bed.complaints(GUEST_IP) == ""
    finally:
        for watched in (session, checker, writer):
            watched.close()


def race_moves(pair, count, fault):
    """Moves the guest that stores without an exit to and fro; whether it lost a store."""
    pair.alpha.command("create race")
    for turn in range(count):
        source, target = (pair.alpha, pair.beta) if turn % 2 == 0 else (pair.beta, pair.alpha)
        if fault:
            source.command(f"fault {fault}")
        # More rounds than it needs: it is in them that a store can be lost.
        # (Not where stores are to be lost: it would refuse that.)
        verify = "" if fault else "--verify "
        source.command(f"migrate --live --max-downtime 1 {verify}race {target.name}")
        source.clear_faults()
        assert target.guests()["race"] == "running"
        if target.ask_race() == "lost":
            return True
    return False


@pytest.mark.anywhere
def test_no_store_is_lost(pair):
    """Pages are collected while the guest stores to them, and it never finds one of them behind."""
    try:
        assert not race_moves(pair, 6 if pair.vendor == "amd" else 3, None)
    finally:
        pair.clear("race")


@amd_only("Bochs has no translation left after an exit, so a forgotten INVEPT does not show")
def test_lost_stores_are_seen(pair):
    """The negative control of the one above: without the kick that makes vCPUs forget their translations, stores are lost."""
    try:
        assert race_moves(pair, 20, "skip-dirty-kick"), "20 moves without the kick lost nothing"
    finally:
        pair.clear("race")


def refused_by_a_page(pair, fault, pages):
    """A move of the guest that stores is refused by the name of one of these pages; the guest runs on, and moves without the fault."""
    try:
        pair.alpha.command("create race")
        free = pair.beta.free_pages()
        for _ in range(20):
            pair.alpha.command(f"fault {fault}")
            said = pair.alpha.command("migrate --live --max-downtime 1 --verify race beta", 60)
            pair.alpha.clear_faults()
            if "was not moved" in said:
                break
            pair.beta.migrate("race", "alpha")
        match = re.search(r"race was not moved to beta: page (\d+) of its memory \(address 0x([0-9a-f]+)\) is not the same", said)
        assert match and int(match.group(1)) in pages, said
        assert int(match.group(2), 16) == int(match.group(1)) * 4096
        assert pair.alpha.guests()["race"] == "running"
        assert "race" not in pair.beta.guests()
        pair.beta.wait_pages(free)
        assert pair.alpha.ask_race() == "alive"
        pair.alpha.migrate("race", "beta", "--live")
    finally:
        pair.clear("race")


# It stores to its 64 pages from 4 MiB up all the time.
@pytest.mark.anywhere
def test_lost_page_is_refused(pair):
    """What --verify is for: the last round leaves the highest page out."""
    refused_by_a_page(pair, "drop-dirty-page", [1087])


@amd_only("Bochs has no translation left after an exit, so a forgotten INVEPT does not show")
def test_lost_stores_are_refused(pair):
    refused_by_a_page(pair, "skip-dirty-kick", range(1024, 1088))


@amd_only()
def test_console_comes_along(pair):
    """What was printed and not yet seen is shown on the new host, once."""
    pair.alpha.line.send("console web\r")
    pair.alpha.expect("console of web")
    pair.alpha.line.send("\x1d")
    pair.alpha.wait_prompt()
    bed.ssh(GUEST_IP, "echo before-the-move > /dev/ttyS0")
    move(pair, "alpha", "beta", "--live")
    bed.ssh(GUEST_IP, "echo after-the-move > /dev/ttyS0")
    pair.beta.line.send("console web\r")
    pair.beta.expect("before-the-move")
    pair.beta.expect("after-the-move")
    pair.beta.line.send("\x1d")
    pair.beta.wait_prompt()


@pytest.mark.anywhere
@amd_only("an offline move pauses it, too, and that is test_offline")
def test_paused_guest_stays_paused(pair):
    pair.here.command("pause web")
    pair.here.migrate("web", pair.there.name)
    assert pair.there.guests() == {"web": "paused"}
    pair.there.command("unpause web")
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")


@amd_only()
@pytest.mark.encrypted
def test_transfer_during_a_move(pair):
    """A TCP stream from the guest goes on and arrives whole."""
    command = "i=0; while [ $i -lt 800 ]; do echo line $i; i=$((i+1)); usleep 2000; done"
    stream = bed.SshSession(GUEST_IP, command)
    try:
        stream.wait_lines(100)
        move(pair, "alpha", "beta", "--live")
        stream.wait_lines(100)
        move(pair, "beta", "alpha", "--live")
        bed.until(lambda: stream.process.poll() is not None, "the stream's end")
        numbers = [int(text.split()[1]) for _, text in stream.lines if text.startswith("line")]
        assert numbers == list(range(800))
    finally:
        stream.close()


@pytest.mark.anywhere
@amd_only("its kernel comes along by code that does not know the vendor, and test_linux_whole_life reboots")
def test_reboot_after_a_move(pair):
    """The new host has the guest's kernel too, and boots it again."""
    move(pair, pair.here.name, pair.there.name, "--live")
    old = bed.boot_id(GUEST_IP)
    pair.there.command("reboot web")
    bed.until(lambda: bed.boot_id(GUEST_IP) not in (None, old), "the guest's reboot", 120)
    assert_at(pair, pair.there.name)


@amd_only()
@pytest.mark.parametrize("step", ["send.connect", "recv.hello", "send.rounds", "recv.memory", "send.final", "send.end", "recv.verify",
                                  "send.commit"])
def test_cancel_in_each_state(pair, step):
    """Cancelled while the move is held at a step: the guest runs on, the peer is clean, the next try works."""
    free = pair.beta.free_pages()
    holder = pair.hold(step)
    assert "cancelled" in pair.alpha.command("migrate --cancel")
    pair.alpha.expect(r"web was not moved to beta: .*cancel", 15)
    holder.clear_faults()
    assert_at(pair, "alpha")
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    pair.beta.wait_pages(free)
    move(pair, "alpha", "beta", "--live")


@amd_only()
def test_cancel_by_key(pair):
    pair.alpha.command("fault send.rounds")
    pair.alpha.line.send("migrate --live web beta\r")
    pair.alpha.expect(r"round 1")
    pair.alpha.line.send("\x03")
    pair.alpha.expect(r"web was not moved to beta: .*cancel", 15)
    pair.alpha.wait_prompt()
    pair.alpha.clear_faults()
    assert_at(pair, "alpha")


@amd_only()
def test_too_late_to_cancel(pair):
    """After the commit a cancel is refused, and the guest ends up at the peer."""
    pair.hold("recv.commit")
    assert "too late" in pair.alpha.command("migrate --cancel")
    pair.beta.clear_faults()
    pair.alpha.expect(r"web runs on beta", 30)
    assert_at(pair, "beta")
