# SPDX-License-Identifier: Apache-2.0
"""migrate --check: what it says is what the move then is; what does not fit is named; nothing is left of it on either host."""
import re

import bed
from conftest import GUEST_IP, amd_only
from forecast import check, ratio
from test_migrate import assert_at, move


def test_check_and_move(pair):
    """Both ways to move are forecast, and are what they were said to be (within ten times: bench has the figure)."""
    session = bed.SshSession(GUEST_IP)
    try:
        session.wait_lines(3)
        # A guest that was logged once keeps the bitmap for it.
        pair.alpha.command("dirty start web")
        pair.alpha.command("dirty stop web")
        free = {name: host.free_pages() for name, host in pair.hosts.items()}
        said = check(pair.alpha, "web", "beta")
        assert_at(pair, "alpha")
        epoch = pair.alpha.command("list web")
        assert "ownership epoch" in epoch
        assert {name: host.free_pages() for name, host in pair.hosts.items()} == free
        assert "would fit here" in pair.beta.command("dmesg")
        session.wait_lines(3)
        assert session.unbroken(), session.lines[-5:]
        if pair.vendor == "amd":    # Bochs' clock stands for another time in each of them
            there = move(pair, "alpha", "beta", "--live")
            assert ratio(said["live"]["total_s"], there["total_s"]) < 10
            assert there["rounds"] <= 3 * said["live"]["rounds"]
            back = move(pair, "beta", "alpha")
            assert ratio(said["offline"]["downtime_ms"], back["downtime_ms"]) < 10
    finally:
        session.close()


@amd_only()
def test_check_of_a_writer(pair):
    """The writer shows in the forecast."""
    idle = check(pair.alpha, "web", "beta")
    writer = bed.SshSession(GUEST_IP, "dirty 3000 64")
    try:
        writer.wait_lines(2)
        busy = check(pair.alpha, "web", "beta")
        assert busy["written"] > idle["written"]
        assert busy["written"] > 2000
        writer.wait_lines(2)
    finally:
        writer.close()
    assert_at(pair, "alpha")


@amd_only()
def test_does_not_fit(pair, new_host):
    """What is missing is named, by the peer that was asked; the guest runs on, and nothing is reserved."""
    pair.beta.command("create race")    # another guest, as its file has no uuid; of the same name
    try:
        free = pair.beta.free_pages()
        pair.alpha.command("create race")
        said = pair.alpha.command("migrate --check race beta")
        assert re.search(r"race does not fit on beta: on beta: .*race", said)
        pair.beta.wait_pages(free)
    finally:
        pair.clear("race")
    assert_at(pair, "alpha")
    assert "no peer" in pair.alpha.command("migrate --check web gamma")


@amd_only()
def test_check_of_a_dead_peer(pair, segment):
    free = pair.alpha.free_pages()
    segment.link(pair.beta.tap, False)
    said = pair.alpha.command("migrate --check web beta", 90)
    segment.link(pair.beta.tap, True)
    assert "whether web fits on beta could not be found out: " in said
    pair.alpha.wait_pages(free)
    assert_at(pair, "alpha")


@amd_only()
def test_cancel_a_check(pair):
    pair.alpha.command("dirty start web")
    pair.alpha.command("dirty stop web")
    free = {name: host.free_pages() for name, host in pair.hosts.items()}
    pair.alpha.line.skip()
    pair.alpha.line.send("migrate --check web beta\r")
    pair.alpha.expect("measuring")
    pair.alpha.line.send("\x03")
    pair.alpha.expect("could not be found out: cancel")
    pair.alpha.wait_prompt()
    assert_at(pair, "alpha")
    for name, host in pair.hosts.items():
        host.wait_pages(free[name])
