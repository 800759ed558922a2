# SPDX-License-Identifier: Apache-2.0
"""Three hosts (two in Bochs): moves to and fro at once, one that stands still beside one that goes on, and evacuate."""
import re

import pytest

import bed
from conftest import OUT, SETTINGS, amd_only, intel_only, switched_on

IPS = {"north": "10.77.0.81", "south": "10.77.0.82", "east": "10.77.0.83"}
# Each Bochs host wants a CPU for itself.
NAMES = {"amd": ("north", "south", "east"), "intel": ("north", "south")}
# (north can have a guest that fits nowhere else.)
MEMORY = {"north": 896, "south": 384, "east": 384}
NUMBER = 81
GUEST_IP = bed.guest_ip(NUMBER)
TINY = {"t1": 16, "t2": 16, "t3": 18, "big": 480}


def tiny_config(name, memory, number):
    return (f"name = '{name}'\nmemory = {memory}\nkernel = 'race.bin'\n"
            f"uuid = '6d6f7665-6d65-4d6f-8000-0000000000{number:02x}'\n")


@pytest.fixture(scope="module")
def hosts(segment, vendor):
    files = {"race.bin": (bed.GUEST / "race.bin").read_bytes(), "lin.cfg": bed.guest_config("lin", 160, NUMBER),
             **{f"{name}.cfg": tiny_config(name, memory, number) for number, (name, memory) in enumerate(TINY.items(), 0xa0)}}
    peers = {name: IPS[name] for name in NAMES[vendor]}
    made = {name: bed.host(segment, name, ip, OUT / vendor / "fleet" / name, vendor, number=NUMBER + n, memory=MEMORY[name], peers=peers,
                           files=files, settings=SETTINGS[vendor]) for n, (name, ip) in enumerate(peers.items())}
    for host in made.values():
        host.standing_faults = ("peers.plain",)
    with switched_on(made):
        for host in made.values():
            host.clear_faults()
        yield made


def heard(hosts):
    """Every host knows how much memory every other one has."""
    for host in hosts.values():
        others = len(hosts) - 1     # (it is in its own list, too)
        bed.until(lambda host=host: len(re.findall(r", heard \d+ s ago", host.command("info"))) == others, f"{host.name} to hear its peers")


def free_mib(hosts):
    return {host.name: re.search(r"free_memory +: (\d+) MiB", host.command("info")).group(1) for host in hosts}


def told_free(host):
    """The same, {name: MiB}, as its peers' last beacons said."""
    return dict(re.findall(r"peer +: (\w+) .*, heard .*, (\d+) MiB free", host.command("info")))


def begin(host, command, shows):
    """Types a command that shows progress, and takes the prompt back when it does."""
    host.line.skip()
    host.line.send(command + "\r")
    host.expect(shows)
    host.line.send("\r")
    host.expect(r"\(goes on")
    host.wait_prompt()


@amd_only("test_small_ones_to_and_fro is there: each Bochs host wants a CPU, and a Linux guest takes it ten seconds")
def test_to_and_fro_at_once(hosts):
    """A Linux guest goes one way and a small one the other, and while one stands still another one passes it."""
    north, south, east = hosts.values()
    north.command("create lin")
    north.command("create t2")
    south.command("create t1")
    bed.wait_guest(GUEST_IP)
    session = bed.SshSession(GUEST_IP)
    try:
        session.wait_lines(2)
        for host in (north, south):
            host.command("fault send.final")
        begin(north, "migrate --live --verify --max-downtime 1000 lin south", "lin -> south")
        begin(south, "migrate --live --verify --max-downtime 1000 t1 north", "t1 -> north")
        bed.until(lambda: "lin" in south.command("list") and "t1" in north.command("list"), "both to arrive")
        assert re.search(r"lin .* arriving from north", south.command("list"))
        assert re.search(r"moving +: t1 to north\narriving +: lin from north", south.command("info"))
        for host in (north, south):
            host.line.skip()
            host.clear_faults()
        bed.until(lambda: "t1" in north.guests() and "lin" in south.guests(), "both to have arrived")
        assert north.guests() == {"t1": "running", "t2": "running"}
        assert south.guests() == {"lin": "running"}
        session.wait_lines(2)
        # What is sent to east stays in north's buffers; the other one needs them, too.
        east.command("fault recv.memory")
        begin(south, "migrate --live --verify --max-downtime 1000 lin east", "lin -> east")
        bed.until(lambda: "lin" in east.command("list"), "lin to arrive")
        south.command("create t3")
        south.migrate("t3", "north", "--live", "--max-downtime 1000", verify=True)
        assert "lin -> east" in south.command("migrate --status")
        east.clear_faults()
        bed.until(lambda: east.guests() == {"lin": "running"} and south.guests() == {}, "lin to have arrived")
        assert north.guests() == {"t1": "running", "t2": "running", "t3": "running"}
        assert all(north.ask_race(guest) == "alive" for guest in ("t1", "t3"))
        session.wait_lines(2)
        assert session.unbroken(), session.lines[-5:]
        assert bed.complaints(GUEST_IP) == ""
    finally:
        session.close()
        for host in hosts.values():
            host.clear_faults()


@intel_only("test_to_and_fro_at_once does that and more")
def test_small_ones_to_and_fro(hosts):
    """A guest goes one way and another one comes the other way, both held just before their hand-over."""
    north, south = hosts.values()
    north.command("create t2")
    south.command("create t1")
    for host in (north, south):
        host.command("fault send.final")
    begin(north, "migrate --live --verify --max-downtime 1000 t2 south", "t2 -> south")
    begin(south, "migrate --live --verify --max-downtime 1000 t1 north", "t1 -> north")
    bed.until(lambda: "t2" in south.command("list") and "t1" in north.command("list"), "both to arrive")
    assert re.search(r"moving +: t1 to north\narriving +: t2 from north", south.command("info"))
    for host in (north, south):
        host.line.skip()
        host.clear_faults()
    bed.until(lambda: north.guests() == {"t1": "running"} and south.guests() == {"t2": "running"}, "both to have arrived")
    assert north.ask_race("t1") == south.ask_race("t2") == "alive"


def test_evacuate(hosts):
    """Two of three guests find a place, one each where there are two peers, and the third, for which there is none, runs on."""
    north, *peers = hosts.values()
    for host in hosts.values():
        host.recover()
    heard(hosts)
    free = {host: host.free_pages() for host in hosts.values()}
    for guest in ("t1", "t2", "big"):
        assert north.command(f"create {guest}") == ""
    # Nobody goes after Ctrl-C.
    north.command("fault send.rounds")
    north.line.skip()
    north.line.send("evacuate\r")
    north.expect(r"evacuate: 0 of 3 gone.*t[12] -> ")
    north.line.send("\x03")
    north.expect(r"evacuate: 0 of 3 guests went\n")
    for guest in ("t1", "t2"):
        north.expect(rf"{guest} stays here and runs on: canceled")
    north.wait_prompt()
    north.clear_faults()
    assert north.guests() == {guest: "running" for guest in ("t1", "t2", "big")}
    for host in peers:
        host.wait_pages(free[host])
    bed.until(lambda: told_free(north) == free_mib(peers), "north to hear that its peers have their memory back")
    said = north.command("evacuate --verify --max-downtime 1000", 60)
    assert "evacuate: 2 of 3 guests went" in said
    went = dict(re.findall(r"(t[12]) runs on (\w+): \S+ m?s in all, \S+ m?s down", said))
    assert set(went) == {"t1", "t2"} and set(went.values()) == {peer.name for peer in peers}, said
    for peer in peers:
        assert re.search(rf"big stays here and runs on: .*refused: {peer.name} has .* of memory free, and big needs 480 MiB", said), said
    assert north.guests() == {"big": "running"} and north.ask_race("big") == "alive"
    for peer in peers:
        assert peer.guests() == {guest: "running" for guest, name in went.items() if name == peer.name}
    for guest, peer in went.items():
        assert hosts[peer].ask_race(guest) == "alive"
    # All of them back, from all at once.
    for peer in peers:
        begin(peer, "migrate --all --verify north", "migrate --all north: ")
    bed.until(lambda: set(north.guests()) == {"t1", "t2", "big"}, "them to be back")
    for host in hosts.values():
        host.recover()
        bed.until(lambda host=host: host.free_pages() - free[host] in (0, 1), "its pages to be back")
