# SPDX-License-Identifier: Apache-2.0
"""Guests with several vCPUs: more of them than CPUs; start-up, work on all at once, reboot, moves, and one time for all."""
import pytest

import bed
from conftest import FREED, OUT, SETTINGS, amd_only, switched_on

IPS = {"left": "10.77.0.71", "right": "10.77.0.72"}
NUMBER = 71
GUEST_IP = bed.guest_ip(NUMBER)
# Two CPUs for guests, and the service CPU; a Bochs host has but one, for all (bochs.py).
CPUS = {"amd": 3, "intel": 1}
VCPUS = {"amd": 4, "intel": 2}
MEMORY = {"amd": 224, "intel": 128}


# Linux takes it for granted, of AMD's CPUs whose CPUID does not promise an invariant TSC: QEMU's does not.
TAKEN_FOR_GRANTED = "tsc: Marking TSC unstable due to TSCs unsynchronized"


# Bochs' CPUs promise one, and Linux prefers it then.
CLOCKSOURCES = {"amd": "kvm-clock", "intel": "tsc"}


def complaints():
    return [line for line in bed.complaints(GUEST_IP).splitlines() if TAKEN_FOR_GRANTED not in line]


@pytest.fixture(scope="module")
def hosts(segment, vendor):
    files = {"many.cfg": bed.guest_config("many", MEMORY[vendor], NUMBER, vcpus=VCPUS[vendor], extra=FREED[vendor])}
    made = {name: bed.host(segment, name, ip, OUT / vendor / "smp" / name, vendor, number=NUMBER + n, smp=CPUS[vendor], memory=640,
                           peers=IPS, files=files, settings=SETTINGS[vendor]) for n, (name, ip) in enumerate(IPS.items())}
    for host in made.values():
        host.standing_faults = ("peers.plain",)
    with switched_on(made):
        for host in made.values():
            host.clear_faults()
        yield made


@pytest.fixture(scope="module")
def many(hosts, vendor):
    """A stock kernel with more vCPUs than there are CPUs, at its prompt on left."""
    hosts["left"].command("create many")
    bed.wait_guest(GUEST_IP)
    return VCPUS[vendor]


def clocksource():
    return bed.ssh(GUEST_IP, "cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip()


def test_all_vcpus_start(hosts, many, vendor):
    assert int(bed.ssh(GUEST_IP, "nproc")) == many
    assert clocksource() == CLOCKSOURCES[vendor]
    # Each has had timer interrupts, and calls from the others.
    for name in ("LOC", "CAL"):
        counts = bed.ssh(GUEST_IP, f"grep {name}: /proc/interrupts").split()[1:many + 1]
        assert len(counts) == many and all(int(count) for count in counts), (name, counts)
    assert complaints() == []
    assert f"{many} vCPUs" in hosts["left"].command("dmesg")


def test_moves_with_all_at_work(hosts, many, vendor):
    """A checker on each vCPU stamps and proves memory of its own, their clocks are compared all the time, there and back.

    A Bochs host has one CPU for the guest and the move: there the vCPUs only write now and then, and one way is enough.
    """
    work, clock, moves = (("memcheck 4", "clocks", (("left", "right"), ("right", "left"))) if vendor == "amd" else
                          ("dirty 20 1", "clocks 50000", (("left", "right"),)))
    workers = [bed.SshSession(GUEST_IP, f"taskset {1 << cpu:x} {work}") for cpu in range(many)]
    clocks = bed.SshSession(GUEST_IP, clock)
    try:
        for session in (*workers, clocks):
            session.wait_lines(2)
        for source, target in moves:
            hosts[source].migrate("many", target, "--live", "--max-downtime 1000")
            assert hosts[target].guests() == {"many": "running"} and hosts[source].guests() == {}
            for session in (*workers, clocks):
                session.wait_lines(2)
        for session, wanted in [*((worker, "memcheck: ok" if "memcheck" in work else "dirty: ") for worker in workers),
                                (clocks, "clocks: ok")]:
            texts = [text for _, text in session.lines]
            assert texts[-1].startswith(wanted) and not any("BAD" in text for text in texts), texts[-5:]
        assert texts[-1].endswith(f"on {many} CPUs")
    finally:
        for session in (*workers, clocks):
            session.close()
    assert clocksource() == CLOCKSOURCES[vendor]
    assert complaints() == []


@amd_only("half a minute of Bochs' time; a second INIT and SIPI are in test_two_cpus")
def test_reboot(hosts, many):
    """The other vCPUs wait again, and are started again."""
    boot_id = bed.boot_id(GUEST_IP)
    where, = [host for host in hosts.values() if host.guests()]
    where.command("reboot many")
    bed.until(lambda: bed.boot_id(GUEST_IP) not in (None, boot_id), "the guest to have booted again", 300)
    assert int(bed.ssh(GUEST_IP, "nproc")) == many
    pages = where.free_pages()
    where.command("destroy many")
    assert where.free_pages() > pages
