# SPDX-License-Identifier: Apache-2.0
"""The link is cut, and the peer is killed, at each step of the protocol: never two owners, the source unharmed, the next try works."""
import re

import pytest

import bed
from conftest import GUEST_IP, amd_only
from test_migrate import assert_at, move

pytestmark = amd_only()

# Fault points that hold the protocol (migrate/), and who holds. Before the source sends COMMIT it keeps the guest.
BEFORE_COMMIT = ["send.connect", "recv.hello", "send.rounds", "recv.memory", "send.final", "send.end", "send.commit"]
AFTER_COMMIT = ["recv.commit", "send.running"]


def running_copies(pair):
    return sum(state == "running" for host in pair.hosts.values() if host.running() for state in host.guests().values())


def settled(pair):
    states = [host.guests().get("web") for host in pair.hosts.values()]
    assert states.count("running") <= 1, states
    return sorted(states, key=str) == [None, "running"]


@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_link_cut_before_commit(pair, segment, step):
    free = pair.beta.free_pages()
    holder = pair.hold(step)
    segment.link(pair.beta.tap, False)
    if holder is pair.beta:
        holder.command("fault --clear")
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    holder.command("fault --clear")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    segment.link(pair.beta.tap, True)
    pair.beta.wait_pages(free)
    assert_at(pair, "alpha")
    move(pair, "alpha", "beta", "--live")


@pytest.mark.parametrize("step", ["recv.hello", "send.rounds", "recv.memory", "send.end", "send.commit"])
def test_peer_killed_before_commit(pair, step):
    pair.hold(step)
    pair.beta.kill()
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    pair.alpha.command("fault --clear")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    pair.beta.start().wait_prompt()
    move(pair, "alpha", "beta", "--live")


@pytest.mark.parametrize("step", AFTER_COMMIT)
def test_link_cut_after_commit(pair, segment, step):
    """Nobody can know at once who owns the guest: never two run; when the link is back one does, by itself."""
    holder = pair.hold(step)
    segment.link(pair.beta.tap, False)
    if holder is pair.beta:
        holder.command("fault --clear")
    pair.alpha.expect(r"stays paused", 60)
    if holder is pair.alpha:
        holder.command("fault --clear")
    assert "paused" in pair.alpha.guests()["web"]
    assert running_copies(pair) <= 1
    assert "unpause --force" in pair.alpha.command("unpause web")
    segment.link(pair.beta.tap, True)
    bed.until(lambda: settled(pair), "one owner", 90)
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")


def test_peer_killed_after_commit(pair):
    """The peer is gone for good: the operator decides, in plain words."""
    pair.hold("recv.commit")
    pair.beta.kill()
    pair.alpha.expect(r"stays paused", 60)
    assert re.search(r"paused, owner unknown", pair.alpha.guests()["web"])
    pair.alpha.command("unpause --force web")
    assert pair.alpha.guests()["web"] == "running"
    assert "ok" in bed.ssh(GUEST_IP, "echo ok")
    pair.beta.start().wait_prompt()
    move(pair, "alpha", "beta", "--live")
