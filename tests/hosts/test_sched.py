# SPDX-License-Identifier: Apache-2.0
"""Guests that never stop share the CPUs by weight, cap and pinning; the console and others' timers are served all the while."""
import re

import pytest

import bed
from conftest import OUT, amd_only, switched_on

# One CPU for guests, and the service CPU; a third for who is pinned to it. A Bochs host has but one, for all.
CPUS = {"amd": 3, "intel": 1}
KINDS = {"light": "weight = 128\n", "heavy": "weight = 256\n", "capped": "cap = 25\n"}
PINNED = {"light": "cpus = '1'\n", "heavy": "cpus = '1'\n", "capped": "cpus = '2'\n"}


def config(name, more):
    return f"name = '{name}'\nmemory = 16\nkernel = 'faults.bin'\nextra = 'spin'\n{more}"


@pytest.fixture(scope="module")
def host(segment, vendor):
    files = {"faults.bin": (bed.GUEST / "faults.bin").read_bytes(), "lost.cfg": config("lost", "cpus = '7'\n"),
             "wide.cfg": config("wide", f"vcpus = {4 * CPUS[vendor] + 1}\n"),
             **{f"{name}.cfg": config(name, more + (PINNED[name] if vendor == "amd" else "")) for name, more in KINDS.items()}}
    made = bed.host(segment, "sched", "10.77.0.75", OUT / vendor / "sched", vendor, number=75, smp=CPUS[vendor], memory=512, files=files)
    with switched_on({"sched": made}):
        yield made


def times(host):
    """{guest: seconds that it has run}"""
    return {name: float(seconds) for name, seconds in re.findall(r"^(\S+)\s+\d+\s+\d+\s+\d+\s+([\d.]+)\s+running", host.command("list"), re.M)}


def up(host):
    hours, minutes, seconds = map(int, re.search(r"up\s+: (\d+):(\d+):(\d+)", host.command("info")).groups())
    return 3600 * hours + 60 * minutes + seconds


def test_shares(host, vendor):
    """Weights 1:2 on one CPU, a quarter of another CPU (or of the same) for who has a cap; `top` shows it while they run."""
    for name in KINDS:
        assert host.command(f"create {name}") == ""
    assert host.guests() == {name: "running" for name in KINDS}
    before, begin = times(host), up(host)
    bed.until(lambda: sum(times(host)[name] - before[name] for name in ("light", "heavy")) > 9, "the guests to run nine seconds")
    after, end = times(host), up(host)
    ran = {name: after[name] - before[name] for name in KINDS}
    # (The times are rounded to tenths.)
    assert 1.8 < ran["heavy"] / ran["light"] < 2.2, ran
    assert 0.25 * (end - begin - 1) - 0.3 < ran["capped"] < 0.25 * (end - begin + 1) + 0.3, (ran, end - begin)
    on = {name: ", on CPUs " + re.search("'(.*)'", more).group(1) if vendor == "amd" else "" for name, more in PINNED.items()}
    assert "weight 128" + on["light"] in host.command("list light")
    assert "weight 256, at most 25 % of a CPU" + on["capped"] in host.command("list capped")
    host.line.skip()
    host.line.send("top\r")
    # The second screen is of a whole second; a slow machine's figures may be off.
    for _ in range(2):
        host.expect(r"CPU\(%\)\s+0 \(service\): \d+" + "".join(rf"  {cpu}: \d+" for cpu in range(1, CPUS[vendor])))
        host.expect(r"light +\d+ +16 +1 +\d+\.\d +\d+ +\d+ +- .*\n.*heavy +\d+ +16 +1 +\d+\.\d .*\n.*capped +\d+ +16 +1 +\d+\.\d ")
    host.line.send("q")
    host.wait_prompt()
    host.recover()


@amd_only()
def test_refused(host, vendor):
    cpus = CPUS[vendor]
    assert "cpus: this host has none of these CPUs for guests" in host.command("create lost")
    assert f"{4 * cpus + 1} vCPUs asked for, 1 to {4 * cpus} are possible on {cpus} CPUs" in host.command("create wide")
    assert host.guests() == {}
