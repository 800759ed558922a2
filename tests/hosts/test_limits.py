# SPDX-License-Identifier: Apache-2.0
"""Limits of a move, by the hypervisor's own clock: bandwidth, time in all, and a guest that writes faster than the link carries."""
import re

import pytest

import bed
from conftest import GUEST_IP, amd_only
from test_migrate import assert_at, move


# A pause for the writer's 8 MB is twice as long as allowed; and what is allowed is a lot, as on a busy machine the handshake alone takes 50 ms
# now and then: then it is the link that is too slow, and slowing the guest down would not help.
SLOW_LINK = "--bandwidth 20 --max-downtime 200"


@pytest.fixture
def writer(pair):
    """The guest writes all the time, far faster than the moves below may send."""
    session = bed.SshSession(GUEST_IP, "dirty 0 8")
    session.wait_lines(2)
    yield session
    session.close()


def assert_full_speed(host, writer):
    assert "slowed" not in host.command("list web")
    writer.wait_lines(2)


@amd_only()
@pytest.mark.parametrize("options", [["--live"], []])
def test_bandwidth_is_kept(pair, options):
    """No more is sent in the time than was allowed; of a live move's pause, what was written last comes on top."""
    figures = move(pair, "alpha", "beta", *options, "--bandwidth", "25")
    allowed = 25 * figures["total_s"]
    assert figures["sent_mb"] > 25
    assert figures["sent_mb"] < 1.1 * allowed + 2


@amd_only()
def test_faster_than_the_link(pair, writer):
    """It is throttled, which is shown; by default it is paused for the rest; at the peer it is as fast as before."""
    pair.alpha.line.skip()
    pair.alpha.line.send(f"migrate --live {SLOW_LINK} web beta\r")
    pair.alpha.expect(r"round \d+ .* slowed by 20 %", 120)
    pair.alpha.expect(r"web runs on beta: .*; slowed by 80 % at last; paused for all that was left, as it wrote too fast", 180)
    pair.alpha.wait_prompt()
    assert_at(pair, "beta")
    assert_full_speed(pair.beta, writer)


@amd_only()
def test_faster_than_the_link_stays(pair, writer):
    """--on-timeout cancel: the guest stays, and runs as fast as before."""
    pair.alpha.line.skip()
    pair.alpha.line.send(f"migrate -l {SLOW_LINK} --on-timeout cancel web beta\r")     # (too long to be shown whole)
    pair.alpha.expect(r"web was not moved to beta: it writes too fast: the pause would take about \d+ ms, not the 200", 180)
    pair.alpha.wait_prompt()
    assert_at(pair, "alpha")
    assert_full_speed(pair.alpha, writer)


def used_and_up(host):
    """Seconds that the guest has run, and that the host is up (rounded down), by the hypervisor's clock."""
    used = float(re.search(r"^web\s+\d+\s+\d+\s+\d+\s+([\d.]+)", host.command("list"), re.M).group(1))
    hours, minutes, seconds = map(int, re.search(r"up\s+: (\d+):(\d+):(\d+)", host.command("info")).groups())
    return used, 3600 * hours + 60 * minutes + seconds


@amd_only()
def test_cancel_while_throttled(pair, writer):
    """A guest that is slowed down by 80 % really gets no more than a fifth of a CPU; after a cancel it is as fast as before."""
    pair.alpha.command("fault send.final")      # stay in the rounds
    pair.alpha.line.skip()
    pair.alpha.line.send(f"migrate --live {SLOW_LINK} web beta\r")
    pair.alpha.expect(r"slowed by 80 %", 120)
    pair.alpha.line.send("\r")
    pair.alpha.expect(r"\(goes on")
    pair.alpha.wait_prompt()
    assert "slowed down: its vCPUs get at most 20 % of a CPU" in pair.alpha.command("list web")
    used, up = used_and_up(pair.alpha)
    writer.wait_lines(6)
    used_then, up_then = used_and_up(pair.alpha)
    assert used < used_then <= used + 0.2 * (up_then - up + 1) + 0.3
    assert "cancelled" in pair.alpha.command("migrate --cancel")
    pair.alpha.expect(r"web was not moved to beta: cancel")
    pair.alpha.clear_faults()
    assert_full_speed(pair.alpha, writer)
    assert_at(pair, "alpha")


def test_throttled_on_one_cpu(new_host):
    """Where the service loop runs the guest, too, and the guest never leaves the CPU by itself: the same, and the console answers."""
    config = "name = 'solo'\naddress = '10.77.0.9/24'\npeers = ['localhost=127.0.0.1']\n"
    files = {"race.cfg": "name = 'race'\nmemory = 6\nkernel = 'race.bin'\n", "race.bin": (bed.GUEST / "race.bin").read_bytes()}
    host = new_host(smp=1, memory=512, config=config, files=files).boot()
    host.command("create race")

    def move(ends, *options):
        """Tried until it ends so: on a busy machine the guest may not have run between two rounds, or the host's own part be too long."""
        command = " ".join(["migrate -l --bandwidth 4", *options, "race localhost"])
        bed.until(lambda: re.search(ends, host.command(command, 180)), f"'{command}' to end with: {ends}", 120)

    move(r"race was not moved to solo: it writes too fast.*slowed by 80 % at last", "--on-timeout cancel")
    assert "slowed" not in host.command("list race")
    move(r"race runs on solo.*as it wrote too fast")
    assert host.ask_race() == "alive"


@amd_only()
def test_max_total_cancel(pair, writer):
    """Whatever keeps the move from its end: the guest stays."""
    free = pair.beta.free_pages()
    pair.alpha.command("fault send.rounds")
    said = pair.alpha.command("migrate -l --max-total 2 --on-timeout cancel web beta")
    pair.alpha.clear_faults()
    assert "web was not moved to beta: it took longer than the 2 s of --max-total" in said
    assert_at(pair, "alpha")
    assert_full_speed(pair.alpha, writer)
    pair.beta.wait_pages(free)


@amd_only()
def test_max_total_stop(pair, writer):
    """It is paused for the rest, which goes at the link's speed."""
    said = pair.alpha.command("migrate -l --bandwidth 8 --max-total 2 web beta", 120)
    figures = bed.summary(said)
    assert "paused for all that was left, as --max-total was over" in said
    assert figures["total_s"] >= 2 and figures["rounds"] == 2
    # What was allowed until then is less than was sent in all: the pause has no limit.
    assert figures["sent_mb"] > 8 * 2 + 8
    assert_at(pair, "beta")
    assert_full_speed(pair.beta, writer)


@amd_only()
def test_words(pair):
    """What is wrong with an option is said, and nothing is moved."""
    for words, answer in (("--bandwidth 0", "--bandwidth wants MB/s, 1 to 10000"), ("--max-total x", "--max-total wants seconds"),
                          ("--on-timeout later", "--on-timeout wants stop"), ("--max-total", "--max-total wants seconds")):
        assert answer in pair.alpha.command(f"migrate --live web beta {words}")
    assert_at(pair, "alpha")
