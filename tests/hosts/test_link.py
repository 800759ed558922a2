# SPDX-License-Identifier: Apache-2.0
"""The link is cut, and the peer is killed, at each step of the protocol: never two owners, the source unharmed, the next try works."""
import re
import time

import pytest

import bed
from conftest import GUEST_IP
from test_migrate import assert_at, move, wait_pages

# Fault points that hold the protocol (migrate/), and who holds. Before the source sends COMMIT it keeps the guest.
BEFORE_COMMIT = ["send.connect", "recv.hello", "send.rounds", "recv.memory", "send.final", "send.end", "send.commit"]
AFTER_COMMIT = ["recv.commit", "send.running"]


def start_held(pair, step, live=True):
    holder = pair.alpha if step.startswith("send") else pair.beta
    holder.command(f"fault {step}")
    pair.alpha.line.skip()
    pair.alpha.line.send(f"migrate {'--live ' if live else ''}web beta\r")
    pair.alpha.expect("web -> beta", 30)
    time.sleep(2)   # long enough to reach any step; a hold earlier than meant would only test another step
    return holder


def running_copies(pair):
    return sum(state == "running" for host in pair.hosts.values() if host.running() for state in host.guests().values())


@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_link_cut_before_commit(pair, segment, step):
    free = pair.beta.free_pages()
    holder = start_held(pair, step)
    segment.link(pair.beta.tap, False)
    if holder is pair.beta:
        holder.command("fault --clear")
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    pair.alpha.wait_prompt()
    holder.command("fault --clear")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    segment.link(pair.beta.tap, True)
    wait_pages(pair.beta, free, 60)
    assert_at(pair, "alpha")
    move(pair, "alpha", "beta", "--live")


@pytest.mark.parametrize("step", ["recv.hello", "send.rounds", "recv.memory", "send.end", "send.commit"])
def test_peer_killed_before_commit(pair, step):
    start_held(pair, step)
    pair.beta.kill()
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    pair.alpha.wait_prompt()
    pair.alpha.command("fault --clear")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    pair.beta.start().wait_prompt()
    move(pair, "alpha", "beta", "--live")


@pytest.mark.parametrize("step", AFTER_COMMIT)
def test_link_cut_after_commit(pair, segment, step):
    """Nobody can know at once who owns the guest: never two run; when the link is back one does, by itself."""
    holder = start_held(pair, step)
    segment.link(pair.beta.tap, False)
    holder.command("fault --clear") if holder is pair.beta else None
    pair.alpha.expect(r"stays paused", 60)
    if holder is pair.alpha:
        holder.command("fault --clear")
    assert "paused" in pair.alpha.guests()["web"]
    assert running_copies(pair) <= 1
    assert "unpause --force" in pair.alpha.command("unpause web")
    segment.link(pair.beta.tap, True)
    end = time.monotonic() + 90
    while True:
        states = [host.guests().get("web") for host in pair.hosts.values()]
        assert states.count("running") <= 1
        if sorted(states, key=str) == [None, "running"]:
            break
        assert time.monotonic() < end, f"not settled: alpha {states[0]}, beta {states[1]}"
        time.sleep(0.5)
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")


def test_peer_killed_after_commit(pair):
    """The peer is gone for good: the operator decides, in plain words."""
    start_held(pair, "recv.commit")
    pair.beta.kill()
    pair.alpha.expect(r"stays paused", 60)
    pair.alpha.wait_prompt()
    assert re.search(r"paused, owner unknown", pair.alpha.guests()["web"])
    pair.alpha.command("unpause --force web")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    pair.beta.start().wait_prompt()
    move(pair, "alpha", "beta", "--live")
