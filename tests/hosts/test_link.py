# SPDX-License-Identifier: Apache-2.0
"""The link is cut, and either host is killed, at each step of the protocol: never two owners, nothing lost, the next try works.

What decides is a counter in the guest: every number is there once, and it never falls behind what was read of it before.
"""
import re

import pytest

import bed
from conftest import GUEST_IP, amd_only
from test_migrate import assert_at, move

pytestmark = amd_only()

# Fault points that hold the protocol (migrate/), and who holds. Before the source sends COMMIT it keeps the guest.
BEFORE_COMMIT = ["send.connect", "recv.hello", "send.rounds", "recv.memory", "send.final", "send.end", "recv.verify",
                 "send.commit"]
AFTER_COMMIT = ["recv.commit", "send.running"]


class Truth:
    """The guest counts into a file, for itself."""

    def __init__(self):
        bed.ssh(GUEST_IP, "killall count 2>/dev/null; rm -f /tmp/truth; count > /tmp/truth 2>&1 < /dev/null &")
        self.boot_id = bed.boot_id(GUEST_IP)
        self.seen = 0
        bed.until(self.holds, "the guest to count")

    def holds(self):
        """It is the same guest, and has gone on from where it was."""
        boot_id, *lines = bed.ssh(GUEST_IP, f"cat {bed.BOOT_ID} /tmp/truth").splitlines()
        numbers = [int(match.group(1)) for text in lines if (match := re.match(r"count (\d+) \d+\.\d+$", text))]
        assert not any("ERROR" in text for text in lines), lines[-5:]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else self.seen == 0
        assert boot_id == self.boot_id
        last = numbers[-1] if numbers else 0
        assert last >= self.seen, f"it was at {self.seen} before and is at {last} now"
        went_on = last > self.seen
        self.seen = last
        return went_on

    def goes_on(self):
        bed.until(self.holds, "the guest to count on")


@pytest.fixture
def truth(pair):
    return Truth()


def running_copies(pair):
    return sum(state == "running" for host in pair.hosts.values() if host.running() for state in host.guests().values())


def settled(pair):
    states = [host.guests().get("web") for host in pair.hosts.values()]
    assert states.count("running") <= 1, states
    return sorted(states, key=str) == [None, "running"]


@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_link_cut_before_commit(pair, segment, truth, step):
    free = pair.beta.free_pages()
    holder = pair.hold(step)
    segment.link(pair.beta.tap, False)
    if holder is pair.beta:
        holder.clear_faults()
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    holder.clear_faults()
    assert pair.alpha.guests()["web"] == "running"
    truth.goes_on()
    segment.link(pair.beta.tap, True)
    pair.beta.wait_pages(free)
    assert_at(pair, "alpha")
    move(pair, "alpha", "beta", "--live")
    truth.goes_on()


@pytest.mark.parametrize("step", ["recv.hello", "send.rounds", "recv.memory", "send.end", "recv.verify", "send.commit"])
def test_peer_killed_before_commit(pair, truth, step):
    pair.hold(step)
    pair.beta.kill()
    pair.alpha.expect(r"web was not moved to beta: \S.*", 60)
    pair.alpha.clear_faults()
    assert pair.alpha.guests()["web"] == "running"
    truth.goes_on()
    pair.beta.boot()
    move(pair, "alpha", "beta", "--live")


@pytest.mark.encrypted
@pytest.mark.parametrize("step", AFTER_COMMIT)
def test_link_cut_after_commit(pair, segment, truth, step):
    """Nobody can know at once who owns the guest: never two run; when the link is back one does, by itself."""
    holder = pair.hold(step)
    segment.link(pair.beta.tap, False)
    if holder is pair.beta:
        holder.clear_faults()
    pair.alpha.expect(r"stays paused", 60)
    if holder is pair.alpha:
        holder.clear_faults()
    assert "paused" in pair.alpha.guests()["web"]
    assert running_copies(pair) <= 1
    assert "unpause --force" in pair.alpha.command("unpause web")
    segment.link(pair.beta.tap, True)
    bed.until(lambda: settled(pair), "one owner", 90)
    truth.goes_on()


@pytest.mark.encrypted
def test_peer_killed_after_commit(pair, truth):
    """The peer is gone for good: the operator decides, in plain words."""
    pair.hold("recv.commit")
    pair.beta.kill()
    pair.alpha.expect(r"stays paused", 60)
    assert re.search(r"paused, owner unknown", pair.alpha.guests()["web"])
    pair.alpha.command("unpause --force web")
    assert pair.alpha.guests()["web"] == "running"
    assert re.search(r"ownership epoch [1-9]\d*\.\d+", pair.alpha.command("list web"))
    truth.goes_on()
    pair.beta.boot()
    move(pair, "alpha", "beta", "--live")
    truth.goes_on()


def test_peer_started_anew_after_commit(pair, truth):
    """It may have run there, and that is lost: nothing runs until the operator says so."""
    pair.hold("recv.commit")
    pair.beta.kill()
    pair.alpha.expect(r"stays paused", 60)
    pair.beta.boot()
    pair.alpha.expect(r"web stays paused: it was handed to beta, which was started anew since", 60)
    assert running_copies(pair) == 0
    pair.alpha.command("unpause --force web")
    truth.goes_on()
    move(pair, "alpha", "beta", "--live")
    truth.goes_on()


@pytest.mark.parametrize("step", ["send.rounds", "send.end", "recv.verify", "send.commit"])
def test_source_killed_before_commit(pair, step):
    """The guest ends with the host that ran it; the peer gives back what came of it."""
    free = pair.beta.free_pages()
    pair.hold(step)
    pair.alpha.kill()
    pair.beta.expect(r"web does not come from alpha|no progress", 60)
    pair.beta.wait_pages(free)
    assert "web" not in pair.beta.guests()


def test_source_killed_after_commit(pair, truth):
    """COMMIT has left: the peer owns the guest, and needs nobody to say so."""
    pair.hold("recv.commit")
    pair.alpha.kill()
    pair.beta.clear_faults()
    bed.until(lambda: pair.beta.guests().get("web") == "running", "web to run on beta")
    truth.goes_on()


def forces(host):
    """How often web was forced: the part of its epoch before the dot."""
    return int(re.search(r"ownership epoch (?:(\d+)\.)?\d+", host.command("list web")).group(1) or 0)


def two_copies(pair, segment):
    """web was handed to beta and runs there, alpha never heard of it, and its operator forces the copy there. The link is cut."""
    pair.hold("send.running")
    segment.link(pair.beta.tap, False)
    pair.alpha.expect(r"stays paused", 60)
    pair.alpha.clear_faults()
    pair.alpha.command("unpause --force web")
    assert pair.alpha.guests()["web"] == "running"
    assert pair.beta.guests()["web"] == "running"


def test_forced_against_the_facts(pair, segment):
    """Both run while they can't hear each other; then the forced one has the higher epoch, and the other yields."""
    two_copies(pair, segment)
    segment.link(pair.beta.tap, True)
    pair.beta.expect(r"web is paused: 'destroy' this copy; or, .*'unpause --force' .*alpha has it too", 60)
    assert "paused, another host has it" in pair.beta.guests()["web"]
    assert pair.alpha.guests()["web"] == "running"
    bed.wait_guest(GUEST_IP)
    # The operator thinks better of it: the other way round.
    forced_before = forces(pair.alpha)
    pair.beta.command("unpause --force web")
    pair.alpha.expect(r"web is paused: .*beta has it too", 60)
    assert pair.beta.guests()["web"] == "running"
    pair.alpha.command("destroy web")
    bed.wait_guest(GUEST_IP)
    assert forces(pair.beta) == forced_before + 1


def test_started_on_both(pair):
    """The same file, with its uuid, on two hosts: both say so, and not both run."""
    try:
        for host in pair.hosts.values():
            assert re.search(r"peer +: (alpha|beta) .* heard \d+ s ago", host.command("info"))
            host.command("create twin")
        bed.until(lambda: [host.guests()["twin"] for host in pair.hosts.values()].count("running") <= 1, "one of them to yield")
        stopped = [host for host in pair.hosts.values() if "another host has it" in host.guests()["twin"]]
        assert stopped and all("the same as epoch 0 here" in host.guests()["twin"] for host in stopped)
    finally:
        pair.clear("twin")
